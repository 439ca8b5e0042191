//! What does the OpenAPI document say beyond what the code alone can tell?

use serde_json::{Value, json};

use super::error_code::ErrorCode;
use crate::api::language::Language;

/// The preface of the document.
pub const DESCRIPTION: &str = "Phone-number sign-in: an app sends a mobile number and the SMS code that it received, \
and gets a signed access token and a refresh token, whether the user is new or returning.

**To try it here:** send a code with `send_sms_code`, read it at [/dev/sms](/dev/sms) (development only), sign in with \
`sign_in_with_sms_code`, press *Authorize* and paste the `token`, then call `get_current_user`.

**Errors** of the app family carry a stable `code`. Messages are Chinese, or English with `Accept-Language: en`. Every \
answer has an `X-Request-Id`.

**The classic families** (ihome, passport) answer HTTP 200 with an `errno`: 0 success, 4001 a store is unavailable, \
4002 a code has expired, 4003 the mobile is registered, 4004 a code is wrong, 4101 not signed in, 4103 a parameter is \
missing or malformed, 4106 wrong mobile or password, 4201 too many requests, 4301 the SMS was refused, 4500 anything \
else.";

/// Completes the document: says of public operations that they are public, gives every error its examples, and calls
/// JSON by the one name that generators know.
pub fn complete(document: &str) -> Value {
    let document = document.replace("application/json; charset=utf-8", "application/json");
    let mut document: Value = serde_json::from_str(&document).expect("the framework writes JSON");
    let operations = document["paths"].as_object_mut().into_iter().flatten().flat_map(|(_, path)| path.as_object_mut());
    for (_, operation) in operations.flatten() {
        if operation.get("security").is_none() {
            operation["security"] = json!([]);
        }
        let responses = operation["responses"].as_object_mut().into_iter().flatten();
        for (_, response) in responses {
            add_examples(response);
        }
    }
    document
}

/// The codes that a response names in its description are its examples.
fn add_examples(response: &mut Value) {
    let description = response["description"].as_str().unwrap_or_default();
    let codes: Vec<_> = description.split('`').filter_map(ErrorCode::from_name).collect();
    if codes.is_empty() {
        return;
    }
    let examples = codes.into_iter().map(|code| (code.meaning().name.to_owned(), json!({ "value": example(code) })));
    let examples: serde_json::Map<_, _> = examples.collect();
    for (_, media_type) in response["content"].as_object_mut().into_iter().flatten() {
        media_type["examples"] = Value::Object(examples.clone());
    }
}

fn example(code: ErrorCode) -> Value {
    let meaning = code.meaning();
    let mut body = json!({
        "message": meaning.message(Language::En),
        "code": meaning.name,
        "request_id": "019ac6ab-4b18-70a5-b19b-5664a8cd9e2f",
    });
    match code {
        ErrorCode::RequestInvalid => body["fields"] = json!([{ "field": "mobile", "message": "is required" }]),
        ErrorCode::SmsCodeInvalid => body["attempts_left"] = json!(4),
        ErrorCode::SmsTooFrequent => body["retry_after"] = json!(42),
        ErrorCode::SmsQuotaExceeded | ErrorCode::TooManyRequests => body["retry_after"] = json!(1800),
        ErrorCode::Unavailable => body["retry_after"] = json!(1),
        _ => {}
    }
    body
}
