//! The challenges of `CHALLENGES`, with the accounts that the settings name.

use std::sync::Arc;

use super::{start_error::StartError, vendors::given};
use crate::{
    auth::{
        challenges::{Challenges, Checker, pow::ProofsOfWork},
        image_code::ImageCodes,
        limits::Limits,
        master_key::MasterKey,
    },
    captcha::{self, AliyunCaptcha, AliyunScene, TencentApp, TencentCaptcha, Turnstile},
    clock::Clock,
    config::Config,
    model::challenge::{ChallengeKind, Offer},
    store::ephemeral::EphemeralStore,
};

/// The kinds of challenges, in the order of the setting.
pub(super) fn challenges(
    config: &Config,
    master: &MasterKey,
    image_codes: &Arc<ImageCodes>,
    limits: &Arc<Limits>,
    codes: &Arc<dyn EphemeralStore>,
    clock: &Clock,
) -> Result<Challenges, StartError> {
    let kinds = config.challenges.iter().map(|kind| match kind {
        ChallengeKind::Picture => Ok((Offer::Picture, Checker::Picture(image_codes.clone()))),
        ChallengeKind::Pow => {
            let proofs = ProofsOfWork::new(master, codes.clone(), limits.clone(), clock.clone());
            Ok((Offer::Pow, Checker::Pow(Arc::new(proofs))))
        }
        ChallengeKind::Aliyun => {
            let scene = AliyunScene {
                base_url: config.captcha_base_url_aliyun.clone(),
                access_key_id: given(&config.captcha_aliyun_access_key_id, "CAPTCHA_ALIYUN_ACCESS_KEY_ID")?,
                access_key_secret: given(&config.captcha_aliyun_access_key_secret, "CAPTCHA_ALIYUN_ACCESS_KEY_SECRET")?,
                scene_id: given(&config.captcha_aliyun_scene_id, "CAPTCHA_ALIYUN_SCENE_ID")?,
            };
            let offer = Offer::Aliyun { scene_id: scene.scene_id.clone() };
            let vendor = AliyunCaptcha::new(captcha::http_client(), scene, clock.clone());
            Ok((offer, Checker::Vendor(Arc::new(vendor))))
        }
        ChallengeKind::Tencent => {
            let app = TencentApp {
                base_url: config.captcha_base_url_tencent.clone(),
                secret_id: given(&config.captcha_tencent_secret_id, "CAPTCHA_TENCENT_SECRET_ID")?,
                secret_key: given(&config.captcha_tencent_secret_key, "CAPTCHA_TENCENT_SECRET_KEY")?,
                app_id: given(&config.captcha_tencent_app_id, "CAPTCHA_TENCENT_APP_ID")?,
                app_secret_key: given(&config.captcha_tencent_app_secret_key, "CAPTCHA_TENCENT_APP_SECRET_KEY")?,
            };
            let offer = Offer::Tencent { app_id: app.app_id };
            let vendor = TencentCaptcha::new(captcha::http_client(), app, clock.clone());
            Ok((offer, Checker::Vendor(Arc::new(vendor))))
        }
        ChallengeKind::Turnstile => {
            let site_key = given(&config.turnstile_site_key, "TURNSTILE_SITE_KEY")?;
            let secret = given(&config.turnstile_secret, "TURNSTILE_SECRET")?;
            let vendor = Turnstile::new(captcha::http_client(), &config.captcha_base_url_turnstile, secret);
            Ok((Offer::Turnstile { site_key }, Checker::Vendor(Arc::new(vendor))))
        }
    });
    Ok(Challenges::new(kinds.collect::<Result<_, StartError>>()?))
}
