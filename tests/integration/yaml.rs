//! The document in YAML, for readers of YAML 1.1, which takes more for numbers, dates and truth than YAML 1.2 does.

use phonepass::api::Language;
use regex::Regex;
use serde_json::Value;

use crate::support::{TestApp, backends::Backends};

/// What YAML 1.1 takes for something else than text (yaml.org/type), and what PyYAML and Ruby take beyond it.
fn taken_for_something_else() -> Regex {
    let bool_and_null = r"(?i:y|n|yes|no|true|false|on|off|null)|~|";
    let integer = r"[-+]?(0b[01_]+|0[xX][0-9a-fA-F_]+|0o?[0-7_]*|[0-9][0-9_,]*|[0-9][0-9_]*(:[0-5]?[0-9])+)";
    let float = r"[-+]?([0-9][0-9_,]*)?\.[0-9._]*([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*([eE][-+]?[0-9]+)";
    let sexagesimal_and_special = r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?i:inf)|\.(?i:nan)";
    let time = r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?";
    let merge_and_default = "<<|=";
    let any = [bool_and_null, integer, float, sexagesimal_and_special, time, merge_and_default].join("|");
    Regex::new(&format!("^({any})$")).unwrap()
}

/// The names and values of a document in block style that stand there without quotes, text in blocks aside.
fn plain_scalars(yaml: &str) -> Vec<(&str, &str)> {
    let mut scalars = Vec::new();
    let mut block = None;
    for line in yaml.lines() {
        let indent = line.len() - line.trim_start().len();
        if block.is_some_and(|around| line.trim().is_empty() || indent > around) {
            continue;
        }
        let entry = line.trim_start().trim_start_matches("- ");
        let (name, value) = match entry.strip_prefix('"') {
            Some(quoted) if quoted.contains("\":") => quoted.split_once("\":").map(|(_, value)| ("\"\"", value)),
            Some(_) => None,
            None => entry.split_once(": ").or_else(|| Some((entry.strip_suffix(':')?, ""))),
        }
        .unwrap_or(("\"\"", entry));
        let value = value.trim();
        block = value.starts_with(['|', '>']).then_some(indent);
        scalars.push((name, value));
    }
    scalars
}

/// How many values are no text.
fn others(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.values().map(others).sum(),
        Value::Array(items) => items.iter().map(others).sum(),
        Value::String(_) => 0,
        _ => 1,
    }
}

#[tokio::test]
async fn no_text_of_the_document_is_a_date_a_number_or_a_truth_to_a_reader_of_yaml_1_1() {
    let expression = taken_for_something_else();
    // It does see what it is there for.
    for other in
        ["2026-11-21T12:34:09.349808Z", "2026-11-21", "on", "No", "y", "12:30", "0755", "0o17", "1_000", "1.0", "1e3"]
    {
        assert!(expression.is_match(other), "{other}");
    }
    for text in ["13800138000a", "v1.0.0", "/healthz", "#/components", "onward", "[]"] {
        assert!(!expression.is_match(text), "{text}");
    }
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for (query, language) in [("", Language::En), ("?lang=zh", Language::Zh)] {
        let document = app.app.documents.in_language(language);
        let yaml = String::from_utf8(app.get(&format!("/openapi.yaml{query}")).await.bytes).unwrap();
        assert_eq!(serde_yaml_ng::from_str::<Value>(&yaml).unwrap(), *document);
        let scalars = plain_scalars(&yaml);
        for (name, _) in &scalars {
            assert!(!expression.is_match(name), "the name {name}");
        }
        // An empty one has its members in the lines below.
        let taken: Vec<_> =
            scalars.iter().map(|(_, value)| *value).filter(|it| !it.is_empty() && expression.is_match(it)).collect();
        assert_eq!(taken.len(), others(document), "{taken:?}");
        for value in taken {
            assert!(value == "true" || value == "false" || value.parse::<u32>().is_ok(), "{value}");
        }
    }
}
