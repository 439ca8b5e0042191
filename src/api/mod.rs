//! HTTP: shapes in, shapes out. The sections, the document, the mounts.

use std::sync::Arc;

use poem::{Endpoint, Response, Route};
use poem_openapi::{ContactObject, LicenseObject, OpenApiService, Tags};

mod aliases;
mod authorizations;
mod bearer;
mod body;
mod challenge_answer;
mod challenge_offer;
mod challenges;
mod classic;
pub mod client_ip;
mod context;
mod cors;
mod dev_sms;
mod document;
mod envelope;
mod error_code;
mod failure;
mod field;
mod form;
mod ihome;
mod image_codes;
mod language;
mod locality;
mod metrics;
mod names;
mod operations;
mod optional_json;
mod page_policy;
mod pages;
mod passport;
mod passwords;
mod pipeline;
mod prepared;
mod problem;
mod readiness;
mod record;
mod service;
mod sessions;
mod sms_codes;
mod timestamp;
mod user;

use document::TypesOf;

pub use cors::AllowedOrigin;
pub use document::{Documents, print};
pub use language::Language;
pub use metrics::metrics;
pub use readiness::Readiness;
pub use record::CloseConnection;

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
    /// Pictures with characters to type: the app family asks for them on suspicion, unless the service is set
    /// otherwise.
    #[oai(rename = "Picture codes")]
    ImageCodes,
    /// What the app family asks for on suspicion, before it sends a message or looks at a guess.
    Challenges,
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

impl Section {
    /// In the order in which a newcomer needs them.
    const ALL: [Self; 9] = [
        Self::SmsCodes,
        Self::Authorizations,
        Self::User,
        Self::Sessions,
        Self::Challenges,
        Self::ImageCodes,
        Self::Ihome,
        Self::Passport,
        Self::Service,
    ];
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

/// The sections, with the services behind them.
type Sections = (
    sms_codes::SmsCodes,
    challenges::Challenges,
    image_codes::ImageCodes,
    authorizations::Authorizations,
    user::CurrentUser,
    passwords::Passwords,
    sessions::Sessions,
    ihome::Ihome,
    passport::Passport,
    service::Service,
    pages::Home,
);

/// The documents of a service with these settings, out of the code alone: no service is there.
pub fn documents(config: &Config) -> Documents {
    documents_from(open_api(TypesOf::<Sections>::default(), &config.public_url()).spec(), config)
}

fn documents_from(raw: String, config: &Config) -> Documents {
    let path = config.public_url.as_ref().map_or("", |url| url.path());
    Documents::new(raw, Section::ALL.map(|section| section.name()).into(), path)
}

fn open_api<T>(sections: T, public_url: &str) -> OpenApiService<T, ()> {
    OpenApiService::new(sections, "Phonepass", env!("CARGO_PKG_VERSION"))
        .contact(ContactObject::new().name("Phonepass").url(public_url))
        .license(LicenseObject::new("MIT OR Apache-2.0").url("https://spdx.org/licenses/MIT.html"))
        .server(public_url)
}

/// The whole of HTTP, and the documents that describe it.
pub fn build(config: &Config, parts: Parts) -> (impl Endpoint<Output = Response> + 'static, Arc<Documents>) {
    let Parts { auth, keys, readiness, outbox } = parts;
    let public_url = config.public_url();
    let cookie = config.classic_cookie == Switch::On;
    let classic = classic::Classic { auth: auth.clone(), cookie, secure: public_url.starts_with("https:") };
    let sections: Sections = (
        sms_codes::SmsCodes(auth.clone()),
        challenges::Challenges(auth.clone()),
        image_codes::ImageCodes(auth.clone()),
        authorizations::Authorizations(auth.clone()),
        user::CurrentUser(auth.clone()),
        passwords::Passwords(auth.clone()),
        sessions::Sessions(auth.clone()),
        ihome::Ihome(classic.clone()),
        passport::Passport(classic),
        service::Service { auth: auth.clone(), readiness, keys, public_url: public_url.clone() },
        pages::Home::new(outbox.is_some()),
    );
    let operations = operations::Operations::of::<Sections>();
    let service = open_api(sections, &public_url);
    let documents = Arc::new(documents_from(service.spec(), config));
    let swagger_ui = service.swagger_ui_html();
    let mut routes = pages::add_to(Route::new().nest("/", service), &documents, &swagger_ui, &public_url);
    if let Some(outbox) = outbox {
        routes = routes.at("/dev/sms", dev_sms::DevSms(outbox));
    }
    let pipeline = pipeline::Pipeline {
        routes,
        auth: Arc::new(auth),
        proxies: client_ip::TrustedProxies(config.trusted_proxies.clone()),
        cors: cors::Cors(config.cors_origins.clone()),
        cookie_sign_in: bearer::CookieSignIn(cookie),
        operations,
    };
    (pipeline, documents)
}
