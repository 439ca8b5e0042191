//! Challenges as refusals list them.

use poem_openapi::Object;

use crate::model::challenge::Offer;

/// Where proofs of work come from.
const POW_URL: &str = "/app/v1_0/challenges/pow";

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
