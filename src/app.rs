//! How is the service put together? Settings in, endpoint out.

use std::{
    io,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use chrono::{DateTime, Utc};
use poem::{EndpointExt, Response, endpoint::BoxEndpoint};
use tokio::task::JoinSet;

use crate::{
    api::{self, Documents, Readiness},
    auth::{
        Auth,
        access_token::{AccessTokens, Verified},
        account::Account,
        challenges::{Challenges, Checker, Offer, pow::ProofsOfWork},
        cores::Cores,
        detached::Detached,
        device::DeviceHashes,
        event::{self, Event, Subject},
        guess_subjects::GuessSubjects,
        guesses::Guesses,
        image_code::ImageCodes,
        keys::{KeyError, Keys},
        limits::{FraudPolicy, LimitSettings, Limits, Turns},
        login::Login,
        master_key::MasterKey,
        password::Passwords,
        refresh_token::RefreshTokens,
        revocation::Revocations,
        sessions::Sessions,
        sms_code::{CodeKeys, ImageCodePolicy, SmsCodeSettings, SmsCodes},
        standing::Standings,
    },
    captcha::{self, AliyunCaptcha, AliyunScene, TencentApp, TencentCaptcha, Turnstile},
    clock::Clock,
    config::{Config, HiddenUrl, SmsProviderName},
    model::{challenge::ChallengeKind, session::Lifetime},
    private_file,
    sms::{
        self, Aliyun, AliyunAccount, Console, Failover, Measured, Outbox, SmsProvider, Tencent, TencentAccount, Twilio,
        TwilioAccount, Webhook, Yuntongxun, YuntongxunAccount,
    },
    store::{
        StoreError,
        ephemeral::{self, EphemeralStore},
        users::{self, OpenError, UserStore},
    },
};

/// How often an instance looks for sessions that ended on another.
const REVOCATION_POLL: Duration = Duration::from_millis(500);

/// How often `JWT_KEYS_DIR` is looked at.
const KEYS_POLL: Duration = Duration::from_secs(2);

/// How often old sessions and counts are deleted, and how many in one statement.
const CLEANING: Duration = Duration::from_secs(60);
const CLEANING_BATCH: u32 = 1000;

/// How long expired sessions are kept, for whoever looks into an incident.
const KEPT_AFTER_EXPIRY: chrono::Duration = chrono::Duration::days(1);

/// How long sessions that show where a user has signed in are kept after their end.
const KEPT_AS_KNOWN: chrono::Duration = chrono::Duration::days(90);

/// How long after the last wrong guess at a number its count is kept.
const GUESSES_KEPT: chrono::Duration = chrono::Duration::days(90);

/// The file in `DATA_DIR` that keeps a generated secret.
const SECRET_FILE: &str = "secret.key";

/// The name under which the database keeps the fingerprint of `SECRET_KEY`.
const FINGERPRINT: &str = "secret_key_fingerprint";

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings have to be changed.
    #[error("{0}")]
    Config(String),
    /// A store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or the listen address cannot be used.
    #[error("{0}")]
    Io(String),
}

impl From<KeyError> for StartError {
    fn from(error: KeyError) -> Self {
        Self::Config(error.to_string())
    }
}

/// The service, ready to be served. Its background work ends when it is dropped.
pub struct App {
    /// The whole of HTTP.
    pub endpoint: BoxEndpoint<'static, Response>,
    /// The OpenAPI document.
    pub documents: Arc<Documents>,
    /// Set it when the process is told to stop: `/readyz` answers 503 from then on.
    pub stopping: Arc<AtomicBool>,
    /// Can it serve?
    pub readiness: Readiness,
    /// The store of codes.
    pub codes: Arc<dyn EphemeralStore>,
    /// The messages that were not really sent, with the console provider.
    pub outbox: Option<Outbox>,
    /// Where passwords are hashed.
    pub hashing: Arc<Cores>,
    /// Where pictures are drawn.
    pub drawing: Arc<Cores>,
    /// The signing keys.
    pub keys: Arc<Keys>,
    /// Work that outlives its request, to be waited for before the process ends.
    pub detached: Detached,
    /// Polls and cleans until it is dropped.
    pub background: JoinSet<()>,
}

