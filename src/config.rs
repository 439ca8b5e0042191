//! What can be set? Every setting once: flag, environment variable, default, bounds, help.

mod contradictions;
mod loading;
mod values;

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

pub use loading::{LoadError, Problems};
pub use values::HiddenUrl;
use values::{
    parse_base_url, parse_collector_url, parse_host_name, parse_network, parse_webhook_secret, parse_webhook_url,
};

use crate::{
    api::{AllowedOrigin, Language},
    auth::{
        algorithm::Algorithm, import::parse_time, limits::FraudPolicy, master_key::MasterKey,
        sms_code::ImageCodePolicy, test_codes::TestCodes,
    },
    model::{challenge::ChallengeKind, mobile::Mobile, typed},
    store::{
        ephemeral::{self, RedisUrl},
        users::{Database, Statements, Timeouts},
    },
};

/// The numbers of the document's examples: message centres of China Mobile, so that no message reaches a person.
const EXAMPLE_MOBILES: [&str; 2] = ["13800100500", "13800210500"];

/// Their code.
const EXAMPLE_CODE: &str = "246810";

/// Phone-number sign-in: SMS code in, signed access token and refresh token out.
///
/// Every option is an environment variable, too: `--http-addr` is `HTTP_ADDR`. `.env` in the current folder is read, too.
#[derive(Debug, Parser)]
#[command(name = "phonepass", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings.
    #[command(flatten)]
    pub config: Config,
}

/// The commands.
#[derive(Clone, Debug, Default, Subcommand)]
pub enum Command {
    /// Serve requests (what happens without a command, too)
    #[default]
    Serve,
    /// Bring the database's schema up to date, and exit
    Migrate,
    /// Print the OpenAPI document
    Openapi {
        /// In which language
        #[arg(long, value_enum, default_value_t = Language::En)]
        lang: Language,
    },
    /// Make or list signing keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Show, disable, delete, list or import users
    #[command(subcommand)]
    Users(UsersCommand),
}

/// What to do with signing keys.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key for JWT_ALG in JWT_KEYS_DIR; it verifies within seconds, and signs once it is 10 seconds old
    Generate,
    /// List the keys in JWT_KEYS_DIR; the last of JWT_ALG signs once it is 10 seconds old
    List,
}

/// What to do with users.
#[derive(Clone, Debug, Subcommand)]
pub enum UsersCommand {
    /// Show a user
    Show {
        /// Mobile number
        #[arg(value_parser = parse_mobile)]
        mobile: Mobile,
    },
    /// End a user's sessions, and refuse them from now on
    Disable(ChosenUser),
    /// Let a disabled user sign in again, and forget wrong guesses at their codes and password
    Enable(ChosenUser),
    /// Forget wrong guesses at a user's codes and password
    Unlock(ChosenUser),
    /// End a user's sessions
    SignOut(ChosenUser),
    /// Forget who a user was and free the number, as when users delete their accounts themselves
    Delete(ChosenUser),
    /// Print the users in the order in which they came here
    List {
        /// Only those who registered at this time or later, in that order; such as 2026-01-31 or 2026-01-31T12:00:00Z
        #[arg(long, value_name = "TIME", value_parser = parse_point_in_time)]
        created_after: Option<DateTime<Utc>>,
        /// How to print them
        #[arg(long, value_name = "FORMAT", default_value = "table", value_enum)]
        format: ListFormat,
    },
    /// Take over users of another service, with their passwords
    Import {
        /// A CSV file with the columns mobile, name, password_hash, created_at; - for standard input
        file: PathBuf,
    },
}

/// The user that a command changes.
#[derive(Clone, Debug, Args)]
pub struct ChosenUser {
    /// Mobile number
    #[arg(value_parser = parse_mobile)]
    pub mobile: Mobile,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// How a list looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people
    Table,
    /// One array
    Json,
    /// With a line that names the columns
    Csv,
}

