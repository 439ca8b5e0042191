//! The names of values in the classic families, for query parameters and body fields alike.

use poem::{FromRequest, Request, RequestBody, Result};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    error::ParseRequestPayloadError,
    payload::{Json, Payload},
    registry::{MetaMediaType, MetaParamIn, MetaRequest, MetaSchemaRef, Registry},
    types::{ParseFromJSON, Type},
};
use serde_json::{Map, Value};

const PICTURE_ID: &[&str] = &["code_id", "cur_id", "cur", "image_code_id", "image_code_key", "id"];

/// Each name of the document with the other names of the same value: the first one that is sent counts. The document
/// itself has one name a value, as generators of camelCase languages take `imageCode` and `image_code` for the same.
const NAMES: [(&str, &[&str]); 11] = [
    ("mobile", &["phone"]),
    ("sms_code", &["phonecode"]),
    ("smscode", &["phonecode"]),
    ("password", &["passport", "passwd"]),
    ("password2", &["passwd2", "repassword"]),
    ("name", &["username"]),
    ("id", PICTURE_ID),
    ("image_code_id", PICTURE_ID),
    // The call that hands out a picture. It takes no text, so `image_code` is an id, too.
    ("code_id", &["cur_id", "image_code_id", "cur", "image_code_key", "id", "image_code"]),
    ("text", &["image_code"]),
    ("image_code", &["text"]),
];

/// A JSON body, whatever its `Content-Type` says: many classic pages say nothing or `text/plain`.
pub struct ClassicJson<T>(pub T);

impl<'a, T: ParseFromJSON> ApiExtractor<'a> for ClassicJson<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = MetaMediaType { content_type: Json::<T>::CONTENT_TYPE, schema: T::schema_ref() };
        Some(MetaRequest { description: None, content: vec![content], required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let bytes = <Vec<u8> as FromRequest>::from_request(request, body).await?;
        let mut value = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if let Value::Object(fields) = &mut value {
            *fields = named(fields);
        }
        let body = T::parse_from_json(Some(value)).map_err(|error| unreadable(error.into_message()))?;
        Ok(Self(body))
    }
}

/// A parameter in the query.
pub struct ClassicQuery(pub Option<String>);

impl<'a> ApiExtractor<'a> for ClassicQuery {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = String;
    type ParamRawType = String;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Query)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(String::schema_ref())
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        options: ExtractParamOptions<String>,
    ) -> Result<Self> {
        let sent: Vec<(String, String)> = request.params().unwrap_or_default();
        let sent: Vec<_> =
            sent.iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name.as_str(), text)).collect();
        Ok(Self(value_of(options.name, &sent).cloned()))
    }
}

fn unreadable(reason: String) -> poem::Error {
    ParseRequestPayloadError { reason }.into()
}

/// The fields of a body that have a meaning, under the names of the document.
fn named(fields: &Map<String, Value>) -> Map<String, Value> {
    let empty = |value: &Value| value.is_null() || value == "";
    let sent: Vec<_> =
        fields.iter().filter(|(_, value)| !empty(value)).map(|(name, value)| (name.as_str(), value)).collect();
    let found = NAMES.iter().filter_map(|(name, _)| Some(((*name).to_owned(), value_of(name, &sent)?.clone())));
    found.collect()
}

/// The value of a name of the document. The name itself comes first, as it is written here, then in another spelling,
/// then its other names. Callers leave out empty values, so that they do not hide one under a later name.
fn value_of<T: Copy>(name: &str, sent: &[(&str, T)]) -> Option<T> {
    let others = NAMES.iter().find(|(listed, _)| *listed == name).map_or(&[][..], |(_, others)| *others);
    std::iter::once(&name).chain(others).find_map(|name| {
        let exact = sent.iter().find(|(spelling, _)| spelling == name);
        exact.or_else(|| sent.iter().find(|(spelling, _)| is_spelling(spelling, name))).map(|(_, value)| *value)
    })
}

/// Is this the same name, apart from case and underscores?
fn is_spelling(spelling: &str, name: &str) -> bool {
    fn letters(name: &str) -> impl Iterator<Item = u8> {
        name.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase())
    }
    letters(spelling).eq(letters(name))
}
