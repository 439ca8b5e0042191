//! What operators and resource servers ask for: health, keys, metadata.

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json, types::ParseFromJSON};

use super::{
    Section,
    context::RequestContext,
    error_code::ErrorCode,
    failure::{Failure, failures},
    readiness::Readiness,
};
use crate::auth::{Auth, error::Error, keys::Keys};

failures! {
    Publish: ;
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
    /// Every part that was looked at.
    checks: Vec<Check>,
}

/// Why no requests can be served.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct NotReady {
    /// For people; Chinese, or English with `Accept-Language: en`.
    message: String,
    /// For programs: `unavailable`.
    code: String,
    /// Names this request in the service's logs; at most 64 characters.
    request_id: String,
    /// Seconds to wait before another try.
    retry_after: Option<u64>,
    /// `unavailable`, or `stopping` when the process was told to end.
    status: Option<String>,
    /// Every part of the service, and whether it works.
    checks: Option<Vec<Check>>,
}

/// A verification key (RFC 7517). Members that its type does not have are left out.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct JsonWebKey {
    /// The type of key: `EC` (ES256), `OKP` (EdDSA) or `RSA` (RS256).
    kty: String,
    /// What the key is for: `sig`, signatures.
    #[oai(rename = "use")]
    usage: String,
    /// The one algorithm that the key is used with: `ES256`, `EdDSA` or `RS256`.
    alg: String,
    /// The name of the key, as in the header of the tokens that it signed.
    kid: String,
    /// The curve of `EC` and `OKP` keys: `P-256` or `Ed25519`.
    crv: Option<String>,
    /// The point's x, or the `OKP` key, in base64url.
    x: Option<String>,
    /// The point's y of `EC` keys, in base64url.
    y: Option<String>,
    /// The modulus of `RSA` keys, in base64url.
    n: Option<String>,
    /// The exponent of `RSA` keys, in base64url.
    e: Option<String>,
}

/// The verification keys of the service (RFC 7517, 5).
#[derive(Debug, Object)]
struct JsonWebKeySet {
    /// Every key; no order is meant.
    keys: Vec<JsonWebKey>,
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
    Unavailable(
        Json<NotReady>,
        /// Seconds to wait before another try.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

#[derive(ApiResponse)]
enum Keyring {
    /// A JWKS (RFC 7517).
    #[oai(status = 200)]
    Ok(
        Json<JsonWebKeySet>,
        /// For how long the keys may be kept (RFC 9111).
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

#[derive(ApiResponse)]
enum Described {
    /// Issuer, keys and claims.
    #[oai(status = 200)]
    Ok(Json<Metadata>),
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
    async fn readyz(&self, context: &RequestContext) -> Ready {
        let stores = self.readiness.stores().await;
        let checks = stores.map(|(name, ok)| Check { name: name.to_owned(), ok }).into();
        let status = if self.readiness.is_stopping() {
            "stopping"
        } else if stores.iter().all(|(_, ok)| *ok) {
            return Ready::Ok(Json(Health { status: "ok".to_owned(), checks }));
        } else {
            "unavailable"
        };
        let retry_after = 1;
        let meaning = ErrorCode::Unavailable.meaning();
        let body = NotReady {
            message: meaning.message(context.language).to_owned(),
            code: meaning.name.to_owned(),
            request_id: context.id().to_owned(),
            retry_after: Some(retry_after),
            status: Some(status.to_owned()),
            checks: Some(checks),
        };
        Ready::Unavailable(Json(body), retry_after)
    }

    /// Get the verification keys
    ///
    /// Every key that access tokens are signed with, by `kid`. Keep them as `Cache-Control` says, and fetch them again
    /// when a token names an unknown one.
    #[oai(path = "/.well-known/jwks.json", method = "get", operation_id = "get_jwks")]
    async fn jwks(&self) -> Result<Keyring, Failure<Publish>> {
        let jwks =
            serde_json::to_value(self.keys.current().jwks()).map_err(|error| Error::Internal(error.to_string()))?;
        let jwks = JsonWebKeySet::parse_from_json(Some(jwks)).map_err(|error| Error::Internal(error.into_message()))?;
        Ok(Keyring::Ok(Json(jwks), "public, max-age=300".to_owned()))
    }

    /// Get the metadata (OpenID Connect Discovery)
    ///
    /// From which a resource server finds issuer and keys: most JWT middleware needs nothing but the issuer's address.
    #[oai(path = "/.well-known/openid-configuration", method = "get", operation_id = "get_openid_configuration")]
    async fn openid_configuration(&self) -> Result<Described, Failure<Publish>> {
        Ok(Described::Ok(Json(self.metadata())))
    }

    /// Get the metadata (RFC 8414)
    ///
    /// The same as `get_openid_configuration`, under the name of OAuth.
    #[oai(
        path = "/.well-known/oauth-authorization-server",
        method = "get",
        operation_id = "get_authorization_server_metadata"
    )]
    async fn oauth_authorization_server(&self) -> Result<Described, Failure<Publish>> {
        Ok(Described::Ok(Json(self.metadata())))
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