/// Puts the service together: stores, keys, vendor, rules, HTTP.
pub async fn build(config: &Config, clock: Clock) -> Result<App, StartError> {
    let master = master_key(config)?;
    let keys = Arc::new(Keys::load(config.jwt_alg, &config.jwt_keys_dir(), &master, clock.clone())?);
    let users = open_database(config).await?;
    check_fingerprint(users.as_ref(), &master, config.accept_new_secret, &clock).await?;
    let codes = ephemeral::connect(config.redis_url.as_ref(), &config.redis_prefix, clock.clone()).await?;
    let (provider, outbox) = sms_provider(config, &clock)?;

    // No token outlives its session.
    let access_token_ttl = seconds(config.access_token_ttl.min(config.refresh_token_ttl).min(config.session_max_age));
    let revocations = Arc::new(Revocations::new(users.clone(), clock.clone(), access_token_ttl));
    revocations.sync().await?;
    let sessions = Arc::new(Sessions {
        users: users.clone(),
        access_tokens: AccessTokens {
            keys: keys.clone(),
            issuer: config.jwt_issuer(),
            audience: config.jwt_audience.clone(),
            ttl: access_token_ttl,
            clock: clock.clone(),
            revocations: revocations.clone(),
            verified: Verified::default(),
        },
        refresh_tokens: RefreshTokens::new(&master),
        revocations: revocations.clone(),
        devices: DeviceHashes::new(&master),
        guess_subjects: GuessSubjects::new(&master),
        lifetime: Lifetime { sliding: seconds(config.refresh_token_ttl), absolute: seconds(config.session_max_age) },
        clock: clock.clone(),
    });
    let limits = Arc::new(Limits::new(codes.clone(), limit_settings(config), clock.clone()));
    let drawing = Arc::new(Cores::all("picture_codes"));
    let (ttl, length) = (config.image_code_ttl, config.image_code_length.into());
    let image_codes = Arc::new(ImageCodes::new(codes.clone(), limits.clone(), ttl, length, drawing.clone()));
    let challenges = Arc::new(challenges(config, &master, &image_codes, &limits, &codes, &clock)?);
    let devices = DeviceHashes::new(&master);
    let guesses = Arc::new(Guesses {
        codes: codes.clone(),
        users: users.clone(),
        limits: limits.clone(),
        subjects: GuessSubjects::new(&master),
        standings: Arc::new(Standings { users: users.clone(), devices, clock: clock.clone() }),
        challenges: challenges.clone(),
        turns: Turns::default(),
    });
    let detached = Detached::default();
    let sms_codes = Arc::new(SmsCodes {
        codes: codes.clone(),
        users: users.clone(),
        image_codes: image_codes.clone(),
        challenges: challenges.clone(),
        provider,
        limits: limits.clone(),
        guesses: guesses.clone(),
        keys: CodeKeys::new(&master),
        settings: sms_code_settings(config),
        detached: detached.clone(),
    });
    let ahead = image_codes.clone();
    let hashing = Arc::new(Cores::half("password_hashing"));
    let passwords = Passwords::new(config.password_min_length.into(), config.context_words(), hashing.clone());
    let passwords = Arc::new(passwords);
    let login = Login {
        users: users.clone(),
        guesses: guesses.clone(),
        limits: limits.clone(),
        sms_codes: sms_codes.clone(),
        passwords: passwords.clone(),
        sessions: sessions.clone(),
        detached: detached.clone(),
    };
    let account = Account {
        users: users.clone(),
        sms_codes: sms_codes.clone(),
        passwords,
        guesses,
        limits: limits.clone(),
        sessions: sessions.clone(),
        detached: detached.clone(),
    };

    let stopping = Arc::new(AtomicBool::new(false));
    let readiness = Readiness::new(users.clone(), codes.clone(), stopping.clone());
    let parts = api::Parts {
        auth: Auth { image_codes, challenges, sms_codes, login, sessions, account, limits },
        keys: keys.clone(),
        readiness: readiness.clone(),
        outbox: outbox.clone(),
    };
    let (endpoint, documents) = api::build(config, parts);

    let mut background = JoinSet::new();
    background.spawn(watch_revocations(revocations));
    background.spawn(watch_keys(keys.clone()));
    background.spawn(async move { ahead.draw_ahead().await });
    background.spawn(clean(users, clock, access_token_ttl));
    Ok(App {
        endpoint: endpoint.boxed(),
        documents,
        stopping,
        readiness,
        codes,
        outbox,
        hashing,
        drawing,
        keys,
        detached,
        background,
    })
}

