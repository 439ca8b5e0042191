//! Does the document say what the code does, and all that a stranger needs?

use std::collections::{BTreeSet, HashSet};

use phonepass::{
    api::{self, Language},
    config::Cli,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, backends::Backends};

const COMMITTED: &str = include_str!("../../openapi/phonepass.json");
const CHINESE: &str = include_str!("../../openapi/zh.json");
const EXAMPLES: &str = include_str!("../../openapi/examples.json");

fn committed() -> Value {
    serde_json::from_str(COMMITTED).unwrap()
}

fn documents() -> api::Documents {
    api::documents(&Cli::from_flags(["phonepass"]).unwrap().config)
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

/// Calls with every member of every object, its name, and whether it stands inside of an example.
fn each_member<'a>(value: &'a Value, in_example: bool, see: &mut impl FnMut(&'a str, &'a Value, bool)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                see(name, member, in_example);
                each_member(member, in_example || matches!(name.as_str(), "example" | "value"), see);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| each_member(item, in_example, see)),
        _ => {}
    }
}

/// Fails unless a value is what its schema says: every required member there, none that is not described, none null.
#[track_caller]
fn expect_fits(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(&reference[1..]).unwrap_or_else(|| panic!("{place}: no {reference}"));
        return expect_fits(document, schema, value, place);
    }
    let fits = match schema["type"].as_str().unwrap() {
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    assert!(fits, "{place}: {value}");
    if schema["format"] == "uuid" {
        uuid::Uuid::parse_str(value.as_str().unwrap()).unwrap_or_else(|error| panic!("{place}: {error}"));
    }
    if let (Some(allowed), Some(_)) = (schema["enum"].as_array(), value.as_str()) {
        assert!(allowed.contains(value), "{place}: {value}");
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{place} has no {required}");
    }
    for (name, member) in entries(value) {
        let place = format!("{place}.{name}");
        let schema = schema["properties"].get(name).unwrap_or_else(|| panic!("{place} is not described"));
        expect_fits(document, schema, member, &place);
    }
    for item in value.as_array().into_iter().flatten() {
        expect_fits(document, &schema["items"], item, &format!("{place}[]"));
    }
}

#[tokio::test]
async fn the_committed_document_is_the_one_that_the_code_makes() {
    let document = api::print(documents().in_language(Language::En));
    let (made, committed): (Vec<_>, Vec<_>) = (document.lines().collect(), COMMITTED.lines().collect());
    let same = made.iter().zip(&committed).take_while(|(made, committed)| made == committed).count();
    // A few lines from where they part: both as a whole are 300 KB each.
    let [made, committed] = [made, committed].map(|lines| {
        let lines = lines.into_iter().enumerate().skip(same.saturating_sub(3)).take(10);
        lines.map(|(number, line)| format!("{:5} {line}\n", number + 1)).collect::<String>()
    });
    assert!(
        document == COMMITTED,
        "the code makes:\n{made}\nopenapi/phonepass.json has:\n{committed}\nrun: cargo run -- openapi > openapi/phonepass.json"
    );
}

#[test]
fn every_operation_is_named_described_and_tagged() {
    let document = committed();
    let mut ids = HashSet::new();
    for (path, method, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no operationId"));
        assert!(ids.insert(id.replace('_', "")), "{id} twice, as a name in camelCase or in lower case");
        assert!(id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{id}");
        let text = |part: &str| operation[part].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let (Some(summary), Some(description)) = (text("summary"), text("description")) else {
            panic!("{id} has no summary or no description")
        };
        assert!(summary.len() <= 60 && !summary.contains('\n') && !summary.ends_with('.'), "{id}: {summary}");
        assert!(description.ends_with('.') && description != summary, "{id}: {description}");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{id}");
        assert!(operation["security"].is_array(), "{id} does not say who may call it");
        let statuses: Vec<_> = entries(&operation["responses"]).map(|(status, _)| status.as_str()).collect();
        assert_eq!(statuses.iter().filter(|status| status.starts_with('2')).count(), 1, "{id}: {statuses:?}");
        assert!(statuses.contains(&"413"), "{id} does not say that a request can be too large");
    }
    assert_eq!(ids.len(), 42);
}

#[test]
fn every_schema_field_and_parameter_is_described() {
    let document = committed();
    for (name, schema) in entries(&document["components"]["schemas"]) {
        assert!(schema["description"].is_string(), "{name}");
        assert!(!schema["example"].is_null(), "{name} has no example");
        let mut names = HashSet::new();
        for (field, property) in entries(&schema["properties"]) {
            assert!(
                names.insert(field.replace('_', "").to_lowercase()),
                "{name}.{field} twice, as a name in camelCase"
            );
            // What stands beside a reference is dropped by generators: the schema itself is described.
            assert!(property["description"].is_string() != property["$ref"].is_string(), "{name}.{field}");
            for inline in ["allOf", "oneOf", "anyOf", "properties", "enum", "default"] {
                assert!(property[inline].is_null(), "{name}.{field}: generators stumble over {inline}");
            }
        }
    }
    for (.., operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{}: {parameter}", operation["operationId"]);
        }
        for (_, media_type) in entries(&operation["requestBody"]["content"]) {
            assert!(
                media_type["schema"]["$ref"].is_string(),
                "{} takes a schema without a name",
                operation["operationId"]
            );
        }
        for (status, response) in entries(&operation["responses"]) {
            assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{status} {operation}");
            for (name, header) in entries(&response["headers"]) {
                assert!(header["description"].is_string(), "{name}");
                assert!(name.bytes().any(|byte| byte.is_ascii_lowercase()), "{name}");
            }
        }
    }
}