/// The settings.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Listen address
    #[arg(long, env, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    pub http_addr: SocketAddr,

    /// Listen address of Prometheus metrics, GET /metrics [default: off]
    #[arg(long, env, value_name = "ADDR")]
    pub metrics_addr: Option<SocketAddr>,

    /// The address that clients know: issuer of tokens, server in the OpenAPI document [default: http://{HTTP_ADDR}]
    #[arg(long, env, value_name = "URL", value_parser = parse_base_url)]
    pub public_url: Option<Url>,

    /// Proxies whose X-Forwarded-For counts, as CIDRs with commas between [default: none]
    #[arg(long, env, value_name = "CIDRS", value_delimiter = ',', value_parser = parse_network)]
    pub trusted_proxies: Vec<IpNet>,

    /// Origins that may call from a browser or a web view, such as `https://app.example.com`, `https://*.example.com`
    /// (one label) or `capacitor://localhost`, with commas between; * for any, then without cookies [default: none]
    #[arg(long, env, value_name = "ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<AllowedOrigin>,

    /// Folder of the SQLite file and of generated keys
    #[arg(long, env, value_name = "DIR", default_value = "data")]
    pub data_dir: PathBuf,

    /// sqlite: or postgres: URL [default: the file phonepass.db in DATA_DIR]
    #[arg(long, env, value_name = "URL", hide_env_values = true)]
    pub database_url: Option<Database>,

    /// Statements of PostgreSQL: unnamed behind a pooler in transaction mode, such as PgBouncer
    #[arg(long, env, value_name = "HOW", default_value = "named", value_enum)]
    pub database_statements: Statements,

    /// Connections to the database
    #[arg(long, env, value_name = "N", default_value = "12", value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub database_max_connections: u32,

    /// How long the database may take.
    #[arg(skip)]
    pub database_timeouts: Timeouts,

    /// redis:, rediss:, redis-cluster:, rediss-cluster:, redis-sentinel: or rediss-sentinel: URL
    /// [default: state is kept in this process]
    #[arg(long, env, value_name = "URL", hide_env_values = true)]
    pub redis_url: Option<RedisUrl>,

    /// What every Redis key begins with
    #[arg(long, env, value_name = "PREFIX", default_value = "phonepass:")]
    pub redis_prefix: String,

    /// How long Redis may take.
    #[arg(skip = ephemeral::TIMEOUT)]
    pub redis_timeout: Duration,

    /// 32 bytes in base64, the one secret that instances share [default: generated into DATA_DIR]
    #[arg(long, env, value_name = "BASE64", hide_env_values = true, value_parser = parse_secret_key)]
    pub secret_key: Option<MasterKey>,

    /// Take a SECRET_KEY other than the one the database was used with; all sessions end
    #[arg(long)]
    pub accept_new_secret: bool,

    /// Algorithm of access tokens
    #[arg(long, env, value_name = "ALG", default_value = "ES256", value_enum)]
    pub jwt_alg: Algorithm,

    /// Folder of signing keys in PEM, file stem = kid [default: {DATA_DIR}/keys]
    #[arg(long, env, value_name = "DIR")]
    pub jwt_keys_dir: Option<PathBuf>,

    /// Claim iss [default: PUBLIC_URL]
    #[arg(long, env, value_name = "TEXT")]
    pub jwt_issuer: Option<String>,

    /// Claim aud
    #[arg(long, env, value_name = "TEXT", default_value = "phonepass")]
    pub jwt_audience: String,

    /// Lifetime of an access token; it ends with its session at the latest
    #[arg(long, env, value_name = "SECONDS", default_value = "3600", value_parser = parse_seconds)]
    pub access_token_ttl: Duration,

    /// Lifetime of a session that is not refreshed
    #[arg(long, env, value_name = "SECONDS", default_value = "1209600", value_parser = parse_seconds)]
    pub refresh_token_ttl: Duration,

    /// Lifetime of a session however often it is refreshed
    #[arg(long, env, value_name = "SECONDS", default_value = "7776000", value_parser = parse_seconds)]
    pub session_max_age: Duration,

    /// Who delivers codes: console, webhook, yuntongxun, aliyun, tencent or twilio; with commas between, each is tried
    /// when the one before fails
    // For a mere `Vec` clap parses each name by itself, and a repeated one goes unseen.
    #[arg(long, env, value_name = "NAMES", default_value = "console", value_parser = parse_sms_providers)]
    pub sms_provider: std::vec::Vec<SmsProviderName>,

    /// Serve with console in SMS_PROVIDER although HTTP_ADDR is open to other machines, as in a container: for
    /// development
    #[arg(
        long,
        env,
        value_name = "SWITCH",
        default_value = "off",
        default_missing_value = "on",
        num_args = 0..=1,
        require_equals = true,
        value_enum
    )]
    pub dev: Switch,

    /// What a message says, for providers that take a text
    #[arg(
        long,
        env,
        value_name = "TEXT",
        default_value = "【Phonepass】验证码 {code}，{minutes} 分钟内有效。请勿告诉他人。",
        value_parser = parse_sms_text
    )]
    pub sms_text: String,

    /// Domain for a last line `@domain #code`, from which iOS and WebOTP fill the code in [default: none]
    #[arg(long, env, value_name = "DOMAIN", value_parser = parse_host_name)]
    pub sms_text_domain: Option<String>,

    /// Where the webhook provider posts to
    #[arg(long, env, value_name = "URL", hide_env_values = true, value_parser = parse_webhook_url)]
    pub sms_webhook_url: Option<HiddenUrl>,

    /// Signs webhook calls (Standard Webhooks): base64, with or without whsec_ [default: calls are not signed]
    #[arg(long, env, value_name = "SECRET", hide_env_values = true, value_parser = parse_webhook_secret)]
    pub sms_webhook_secret: Option<SecretString>,

    /// Account of yuntongxun
    #[arg(long, env, value_name = "SID")]
    pub yuntongxun_account_sid: Option<String>,

    /// Token of yuntongxun
    #[arg(long, env, value_name = "TOKEN", hide_env_values = true)]
    pub yuntongxun_auth_token: Option<SecretString>,

    /// App of yuntongxun
    #[arg(long, env, value_name = "ID")]
    pub yuntongxun_app_id: Option<String>,

    /// Message template of yuntongxun: code, minutes
    #[arg(long, env, value_name = "ID")]
    pub yuntongxun_template_id: Option<String>,

    /// Base URL of yuntongxun
    #[arg(
        long,
        env,
        value_name = "URL",
        default_value = "https://app.cloopen.com:8883",
        value_parser = parse_base_url
    )]
    pub sms_base_url_yuntongxun: Url,

    /// Access key of aliyun
    #[arg(long, env, value_name = "ID")]
    pub aliyun_access_key_id: Option<String>,

    /// Secret of the access key of aliyun
    #[arg(long, env, value_name = "SECRET", hide_env_values = true)]
    pub aliyun_access_key_secret: Option<SecretString>,

    /// Signature that aliyun puts before a message
    #[arg(long, env, value_name = "NAME")]
    pub aliyun_sms_sign_name: Option<String>,

    /// Message template of aliyun, with ${code} in it
    #[arg(long, env, value_name = "CODE")]
    pub aliyun_sms_template_code: Option<String>,

    /// Base URL of aliyun
    #[arg(
        long,
        env,
        value_name = "URL",
        default_value = "https://dysmsapi.aliyuncs.com",
        value_parser = parse_base_url
    )]
    pub sms_base_url_aliyun: Url,

    /// Secret id of tencent
    #[arg(long, env, value_name = "ID")]
    pub tencent_secret_id: Option<String>,

    /// Secret key of tencent
    #[arg(long, env, value_name = "SECRET", hide_env_values = true)]
    pub tencent_secret_key: Option<SecretString>,

    /// App of tencent (SdkAppId)
    #[arg(long, env, value_name = "ID")]
    pub tencent_sms_app_id: Option<String>,

    /// Signature that tencent puts before a message
    #[arg(long, env, value_name = "NAME")]
    pub tencent_sms_sign_name: Option<String>,

    /// Message template of tencent: code, minutes
    #[arg(long, env, value_name = "ID")]
    pub tencent_sms_template_id: Option<String>,

    /// Region of tencent
    #[arg(long, env, value_name = "REGION", default_value = "ap-guangzhou")]
    pub tencent_region: String,

    /// Base URL of tencent
    #[arg(
        long,
        env,
        value_name = "URL",
        default_value = "https://sms.tencentcloudapi.com",
        value_parser = parse_base_url
    )]
    pub sms_base_url_tencent: Url,

    /// Account of twilio
    #[arg(long, env, value_name = "SID")]
    pub twilio_account_sid: Option<String>,

    /// Token of twilio
    #[arg(long, env, value_name = "TOKEN", hide_env_values = true)]
    pub twilio_auth_token: Option<SecretString>,

    /// Number that messages of twilio come from, or the MG… of a messaging service
    #[arg(long, env, value_name = "NUMBER")]
    pub twilio_from: Option<String>,

    /// Base URL of twilio
    #[arg(long, env, value_name = "URL", default_value = "https://api.twilio.com", value_parser = parse_base_url)]
    pub sms_base_url_twilio: Url,

    /// Lifetime of an SMS code
    #[arg(long, env, value_name = "SECONDS", default_value = "300", value_parser = parse_seconds)]
    pub sms_code_ttl: Duration,

    /// Digits of an SMS code
    #[arg(long, env, value_name = "N", default_value = "6", value_parser = clap::value_parser!(u8).range(4..=8))]
    pub sms_code_length: u8,

    /// Wrong tries that burn an SMS code
    #[arg(long, env, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub sms_code_max_attempts: u32,

    /// Gap between two messages to a mobile
    #[arg(long, env, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds_or_none)]
    pub sms_resend_seconds: Duration,

    /// Messages to a mobile within a day; 0 for any number
    #[arg(long, env, value_name = "N", default_value = "10", value_parser = parse_limit)]
    pub sms_per_mobile_per_day: u32,

    /// Messages asked for from an address (in IPv6: a /64) within an hour; 0 for any number
    #[arg(long, env, value_name = "N", default_value = "30", value_parser = parse_limit)]
    pub sms_per_ip_per_hour: u32,

    /// Messages in all within an hour; 0 for any number. Has to be set with any provider but console
    #[arg(long, env, value_name = "N", value_parser = parse_limit)]
    pub sms_total_per_hour: Option<u32>,

    /// Requests for a message that an address (in IPv6: a /64) makes within an hour, sent or refused; 0 for any number
    #[arg(long, env, value_name = "N", default_value = "60", value_parser = parse_limit)]
    pub sms_asks_per_ip_per_hour: u32,

    /// Wrong guesses at the codes of a mobile, and as many at its password, from an address within an hour, and five
    /// times as many from all addresses; 0 for any number
    #[arg(long, env, value_name = "N", default_value = "20", value_parser = parse_limit)]
    pub verify_per_mobile_per_hour: u32,

    /// Wrong guesses from an address at the codes of all mobiles within an hour, and as many at passwords; 0 for any
    /// number
    #[arg(long, env, value_name = "N", default_value = "100", value_parser = parse_limit)]
    pub guesses_per_ip_per_hour: u32,

    /// Sign-ins of a mobile within an hour; 0 for any number
    #[arg(long, env, value_name = "N", default_value = "60", value_parser = parse_limit)]
    pub sign_ins_per_user_per_hour: u32,

    /// Connections of an address at the same time; 0 for any number
    #[arg(long, env, value_name = "N", default_value = "256", value_parser = parse_limit)]
    pub connections_per_ip: u32,

    /// Requests from an address within a minute; 0 for any number
    #[arg(long, env, value_name = "N", default_value = "0", value_parser = parse_limit)]
    pub requests_per_ip_per_minute: u32,

    /// Mobiles with a fixed code, as 13600000000=246810 with commas between [default: none; with nothing but console on
    /// a loopback address, the numbers of the examples in the OpenAPI document]
    #[arg(long, env, value_name = "PAIRS", value_delimiter = ',', hide_env_values = true)]
    pub sms_test_codes: Vec<TestCode>,

    /// When the app family needs a picture code
    #[arg(long, env, value_name = "WHEN", default_value = "adaptive", value_enum)]
    pub image_code: ImageCodePolicy,

    /// What suspicion of fraud does to a request for a message: ask for a challenge, only record it, or refuse it.
    /// IMAGE_CODE=never means record
    #[arg(long, env, value_name = "HOW", default_value = "challenge", value_enum)]
    pub fraud: FraudPolicy,

    /// Networks that no limit by address applies to, as CIDRs with commas between [default: none]
    #[arg(long, env, value_name = "CIDRS", value_delimiter = ',', value_parser = parse_network)]
    pub limit_exempt: Vec<IpNet>,

    /// Prefixes of mobiles that get no code, such as 170,171 with commas between [default: none]
    #[arg(long, env, value_name = "PREFIXES", value_delimiter = ',', value_parser = parse_mobile_prefix)]
    pub mobile_block: Vec<String>,

    /// Kinds of challenges that suspicion asks for: picture, pow, aliyun, tencent or turnstile, with commas between
    #[arg(long, env, value_name = "KINDS", default_value = "picture", value_parser = parse_challenges)]
    pub challenges: std::vec::Vec<ChallengeKind>,

    /// Access key of aliyun for captchas
    #[arg(long, env, value_name = "ID")]
    pub captcha_aliyun_access_key_id: Option<String>,

    /// Secret of the access key of aliyun for captchas
    #[arg(long, env, value_name = "SECRET", hide_env_values = true)]
    pub captcha_aliyun_access_key_secret: Option<SecretString>,

    /// Scene of aliyun's captchas
    #[arg(long, env, value_name = "ID")]
    pub captcha_aliyun_scene_id: Option<String>,

    /// Base URL of aliyun's captchas
    #[arg(
        long,
        env,
        value_name = "URL",
        default_value = "https://captcha.cn-shanghai.aliyuncs.com",
        value_parser = parse_base_url
    )]
    pub captcha_base_url_aliyun: Url,

    /// Secret id of tencent for captchas
    #[arg(long, env, value_name = "ID")]
    pub captcha_tencent_secret_id: Option<String>,

    /// Secret key of tencent for captchas
    #[arg(long, env, value_name = "SECRET", hide_env_values = true)]
    pub captcha_tencent_secret_key: Option<SecretString>,

    /// App of tencent's captchas (CaptchaAppId)
    #[arg(long, env, value_name = "ID")]
    pub captcha_tencent_app_id: Option<u64>,

    /// Secret of the app of tencent's captchas (AppSecretKey)
    #[arg(long, env, value_name = "SECRET", hide_env_values = true)]
    pub captcha_tencent_app_secret_key: Option<SecretString>,

    /// Base URL of tencent's captchas
    #[arg(
        long,
        env,
        value_name = "URL",
        default_value = "https://captcha.tencentcloudapi.com",
        value_parser = parse_base_url
    )]
    pub captcha_base_url_tencent: Url,

    /// Site key of Turnstile
    #[arg(long, env, value_name = "KEY")]
    pub turnstile_site_key: Option<String>,

    /// Secret of Turnstile
    #[arg(long, env, value_name = "SECRET", hide_env_values = true)]
    pub turnstile_secret: Option<SecretString>,

    /// Base URL of Turnstile
    #[arg(
        long,
        env,
        value_name = "URL",
        default_value = "https://challenges.cloudflare.com",
        value_parser = parse_base_url
    )]
    pub captcha_base_url_turnstile: Url,

    /// Sign-in cookie of the classic families
    #[arg(long, env, value_name = "SWITCH", default_value = "on", value_enum)]
    pub classic_cookie: Switch,

    /// Lifetime of a picture code
    #[arg(long, env, value_name = "SECONDS", default_value = "300", value_parser = parse_seconds)]
    pub image_code_ttl: Duration,

    /// Characters of a picture code
    #[arg(long, env, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u8).range(4..=8))]
    pub image_code_length: u8,

    /// Characters that a password must have
    #[arg(long, env, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u8).range(8..=64))]
    pub password_min_length: u8,

    /// Time between SIGTERM and closing the listener
    #[arg(long, env, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds_or_none)]
    pub shutdown_delay: Duration,

    /// How log lines look [default: text on a terminal, else json]
    #[arg(long, env, value_name = "FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,

    /// Which log lines are written
    #[arg(long, env, value_name = "LEVEL", default_value = "info", value_enum)]
    pub log_level: LogLevel,

    /// Base URL of an OpenTelemetry collector that takes traces, OTLP over HTTP [default: off]
    #[arg(long, env, value_name = "URL", hide_env_values = true, value_parser = parse_collector_url)]
    pub otel_exporter_otlp_endpoint: Option<HiddenUrl>,

    /// What traces call this service
    #[arg(long, env, value_name = "NAME", default_value = "phonepass")]
    pub otel_service_name: String,
}

