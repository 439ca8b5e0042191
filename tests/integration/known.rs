//! Known and stranger: who gets how much of a number's messages.

use std::time::Duration;

use phonepass::auth::master_key::MasterKey;
use reqwest::Method;
use serde_json::json;

use crate::support::{
    MOBILE, PASSWORD, TestApp, Tokens,
    backends::Backends,
    command::run,
    on_every_backend,
    process::until,
    senders::{DAY, HERE, HOUR, MANY_MESSAGES, OTHER, PHONE, PROXY, Sender, THERE, at, stranger},
    servers::Server,
};

/// Sends messages to the number until strangers get none any more; the day before does not count.
async fn use_up_what_strangers_have(app: &TestApp) {
    app.advance(DAY).await;
    for n in 0..6 {
        let ip = stranger(n);
        at(&ip).ask(app, MOBILE).await.expect(200);
    }
    at(&stranger(6)).ask(app, MOBILE).await.expect_error(429, "sms_quota_exceeded");
}

/// Fails unless a sender gets messages after strangers have used up theirs.
async fn expect_known(app: &TestApp, sender: Sender<'_>) {
    use_up_what_strangers_have(app).await;
    sender.ask(app, MOBILE).await.expect(200);
}

/// Fails unless a sender is refused as any stranger is.
async fn expect_stranger(app: &TestApp, sender: Sender<'_>) {
    use_up_what_strangers_have(app).await;
    sender.ask(app, MOBILE).await.expect_error(429, "sms_quota_exceeded");
}

on_every_backend! {
    async fn strangers_networks_and_devices_have_shares_of_the_messages_to_a_number(backends: Backends) {
        let app = TestApp::start_with(backends, &MANY_MESSAGES).await;
        let owner = at(HERE).on(PHONE);
        owner.sign_in(&app, MOBILE).await;
        use_up_what_strangers_have(&app).await;
        // Behind the owner's address: two more.
        for _ in 0..2 {
            at(HERE).ask(&app, MOBILE).await.expect(200);
        }
        at(HERE).ask(&app, MOBILE).await.expect_error(429, "sms_quota_exceeded");
        // The owner's phone, wherever it is: the last two.
        for _ in 0..2 {
            at(THERE).on(PHONE).ask(&app, MOBILE).await.expect(200);
        }
        at(THERE).on(PHONE).ask(&app, MOBILE).await.expect_error(429, "sms_quota_exceeded");
    }
}

