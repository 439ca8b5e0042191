//! Is an access token believed exactly when it should be?

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, jwk::JwkSet};
use serde_json::{Value, json};

use crate::support::{MOBILE, TestApp, Tokens, backends::Backends};

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn encode(json: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(json)
}

/// A service whose HS256 key the test knows, so that it can sign what the service never would.
struct Forger {
    app: TestApp,
    key: EncodingKey,
    header: Value,
    claims: Value,
}

impl Forger {
    async fn start() -> Self {
        let secret = phonepass::auth::master_key::MasterKey::generate();
        let master = phonepass::auth::master_key::MasterKey::from_base64(&secret).unwrap();
        let flags = ["--jwt-alg=HS256".to_owned(), format!("--secret-key={secret}")];
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await;
        let Tokens { access, .. } = app.sign_in(MOBILE).await;
        let key = EncodingKey::from_secret(&master.derive("jwt-hs256"));
        Self { header: part(&access, 0), claims: part(&access, 1), app, key }
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    }

    /// A token with one claim changed, or taken away by `null`.
    fn with_claim(&self, name: &str, value: Value) -> String {
        let mut claims = self.claims.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value;
        }
        self.sign(&self.header.to_string(), &claims.to_string())
    }

    fn with_header(&self, name: &str, value: Value) -> String {
        let mut header = self.header.clone();
        if value.is_null() {
            header.as_object_mut().unwrap().remove(name);
        } else {
            header[name] = value;
        }
        self.sign(&header.to_string(), &self.claims.to_string())
    }
}

#[tokio::test]
async fn an_access_token_has_the_claims_of_rfc_9068() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let code = app.code(MOBILE).await;
    let body = app.sign_in_with(MOBILE, &code).await.expect(201);
    let token = Tokens::of(&body).access;
    let header = part(&token, 0);
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("ES256")));
    assert!(header["kid"].is_string());
    let claims = part(&token, 1);
    assert_eq!(claims["iss"], app.url);
    assert_eq!(claims["aud"], "phonepass");
    assert_eq!(claims["client_id"], "phonepass");
    assert_eq!(claims["amr"], json!(["sms"]));
    assert_eq!(claims["sub"], body["data"]["user_id"]);
    assert_eq!(claims["user_id"], claims["sub"]);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    for id in ["sub", "jti", "sid"] {
        let id: uuid::Uuid = claims[id].as_str().unwrap().parse().unwrap();
        assert_eq!(id.get_version_num(), 7);
    }
}

#[tokio::test]
async fn a_stock_jwt_library_verifies_a_token_through_the_metadata() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let token = app.sign_in(MOBILE).await.access;
    for metadata in ["openid-configuration", "oauth-authorization-server"] {
        let metadata = app.get(&format!("/.well-known/{metadata}")).await.expect(200);
        let issuer = metadata["issuer"].as_str().unwrap();
        let jwks = metadata["jwks_uri"].as_str().unwrap().strip_prefix(&app.url).unwrap().to_owned();
        let answer = app.get(&jwks).await;
        assert!(answer.header("cache-control").contains("max-age"));
        let jwks: JwkSet = serde_json::from_value(answer.expect(200)).unwrap();
        let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&["phonepass"]);
        let key = DecodingKey::from_jwk(jwks.find(&kid).unwrap()).unwrap();
        jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
    }
}

#[tokio::test]
async fn no_token_and_no_token_of_ours_are_refused() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let Tokens { access, refresh } = app.sign_in(MOBILE).await;
    let answer = app.get("/app/v1_0/user").await;
    answer.expect_error(401, "token_invalid");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    let (message, signature) = access.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let mut tampered = part(&access, 1);
    tampered["user_id"] = json!("someone else");
    let none = encode(&json!({ "typ": "at+jwt", "alg": "none", "kid": part(&access, 0)["kid"] }).to_string());
    let forgeries = [
        refresh,
        "undefined".to_owned(),
        "a.b.c".to_owned(),
        message.to_owned(),
        format!("{message}."),
        format!("{header}.{}.{signature}", encode(&tampered.to_string())),
        format!("{none}.{claims}."),
        format!("{access}="),
        format!("{access}.{signature}"),
        "x".repeat(6000),
    ];
    for forgery in &forgeries {
        app.user(forgery).await.expect_error(401, "token_invalid");
    }
    let basic = app.request(reqwest::Method::GET, "/app/v1_0/user").header("authorization", format!("Basic {access}"));
    app.send(basic).await.expect_error(401, "token_invalid");
    app.user(&access).await.expect(200);
}

