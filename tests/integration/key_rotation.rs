//! New signing keys: an instance signs with one only when the others know it.

use std::fs;

use phonepass::auth::algorithm::Algorithm;
use serde_json::json;

use crate::{
    keys::{RELOAD, generate_aged, jwks, kid, kids},
    support::{
        MOBILE, TestApp, Tokens,
        backends::{Backends, Stores},
        on_every_backend,
        process::until,
    },
};

const SECRET: &str = "--secret-key=c2hhcmVkIHNlY3JldCBzaGFyZWQgc2VjcmV0IDMyYiE=";

/// How far ahead of time a new file is, so that a slow test does not let it grow old; in seconds.
const AHEAD: i64 = 40;

/// How far a clock moves until a new file begins to sign; in seconds. No further than other clocks put up with.
const STEP: i64 = AHEAD + 10;

/// Signs a token on one instance, and fails unless it verifies on the other; returns its `kid`.
async fn sign(signer: &TestApp, verifier: &TestApp, tokens: &mut Tokens) -> String {
    *tokens = Tokens::of(&signer.refresh(&tokens.refresh).await.expect(201));
    verifier.user(&tokens.access).await.expect(200);
    kid(&tokens.access)
}

on_every_backend! {
    async fn at_each_moment_of_a_rotation_each_instance_verifies_what_the_other_signs(backends: Backends) {
        let stores = Stores::create(backends).await;
        let folder = stores.folder.path().join("keys");
        let one = TestApp::start_on(stores.clone(), &[SECRET, "--jwt-issuer=https://id.example.com"]).await;
        let other = TestApp::start_on(stores, &[SECRET, "--jwt-issuer=https://id.example.com"]).await;
        let mut tokens = one.sign_in(MOBILE).await;
        let derived = sign(&one, &other, &mut tokens).await;

        let first = generate_aged(Algorithm::Es256, &folder, 0, -AHEAD);
        // Only one of them has looked at the folder.
        one.app.keys.reload();
        assert_eq!(jwks(&one).await.len(), 2);
        assert_eq!(sign(&one, &other, &mut tokens).await, derived);
        assert_eq!(sign(&other, &one, &mut tokens).await, derived);
        other.app.keys.reload();
        assert_eq!(sign(&one, &other, &mut tokens).await, derived);

        one.clock.advance(chrono::Duration::seconds(STEP));
        one.app.keys.reload();
        assert_eq!(sign(&one, &other, &mut tokens).await, first);
        assert_eq!(sign(&other, &one, &mut tokens).await, derived);
        other.clock.advance(chrono::Duration::seconds(STEP));
        other.app.keys.reload();
        assert_eq!(sign(&other, &one, &mut tokens).await, first);

        // The next one: until it is old enough, the former file signs, and without that the derived key.
        let second = generate_aged(Algorithm::Es256, &folder, 1, -STEP - AHEAD);
        let of_another_kind = generate_aged(Algorithm::EdDsa, &folder, 2, 3600);
        assert!(first < second && second < of_another_kind);
        one.app.keys.reload();
        assert_eq!(jwks(&one).await.len(), 4);
        let metadata = one.get("/.well-known/openid-configuration").await.expect(200);
        assert_eq!(metadata["id_token_signing_alg_values_supported"], json!(["ES256"]));
        assert_eq!(sign(&one, &other, &mut tokens).await, first);
        assert_eq!(sign(&other, &one, &mut tokens).await, first);
        other.app.keys.reload();
        fs::remove_file(folder.join(format!("{first}.pem"))).unwrap();
        one.app.keys.reload();
        other.app.keys.reload();
        assert_eq!(sign(&one, &other, &mut tokens).await, derived);
        for app in [&one, &other] {
            app.clock.advance(chrono::Duration::seconds(STEP));
            app.app.keys.reload();
        }
        assert_eq!(sign(&one, &other, &mut tokens).await, second);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_begins_to_sign_by_itself_when_it_is_old_enough() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let mut tokens = app.sign_in(MOBILE).await;
    let new = generate_aged(Algorithm::Es256, &app.stores.folder.path().join("keys"), 0, -AHEAD);
    until("the key is published", RELOAD, async || kids(&app).await.contains(&new)).await;
    app.clock.advance(chrono::Duration::seconds(STEP));
    until("the key signs", RELOAD, async || sign(&app, &app, &mut tokens).await == new).await;
}

/// The key that signs after a start with such files: how old each is in seconds, the greatest stem last. `None` is the
/// derived key.
async fn expect_signs(algorithm: Algorithm, ages: &[i64], expected: Option<usize>) {
    let stores = Stores::create(Backends::SQLITE_AND_IN_PROCESS).await;
    let folder = stores.folder.path().join("keys");
    let files = ages.iter().zip(0..).map(|(age, place)| generate_aged(algorithm, &folder, place, *age));
    let files: Vec<_> = files.collect();
    for start in ["first", "second"] {
        let app = TestApp::start_on(stores.clone(), &[&format!("--jwt-alg={algorithm}")]).await;
        let tokens = app.sign_in(if start == "first" { MOBILE } else { "13900139000" }).await;
        let kid = kid(&tokens.access);
        assert_eq!(files.iter().position(|file| *file == kid), expected, "{algorithm} {ages:?}, {start} start");
        app.user(&tokens.access).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_that_signs_depends_on_the_files_and_not_on_when_the_service_started() {
    const OLD: i64 = 1000;
    const NEW: i64 = -1000;
    expect_signs(Algorithm::Es256, &[NEW], None).await;
    expect_signs(Algorithm::Es256, &[OLD, NEW], Some(0)).await;
    expect_signs(Algorithm::Es256, &[OLD, OLD, NEW, NEW], Some(1)).await;
    expect_signs(Algorithm::EdDsa, &[NEW, OLD], Some(1)).await;
    // No key is derived for RS256: what is there has to sign.
    expect_signs(Algorithm::Rs256, &[NEW], Some(0)).await;
    expect_signs(Algorithm::Rs256, &[NEW, 2 * NEW], Some(0)).await;
    expect_signs(Algorithm::Rs256, &[2 * NEW, NEW], Some(1)).await;
    expect_signs(Algorithm::Rs256, &[OLD, NEW], Some(0)).await;
}
