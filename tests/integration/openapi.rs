//! Does the document say what the code does?

use std::collections::HashSet;

use phonepass::{api, app, config::Cli};
use serde_json::Value;

const COMMITTED: &str = include_str!("../../openapi/phonepass.json");

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

#[tokio::test]
async fn the_committed_document_is_the_one_that_the_code_makes() {
    let config = Cli::from_flags(["phonepass"]).unwrap().config;
    let document = api::print(&app::document(&config).await.unwrap());
    assert!(document == COMMITTED, "run: cargo run -- openapi > openapi/phonepass.json");
}

#[test]
fn every_operation_is_named_described_and_tagged() {
    let document: Value = serde_json::from_str(COMMITTED).unwrap();
    let mut ids = HashSet::new();
    for (path, method, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no operationId"));
        assert!(ids.insert(id), "{id} twice");
        assert!(id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{id}");
        for part in ["summary", "description"] {
            assert!(operation[part].as_str().is_some_and(|text| !text.is_empty()), "{id} has no {part}");
        }
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{id}");
        assert!(operation["security"].is_array(), "{id} does not say who may call it");
    }
    assert!(ids.len() >= 25, "{}", ids.len());
}

#[test]
fn every_error_of_the_app_family_is_documented_with_examples() {
    let document: Value = serde_json::from_str(COMMITTED).unwrap();
    for (path, _, operation) in operations(&document).filter(|(path, ..)| path.starts_with("/app/")) {
        let responses = operation["responses"].as_object().unwrap();
        for status in ["500", "503"] {
            assert!(responses.contains_key(status), "{path} does not document {status}");
        }
        for (status, response) in responses.iter().filter(|(status, _)| *status >= &"400".to_owned()) {
            let media_type = &response["content"]["application/json"];
            assert_eq!(media_type["schema"]["$ref"], "#/components/schemas/Error", "{path} {status}");
            assert!(media_type["examples"].as_object().is_some_and(|all| !all.is_empty()), "{path} {status}");
        }
    }
}
