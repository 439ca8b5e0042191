//! HTTP: shapes in, shapes out. The sections, the document, the mounts.

use std::sync::Arc;

use poem::{Endpoint, IntoResponse, Response, Route, endpoint::make_sync, get, web::Html};
use poem_openapi::{LicenseObject, OpenApiService, Tags};
use serde_json::Value;

mod aliases;
mod allowed_methods;
mod authorizations;
mod bearer;
mod body;
mod classic;
pub mod client_ip;
mod context;
mod cors;
mod dev_sms;
mod document;
mod envelope;
mod error_code;
mod failure;
mod form;
mod ihome;
mod image_codes;
mod language;
mod passport;
mod passwords;
mod pipeline;
mod problem;
mod service;
mod sessions;
mod sms_codes;
mod timestamp;
mod user;

pub use pipeline::CloseConnection;
pub use service::Readiness;

use crate::{
    auth::{Auth, keys::Keys},
    config::{Config, Switch},
    sms::Outbox,
};

/// The sections of the document.
#[derive(Tags)]
enum Section {
    /// Ask for an SMS code.
    #[oai(rename = "SMS codes")]
    SmsCodes,
    /// Pictures with characters to type, asked for on suspicion.
    #[oai(rename = "Picture codes")]
    ImageCodes,
    /// Sign in, refresh, sign out.
    Authorizations,
    /// The user behind a token.
    User,
    /// Where the user is signed in.
    Sessions,
    /// The classic ihome API.
    #[oai(rename = "Classic: ihome")]
    Ihome,
    /// The classic passport API.
    #[oai(rename = "Classic: passport")]
    Passport,
    /// For operators and resource servers.
    Service,
}

/// What the API is made of.
pub struct Parts {
    /// The rules.
    pub auth: Auth,
    /// The keys to publish.
    pub keys: Arc<Keys>,
    /// What `/readyz` looks at.
    pub readiness: Readiness,
    /// What `/dev/sms` shows; only with the console provider.
    pub outbox: Option<Outbox>,
}

/// The whole of HTTP, and the document that describes it.
pub fn build(config: &Config, parts: Parts) -> (impl Endpoint<Output = Response> + 'static, Value) {
    let Parts { auth, keys, readiness, outbox } = parts;
    let public_url = config.public_url();
    let cookie = config.classic_cookie == Switch::On;
    let classic = classic::Classic { auth: auth.clone(), cookie, secure: public_url.starts_with("https:") };
    let sections = (
        sms_codes::SmsCodes(auth.clone()),
        image_codes::ImageCodes(auth.clone()),
        authorizations::Authorizations(auth.clone()),
        user::CurrentUser(auth.clone()),
        passwords::Passwords(auth.clone()),
        sessions::Sessions(auth.clone()),
        ihome::Ihome(classic.clone()),
        passport::Passport(classic),
        service::Service { auth: auth.clone(), readiness, keys, public_url: public_url.clone() },
    );
    let service = OpenApiService::new(sections, "Phonepass", env!("CARGO_PKG_VERSION"))
        .description(document::DESCRIPTION)
        .license(LicenseObject::new("MIT OR Apache-2.0"))
        .server(public_url);
    let raw = service.spec();
    let document = document::complete(&raw);
    let json = print(&document);
    let yaml = serde_yaml_ng::to_string(&document).expect("JSON is YAML");
    let page = service.swagger_ui_html().replacen(&raw, &json, 1).replacen(
        "deepLinking: true",
        "deepLinking: true, persistAuthorization: true",
        1,
    );

    let mut routes = Route::new()
        .nest("/", service)
        .at("/docs", get(make_sync(move |_| Html(page.clone()))))
        .at("/openapi.json", get(make_sync(move |_| json.clone().with_content_type("application/json"))))
        .at("/openapi.yaml", get(make_sync(move |_| yaml.clone().with_content_type("application/yaml"))));
    if let Some(outbox) = outbox {
        routes = routes.at("/dev/sms", get(dev_sms::DevSms(outbox)));
    }
    let pipeline = pipeline::Pipeline {
        routes,
        auth: Arc::new(auth),
        proxies: client_ip::TrustedProxies(config.trusted_proxies.clone()),
        cors: cors::Cors(config.cors_origins.clone()),
        cookie_sign_in: bearer::CookieSignIn(cookie),
        allowed_methods: allowed_methods::AllowedMethods::new(&document),
    };
    (pipeline, document)
}

/// The document as it is written to a file.
pub fn print(document: &Value) -> String {
    serde_json::to_string_pretty(document).expect("JSON can be written") + "\n"
}
