//! Which keys sign and verify, where do they come from, and what happens when they change?

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::Path,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, Validation, jwk::Jwk};
use phonepass::{
    auth::{algorithm::Algorithm, keys},
    clock::Clock,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{
    MOBILE, TestApp, Tokens,
    backends::{Backends, Stores},
    process::until,
};

const ISSUER: &str = "--jwt-issuer=https://id.example.com";

/// How long an instance may take to notice a change in its folder of keys.
pub const RELOAD: Duration = Duration::from_secs(5);

pub async fn jwks(app: &TestApp) -> Vec<Value> {
    app.get("/.well-known/jwks.json").await.expect(200)["keys"].as_array().unwrap().clone()
}

/// The `kid` of every published key, sorted.
pub async fn kids(app: &TestApp) -> Vec<String> {
    let mut kids: Vec<_> = jwks(app).await.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect();
    kids.sort();
    kids
}

fn header(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap()
}

pub fn kid(token: &str) -> String {
    header(token)["kid"].as_str().unwrap().to_owned()
}

/// Makes a key as the command does, some seconds from now, whose file is an hour old; returns its `kid`.
fn generate(algorithm: Algorithm, folder: &Path, seconds: i64) -> String {
    generate_aged(algorithm, folder, seconds, 3600)
}

/// The same, with a file of this age in seconds; below 0 it is from the future.
pub fn generate_aged(algorithm: Algorithm, folder: &Path, seconds: i64, age: i64) -> String {
    let now = Clock::system().now();
    let aside = tempfile::tempdir().unwrap();
    let path = keys::generate(algorithm, aside.path(), now + chrono::Duration::seconds(seconds)).unwrap();
    let modified = now - chrono::Duration::seconds(age);
    File::options().write(true).open(&path).unwrap().set_modified(modified.into()).unwrap();
    // In one step, so that a service that looks meanwhile sees no other time.
    fs::create_dir_all(folder).unwrap();
    fs::rename(&path, folder.join(path.file_name().unwrap())).unwrap();
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// RFC 7638: SHA-256 over the members that make the key, sorted, without white space.
fn thumbprint(key: &Value, members: &[&str]) -> String {
    let members: Vec<_> = members.iter().map(|name| format!("\"{name}\":{}", key[name])).collect();
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{{{}}}", members.join(","))))
}

/// What a resource server does with a token: the key from the JWKS, the rest by its stock library.
fn verify_with(key: &Value, token: &str) -> Value {
    let key: Jwk = serde_json::from_value(key.clone()).unwrap();
    let mut validation = Validation::new(jsonwebtoken::decode_header(token).unwrap().alg);
    validation.set_audience(&["phonepass"]);
    validation.set_issuer(&["https://id.example.com"]);
    jsonwebtoken::decode(token, &DecodingKey::from_jwk(&key).unwrap(), &validation).unwrap().claims
}

#[test]
fn the_test_computes_the_thumbprint_of_rfc_7638() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3ok\
             njhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu\
             6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8a\
             wapJzKnqDKgw";
    let key = json!({ "kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29" });
    assert_eq!(thumbprint(&key, &["e", "kty", "n"]), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[tokio::test]
async fn a_derived_key_is_published_under_its_thumbprint_and_verifies_tokens() {
    let cases = [
        ("ES256", json!({ "kty": "EC", "crv": "P-256" }), ["crv", "kty", "x", "y"].as_slice()),
        ("EdDSA", json!({ "kty": "OKP", "crv": "Ed25519" }), ["crv", "kty", "x"].as_slice()),
    ];
    for (algorithm, kind, members) in cases {
        let flags = [&format!("--jwt-alg={algorithm}"), ISSUER];
        let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await;
        let tokens = app.sign_in(MOBILE).await;
        app.user(&tokens.access).await.expect(200);

        let keys = jwks(&app).await;
        let [key] = keys.as_slice() else { panic!("{keys:?}") };
        for (name, value) in kind.as_object().unwrap() {
            assert_eq!(key[name], *value);
        }
        assert_eq!((&key["alg"], &key["use"]), (&json!(algorithm), &json!("sig")));
        assert!(key.get("d").is_none(), "a private key is published");
        assert_eq!(key["kid"], thumbprint(key, members));
        let header = header(&tokens.access);
        assert_eq!(header, json!({ "typ": "at+jwt", "alg": algorithm, "kid": key["kid"] }));
        verify_with(key, &tokens.access);
    }
}

#[tokio::test]
async fn an_rs256_key_comes_from_a_file() {
    let stores = Stores::create(Backends::SQLITE_AND_IN_PROCESS).await;
    let kid = generate(Algorithm::Rs256, &stores.folder.path().join("keys"), 0);
    let app = TestApp::start_on(stores, &["--jwt-alg=RS256", ISSUER]).await;
    let tokens = app.sign_in(MOBILE).await;
    app.user(&tokens.access).await.expect(200);

    let keys = jwks(&app).await;
    let [key] = keys.as_slice() else { panic!("{keys:?}") };
    assert_eq!((&key["kty"], &key["alg"], &key["use"]), (&json!("RSA"), &json!("RS256"), &json!("sig")));
    assert_eq!((&key["kid"], &key["e"]), (&json!(kid), &json!("AQAB")));
    let modulus = URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap();
    assert!(modulus.len() >= 2048 / 8);
    for private in ["d", "p", "q", "dp", "dq", "qi"] {
        assert!(key.get(private).is_none(), "a private key is published");
    }
    assert_eq!(header(&tokens.access), json!({ "typ": "at+jwt", "alg": "RS256", "kid": kid }));
    verify_with(key, &tokens.access);
}

#[tokio::test]
async fn an_hs256_key_signs_and_is_never_published() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--jwt-alg=HS256"]).await;
    let tokens = app.sign_in(MOBILE).await;
    app.user(&tokens.access).await.expect(200);
    assert_eq!(header(&tokens.access)["alg"], "HS256");
    assert_eq!(app.get("/.well-known/jwks.json").await.expect(200), json!({ "keys": [] }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_share_the_secret_accept_each_others_tokens() {
    let secret = "--secret-key=c2hhcmVkIHNlY3JldCBzaGFyZWQgc2VjcmV0IDMyYiE=";
    for algorithm in ["--jwt-alg=ES256", "--jwt-alg=EdDSA", "--jwt-alg=HS256"] {
        let stores = Stores::create(Backends::POSTGRESQL_AND_REDIS).await;
        let flags = [secret, algorithm, ISSUER];
        let one = TestApp::start_on(stores.clone(), &flags).await;
        let other = TestApp::start_on(stores, &flags).await;
        let stranger = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[algorithm, ISSUER]).await;
        assert_eq!(jwks(&one).await, jwks(&other).await);

        let tokens = one.sign_in(MOBILE).await;
        other.user(&tokens.access).await.expect(200);
        stranger.user(&tokens.access).await.expect_error(401, "token_invalid");
        stranger.refresh(&tokens.refresh).await.expect_error(401, "refresh_token_invalid");
        let tokens = Tokens::of(&other.refresh(&tokens.refresh).await.expect(201));
        one.user(&tokens.access).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_takes_over_while_it_is_there() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let folder = app.stores.folder.path().join("keys");
    let old = app.sign_in(MOBILE).await;
    let derived = kid(&old.access);
    assert_eq!(kids(&app).await, [derived.as_str()]);

    let from_file = generate(Algorithm::Es256, &folder, 0);
    let mut both = [derived.clone(), from_file.clone()];
    both.sort();
    until("both keys are published", RELOAD, async || kids(&app).await == both).await;
    let new = Tokens::of(&app.refresh(&old.refresh).await.expect(201));
    assert_eq!(kid(&new.access), from_file);
    app.user(&new.access).await.expect(200);
    app.user(&old.access).await.expect(200);

    fs::remove_file(folder.join(format!("{from_file}.pem"))).unwrap();
    until("the file's key is gone", RELOAD, async || kids(&app).await == [derived.as_str()]).await;
    app.user(&new.access).await.expect_error(401, "token_invalid");
    let last = Tokens::of(&app.refresh(&new.refresh).await.expect(201));
    assert_eq!(kid(&last.access), derived);
    app.user(&last.access).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_file_of_the_algorithm_signs_and_every_other_verifies() {
    let stores = Stores::create(Backends::SQLITE_AND_IN_PROCESS).await;
    let folder = stores.folder.path().join("keys");
    let first = generate(Algorithm::Es256, &folder, 0);
    let app = TestApp::start_on(stores, &[]).await;
    let old = app.sign_in(MOBILE).await;
    assert_eq!(kid(&old.access), first);

    let second = generate(Algorithm::Es256, &folder, 1);
    let of_another_kind = generate(Algorithm::EdDsa, &folder, 2);
    assert!(first < second && second < of_another_kind);
    until("the new keys are published", RELOAD, async || kids(&app).await.contains(&of_another_kind)).await;
    assert_eq!(jwks(&app).await.len(), 4);
    let new = Tokens::of(&app.refresh(&old.refresh).await.expect(201));
    assert_eq!(kid(&new.access), second);
    app.user(&old.access).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_that_appears_later_is_left_out() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let folder = app.stores.folder.path().join("keys");
    let old = app.sign_in(MOBILE).await;

    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("zzz.pem"), "-----BEGIN PRIVATE KEY-----\nbm8ga2V5\n-----END PRIVATE KEY-----\n").unwrap();
    fs::write(folder.join("zzzz.pem"), "").unwrap();
    // The good file shows when the folder was read again.
    let good = generate(Algorithm::Es256, &folder, 0);
    until("the good key is published", RELOAD, async || kids(&app).await.contains(&good)).await;
    assert_eq!(jwks(&app).await.len(), 2);
    let new = Tokens::of(&app.refresh(&old.refresh).await.expect(201));
    assert_eq!(kid(&new.access), good);
    app.user(&new.access).await.expect(200);
    app.user(&old.access).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_nowhere_keeps_no_other_file_out() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let folder = app.stores.folder.path().join("keys");
    fs::create_dir_all(&folder).unwrap();
    symlink("nowhere", folder.join("zzz.pem")).unwrap();
    let good = generate(Algorithm::Es256, &folder, 0);
    until("the good key is published", RELOAD, async || kids(&app).await.contains(&good)).await;
}