impl Config {
    /// `PUBLIC_URL` or its default, without a slash at the end.
    pub fn public_url(&self) -> String {
        let url = self.public_url.as_ref().map(Url::to_string);
        url.map_or_else(|| format!("http://{}", self.http_addr), |url| url.trim_end_matches('/').to_owned())
    }

    /// What `DATABASE_URL` names, or its default.
    pub fn database(&self) -> Database {
        self.database_url.clone().unwrap_or_else(|| Database::file(&self.data_dir.join("phonepass.db")))
    }

    /// `JWT_KEYS_DIR` or its default.
    pub fn jwt_keys_dir(&self) -> PathBuf {
        self.jwt_keys_dir.clone().unwrap_or_else(|| self.data_dir.join("keys"))
    }

    /// `JWT_ISSUER` or its default.
    pub fn jwt_issuer(&self) -> String {
        self.jwt_issuer.clone().unwrap_or_else(|| self.public_url())
    }

    /// What this service is called, in words of at least four letters: too easy to guess for a password.
    pub fn context_words(&self) -> Vec<String> {
        let host = self.public_url.as_ref().and_then(Url::domain).unwrap_or_default();
        let words = host.split(['.', '-']).chain(["phonepass", self.jwt_audience.as_str()]);
        let words = words.map(str::to_lowercase).filter(|word| word.chars().count() >= 4 && word != "localhost");
        words.collect()
    }