#[test]
fn every_request_and_every_answer_has_an_example_that_fits_its_schema() {
    let document = committed();
    for (_, method, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        let responses = entries(&operation["responses"]).map(|(status, response)| (status.as_str(), response));
        for (part, message) in responses.chain([("request", &operation["requestBody"])]) {
            let media_type = &message["content"]["application/json"];
            if media_type.is_null() {
                continue;
            }
            let many = entries(&media_type["examples"]).map(|(_, example)| &example["value"]);
            let examples: Vec<_> = many.chain(media_type.get("example")).collect();
            assert!(!examples.is_empty(), "{method} {id} {part}");
            for example in examples {
                expect_fits(&document, &media_type["schema"], example, &format!("{id} {part}"));
            }
        }
    }
}

#[test]
fn every_error_is_documented_with_the_code_that_it_has() {
    let document = committed();
    for (path, _, operation) in operations(&document) {
        let id = &operation["operationId"];
        let family = path.split('/').nth(1).unwrap();
        for (status, response) in entries(&operation["responses"]) {
            let media_type = &response["content"]["application/json"];
            let examples: Vec<_> = entries(&media_type["examples"]).map(|(_, example)| &example["value"]).collect();
            match family {
                "app" if status.as_str() >= "400" => {
                    assert_eq!(media_type["schema"]["$ref"], "#/components/schemas/ErrorBody", "{id} {status}");
                    let description = response["description"].as_str().unwrap();
                    for example in &examples {
                        assert!(
                            description.contains(example["code"].as_str().unwrap()),
                            "{id} {status}: {description}"
                        );
                    }
                }
                "api" | "passport" if status == "200" && !media_type.is_null() => {
                    let errnos: BTreeSet<_> =
                        examples.iter().map(|example| example["errno"].as_i64().unwrap()).collect();
                    let picture = response["content"].get("image/jpeg").is_some();
                    assert!(errnos.contains(&0) != picture && errnos.len() > 2, "{id}: {errnos:?}");
                }
                _ => {}
            }
        }
        if family == "app" {
            for status in ["429", "500", "503"] {
                assert!(operation["responses"][status].is_object(), "{id} does not document {status}");
            }
        }
    }
}

#[test]
fn every_optional_field_of_a_request_may_be_null_and_no_other_field_may() {
    let document = committed();
    let schema_of = |operation: &Value| {
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str().map(str::to_owned)
    };
    let mut requests: BTreeSet<_> = operations(&document).filter_map(|(.., operation)| schema_of(operation)).collect();
    requests.insert("#/components/schemas/Device".to_owned());
    let mut nullable = BTreeSet::new();
    for (name, schema) in entries(&document["components"]["schemas"]) {
        let request = requests.contains(&format!("#/components/schemas/{name}"));
        let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
        for (field, property) in entries(&schema["properties"]) {
            // A reference that may be null cannot be said in a way that every generator takes: its schema tells it.
            let optional = request && !required.contains(&&json!(field)) && property["$ref"].is_null();
            assert_eq!(property["nullable"] == true, optional, "{name}.{field}");
            if optional {
                assert!(property["description"].as_str().unwrap().contains("`null`"), "{name}.{field}");
                nullable.insert(format!("{name}.{field}"));
            }
        }
    }
    assert!(
        nullable.contains("UserUpdate.avatar_url") && nullable.contains("SmsCodeRequest.image_code"),
        "{nullable:?}"
    );
    for name in ["SmsCodePurpose", "Device", "DevicePlatform"] {
        let description = document["components"]["schemas"][name]["description"].as_str().unwrap();
        assert!(description.contains("`null`"), "{name}: {description}");
    }
}

