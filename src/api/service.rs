//! What operators and resource servers ask for: health, keys, metadata.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json, types::Any};
use serde_json::Value;

use super::Section;
use crate::{
    auth::{Auth, keys::Keys},
    store::{StoreError, ephemeral::EphemeralStore, users::UserStore},
};

/// How long `/readyz` waits for a store.
const PATIENCE: Duration = Duration::from_secs(2);

/// Can this instance serve?
#[derive(Clone)]
pub struct Readiness {
    /// Users and sessions.
    pub users: Arc<dyn UserStore>,
    /// Codes.
    pub codes: Arc<dyn EphemeralStore>,
    /// Set as soon as the process is told to stop.
    pub stopping: Arc<AtomicBool>,
}

/// The state of one part of the service.
#[derive(Debug, Object)]
struct Check {
    /// Which part: `postgresql` or `sqlite`, `redis` or `in-process`.
    name: String,
    /// Does it work?
    ok: bool,
}

/// The state of the service.
#[derive(Debug, Object)]
struct Health {
    /// `ok`, `unavailable` or `stopping`.
    status: String,
    /// Every part.
    checks: Vec<Check>,
}

#[derive(ApiResponse)]
enum Alive {
    /// The process runs.
    #[oai(status = 200)]
    Ok(Json<Health>),
}

#[derive(ApiResponse)]
enum Ready {
    /// Requests can be served.
    #[oai(status = 200)]
    Ok(Json<Health>),
    /// A store does not answer, or the process is about to stop.
    #[oai(status = 503)]
    Unavailable(Json<Health>, #[oai(header = "Retry-After")] u32),
}

#[derive(ApiResponse)]
enum Keyring {
    /// A JWKS (RFC 7517).
    #[oai(status = 200)]
    Ok(
        Json<Any<Value>>,
        /// For how long the keys may be kept.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

/// Where to find what (RFC 8414).
#[derive(Clone, Debug, Object)]
struct Metadata {
    /// The claim `iss` of every access token.
    issuer: String,
    /// Where the verification keys are.
    jwks_uri: String,
    /// Empty: there is no authorization endpoint here.
    response_types_supported: Vec<String>,
    /// Empty: tokens come from this service's own API.
    grant_types_supported: Vec<String>,
    /// `public`.
    subject_types_supported: Vec<String>,
    /// The algorithm of tokens.
    id_token_signing_alg_values_supported: Vec<String>,
    /// The claims of access tokens.
    claims_supported: Vec<String>,
    /// Where the document and its descriptions are.
    service_documentation: String,
}

/// The section.
pub struct Service {
    /// The services.
    pub auth: Auth,
    /// What `/readyz` looks at.
    pub readiness: Readiness,
    /// What is published.
    pub keys: Arc<Keys>,
    /// `PUBLIC_URL`.
    pub public_url: String,
}

#[OpenApi(tag = "Section::Service")]
impl Service {
    /// Is the process alive?
    ///
    /// Asks nothing of any store: for liveness probes.
    #[oai(path = "/healthz", method = "get", operation_id = "get_health")]
    async fn healthz(&self) -> Alive {
        Alive::Ok(Json(Health { status: "ok".to_owned(), checks: Vec::new() }))
    }

    /// Can requests be served?
    ///
    /// Asks every store; 503 names the one that fails. For readiness probes and load balancers.
    #[oai(path = "/readyz", method = "get", operation_id = "get_readiness")]
    async fn readyz(&self) -> Ready {
        let Readiness { users, codes, stopping } = &self.readiness;
        let (users_ok, codes_ok) = tokio::join!(answers(users.ping()), answers(codes.ping()));
        let checks = [(users.name(), users_ok), (codes.name(), codes_ok)]
            .map(|(name, ok)| Check { name: name.to_owned(), ok })
            .into();
        let status = if stopping.load(Ordering::Relaxed) {
            "stopping"
        } else if users_ok && codes_ok {
            return Ready::Ok(Json(Health { status: "ok".to_owned(), checks }));
        } else {
            "unavailable"
        };
        Ready::Unavailable(Json(Health { status: status.to_owned(), checks }), 1)
    }

    /// Get the verification keys
    ///
    /// Every key that access tokens are signed with, by `kid`. Fetch again when a token names an unknown one.
    #[oai(path = "/.well-known/jwks.json", method = "get", operation_id = "get_jwks")]
    async fn jwks(&self) -> poem::Result<Keyring> {
        let jwks = serde_json::to_value(self.keys.current().jwks()).map_err(poem::error::InternalServerError)?;
        Ok(Keyring::Ok(Json(Any(jwks)), "public, max-age=300".to_owned()))
    }

    /// Get the metadata (OpenID Connect Discovery)
    ///
    /// From which a resource server finds issuer and keys.
    #[oai(path = "/.well-known/openid-configuration", method = "get", operation_id = "get_openid_configuration")]
    async fn openid_configuration(&self) -> Json<Metadata> {
        Json(self.metadata())
    }

    /// Get the metadata (RFC 8414)
    ///
    /// The same as `get_openid_configuration`, under the name of OAuth.
    #[oai(
        path = "/.well-known/oauth-authorization-server",
        method = "get",
        operation_id = "get_authorization_server_metadata"
    )]
    async fn oauth_authorization_server(&self) -> Json<Metadata> {
        Json(self.metadata())
    }
}

impl Service {
    fn metadata(&self) -> Metadata {
        let claims = ["iss", "sub", "aud", "iat", "exp", "jti", "sid", "client_id", "amr", "user_id"];
        Metadata {
            issuer: self.auth.sessions.access_tokens.issuer.clone(),
            jwks_uri: format!("{}/.well-known/jwks.json", self.public_url),
            response_types_supported: Vec::new(),
            grant_types_supported: Vec::new(),
            subject_types_supported: vec!["public".to_owned()],
            id_token_signing_alg_values_supported: vec![self.keys.current().signing().algorithm.to_string()],
            claims_supported: claims.map(str::to_owned).into(),
            service_documentation: format!("{}/docs", self.public_url),
        }
    }
}

async fn answers(ping: impl Future<Output = Result<(), StoreError>>) -> bool {
    matches!(tokio::time::timeout(PATIENCE, ping).await, Ok(Ok(())))
}