    /// `SMS_TEST_CODES`, to look up; while developing, the numbers of the document's examples.
    pub fn test_codes(&self) -> TestCodes {
        let fits = EXAMPLE_CODE.len() == usize::from(self.sms_code_length);
        if self.sms_test_codes.is_empty() && fits && self.is_for_development() {
            let mobiles = EXAMPLE_MOBILES.into_iter().filter_map(Mobile::parse);
            let codes = mobiles.map(|mobile| (mobile, EXAMPLE_CODE.to_owned())).collect();
            return TestCodes { codes, local_only: true };
        }
        let codes = self.sms_test_codes.iter().map(|test| (test.mobile.clone(), test.code.clone())).collect();
        TestCodes { codes, local_only: false }
    }

    /// Are codes printed although clients reach the service under an address that is not this machine's?
    pub fn prints_codes_in_public(&self) -> bool {
        self.sms_provider.contains(&SmsProviderName::Console) && self.dev == Switch::Off && !self.has_local_url()
    }

    fn has_local_url(&self) -> bool {
        let local = |url: &Url| matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        self.public_url.as_ref().is_none_or(local)
    }

    /// Does only this machine get in, and no message out?
    fn is_for_development(&self) -> bool {
        self.http_addr.ip().is_loopback()
            && self.has_local_url()
            && self.trusted_proxies.is_empty()
            && self.sms_provider == [SmsProviderName::Console]
    }
}

