//! Challenges: how refusals list them, how requests bring them solved, and `/app/v1_0/challenges`.

use poem::{
    Request, RequestBody, Result,
    http::{HeaderMap, HeaderValue},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, Object, OpenApi,
    param::Query,
    payload::Json,
    registry::{MetaParamIn, MetaSchemaRef},
    types::Type,
};

use super::{
    Section,
    context::RequestContext,
    error_code::ErrorCode,
    failure::{Failure, failures},
    form::{Field, Form, MobileKind},
    problem::Problem,
};
use crate::{
    auth::{
        Auth,
        challenges::{ChallengeAnswer, pow},
        image_code::{ImageCodeId, PictureAnswer},
    },
    model::{
        challenge::{ChallengeKind, Offer},
        typed,
    },
};

/// Where proofs of work come from.
const POW_URL: &str = "/app/v1_0/challenges/pow";

failures! {
    GetPow: RequestInvalid, MobileInvalid, NotFound;
}

/// A kind of challenge that may be solved, with `image_code_required`.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct ChallengeOffer {
    /// `picture`, `pow`, `aliyun`, `tencent` or `turnstile`. New ones may be added; leave out what your app does not
    /// know.
    pub kind: String,
    /// Where the challenge comes from, with `pow`: add `?mobile=` and the number.
    pub url: Option<String>,
    /// The scene for the widget of Alibaba Cloud, with `aliyun`.
    pub scene_id: Option<String>,
    /// The app for the widget of Tencent Cloud, with `tencent`.
    pub app_id: Option<String>,
    /// The site for the widget of Cloudflare Turnstile, with `turnstile`.
    pub site_key: Option<String>,
}

impl From<&Offer> for ChallengeOffer {
    fn from(offer: &Offer) -> Self {
        let mut body =
            Self { kind: offer.kind().as_str().to_owned(), url: None, scene_id: None, app_id: None, site_key: None };
        match offer {
            Offer::Picture => {}
            Offer::Pow => body.url = Some(POW_URL.to_owned()),
            Offer::Aliyun { scene_id } => body.scene_id = Some(scene_id.clone()),
            Offer::Tencent { app_id } => body.app_id = Some(app_id.to_string()),
            Offer::Turnstile { site_key } => body.site_key = Some(site_key.clone()),
        }
        body
    }
}

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

/// A proof of work to do, in the format of ALTCHA v2.
#[derive(Debug, Object)]
struct PowChallenge {
    parameters: PowParameters,
    /// Send it back as it is.
    signature: String,
}

/// What to do: find a counter for which the key derived by PBKDF2 from the nonce and the counter (four bytes, big-endian)
/// begins with `keyPrefix`. Send all of it back as it is.
#[derive(Debug, Object)]
struct PowParameters {
    /// Always `PBKDF2/SHA-256`.
    algorithm: String,
    /// Rounds of PBKDF2.
    cost: u32,
    data: PowData,
    /// When the challenge can be solved no more, in Unix seconds: after 300 seconds.
    #[oai(rename = "expiresAt")]
    expires_at: i64,
    /// The length of the derived key, in bytes.
    #[oai(rename = "keyLength")]
    key_length: u32,
    /// What the derived key begins with, in hex.
    #[oai(rename = "keyPrefix")]
    key_prefix: String,
    /// What each password begins with, in hex.
    nonce: String,
    /// The salt, in hex.
    salt: String,
}

/// What the challenge is bound to.
#[derive(Debug, Object)]
struct PowData {
    /// Stands for the number.
    m: String,
}

impl From<pow::Challenge> for PowChallenge {
    fn from(challenge: pow::Challenge) -> Self {
        let pow::Challenge { parameters, signature } = challenge;
        Self {
            parameters: PowParameters {
                algorithm: parameters.algorithm,
                cost: parameters.cost,
                data: PowData { m: parameters.data.m },
                expires_at: parameters.expires_at,
                key_length: parameters.key_length,
                key_prefix: parameters.key_prefix,
                nonce: parameters.nonce,
                salt: parameters.salt,
            },
            signature,
        }
    }
}

#[derive(ApiResponse)]
enum Asked {
    /// The challenge, without an envelope: as ALTCHA's widget takes it.
    #[oai(status = 200)]
    Ok(Json<PowChallenge>),
}

/// The section.
pub struct Challenges(pub Auth);

#[OpenApi(prefix_path = "/app/v1_0/challenges", tag = "Section::Challenges")]
impl Challenges {
    /// Get a proof of work
    ///
    /// Call it when a refusal lists `pow`. The challenge is for one number, can be solved for 300 seconds, and once. Solve
    /// it away from the thread that draws, and send the refused request again with the payload as `challenge`. Where
    /// the service does not offer `pow`, the answer is 404.
    #[oai(path = "/pow", method = "get", operation_id = "get_pow_challenge")]
    async fn get_pow_challenge(
        &self,
        context: &RequestContext,
        /// The number that the refused request was about: 11 digits from 13… to 19…; `+86`, spaces, dashes, dots,
        /// brackets and full-width digits are allowed.
        mobile: Query<Option<String>>,
    ) -> Result<Asked, Failure<GetPow>> {
        let Some(proofs) = self.0.challenges.proofs_of_work() else {
            return Err(Problem::from(ErrorCode::NotFound).into());
        };
        let mut form = Form::new(context.family);
        let mobile = form.mobile("mobile", Field::<MobileKind>::from_text(mobile.0));
        let Some(mobile) = mobile else { return Err(form.problem().into()) };
        Ok(Asked::Ok(Json(proofs.challenge(&mobile).into())))
    }
}
