//! Solved challenges as requests bring them: in the body, or in a header.

use poem::{
    Request, RequestBody, Result,
    http::{HeaderMap, HeaderValue},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions, Object,
    registry::{MetaParamIn, MetaSchemaRef},
    types::Type,
};

use crate::{
    auth::{
        challenges::ChallengeAnswer,
        image_code::{ImageCodeId, PictureAnswer},
    },
    model::{challenge::ChallengeKind, typed},
};

/// A solved challenge, after `image_code_required`; `null` is as if left out.
#[derive(Debug, Object)]
pub struct SolvedChallenge {
    /// One of the kinds that the refusal listed.
    pub kind: String,
    /// For `picture` the id of the picture, a colon and what it says. For `pow` the payload of ALTCHA: base64 of
    /// `{"challenge": …, "solution": {"counter", "derivedKey"}}`. For `aliyun` the `captchaVerifyParam` and for
    /// `turnstile` the token, as the widget hands them out; for `tencent` the JSON `{"ticket", "randstr"}`.
    #[oai(validator(max_length = 8192))]
    pub response: String,
}

impl SolvedChallenge {
    /// What the rules take; `None` if the kind is none of ours or the response cannot be one of it.
    pub fn answer(self) -> Option<ChallengeAnswer> {
        let kind = ChallengeKind::parse(&self.kind)?;
        if kind == ChallengeKind::Picture {
            let (id, text) = self.response.split_once(':')?;
            let (id, text) = (ImageCodeId::parse(id)?, typed::undecorated(text).into_owned());
            return (!text.is_empty()).then_some(ChallengeAnswer::Picture(PictureAnswer { id, text }));
        }
        (!self.response.is_empty()).then(|| ChallengeAnswer::Other { kind, response: self.response.into() })
    }
}

/// A solved challenge in a header: `kind:response`.
pub struct ChallengeHeader(pub Option<HeaderValue>);

impl ChallengeHeader {
    /// What it is called, here and in CORS.
    pub const NAME: &str = "X-Challenge-Response";

    /// Reads it as it came: what is no text is malformed, not absent.
    pub fn of(headers: &HeaderMap) -> Self {
        Self(headers.get(Self::NAME).cloned())
    }
}

impl<'a> ApiExtractor<'a> for ChallengeHeader {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = String;
    type ParamRawType = String;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(String::schema_ref())
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<String>,
    ) -> Result<Self> {
        Ok(Self::of(request.headers()))
    }
}