/// The names of `SMS_PROVIDER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SmsProviderName {
    /// Prints messages and shows them at /dev/sms: for development
    Console,
    /// Posts messages to SMS_WEBHOOK_URL
    Webhook,
    /// 容联云
    Yuntongxun,
    /// 阿里云
    Aliyun,
    /// 腾讯云
    Tencent,
    /// Twilio
    Twilio,
}

impl SmsProviderName {
    /// The name as in `SMS_PROVIDER`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Webhook => "webhook",
            Self::Yuntongxun => "yuntongxun",
            Self::Aliyun => "aliyun",
            Self::Tencent => "tencent",
            Self::Twilio => "twilio",
        }
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// From which severity on lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What somebody has to look at.
    Error,
    /// What may need a look.
    Warn,
    /// Requests and events.
    Info,
    /// More.
    Debug,
    /// Everything.
    Trace,
}

/// A pair of `SMS_TEST_CODES`. Its `Debug` hides the code.
#[derive(Clone)]
pub struct TestCode {
    mobile: Mobile,
    code: String,
}

impl FromStr for TestCode {
    type Err = String;

    fn from_str(pair: &str) -> Result<Self, Self::Err> {
        let parsed = typed::undecorated(pair).split_once('=').and_then(|(mobile, code)| {
            let digits = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit());
            Some(Self { mobile: Mobile::parse(mobile)?, code: digits.then(|| code.to_owned())? })
        });
        parsed.ok_or_else(|| "not pairs of mobile=digits with commas between".to_owned())
    }
}

