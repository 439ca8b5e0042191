//! How is the service put together? Settings in, endpoint out.

mod background;
mod challenges;
mod secret;
mod start_error;
mod vendors;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use poem::{EndpointExt, Response, endpoint::BoxEndpoint};
use tokio::task::JoinSet;

use crate::{
    api::{self, Documents, Readiness},
    auth::{
        Auth,
        access_token::{AccessTokens, Verified},
        account::Account,
        cores::Cores,
        detached::Detached,
        device::DeviceHashes,
        guess_subjects::GuessSubjects,
        guesses::Guesses,
        image_code::ImageCodes,
        keys::Keys,
        limits::{FraudPolicy, LimitSettings, Limits, Turns},
        login::Login,
        password::Passwords,
        refresh_token::RefreshTokens,
        revocation::Revocations,
        sessions::Sessions,
        sms_code::{CodeKeys, ImageCodePolicy, SmsCodeSettings, SmsCodes},
        standing::Standings,
    },
    clock::Clock,
    config::Config,
    model::session::Lifetime,
    random::Random,
    sms::Outbox,
    store::{
        ephemeral::{self, EphemeralStore},
        users::{self, OpenError, UserStore},
    },
};
use background::{clean, watch_keys, watch_revocations};
use secret::{check_fingerprint, master_key};

pub use secret::guess_subjects;
pub use start_error::StartError;

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
pub async fn build(config: &Config, clock: Clock, random: Random) -> Result<App, StartError> {
    let master = master_key(config)?;
    let keys = Arc::new(Keys::load(config.jwt_alg, &config.jwt_keys_dir(), &master, clock.clone())?);
    let users = open_database(config).await?;
    check_fingerprint(users.as_ref(), &master, config.accept_new_secret, &clock).await?;
    let codes =
        ephemeral::connect(config.redis_url.as_ref(), &config.redis_prefix, config.redis_timeout, clock.clone())
            .await?;
    let (provider, outbox) = vendors::sms_provider(config, &clock)?;

    // No token outlives its session.
    let access_token_ttl = seconds(config.access_token_ttl.min(config.refresh_token_ttl).min(config.session_max_age));
    let revocations = Arc::new(Revocations::new(users.clone(), clock.clone(), access_token_ttl));
    revocations.sync().await?;
    let devices = DeviceHashes::new(&master);
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
        devices: devices.clone(),
        lifetime: Lifetime { sliding: seconds(config.refresh_token_ttl), absolute: seconds(config.session_max_age) },
        clock: clock.clone(),
    });
    let limits = Arc::new(Limits::new(codes.clone(), limit_settings(config), clock.clone()));
    let drawing = Arc::new(Cores::all("picture_codes"));
    let (ttl, length) = (config.image_code_ttl, config.image_code_length.into());
    let image_codes =
        Arc::new(ImageCodes::new(codes.clone(), limits.clone(), ttl, length, drawing.clone(), random.clone()));
    let challenges = Arc::new(challenges::challenges(config, &master, &image_codes, &limits, &codes, &clock)?);
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
        random,
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
        let users = users::connect(&config.database(), statements, connections, config.database_timeouts).await?;
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

fn seconds(duration: Duration) -> chrono::Duration {
    chrono::Duration::seconds(duration.as_secs().cast_signed())
}
