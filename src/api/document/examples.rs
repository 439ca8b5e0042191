//! What do requests and answers look like? Read from `openapi/examples.json`; refusals from their codes.

use serde_json::{Map, Value, json};

use super::{responses, translation};
use crate::api::{context::Family, error_code::ErrorCode, language::Language};

const EXAMPLES: &str = include_str!("../../../openapi/examples.json");

/// An example of everything that the document describes.
pub struct Examples {
    /// By the name of the schema.
    schemas: Map<String, Value>,
    /// By operation, then by parameter.
    parameters: Value,
    /// By operation, then by name: as the document lists them.
    requests: Value,
}

impl Examples {
    /// Reads the examples, and composes those of schemas that consist of others.
    pub fn new(document: &Value, language: Language) -> Self {
        let mut listed: Value = serde_json::from_str(EXAMPLES).expect("the examples are JSON");
        let refusal = of_refusal(ErrorCode::RequestInvalid, Family::App, language);
        listed["schemas"]["FieldError"] = refusal["fields"][0].clone();
        listed["schemas"]["ErrorBody"] = refusal;
        listed["schemas"]["NotReady"]["message"] = json!(ErrorCode::Unavailable.meaning().message(language));
        listed["schemas"]["ClassicSessionEnvelope"]["errmsg"] = json!(language.choose("登录成功", "Signed in"));
        if language == Language::Zh {
            translation::translate(&mut listed["requests"]);
        }
        let described = &document["components"]["schemas"];
        let names = described.as_object().into_iter().flatten().map(|(name, _)| name);
        let schemas = names.map(|name| (name.clone(), compose(name, described, &listed["schemas"]))).collect();
        Self { schemas, parameters: listed["parameters"].take(), requests: listed["requests"].take() }
    }

    /// Shows what an operation takes and gives.
    pub fn add_to(&self, operation: &mut Map<String, Value>) {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(example) = self.parameters[&id].get(parameter["name"].as_str().unwrap_or_default()) {
                parameter["example"] = example.clone();
            }
        }
        if let Some(body) = operation.get_mut("requestBody") {
            body["content"]["application/json"]["examples"] = self.requests[&id].clone();
        }
        for (_, response) in responses(operation) {
            let picture = response["content"].get("image/jpeg").is_some();
            let Some(media_type) = response.pointer_mut("/content/application~1json") else { continue };
            let Some(example) = named(&media_type["schema"]).and_then(|name| self.schemas.get(name)) else { continue };
            match media_type.get_mut("examples") {
                // A classic answer is success and refusal under one status; only a picture is no JSON on success.
                Some(examples) if example["errno"] == 0 && !picture => {
                    examples["0"] = json!({ "summary": example["errmsg"], "value": example });
                }
                Some(_) => {}
                None => media_type["example"] = example.clone(),
            }
        }
    }

    /// Shows what every schema is like; a request as in the first example of its operation.
    pub fn add_to_schemas(&self, document: &mut Value) {
        let mut schemas = self.schemas.clone();
        for (_, operation) in super::operations(document) {
            let id = operation["operationId"].as_str().unwrap_or_default();
            let first = self.requests[id].as_object().and_then(|examples| examples.values().next());
            let body = operation.get("requestBody").map(|body| &body["content"]["application/json"]["schema"]);
            if let (Some(first), Some(name)) = (first, body.and_then(named)) {
                schemas.insert(name.to_owned(), first["value"].clone());
            }
        }
        for (name, schema) in document["components"]["schemas"].as_object_mut().into_iter().flatten() {
            schema["example"] = schemas[name].clone();
        }
    }
}

/// The listed example of a schema, with examples of the schemas that it refers to.
fn compose(name: &str, described: &Value, listed: &Value) -> Value {
    let mut example = listed.get(name).cloned().unwrap_or_else(|| json!({}));
    for (property, schema) in described[name]["properties"].as_object().into_iter().flatten() {
        if example.get(property).is_some() {
            continue;
        }
        if let Some(part) = named(schema) {
            example[property] = compose(part, described, listed);
        } else if let (Some(part), true) = (named(&schema["items"]), is_required(property, &described[name])) {
            example[property] = json!([compose(part, described, listed)]);
        }
    }
    example
}

fn is_required(property: &str, schema: &Value) -> bool {
    schema["required"].as_array().into_iter().flatten().any(|required| required == property)
}

/// The name of the schema that is referred to.
fn named(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/components/schemas/")
}

/// The body of a refusal.
pub fn of_refusal(code: ErrorCode, family: Family, language: Language) -> Value {
    let meaning = code.meaning();
    let message = meaning.message(language);
    if family == Family::Classic {
        return json!({ "errno": meaning.errno, "errmsg": message });
    }
    let request_id = "019ac6ab-4b18-70a5-b19b-5664a8cd9e2f";
    let mut body = json!({ "message": message, "code": meaning.name, "request_id": request_id });
    match code {
        ErrorCode::RequestInvalid => {
            body["fields"] = json!([{ "field": "mobile", "message": language.choose("必填", "is required") }]);
        }
        ErrorCode::ImageCodeRequired => body["challenges"] = json!([{ "kind": "picture" }]),
        ErrorCode::SmsCodeInvalid => body["attempts_left"] = json!(4),
        ErrorCode::SmsTooFrequent => body["retry_after"] = json!(42),
        ErrorCode::SmsQuotaExceeded | ErrorCode::TooManyRequests => body["retry_after"] = json!(1800),
        ErrorCode::Unavailable => body["retry_after"] = json!(1),
        _ => {}
    }
    body
}