on_every_backend! {
    async fn a_number_without_an_account_gets_all_its_messages_whoever_asks(backends: Backends) {
        let app = TestApp::start_with(backends, &MANY_MESSAGES).await;
        for n in 0..10 {
            let ip = stranger(n);
            at(&ip).ask(&app, MOBILE).await.expect(200);
        }
        at(HERE).ask(&app, MOBILE).await.expect_error(429, "sms_quota_exceeded");
        // Codes for a reset must not tell that it has none.
        app.advance(DAY).await;
        for n in 0..6 {
            let ip = stranger(n);
            at(&ip).ask_for(&app, "reset_password", MOBILE).await.expect(200);
        }
        at(HERE).ask_for(&app, "reset_password", MOBILE).await.expect_error(429, "sms_quota_exceeded");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_is_not_looked_up_until_a_limit_refuses() {
    let mut postgresql = Server::postgresql().await;
    let flags = [PROXY, "--sms-per-ip-per-hour=2", "--sms-resend-seconds=0", &postgresql.flag()];
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await;
    at(THERE).on(PHONE).sign_in(&app, MOBILE).await;
    // Without a database, nothing can be looked up.
    postgresql.stop();
    for _ in 0..2 {
        at(HERE).on(PHONE).ask(&app, MOBILE).await.expect(200);
    }
    at(HERE).on(PHONE).ask(&app, MOBILE).await.expect_error(503, "unavailable");
    postgresql.start().await;
    until("the database is found again", Duration::from_secs(10), async || {
        at(HERE).on(PHONE).ask(&app, MOBILE).await.status == 200
    })
    .await;
    at(HERE).ask(&app, "13900139000").await.expect_error(429, "too_many_requests");
}

on_every_backend! {
    async fn after_a_new_secret_all_are_strangers(backends: Backends) {
        let flags = [&MANY_MESSAGES[..], &["--jwt-issuer=https://id.example"]].concat();
        let app = TestApp::start_with(backends, &flags).await;
        at(HERE).on(PHONE).sign_in(&app, MOBILE).await;
        let secret = format!("--secret-key={}", MasterKey::generate());
        let renewed = [&flags[..], &[secret.as_str(), "--accept-new-secret"]].concat();
        let app = TestApp::start_at(app.clock.clone(), app.stores.clone(), &renewed).await;
        expect_stranger(&app, at(HERE)).await;
        at(HERE).on(PHONE).ask(&app, MOBILE).await.expect_error(429, "sms_quota_exceeded");
    }
}

on_every_backend! {
    async fn an_ipv6_network_is_known_as_a_whole_and_its_neighbour_is_not(backends: Backends) {
        let app = TestApp::start_with(backends, &MANY_MESSAGES).await;
        at("2001:db8:1:2::1").sign_in(&app, MOBILE).await;
        use_up_what_strangers_have(&app).await;
        at("2001:db8:1:3::1").ask(&app, MOBILE).await.expect_error(429, "sms_quota_exceeded");
        at("2001:db8:1:2:ffff::9").ask(&app, MOBILE).await.expect(200);
    }
}

on_every_backend! {
    async fn another_device_and_another_account_make_nobody_known(backends: Backends) {
        let app = TestApp::start_with(backends, &MANY_MESSAGES).await;
        at(HERE).on(PHONE).sign_in(&app, MOBILE).await;
        // The same phone knows another account.
        at(HERE).on(PHONE).sign_in(&app, "13900139000").await;
        let other = at(THERE).sign_in(&app, "13700137000").await;
        expect_stranger(&app, at(THERE).on("another-device-id-of-some-length")).await;
        let request = app.request(Method::POST, "/app/v1_0/sms/codes").header("x-forwarded-for", THERE);
        let request = request.bearer_auth(&other.access).json(&json!({ "mobile": MOBILE }));
        app.send(request).await.expect_error(429, "sms_quota_exceeded");
        at(THERE).on(PHONE).ask(&app, MOBILE).await.expect(200);
    }
}

on_every_backend! {
    async fn an_access_token_of_the_account_makes_its_bearer_known(backends: Backends) {
        let app = TestApp::start_with(backends, &[&MANY_MESSAGES[..], &["--access-token-ttl=1000000"]].concat()).await;
        let tokens = at(HERE).sign_in(&app, MOBILE).await;
        use_up_what_strangers_have(&app).await;
        let ask = async |token: &str| {
            let request = app.request(Method::POST, "/app/v1_0/sms/codes").header("x-forwarded-for", THERE);
            app.send(request.bearer_auth(token).json(&json!({ "mobile": MOBILE }))).await
        };
        ask("not.a.token").await.expect_error(429, "sms_quota_exceeded");
        // As much as a device gets.
        for _ in 0..4 {
            ask(&tokens.access).await.expect(200);
        }
        ask(&tokens.access).await.expect_error(429, "sms_quota_exceeded");
        app.sign_out(&tokens.access).await.expect(204);
        app.advance(DAY).await;
        use_up_what_strangers_have(&app).await;
        ask(&tokens.access).await.expect_error(429, "sms_quota_exceeded");
    }
}

on_every_backend! {
    async fn an_access_token_shows_the_owner_in_the_classic_families_too(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--verify-per-mobile-per-hour=2"]).await;
        let tokens = Tokens::of(&app.register(MOBILE, PASSWORD).await.expect_errno(0));
        for (path, ip) in [("/api/v1.0/sessions", THERE), ("/passport/login", "203.0.113.9")] {
            let sign_in = async |header: &str, value: &str, password: &str| {
                let request = app.request(Method::POST, path).header("x-forwarded-for", ip).header(header, value);
                app.send(request.json(&json!({ "mobile": MOBILE, "password": password }))).await
            };
            for _ in 0..2 {
                sign_in("x-nothing", "-", "a wrong secret").await.expect_errno(4106);
            }
            for (header, value) in [("x-nothing", "-"), ("authorization", "Bearer not.a.token")] {
                sign_in(header, value, PASSWORD).await.expect_errno(4201);
            }
            let (bearer, cookie) =
                (format!("Bearer {}", tokens.access), format!("phonepass_session={}", tokens.access));
            for (header, value) in [("authorization", &bearer), ("cookie", &cookie)] {
                sign_in(header, value, PASSWORD).await.expect_errno(0);
            }
        }
    }
}

#[tokio::test]
async fn the_owners_device_signs_in_from_a_network_that_has_no_place_left_in_the_process() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[PROXY]).await;
    app.register(MOBILE, PASSWORD).await.expect_errno(0);
    at(HERE).on(PHONE).try_password(&app, MOBILE, PASSWORD).await.expect(201);
    app.advance(HOUR).await;
    for n in 0..1000 {
        assert!(app.app.codes.take_once(&n.to_string(), THERE, Duration::from_secs(HOUR)).await.unwrap());
    }
    at(THERE).try_password(&app, MOBILE, PASSWORD).await.expect_error(429, "too_many_requests");
    at(THERE).on(PHONE).try_password(&app, MOBILE, PASSWORD).await.expect(201);
    // The code was asked for on the phone, and is presented by it.
    at(HERE).on(PHONE).ask(&app, MOBILE).await.expect(200);
    at(THERE).on(PHONE).try_code(&app, MOBILE, &app.last_code(MOBILE)).await.expect(201);
}

