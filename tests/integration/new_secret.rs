//! Does `--accept-new-secret` end every session that there is, and none that begins later?

use std::{
    fs::File,
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use phonepass::{
    auth::{algorithm::Algorithm, keys, master_key::MasterKey},
    clock::Clock,
};
use reqwest::Method;

use crate::support::{
    MOBILE, TestApp,
    backends::{Backends, Stores},
    command::run,
    expect_ended, expect_goes_on, on_every_backend,
    process::until,
};

const ISSUER: &str = "--jwt-issuer=https://id.example";
const NO_GAP: &str = "--sms-resend-seconds=0";
const SESSIONS: &str = "/app/v1_0/user/sessions";
const ACCEPT: &str = "--accept-new-secret";

fn new_secret() -> String {
    format!("--secret-key={}", MasterKey::generate())
}

/// Stores whose instances all sign with one key from a file, old enough to be known everywhere.
async fn stores_with_a_key(backends: Backends) -> Stores {
    let stores = Stores::create(backends).await;
    let key = keys::generate(Algorithm::Es256, &stores.folder.path().join("keys"), Clock::system().now()).unwrap();
    let an_hour_ago = SystemTime::from(Clock::system().now()) - Duration::from_secs(3600);
    File::options().write(true).open(key).unwrap().set_modified(an_hour_ago).unwrap();
    stores
}

on_every_backend! {
    async fn a_new_secret_ends_sessions_whose_tokens_a_file_signed(backends: Backends) {
        let former = [ISSUER, NO_GAP, &new_secret()];
        let app = TestApp::start_on(stores_with_a_key(backends).await, &former).await;
        let (first, second) = (app.sign_in(MOBILE).await, app.sign_in(MOBILE).await);
        expect_goes_on(&app, &first).await;

        let renewed = TestApp::start_on(app.stores.clone(), &[ISSUER, NO_GAP, &new_secret(), ACCEPT]).await;
        for tokens in [&first, &second] {
            renewed.user(&tokens.access).await.expect_error(401, "session_revoked");
            app.refresh(&tokens.refresh).await.expect_error(401, "session_revoked");
        }
        let refused = async || app.user(&first.access).await.status == 401;
        until("an instance that runs learns of it", Duration::from_secs(10), refused).await;
        expect_ended(&app, &first).await;
        expect_ended(&app, &second).await;

        assert_eq!(app.stores.count("sessions WHERE revoked_at IS NOT NULL").await, 0, "written one by one");

        let new = renewed.sign_in(MOBILE).await;
        expect_goes_on(&renewed, &new).await;
        app.user(&new.access).await.expect(200);
        let list = renewed.get_as(SESSIONS, &new.access).await.expect(200);
        let list: Vec<_> = list["data"]["sessions"].as_array().unwrap().iter().map(|session| &session["id"]).collect();
        assert_eq!(list, [&new.session_id()]);
        let ended = renewed.request(Method::DELETE, &format!("{SESSIONS}/{}", first.session_id()));
        renewed.send(ended.bearer_auth(&new.access)).await.expect_error(404, "not_found");
        let shown = run(&app.stores, &["users", "show", MOBILE], "").await;
        assert!(shown.expect_success().ends_with("sessions      1\n"), "{shown:?}");
        let signed_out = run(&app.stores, &["users", "sign-out", "--yes", MOBILE], "").await;
        assert!(signed_out.expect_success().ends_with("Sessions ended: 1.\n"), "{signed_out:?}");
    }
}

on_every_backend! {
    async fn a_session_that_begins_when_the_others_end_goes_on_whatever_the_clocks_say(backends: Backends) {
        let (former, renewed) = (new_secret(), new_secret());
        let app = TestApp::start_with(backends, &[ISSUER, &former]).await;
        let old = app.sign_in(MOBILE).await;
        let ahead = Clock::movable();
        ahead.advance(chrono::Duration::seconds(25));
        TestApp::start_at(ahead, app.stores.clone(), &[ISSUER, &renewed, ACCEPT]).await;
        app.refresh(&old.refresh).await.expect_error(401, "session_revoked");

        // For an instance with a clock that is right, all sessions end in 25 seconds.
        let app = TestApp::start_on(app.stores.clone(), &[ISSUER, NO_GAP, &renewed]).await;
        for _ in 0..3 {
            let tokens = app.sign_in(MOBILE).await;
            expect_goes_on(&app, &tokens).await;
        }
    }
}

on_every_backend! {
    async fn of_instances_that_start_together_one_takes_the_new_secret_and_none_ends_a_new_session(backends: Backends) {
        let app = TestApp::start_with(backends, &[ISSUER, &new_secret()]).await;
        let old = app.sign_in(MOBILE).await;
        let flags = [ISSUER, &new_secret(), ACCEPT];
        let starts = ["13900139000", "13900139001", "13900139002", "13900139003"].map(async |mobile| {
            let started = TestApp::start_on(app.stores.clone(), &flags).await;
            let tokens = started.sign_in(mobile).await;
            (started, tokens)
        });
        for (started, tokens) in join_all(starts).await {
            expect_goes_on(&started, &tokens).await;
        }
        app.refresh(&old.refresh).await.expect_error(401, "session_revoked");
    }
}
