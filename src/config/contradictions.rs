//! Settings that need each other, and what the file system says to them.

use std::{fs, io, path::Path};

use super::{Config, SmsProviderName, Switch, values::clash};
use crate::model::challenge::ChallengeKind;

/// The settings that do not go together, and what is wrong with them.
pub type Contradiction = (Vec<&'static str>, String);

impl Config {
    /// Everything at once; some of it matters only to a service that serves.
    pub(super) fn contradictions(&self, serves: bool) -> Vec<Contradiction> {
        let mut found = self.missing_settings();
        found.extend(self.misfitting_test_codes());
        found.extend(self.unusable_paths());
        if serves {
            found.extend(self.clashing_addresses());
            found.extend(self.exposed_console());
            found.extend(self.unsaid_total());
        }
        found
    }

    fn missing_settings(&self) -> Vec<Contradiction> {
        let missing = self.sms_provider.iter().flat_map(|provider| {
            let missing = self.needed_by(*provider).into_iter().filter(|(_, given)| !given);
            missing.map(|(name, _)| {
                let told = format!("{name} is not set: {} in SMS_PROVIDER needs it", provider.as_str());
                (vec![name], told)
            })
        });
        let missing_of_challenges = self.challenges.iter().flat_map(|kind| {
            let missing = self.needed_by_challenge(*kind).into_iter().filter(|(_, given)| !given);
            missing
                .map(|(name, _)| (vec![name], format!("{name} is not set: {} in CHALLENGES needs it", kind.as_str())))
        });
        missing.chain(missing_of_challenges).collect()
    }

    /// Without a total, one night of fraud costs whatever the provider's account holds.
    fn unsaid_total(&self) -> Option<Contradiction> {
        let paid = self.sms_provider.iter().any(|provider| *provider != SmsProviderName::Console);
        (paid && self.sms_total_per_hour.is_none()).then(|| {
            let told = "SMS_TOTAL_PER_HOUR is not set: expected the number of messages that may be sent within an hour, 0 for \
                        any number, as messages of SMS_PROVIDER cost money"
                .to_owned();
            (vec!["SMS_TOTAL_PER_HOUR"], told)
        })
    }

    fn misfitting_test_codes(&self) -> Vec<Contradiction> {
        let length = usize::from(self.sms_code_length);
        let misfits = self.sms_test_codes.iter().filter(|test| test.code.len() != length).map(|test| {
            let told = format!(
                "SMS_TEST_CODES: the code of {} must have {length} digits, as SMS_CODE_LENGTH says",
                test.mobile
            );
            (vec!["SMS_TEST_CODES", "SMS_CODE_LENGTH"], told)
        });
        misfits.collect()
    }

    fn unusable_paths(&self) -> Vec<Contradiction> {
        let folders = [("DATA_DIR", Some(&self.data_dir)), ("JWT_KEYS_DIR", self.jwt_keys_dir.as_ref())];
        let no_folders = folders.into_iter().filter_map(|(name, path)| {
            let path = path.filter(|path| is_no_folder(path))?;
            Some((vec![name], format!("{name}={}: expected a folder, found a file", path.display())))
        });
        let database = self.database_url.as_ref().and_then(|database| database.path());
        let no_file = database.filter(|path| path.is_dir() || path.parent().is_some_and(is_no_folder));
        let no_file = no_file.map(|_| {
            let told =
                "DATABASE_URL=(hidden): expected a file in a folder, found a folder, or a file in the place of one"
                    .to_owned();
            (vec!["DATABASE_URL"], told)
        });
        let unnamable = (self.database_url.is_none() && self.data_dir.to_str().is_none()).then(|| {
            (vec!["DATA_DIR"], format!("DATA_DIR={}: SQLite takes paths in UTF-8 alone", self.data_dir.display()))
        });
        no_folders.chain(no_file).chain(unnamable).collect()
    }

    fn clashing_addresses(&self) -> Option<Contradiction> {
        let metrics = self.metrics_addr.filter(|metrics| clash(*metrics, self.http_addr))?;
        let told = format!("METRICS_ADDR={metrics}: expected another address than HTTP_ADDR={}", self.http_addr);
        Some((vec!["METRICS_ADDR", "HTTP_ADDR"], told))
    }

    /// A forgotten SMS_PROVIDER must not put a service on the network that writes its codes to its log.
    fn exposed_console(&self) -> Option<Contradiction> {
        let exposed = self.dev == Switch::Off
            && self.sms_provider.contains(&SmsProviderName::Console)
            && !self.http_addr.ip().to_canonical().is_loopback();
        exposed.then(|| {
            let told = format!(
                "SMS_PROVIDER: console prints codes and sends none, but HTTP_ADDR={} is open to other machines: set another \
                 provider, or DEV=on (--dev) if this is for development",
                self.http_addr
            );
            (vec!["SMS_PROVIDER", "HTTP_ADDR", "DEV"], told)
        })
    }

    /// The settings without which a provider cannot work, and whether they are given.
    fn needed_by(&self, provider: SmsProviderName) -> Vec<(&'static str, bool)> {
        match provider {
            SmsProviderName::Console => vec![],
            SmsProviderName::Webhook => vec![("SMS_WEBHOOK_URL", self.sms_webhook_url.is_some())],
            SmsProviderName::Yuntongxun => vec![
                ("YUNTONGXUN_ACCOUNT_SID", self.yuntongxun_account_sid.is_some()),
                ("YUNTONGXUN_AUTH_TOKEN", self.yuntongxun_auth_token.is_some()),
                ("YUNTONGXUN_APP_ID", self.yuntongxun_app_id.is_some()),
                ("YUNTONGXUN_TEMPLATE_ID", self.yuntongxun_template_id.is_some()),
            ],
            SmsProviderName::Aliyun => vec![
                ("ALIYUN_ACCESS_KEY_ID", self.aliyun_access_key_id.is_some()),
                ("ALIYUN_ACCESS_KEY_SECRET", self.aliyun_access_key_secret.is_some()),
                ("ALIYUN_SMS_SIGN_NAME", self.aliyun_sms_sign_name.is_some()),
                ("ALIYUN_SMS_TEMPLATE_CODE", self.aliyun_sms_template_code.is_some()),
            ],
            SmsProviderName::Tencent => vec![
                ("TENCENT_SECRET_ID", self.tencent_secret_id.is_some()),
                ("TENCENT_SECRET_KEY", self.tencent_secret_key.is_some()),
                ("TENCENT_SMS_APP_ID", self.tencent_sms_app_id.is_some()),
                ("TENCENT_SMS_SIGN_NAME", self.tencent_sms_sign_name.is_some()),
                ("TENCENT_SMS_TEMPLATE_ID", self.tencent_sms_template_id.is_some()),
            ],
            SmsProviderName::Twilio => vec![
                ("TWILIO_ACCOUNT_SID", self.twilio_account_sid.is_some()),
                ("TWILIO_AUTH_TOKEN", self.twilio_auth_token.is_some()),
                ("TWILIO_FROM", self.twilio_from.is_some()),
            ],
        }
    }

    /// The settings without which a kind of challenge cannot work, and whether they are given.
    fn needed_by_challenge(&self, kind: ChallengeKind) -> Vec<(&'static str, bool)> {
        match kind {
            ChallengeKind::Picture | ChallengeKind::Pow => vec![],
            ChallengeKind::Aliyun => vec![
                ("CAPTCHA_ALIYUN_ACCESS_KEY_ID", self.captcha_aliyun_access_key_id.is_some()),
                ("CAPTCHA_ALIYUN_ACCESS_KEY_SECRET", self.captcha_aliyun_access_key_secret.is_some()),
                ("CAPTCHA_ALIYUN_SCENE_ID", self.captcha_aliyun_scene_id.is_some()),
            ],
            ChallengeKind::Tencent => vec![
                ("CAPTCHA_TENCENT_SECRET_ID", self.captcha_tencent_secret_id.is_some()),
                ("CAPTCHA_TENCENT_SECRET_KEY", self.captcha_tencent_secret_key.is_some()),
                ("CAPTCHA_TENCENT_APP_ID", self.captcha_tencent_app_id.is_some()),
                ("CAPTCHA_TENCENT_APP_SECRET_KEY", self.captcha_tencent_app_secret_key.is_some()),
            ],
            ChallengeKind::Turnstile => vec![
                ("TURNSTILE_SITE_KEY", self.turnstile_site_key.is_some()),
                ("TURNSTILE_SECRET", self.turnstile_secret.is_some()),
            ],
        }
    }
}

/// Is there something else in the place of a folder? One that does not exist yet will be made.
fn is_no_folder(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(found) => !found.is_dir(),
        Err(error) => error.kind() == io::ErrorKind::NotADirectory,
    }
}