#[tokio::test]
async fn users_known_by_access_token_alone_have_places_of_their_own_in_the_process() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[PROXY, "--access-token-ttl=1000000"]).await;
    let (owner, other) = (at(HERE).sign_in(&app, MOBILE).await, at(HERE).sign_in(&app, OTHER).await);
    app.advance(HOUR).await;
    let fill = async |share: &str| {
        for n in 0..1000 {
            let key = format!("{share} {n}");
            assert!(app.app.codes.take_once(&key, share, Duration::from_secs(DAY)).await.unwrap());
        }
    };
    let ask = async |mobile: &str, token: &str| {
        let request = app.request(Method::POST, "/app/v1_0/sms/codes").header("x-forwarded-for", THERE);
        app.send(request.bearer_auth(token).json(&json!({ "mobile": mobile }))).await
    };
    fill(THERE).await;
    ask(MOBILE, "not.a.token").await.expect_error(429, "too_many_requests");
    ask(MOBILE, &owner.access).await.expect(200);
    app.advance(HOUR).await;
    // All of one account's tokens have one share, which is no other account's.
    fill(&format!("token:{}", owner.claims()["sub"].as_str().unwrap())).await;
    ask(MOBILE, &owner.access).await.expect_error(429, "too_many_requests");
    ask(OTHER, &other.access).await.expect(200);
}

on_every_backend! {
    async fn signing_out_and_expiry_leave_a_device_known_for_90_days(backends: Backends) {
        let app = TestApp::start_with(backends, &MANY_MESSAGES).await;
        let tokens = at(HERE).on(PHONE).sign_in(&app, MOBILE).await;
        app.sign_out(&tokens.access).await.expect(204);
        expect_known(&app, at(THERE).on(PHONE)).await;
        app.advance(89 * DAY - DAY - 100).await;
        expect_known(&app, at(HERE)).await;
        app.advance(DAY).await;
        expect_stranger(&app, at(HERE).on(PHONE)).await;
    }
}

on_every_backend! {
    async fn a_refresh_keeps_a_device_known_and_makes_its_network_known(backends: Backends) {
        let app = TestApp::start_with(backends, &MANY_MESSAGES).await;
        let tokens = at(HERE).on(PHONE).sign_in(&app, MOBILE).await;
        app.advance(10 * DAY).await;
        let request = app.request(Method::PUT, "/app/v1_0/authorizations").header("x-forwarded-for", THERE);
        app.send(request.bearer_auth(&tokens.refresh)).await.expect(201);
        app.advance(86 * DAY).await;
        for known in [at(HERE), at(THERE), at("203.0.113.77").on(PHONE)] {
            expect_known(&app, known).await;
        }
    }
}