impl fmt::Debug for TestCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.mobile, f)
    }
}

fn parse_mobile(text: &str) -> Result<Mobile, String> {
    Mobile::parse(text).ok_or_else(|| "expected a mobile number of mainland China".to_owned())
}

fn parse_point_in_time(text: &str) -> Result<DateTime<Utc>, String> {
    parse_time(text).ok_or_else(|| "expected a time such as 2026-01-31 or 2026-01-31T12:00:00Z".to_owned())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    parse_seconds_or_none(text).and_then(|time| {
        if time.is_zero() { Err("expected a number of seconds from 1 on".to_owned()) } else { Ok(time) }
    })
}

fn parse_seconds_or_none(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &u32| *seconds <= 10 * 365 * 24 * 3600);
    seconds.map(|seconds| Duration::from_secs(seconds.into())).ok_or_else(|| "expected a number of seconds".to_owned())
}

/// What is within a window is kept one by one: a limit has to be one that memory can hold.
fn parse_limit(text: &str) -> Result<u32, String> {
    let limit = text.parse().ok().filter(|limit: &u32| *limit <= 1_000_000);
    limit.ok_or_else(|| "expected a number from 0 (none) to 1000000".to_owned())
}

fn parse_secret_key(text: &str) -> Result<MasterKey, String> {
    MasterKey::from_base64(text)
        .ok_or_else(|| "expected 32 bytes in base64, as from `openssl rand -base64 32`".to_owned())
}