/// Opens the database and brings its schema up to date.
pub async fn open_database(config: &Config) -> Result<Arc<dyn UserStore>, StartError> {
    let opened = async {
        let (statements, connections) = (config.database_statements, config.database_max_connections);
        let users = users::connect(&config.database(), statements, connections).await?;
        users.migrate().await?;
        Ok(users)
    };
    opened.await.map_err(|error| match error {
        OpenError::Unavailable(error) => StartError::Store(error),
        OpenError::Unfit(reason) if config.database_url.is_some() => {
            StartError::Config(format!("DATABASE_URL=(hidden): {reason}"))
        }
        OpenError::Unfit(reason) => StartError::Config(format!("DATA_DIR={}: {reason}", config.data_dir.display())),
    })
}

/// `SECRET_KEY`, or the one that a former start generated, or a new one.
fn master_key(config: &Config) -> Result<MasterKey, StartError> {
    if let Some(key) = &config.secret_key {
        return Ok(key.clone());
    }
    let path = config.data_dir.join(SECRET_FILE);
    let text = private_file::read_or_create(&path, || format!("{}\n", MasterKey::generate()).into_bytes())
        .map_err(|error| unusable(&path, &error))?;
    MasterKey::from_base64(&text)
        .ok_or_else(|| StartError::Config(format!("{}: expected 32 bytes in base64", path.display())))
}

/// What names the counts of wrong guesses, for a command beside the service.
///
/// # Errors
/// Without the `SECRET_KEY` of the service, or with another one: the names would be wrong.
pub async fn guess_subjects(users: &dyn UserStore, config: &Config) -> Result<GuessSubjects, StartError> {
    if config.secret_key.is_none() && !config.data_dir.join(SECRET_FILE).exists() {
        return Err(StartError::Config("neither SECRET_KEY nor DATA_DIR/secret.key is there".to_owned()));
    }
    let master = master_key(config)?;
    let fingerprint = master.fingerprint();
    if users.setting_or_insert(FINGERPRINT, &fingerprint).await? != fingerprint {
        return Err(StartError::Config("SECRET_KEY is not the one that the service uses".to_owned()));
    }
    Ok(GuessSubjects::new(&master))
}

/// Another secret would silently end every session and code: it takes a word from the operator.
async fn check_fingerprint(
    users: &dyn UserStore,
    master: &MasterKey,
    accept_new: bool,
    clock: &Clock,
) -> Result<(), StartError> {
    let fingerprint = master.fingerprint();
    loop {
        let known = users.setting_or_insert(FINGERPRINT, &fingerprint).await?;
        if known == fingerprint {
            return Ok(());
        }
        if !accept_new {
            return Err(StartError::Config(
                "SECRET_KEY is not the one that this database was used with. Start with the former one (all instances \
                 share it; without SECRET_KEY it is DATA_DIR/secret.key), or take the new one with `phonepass serve \
                 --accept-new-secret`: all sessions end."
                    .to_owned(),
            ));
        }
        // One of several instances that start together does it: the others would end sessions that have begun since.
        if users.end_all_sessions(clock.now(), FINGERPRINT, &known, &fingerprint).await? {
            tracing::warn!("a new SECRET_KEY was accepted; all sessions have ended");
            event::record_by_operator(Event::SecretChanged, Subject::default());
            return Ok(());
        }
    }
}