/// How a session ends so that its device is a stranger again.
#[derive(Clone, Copy, Debug)]
enum Ending {
    RemovedFromAnother,
    RemovedWithAllOthers,
    PasswordReset,
    PasswordChanged,
    RefreshReused,
    Disabled,
    SignedOutByAnOperator,
}

async fn end(app: &TestApp, ending: Ending, tokens: &Tokens) {
    // Another session of the owner's, somewhere else.
    let elsewhere = at("203.0.113.5").sign_in(app, MOBILE).await;
    match ending {
        Ending::RemovedFromAnother => {
            let path = format!("/app/v1_0/user/sessions/{}", tokens.session_id());
            app.send(app.request(Method::DELETE, &path).bearer_auth(&elsewhere.access)).await.expect(204);
        }
        Ending::RemovedWithAllOthers => {
            let request = app.request(Method::DELETE, "/app/v1_0/user/sessions");
            app.send(request.bearer_auth(&elsewhere.access)).await.expect(204);
        }
        Ending::PasswordReset => {
            let code = app.code_for("reset_password", MOBILE, "").await;
            at(THERE).reset(app, MOBILE, &code).await.expect(204);
        }
        Ending::PasswordChanged => {
            let code = app.code_for("reset_password", MOBILE, "").await;
            let body = json!({ "code": code, "password": PASSWORD });
            app.send_as(Method::PUT, "/app/v1_0/user/password", &elsewhere.access, body).await.expect(204);
        }
        Ending::RefreshReused => {
            let next = Tokens::of(&app.refresh(&tokens.refresh).await.expect(201));
            app.refresh(&next.refresh).await.expect(201);
            app.refresh(&tokens.refresh).await.expect_error(401, "refresh_token_reused");
        }
        Ending::Disabled => {
            for command in ["disable", "enable"] {
                run(&app.stores, &["users", command, MOBILE, "--yes"], "").await.expect_success();
            }
        }
        Ending::SignedOutByAnOperator => {
            run(&app.stores, &["users", "sign-out", MOBILE, "--yes"], "").await.expect_success();
        }
    }
}

on_every_backend! {
    async fn sessions_that_were_not_the_owners_own_to_end_make_nothing_known(backends: Backends) {
        for ending in [
            Ending::RemovedFromAnother,
            Ending::RemovedWithAllOthers,
            Ending::PasswordReset,
            Ending::PasswordChanged,
            Ending::RefreshReused,
            Ending::Disabled,
            Ending::SignedOutByAnOperator,
        ] {
            let app = TestApp::start_with(backends, &MANY_MESSAGES).await;
            let tokens = at(HERE).on(PHONE).sign_in(&app, MOBILE).await;
            end(&app, ending, &tokens).await;
            use_up_what_strangers_have(&app).await;
            for sender in [at(HERE), at(THERE).on(PHONE)] {
                let answer = sender.ask(&app, MOBILE).await;
                assert_eq!(answer.status, 429, "{ending:?}, {sender:?}");
            }
        }
    }
}

on_every_backend! {
    async fn only_the_newest_hundred_sessions_make_known(backends: Backends) {
        let flags = [&MANY_MESSAGES[..], &["--sms-per-mobile-per-day=0", "--sign-ins-per-user-per-hour=0"]].concat();
        let app = TestApp::start_with(backends, &flags).await;
        let oldest = at(HERE).on(PHONE);
        oldest.sign_in(&app, MOBILE).await;
        for _ in 0..99 {
            app.clock.advance(chrono::Duration::seconds(1));
            at(THERE).sign_in(&app, MOBILE).await;
        }
        let guesses = async |sender: Sender<'_>| {
            app.advance(3600).await;
            let mut statuses = Vec::new();
            for n in 0..21 {
                // Where no code is: twenty guesses of the network, then of whoever is known.
                let answer = sender.try_code(&app, MOBILE, "000000").await;
                statuses.push(answer.status.as_u16());
                assert!(n < 20 || answer.status == 400 || answer.status == 429);
            }
            statuses[20]
        };
        assert_eq!(guesses(at("203.0.113.1").on(PHONE)).await, 400);
        at(THERE).sign_in(&app, MOBILE).await;
        assert_eq!(guesses(at("203.0.113.2").on(PHONE)).await, 429);
    }
}