fn parse_sms_providers(text: &str) -> Result<Vec<SmsProviderName>, String> {
    let mut providers = Vec::new();
    for name in text.split(',').map(str::trim) {
        let provider = SmsProviderName::from_str(name, false).map_err(|_| {
            let names: Vec<_> = SmsProviderName::value_variants().iter().map(|known| known.as_str()).collect();
            format!("expected {}, or several of them with commas between", names.join(", "))
        })?;
        if providers.contains(&provider) {
            return Err(format!("{name} is listed twice"));
        }
        providers.push(provider);
    }
    Ok(providers)
}

fn parse_challenges(text: &str) -> Result<Vec<ChallengeKind>, String> {
    let mut kinds = Vec::new();
    for name in text.split(',').map(str::trim) {
        let kind = ChallengeKind::parse(name).ok_or_else(|| {
            let names: Vec<_> = ChallengeKind::ALL.iter().map(|known| known.as_str()).collect();
            format!("expected {}, or several of them with commas between", names.join(", "))
        })?;
        if kinds.contains(&kind) {
            return Err(format!("{name} is listed twice"));
        }
        kinds.push(kind);
    }
    Ok(kinds)
}

fn parse_mobile_prefix(text: &str) -> Result<String, String> {
    let prefix = text.trim();
    let shaped = (3..=11).contains(&prefix.len()) && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let shaped = shaped && prefix.starts_with('1') && !matches!(prefix.as_bytes()[1], b'0'..=b'2');
    shaped.then(|| prefix.to_owned()).ok_or_else(|| "expected the first 3 to 11 digits of mobile numbers".to_owned())
}

fn parse_sms_text(text: &str) -> Result<String, String> {
    if text.contains("{code}") { Ok(text.to_owned()) } else { Err("expected a text with {code} in it".to_owned()) }
}