fn sms_provider(config: &Config, clock: &Clock) -> Result<(Arc<dyn SmsProvider>, Option<Outbox>), StartError> {
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

fn challenges(
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

fn given<T: Clone>(setting: &Option<T>, name: &str) -> Result<T, StartError> {
    setting.clone().ok_or_else(|| StartError::Config(format!("{name} is not set")))
}

fn sms_code_settings(config: &Config) -> SmsCodeSettings {
    SmsCodeSettings {
        ttl: config.sms_code_ttl,
        length: config.sms_code_length.into(),
        max_attempts: config.sms_code_max_attempts,
        test_codes: config.test_codes(),
        image_code: config.image_code,
        text: config.sms_text.clone(),
        text_domain: config.sms_text_domain.clone(),
        mobile_block: config.mobile_block.clone(),
    }
}

fn limit_settings(config: &Config) -> LimitSettings {
    LimitSettings {
        resend_gap: config.sms_resend_seconds,
        sms_per_mobile_per_day: config.sms_per_mobile_per_day,
        sms_per_ip_per_hour: config.sms_per_ip_per_hour,
        sms_total_per_hour: config.sms_total_per_hour.unwrap_or(0),
        sms_asks_per_ip_per_hour: config.sms_asks_per_ip_per_hour,
        verify_per_mobile_per_hour: config.verify_per_mobile_per_hour,
        guesses_per_ip_per_hour: config.guesses_per_ip_per_hour,
        sign_ins_per_user_per_hour: config.sign_ins_per_user_per_hour,
        requests_per_ip_per_minute: config.requests_per_ip_per_minute,
        exempt: config.limit_exempt.clone(),
        fraud: if config.image_code == ImageCodePolicy::Never { FraudPolicy::Record } else { config.fraud },
    }
}

async fn watch_revocations(revocations: Arc<Revocations>) {
    loop {
        tokio::time::sleep(REVOCATION_POLL).await;
        if let Err(error) = revocations.sync().await {
            tracing::warn!(%error, "ended sessions are not known for the moment");
        }
    }
}

async fn watch_keys(keys: Arc<Keys>) {
    loop {
        tokio::time::sleep(KEYS_POLL).await;
        let keys = keys.clone();
        let reload = tokio::task::spawn_blocking(move || keys.reload());
        if let Err(error) = reload.await {
            tracing::error!(%error, "the signing keys could not be looked at");
        }
    }
}

async fn clean(users: Arc<dyn UserStore>, clock: Clock, access_token_ttl: chrono::Duration) {
    loop {
        tokio::time::sleep(CLEANING).await;
        if let Err(error) = delete_old(users.as_ref(), clock.now(), access_token_ttl).await {
            tracing::warn!(%error, "old sessions and counts of wrong guesses are not deleted for the moment");
        }
    }
}

async fn delete_old(
    users: &dyn UserStore,
    now: DateTime<Utc>,
    access_token_ttl: chrono::Duration,
) -> Result<(), StoreError> {
    // While a token may name a session, its row tells instances that start that it has been ended.
    let over = now - KEPT_AFTER_EXPIRY - access_token_ttl;
    let known = over.min(now - KEPT_AS_KNOWN);
    let full = u64::from(CLEANING_BATCH);
    while users.delete_sessions_over_before(over, known, CLEANING_BATCH).await? >= full {}
    while users.delete_guesses_before(now - GUESSES_KEPT, CLEANING_BATCH).await? >= full {}
    Ok(())
}

fn seconds(duration: Duration) -> chrono::Duration {
    chrono::Duration::seconds(duration.as_secs().cast_signed())
}

fn unusable(path: &Path, error: &io::Error) -> StartError {
    StartError::Io(format!("{}: {error}", path.display()))
}