#[test]
fn a_classic_picture_may_be_refused_in_json_and_one_of_the_app_family_never_is() {
    let document = committed();
    let mut pictures = 0;
    for (path, _, operation) in operations(&document) {
        let content = &operation["responses"]["200"]["content"];
        if content["image/jpeg"].is_null() {
            continue;
        }
        pictures += 1;
        let refusal = &content["application/json"]["schema"]["$ref"];
        let expected =
            if path.starts_with("/app/") { json!(null) } else { json!("#/components/schemas/ClassicOutcome") };
        assert_eq!(*refusal, expected, "{path}");
    }
    assert_eq!(pictures, 4);
}

#[tokio::test]
async fn every_text_is_there_in_chinese_and_no_translation_is_left_over() {
    let documents = documents();
    let is_chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
    let mut untold = BTreeSet::new();
    each_member(documents.in_language(Language::Zh), false, &mut |name, member, in_example| {
        let text = member.as_str().filter(|_| !in_example && matches!(name, "summary" | "description"));
        if let Some(text) = text.filter(|text| *text != "OK" && !is_chinese(text)) {
            untold.insert(text);
        }
    });
    let names =
        documents.in_language(Language::Zh)["tags"].as_array().unwrap().iter().filter_map(|tag| tag["name"].as_str());
    untold.extend(names.filter(|name| !is_chinese(name)));
    assert!(untold.is_empty(), "openapi/zh.json lacks: {untold:#?}");

    let mut told = BTreeSet::new();
    let examples: Value = serde_json::from_str(EXAMPLES).unwrap();
    for document in [documents.in_language(Language::En), &examples] {
        each_member(document, false, &mut |name, member, _| {
            if let Some(text) = member.as_str().filter(|_| matches!(name, "summary" | "description" | "name")) {
                told.insert(text.to_owned());
            }
        });
    }
    let translations: Value = serde_json::from_str(CHINESE).unwrap();
    let stale: Vec<_> = entries(&translations).filter(|(text, _)| !told.contains(*text)).collect();
    assert!(stale.is_empty(), "openapi/zh.json has translations that nothing needs: {stale:#?}");
}

#[tokio::test]
async fn the_chinese_document_differs_in_nothing_but_texts() {
    fn without_texts(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let texts = ["summary", "description", "message", "errmsg", "tags"];
                let kept =
                    members.iter().filter(|(name, member)| !texts.contains(&name.as_str()) || member.is_object());
                kept.map(|(name, member)| (name.clone(), without_texts(member))).collect()
            }
            Value::Array(items) => items.iter().map(without_texts).collect(),
            value => value.clone(),
        }
    }
    let documents = documents();
    assert_eq!(without_texts(documents.in_language(Language::Zh)), without_texts(documents.in_language(Language::En)));
}

/// Presses "Execute" on examples of the document, as they are.
struct Visitor {
    app: TestApp,
    document: Value,
    token: String,
    pressed: BTreeSet<String>,
}

impl Visitor {
    async fn new() -> Self {
        let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
        Self { app, document: committed(), token: String::new(), pressed: BTreeSet::new() }
    }

    /// Sends an operation with an example of its own; fails unless it succeeds with what the document says.
    async fn press(&mut self, id: &str, example: &str) -> Answer {
        let found = operations(&self.document).find(|(.., operation)| operation["operationId"] == id);
        let (path, method, operation) = found.unwrap_or_else(|| panic!("no {id}"));
        let mut path = path.to_owned();
        let mut query = Vec::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let (name, example) = (parameter["name"].as_str().unwrap(), parameter["example"].as_str());
            path = path.replace(&format!("{{{name}}}"), example.unwrap_or_default());
            query.extend(example.filter(|_| parameter["in"] == "query").map(|example| format!("{name}={example}")));
        }
        path += &format!("?{}", query.join("&"));
        let mut request = self.app.request(method.to_uppercase().parse().unwrap(), &path).bearer_auth(&self.token);
        if !operation["requestBody"].is_null() {
            let body = &operation["requestBody"]["content"]["application/json"]["examples"][example]["value"];
            assert!(body.is_object(), "{id} has no example {example}");
            request = request.json(body);
        }
        let answer = self.app.send(request).await;
        let documented = &operation["responses"][answer.status.as_str()];
        let place = format!("{id}, {example}: {}", String::from_utf8_lossy(&answer.bytes));
        assert!(answer.status.is_success() && documented.is_object(), "{place}");
        let media_type = answer.header("content-type");
        assert!(documented.get("content").is_none_or(|content| content.get(media_type).is_some()), "{place}");
        let schema = documented["content"]["application/json"].get("schema");
        if let Some(schema) = schema.filter(|_| media_type == "application/json") {
            let body = answer.json();
            expect_fits(&self.document, schema, &body, &place);
            assert!(body.get("errno").is_none_or(|errno| errno == 0), "{place}");
            if let Some(token) = body["data"]["token"].as_str() {
                self.token = token.to_owned();
            }
        }
        self.pressed.insert(id.to_owned());
        answer
    }
}

