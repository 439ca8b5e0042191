//! What surrounds every answer?

// No doc comment on a field whose type is a schema of its own: it would become `allOf`, which generators drop.

use poem_openapi::{
    Object,
    types::{ParseFromJSON, ToJSON, Type},
};

use super::challenge_offer::ChallengeOffer;

/// A successful answer of the app family; `data` is the result.
#[derive(Debug, Object)]
pub struct Envelope<T: Type + ParseFromJSON + ToJSON> {
    /// For people; `ok` on success.
    pub message: String,
    pub data: T,
}

impl<T: Type + ParseFromJSON + ToJSON> Envelope<T> {
    /// Wraps a result.
    pub fn ok(data: T) -> Self {
        Self { message: "ok".to_owned(), data }
    }
}

/// A refused request of the app family.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct ErrorBody {
    /// For people; Chinese, or English with `Accept-Language: en`.
    pub message: String,
    /// For programs, in snake_case; a code never changes its meaning. New ones may be added.
    pub code: String,
    /// Names this request in the service's logs; at most 64 characters.
    pub request_id: String,
    /// Seconds to wait before another try, on 429 and 503.
    pub retry_after: Option<u64>,
    /// How many wrong tries the SMS code has left, with `sms_code_invalid`; 0 means that it is burnt.
    pub attempts_left: Option<u32>,
    /// What is wrong with which field, with `request_invalid`.
    pub fields: Option<Vec<FieldErrorBody>>,
    /// Which challenges may be solved, with `image_code_required`: solve one, and send the same request again with it.
    pub challenges: Option<Vec<ChallengeOffer>>,
}

/// What is wrong with one field.
#[derive(Debug, Object)]
#[oai(rename = "FieldError")]
pub struct FieldErrorBody {
    /// The field's name.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// An answer of the classic families; `data` is the result, on success only.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct ClassicEnvelope<T: Type + ParseFromJSON + ToJSON> {
    /// 0 on success; the description of the API lists the others.
    pub errno: i32,
    /// For people: what was done, or the rule that was broken.
    pub errmsg: String,
    pub data: Option<T>,
}

/// An answer of the classic families that carries no result.
#[derive(Debug, Object)]
pub struct ClassicOutcome {
    /// 0 on success; the description of the API lists the others.
    pub errno: i32,
    /// For people: what was done, or the rule that was broken.
    pub errmsg: String,
}

impl ClassicOutcome {
    /// Success.
    pub fn ok(message: &str) -> Self {
        Self { errno: 0, errmsg: message.to_owned() }
    }
}

impl<T: Type + ParseFromJSON + ToJSON> ClassicEnvelope<T> {
    /// Success, with a result.
    pub fn ok(message: &str, data: T) -> Self {
        Self { errno: 0, errmsg: message.to_owned(), data: Some(data) }
    }
}
