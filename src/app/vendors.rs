//! The vendors of messages, with the accounts that the settings name.

use std::sync::Arc;

use super::start_error::StartError;
use crate::{
    clock::Clock,
    config::{Config, HiddenUrl, SmsProviderName},
    sms::{
        self, Aliyun, AliyunAccount, Console, Failover, Measured, Outbox, SmsProvider, Tencent, TencentAccount, Twilio,
        TwilioAccount, Webhook, Yuntongxun, YuntongxunAccount,
    },
};

/// The vendors of `SMS_PROVIDER`, in its order, and where the console shows its messages, if it is one of them.
pub(super) fn sms_provider(
    config: &Config,
    clock: &Clock,
) -> Result<(Arc<dyn SmsProvider>, Option<Outbox>), StartError> {
    let names = &config.sms_provider;
    let outbox = Outbox::default();
    let vendors = names.iter().map(|name| {
        let measured = Measured::new(name.as_str(), sms_vendor(*name, config, clock, &outbox)?);
        Ok((name.as_str(), Arc::new(measured) as Arc<dyn SmsProvider>))
    });
    let vendors = vendors.collect::<Result<Vec<_>, StartError>>()?;
    let provider = match vendors.as_slice() {
        [(_, only)] => only.clone(),
        _ => Arc::new(Failover::new(vendors, clock.clone())),
    };
    Ok((provider, names.contains(&SmsProviderName::Console).then_some(outbox)))
}

fn sms_vendor(
    name: SmsProviderName,
    config: &Config,
    clock: &Clock,
    outbox: &Outbox,
) -> Result<Arc<dyn SmsProvider>, StartError> {
    Ok(match name {
        SmsProviderName::Console => Arc::new(Console::new(outbox.clone(), clock.clone())),
        SmsProviderName::Webhook => {
            let HiddenUrl(url) = given(&config.sms_webhook_url, "SMS_WEBHOOK_URL")?;
            let webhook = Webhook::new(sms::http_client(), url, config.sms_webhook_secret.clone(), clock.clone());
            let webhook = webhook.map_err(|error| StartError::Config(format!("SMS_WEBHOOK_SECRET: {error}")))?;
            Arc::new(webhook)
        }
        SmsProviderName::Yuntongxun => {
            let account = YuntongxunAccount {
                base_url: config.sms_base_url_yuntongxun.to_string(),
                account_sid: given(&config.yuntongxun_account_sid, "YUNTONGXUN_ACCOUNT_SID")?,
                auth_token: given(&config.yuntongxun_auth_token, "YUNTONGXUN_AUTH_TOKEN")?,
                app_id: given(&config.yuntongxun_app_id, "YUNTONGXUN_APP_ID")?,
                template_id: given(&config.yuntongxun_template_id, "YUNTONGXUN_TEMPLATE_ID")?,
            };
            Arc::new(Yuntongxun::new(sms::http_client(), account, clock.clone()))
        }
        SmsProviderName::Aliyun => {
            let account = AliyunAccount {
                base_url: config.sms_base_url_aliyun.clone(),
                access_key_id: given(&config.aliyun_access_key_id, "ALIYUN_ACCESS_KEY_ID")?,
                access_key_secret: given(&config.aliyun_access_key_secret, "ALIYUN_ACCESS_KEY_SECRET")?,
                sign_name: given(&config.aliyun_sms_sign_name, "ALIYUN_SMS_SIGN_NAME")?,
                template_code: given(&config.aliyun_sms_template_code, "ALIYUN_SMS_TEMPLATE_CODE")?,
            };
            Arc::new(Aliyun::new(sms::http_client(), account, clock.clone()))
        }
        SmsProviderName::Tencent => {
            let account = TencentAccount {
                base_url: config.sms_base_url_tencent.clone(),
                secret_id: given(&config.tencent_secret_id, "TENCENT_SECRET_ID")?,
                secret_key: given(&config.tencent_secret_key, "TENCENT_SECRET_KEY")?,
                app_id: given(&config.tencent_sms_app_id, "TENCENT_SMS_APP_ID")?,
                sign_name: given(&config.tencent_sms_sign_name, "TENCENT_SMS_SIGN_NAME")?,
                template_id: given(&config.tencent_sms_template_id, "TENCENT_SMS_TEMPLATE_ID")?,
                region: config.tencent_region.clone(),
            };
            Arc::new(Tencent::new(sms::http_client(), account, clock.clone()))
        }
        SmsProviderName::Twilio => {
            let account = TwilioAccount {
                base_url: config.sms_base_url_twilio.clone(),
                account_sid: given(&config.twilio_account_sid, "TWILIO_ACCOUNT_SID")?,
                auth_token: given(&config.twilio_auth_token, "TWILIO_AUTH_TOKEN")?,
                from: given(&config.twilio_from, "TWILIO_FROM")?,
            };
            Arc::new(Twilio::new(sms::http_client(), account))
        }
    })
}

/// A setting that a vendor cannot do without.
pub(super) fn given<T: Clone>(setting: &Option<T>, name: &str) -> Result<T, StartError> {
    setting.clone().ok_or_else(|| StartError::Config(format!("{name} is not set")))
}
