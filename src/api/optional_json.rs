//! A JSON body that may be left out.

use poem::{FromRequest, Request, RequestBody, Result};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    error::ParseRequestPayloadError,
    payload::{Json, Payload},
    registry::{MetaMediaType, MetaRequest, Registry},
    types::ParseFromJSON,
};
use serde_json::Value;

/// What a body says, if it is JSON. Any other body counts as none: clients from before there was one may send whatever
/// their HTTP library does.
pub struct OptionalJson<T>(pub Option<T>);

impl<'a, T: ParseFromJSON> ApiExtractor<'a> for OptionalJson<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType { content_type: Json::<T>::CONTENT_TYPE, schema: T::schema_ref() }],
            required: false,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        if !request.content_type().is_some_and(Json::<T>::check_content_type) {
            return Ok(Self(None));
        }
        let bytes = <Vec<u8> as FromRequest>::from_request(request, body).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(None));
        }
        let refused = |reason| ParseRequestPayloadError { reason };
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
        if value.is_null() {
            return Ok(Self(None));
        }
        let parsed = T::parse_from_json(Some(value)).map_err(|error| refused(error.into_message()))?;
        Ok(Self(Some(parsed)))
    }
}