#[tokio::test]
async fn the_examples_work_as_they_are_on_a_fresh_start() {
    let mut visitor = Visitor::new().await;
    visitor.press("send_login_sms_code", "").await;
    visitor.press("send_sms_code", "test_number").await;
    visitor.press("send_sms_code", "your_number").await;
    let signed_in = visitor.press("sign_in_with_sms_code", "test_number").await;
    assert_eq!(signed_in.json()["data"]["is_new_user"], true);
    for id in ["get_current_user", "check_authorization", "list_sessions", "get_image_code"] {
        visitor.press(id, "").await;
    }
    visitor.press("update_current_user", "both").await;
    visitor.press("change_password", "by_code").await;
    visitor.press("sign_in_with_password", "test_number").await;
    visitor.press("change_password", "by_old_password").await;
    visitor.press("reset_password", "test_number").await;
    visitor.press("sign_in_with_sms_code", "test_number").await;
    visitor.press("end_other_sessions", "").await;
    visitor.token = visitor.press("sign_in_with_sms_code", "test_number").await.json()["data"]["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    visitor.press("refresh_token", "device").await;
    visitor.press("change_mobile", "test_number").await;
    visitor.press("delete_account", "test_number").await;

    visitor.press("ihome_register", "test_number").await;
    for id in ["ihome_get_session", "ihome_get_session_at_sessions", "ihome_get_user"] {
        visitor.press(id, "").await;
    }
    visitor.press("ihome_change_name", "chinese").await;
    visitor.press("ihome_change_name_by_post", "chinese").await;
    for id in ["ihome_get_image_code", "ihome_get_image_code_at_imagecode", "passport_get_image_code"] {
        visitor.press(id, "").await;
    }
    visitor.press("ihome_sign_out", "").await;
    visitor.press("ihome_sign_in", "test_number").await;
    visitor.press("ihome_sign_out_at_sessions", "").await;
    visitor.press("passport_sign_in", "test_number").await;
    visitor.press("passport_sign_out", "").await;
    visitor.press("passport_sign_in", "test_number").await;
    visitor.press("passport_follow_sign_out", "").await;
    visitor.press("sign_in_with_sms_code", "test_number").await;
    visitor.press("sign_out", "").await;
    for id in ["get_health", "get_readiness", "get_jwks", "get_openid_configuration"] {
        visitor.press(id, "").await;
    }
    visitor.press("get_authorization_server_metadata", "").await;

    // These need what only the visitor can know: what a picture says, which sessions there are.
    let by_hand = ["end_session", "ihome_send_sms_code", "ihome_send_sms_code_at_smscode", "passport_send_sms_code"];
    let pressed = visitor.pressed.iter().map(String::as_str).chain(by_hand);
    // A fresh start has no proof of work.
    let pressed = pressed.chain(["passport_register", "get_pow_challenge"]).collect();
    let all: BTreeSet<_> = operations(&visitor.document).map(|(.., it)| it["operationId"].as_str().unwrap()).collect();
    assert_eq!(all, pressed);
    Visitor::new().await.press("passport_register", "test_number").await;
}

#[tokio::test]
async fn the_numbers_of_the_examples_are_for_development_alone() {
    let flags = [
        &["--public-url=https://id.example.com"][..],
        &["--trusted-proxies=10.0.0.0/8"],
        &["--sms-test-codes=13600000000=135790"],
        &["--sms-code-length=5"],
    ];
    for flags in flags {
        let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, flags).await;
        let body = json!({ "mobile": "13800100500", "code": "246810" });
        let answer = app.send(app.request(Method::POST, "/app/v1_0/authorizations").json(&body)).await;
        assert!(matches!(answer.json()["code"].as_str(), Some("sms_code_expired" | "request_invalid")), "{flags:?}");
    }
}
