//! What does the OpenAPI document say beyond what the code alone can tell, and how is it said in Chinese?

use std::{collections::HashMap, marker::PhantomData, sync::OnceLock};

use poem::{endpoint::BoxEndpoint, http::Method};
use poem_openapi::{
    OpenApi,
    registry::{MetaApi, Registry},
};
use serde_json::{Map, Value, json};

use super::{context::Family, error_code::ErrorCode, language::Language};

mod examples;
mod print;
mod translation;

use examples::Examples;
pub use print::{print, print_yaml};

/// The largest body that is read, refused before any handler sees the request.
const TOO_LARGE: ErrorCode = ErrorCode::BodyTooLarge;

/// The preface of the document.
fn preface(language: Language) -> &'static str {
    language.choose(include_str!("preface.zh.md"), include_str!("preface.en.md"))
}

/// What the types of an API say about it, without a value of them.
pub struct TypesOf<T>(PhantomData<T>);

impl<T> Default for TypesOf<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: OpenApi> OpenApi for TypesOf<T> {
    fn meta() -> Vec<MetaApi> {
        T::meta()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn add_routes(self, _: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {}
}

/// The document in both languages, each made when it is first asked for.
pub struct Documents {
    raw: String,
    sections: Vec<&'static str>,
    base_path: String,
    en: OnceLock<Value>,
    zh: OnceLock<Value>,
}

impl Documents {
    /// Takes what the framework writes, the sections in their order, and the path of `PUBLIC_URL`, for links.
    pub fn new(raw: String, sections: Vec<&'static str>, base_path: &str) -> Self {
        let base_path = base_path.trim_end_matches('/').to_owned();
        Self { raw, sections, base_path, en: OnceLock::new(), zh: OnceLock::new() }
    }

    /// The one in a language: clients are generated from the English one, the Chinese one is for people.
    pub fn in_language(&self, language: Language) -> &Value {
        let document = match language {
            Language::En => &self.en,
            Language::Zh => &self.zh,
        };
        document.get_or_init(|| complete(&self.raw, language, &self.sections, &self.base_path))
    }
}

/// Completes the framework's document: one language throughout, the sections in their order, every refusal with its
/// meaning, an example for everything.
fn complete(raw: &str, language: Language, sections: &[&str], base_path: &str) -> Value {
    let raw = raw.replace("application/json; charset=utf-8", "application/json");
    let mut document: Value = serde_json::from_str(&name_envelopes(&raw)).expect("the framework writes JSON");
    if let Some(tags) = document["tags"].as_array_mut() {
        tags.sort_by_key(|tag| sections.iter().position(|name| tag["name"] == *name));
    }
    for (_, operation) in operations(&mut document) {
        // Of public operations the framework says nothing, which would mean the document's default.
        operation.entry("security").or_insert_with(|| json!([]));
        name_headers(operation);
    }
    translation::unwrap_lines(&mut document);
    if language == Language::Zh {
        translation::translate(&mut document);
        translation::translate_sections(&mut document);
    }
    document["info"]["description"] = json!(preface(language).replace("](/", &format!("]({base_path}/")));
    let examples = Examples::new(&document, language);
    for (path, operation) in operations(&mut document) {
        refuse_large_bodies(path, operation);
        for (status, response) in responses(operation) {
            tell_refusals(path, status, response, language);
        }
        examples.add_to(operation);
    }
    examples.add_to_schemas(&mut document);
    document
}

/// The operations with their paths.
fn operations(document: &mut Value) -> impl Iterator<Item = (&str, &mut Map<String, Value>)> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let operations = item.as_object_mut().into_iter().flatten();
        operations.filter_map(|(_, operation)| Some((path.as_str(), operation.as_object_mut()?)))
    })
}

/// The responses with their statuses.
fn responses(operation: &mut Map<String, Value>) -> impl Iterator<Item = (&str, &mut Value)> {
    let responses = operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten();
    responses.map(|(status, response)| (status.as_str(), response))
}

/// `TokenSetEnvelope` reads better in a client than the framework's `Envelope_TokenSet`.
fn name_envelopes(document: &str) -> String {
    let generic = regex::Regex::new(r#"\b(?:Classic)?Envelope_(\w+)"#).expect("this expression is well-formed");
    generic.replace_all(document, "${1}Envelope").into_owned()
}

/// The framework writes some header names in capitals.
fn name_headers(operation: &mut Map<String, Value>) {
    for (_, response) in responses(operation) {
        let Some(headers) = response.get_mut("headers").and_then(Value::as_object_mut) else { continue };
        *headers = std::mem::take(headers).into_iter().map(|(name, header)| (title_case(&name), header)).collect();
    }
}

fn title_case(header: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + &rest.to_lowercase()
    };
    if header.eq_ignore_ascii_case("WWW-Authenticate") {
        return "WWW-Authenticate".to_owned();
    }
    header.split('-').map(word).collect::<Vec<_>>().join("-")
}

/// Any request can be too large. The body is that of the operation's other errors: generators take one type of error.
fn refuse_large_bodies(path: &str, operation: &mut Map<String, Value>) {
    let status = TOO_LARGE.meaning().status.as_u16().to_string();
    let other = responses(operation).find(|(status, response)| *status >= "4" && response["content"].is_object());
    let schema = match (Family::of(path), other) {
        (Family::Classic, _) => json!({ "$ref": "#/components/schemas/ClassicOutcome" }),
        (Family::App, Some((_, response))) => response["content"]["application/json"]["schema"].clone(),
        (Family::App, None) => json!({ "$ref": "#/components/schemas/ErrorBody" }),
    };
    let response =
        json!({ "description": TOO_LARGE.meaning().name, "content": { "application/json": { "schema": schema } } });
    operation["responses"][status] = response;
}

/// Where a response's description is a list of codes, writes what they mean, and an example of each.
fn tell_refusals(path: &str, status: &str, response: &mut Value, language: Language) {
    let names = response["description"].as_str().unwrap_or_default().split_whitespace();
    let Some(codes) = names.map(ErrorCode::from_name).collect::<Option<Vec<_>>>().filter(|codes| !codes.is_empty())
    else {
        return;
    };
    let family = Family::of(path);
    let mut lines = Vec::new();
    let mut shown = Map::new();
    for code in codes {
        let (meaning, message) = (code.meaning(), code.meaning().message(language));
        let (name, line) = match family {
            Family::App => (meaning.name.to_owned(), format!("- `{}`: {message}", meaning.name)),
            Family::Classic => {
                (format!("{}_{}", meaning.errno, meaning.name), format!("- {}: {message}", meaning.errno))
            }
        };
        lines.push(line);
        shown.insert(name, json!({ "summary": message, "value": examples::of_refusal(code, family, language) }));
    }
    let picture = response["content"].get("image/jpeg").is_some();
    let success = match (status.starts_with('2'), picture) {
        (false, _) => "",
        (true, false) => language.choose("`errno` 为 0 表示成功，否则：\n\n", "`errno` is 0 on success, else:\n\n"),
        (true, true) => language.choose(
            "成功时是 200×80 像素的 JPEG 图片（超过 4 个字符时每多一个加宽 46 像素）；用同一个 id 再次获取会替换它。否则是 `application/json`，`errno` 为：\n\n",
            "On success the picture, a JPEG of 200 by 80 pixels, 46 wider for each character beyond 4; asking again \
             under the same id replaces it. Else `application/json`, with an `errno`:\n\n",
        ),
    };
    response["description"] = json!(success.to_owned() + &lines.join("\n"));
    response["content"]["application/json"]["examples"] = Value::Object(shown);
}