#[tokio::test]
async fn a_public_key_taken_for_an_hmac_secret_signs_nothing() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let token = app.sign_in(MOBILE).await.access;
    let jwks = app.get("/.well-known/jwks.json").await.expect(200);
    let key = &jwks["keys"][0];
    let point: Vec<u8> = ["x", "y"]
        .iter()
        .flat_map(|part| BASE64_URL_SAFE_NO_PAD.decode(key[part].as_str().unwrap()).unwrap())
        .collect();
    for secret in [point, key.to_string().into_bytes()] {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(key["kid"].as_str().unwrap().to_owned());
        let forged = jsonwebtoken::encode(&header, &part(&token, 1), &EncodingKey::from_secret(&secret)).unwrap();
        app.user(&forged).await.expect_error(401, "token_invalid");
    }
}

#[tokio::test]
async fn a_token_expires_to_the_second() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let token = app.sign_in(MOBILE).await.access;
    app.advance(3598).await;
    app.user(&token).await.expect(200);
    app.advance(2).await;
    let answer = app.user(&token).await;
    answer.expect_error(401, "token_expired");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn every_claim_is_required_and_checked_although_the_signature_is_right() {
    let forger = Forger::start().await;
    forger.app.user(&forger.with_claim("extra", json!(1))).await.expect(200);
    for claim in ["iss", "sub", "aud", "iat", "exp", "jti", "sid", "client_id", "amr", "user_id"] {
        let token = forger.with_claim(claim, Value::Null);
        assert_eq!(forger.app.user(&token).await.json()["code"], "token_invalid", "without {claim}");
    }
    let now = forger.claims["iat"].as_i64().unwrap();
    let wrong = [
        ("iss", json!("https://elsewhere.example")),
        ("aud", json!("another")),
        ("aud", json!(["another"])),
        ("client_id", json!("another")),
        ("sub", json!("no uuid")),
        ("user_id", json!(uuid::Uuid::now_v7())),
        ("sid", json!("no uuid")),
        ("exp", json!("soon")),
        ("iat", json!(now + 120)),
        ("nbf", json!(now + 120)),
        ("nbf", json!("later")),
        ("amr", json!([])),
    ];
    for (claim, value) in wrong {
        let token = forger.with_claim(claim, value.clone());
        assert_eq!(forger.app.user(&token).await.json()["code"], "token_invalid", "{claim} {value}");
    }
    forger.app.user(&forger.with_claim("exp", json!(now - 1))).await.expect_error(401, "token_expired");
    forger.app.user(&forger.with_claim("nbf", json!(now + 30))).await.expect(200);
}

#[tokio::test]
async fn a_header_is_believed_only_where_it_must_be() {
    let forger = Forger::start().await;
    for ignored in ["jku", "x5u", "jwk", "x5c"] {
        forger.app.user(&forger.with_header(ignored, json!("https://evil.example"))).await.expect(200);
    }
    let wrong = [
        ("kid", Value::Null),
        ("kid", json!("../../etc/passwd")),
        ("kid", json!(1)),
        ("typ", Value::Null),
        ("typ", json!("JWT")),
        ("alg", json!("none")),
        ("alg", json!("ES256")),
        ("alg", json!("HS512")),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
    ];
    for (name, value) in wrong {
        let token = forger.with_header(name, value.clone());
        assert_eq!(forger.app.user(&token).await.json()["code"], "token_invalid", "{name} {value}");
    }
}

#[tokio::test]
async fn a_repeated_member_is_refused_in_header_and_claims() {
    let forger = Forger::start().await;
    let (header, claims) = (forger.header.to_string(), forger.claims.to_string());
    let twice = |json: &str, member: &str| format!("{{{member},{}", &json[1..]);
    forger.app.user(&forger.sign(&header, &claims)).await.expect(200);
    let tokens = [
        forger.sign(&twice(&header, "\"alg\":\"HS256\""), &claims),
        forger.sign(&header, &twice(&claims, "\"aud\":\"phonepass\"")),
        forger.sign(&header, &twice(&twice(&claims, "\"x\":1"), "\"x\":1")),
    ];
    for token in &tokens {
        forger.app.user(token).await.expect_error(401, "token_invalid");
    }
}
