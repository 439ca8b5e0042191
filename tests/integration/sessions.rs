//! Do users see where they are signed in, and can they put an end to it?

use std::time::Duration;

use chrono::{DateTime, Utc};
use phonepass::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    self, Answer, MOBILE, PASSWORD, TestApp, Tokens, backends::Backends, expect_goes_on, on_every_backend,
};

const PATH: &str = "/app/v1_0/user/sessions";
const OTHER: &str = "13900139000";
const NO_GAP: &str = "--sms-resend-seconds=0";

async fn sign_in_from(app: &TestApp, user_agent: &str) -> Tokens {
    let body = json!({ "mobile": MOBILE, "code": app.code(MOBILE).await });
    let request = app.request(Method::POST, "/app/v1_0/authorizations").header("user-agent", user_agent);
    Tokens::of(&app.send(request.json(&body)).await.expect(201))
}

async fn list(app: &TestApp, tokens: &Tokens) -> Vec<Value> {
    let answer = app.get_as(PATH, &tokens.access).await;
    let body = answer.expect(200);
    assert_eq!(body["message"], "ok");
    assert_eq!(answer.header("cache-control"), "no-store");
    body["data"]["sessions"].as_array().unwrap().clone()
}

async fn ids(app: &TestApp, tokens: &Tokens) -> Vec<String> {
    list(app, tokens).await.iter().map(|session| session["id"].as_str().unwrap().to_owned()).collect()
}

async fn end(app: &TestApp, tokens: &Tokens, id: &str) -> Answer {
    app.send(app.request(Method::DELETE, &format!("{PATH}/{id}")).bearer_auth(&tokens.access)).await
}

async fn end_others(app: &TestApp, tokens: &Tokens) -> Answer {
    app.send(app.request(Method::DELETE, PATH).bearer_auth(&tokens.access)).await
}

async fn expect_ended(app: &TestApp, tokens: &Tokens) {
    support::expect_ended(app, tokens).await;
    app.get_as(PATH, &tokens.access).await.expect_error(401, "session_revoked");
    end_others(app, tokens).await.expect_error(401, "session_revoked");
}

fn time(value: &Value) -> DateTime<Utc> {
    let time = DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap();
    assert_eq!(time.offset().local_minus_utc(), 0, "{value}");
    time.to_utc()
}

on_every_backend! {
    async fn every_session_is_listed_with_where_it_came_from_newest_first(backends: Backends) {
        let app = TestApp::start(backends).await;
        let started = app.clock.now();
        let first = sign_in_from(&app, "Phone/1.0 (Android 16)").await;
        app.advance(61).await;
        let second = sign_in_from(&app, &"长".repeat(300)).await;
        app.advance(61).await;
        let third = app.sign_in(MOBILE).await;
        app.sign_in(OTHER).await;

        let sessions = list(&app, &second).await;
        let told = |name: &str| sessions.iter().map(|session| session[name].clone()).collect::<Vec<_>>();
        assert_eq!(told("id"), [third.session_id(), second.session_id(), first.session_id()]);
        assert_eq!(told("current"), [false, true, false]);
        assert_eq!(told("ip"), ["127.0.0.1"; 3]);
        let agents = told("user_agent");
        assert_eq!((&agents[0], &agents[2]), (&json!(""), &json!("Phone/1.0 (Android 16)")));
        assert!(agents[1].as_str().unwrap().chars().count() <= 256, "{}", agents[1]);
        for (session, minutes) in sessions.iter().zip([2, 1, 0]) {
            let mut names: Vec<_> = session.as_object().unwrap().keys().map(String::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, ["created_at", "current", "id", "ip", "user_agent"], "{session}");
            let age = time(&session["created_at"]) - started - chrono::Duration::seconds(61 * minutes);
            assert!((-1..30).contains(&age.num_seconds()), "{session}");
        }

        app.advance(100).await;
        app.refresh(&first.refresh).await.expect(201);
        let sessions = list(&app, &first).await;
        let refreshed: Vec<_> = sessions.iter().filter(|session| session.get("refreshed_at").is_some()).collect();
        let [refreshed] = &refreshed[..] else { panic!("{sessions:?}") };
        assert_eq!((&refreshed["id"], &refreshed["current"]), (&json!(first.session_id()), &json!(true)));
        let after = time(&refreshed["refreshed_at"]) - time(&refreshed["created_at"]);
        assert!((221..260).contains(&after.num_seconds()), "{refreshed}");
    }
}

async fn sign_in_on(app: &TestApp, device: Value) -> Answer {
    let body = json!({ "mobile": MOBILE, "code": app.code(MOBILE).await, "device": device });
    app.post("/app/v1_0/authorizations", body).await
}

async fn refresh_with(app: &TestApp, tokens: &Tokens, body: &str, content_type: &str) -> Answer {
    let request = app.request(Method::PUT, "/app/v1_0/authorizations").bearer_auth(&tokens.refresh);
    app.send(request.header("content-type", content_type).body(body.to_owned())).await
}

on_every_backend! {
    async fn sessions_tell_the_device_and_the_last_refresh_but_never_the_id(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let id = "0190f2a6-5b7e-7c3a-9d55-2f1c7a3e9b10";
        let device = json!({ "id": id, "name": " 小明的手机 ", "platform": "harmony", "model": "ignored" });
        let tokens = Tokens::of(&sign_in_on(&app, device).await.expect(201));
        let [session] = &list(&app, &tokens).await[..] else { panic!() };
        assert_eq!(session["device"], json!({ "name": "小明的手机", "platform": "harmony" }));
        assert!(session.get("last_ip").is_none() && session.get("last_user_agent").is_none(), "{session}");

        // A body that is no JSON, or empty, is as good as none.
        for (body, content_type) in [("", "application/json"), ("null", "application/json"), ("a=b", "text/plain")] {
            let answer = refresh_with(&app, &tokens, body, content_type).await;
            answer.expect(201);
        }
        let body = json!({ "device": { "name": "another", "platform": null } }).to_string();
        let request = app.request(Method::PUT, "/app/v1_0/authorizations").bearer_auth(&tokens.refresh);
        let request = request.header("content-type", "application/json").header("user-agent", "Phone/2.0").body(body);
        app.send(request).await.expect(201);
        let sessions = list(&app, &tokens).await;
        assert_eq!(sessions[0]["device"], json!({ "name": "another", "platform": "harmony" }));
        assert_eq!((&sessions[0]["last_ip"], &sessions[0]["last_user_agent"]), (&json!("127.0.0.1"), &json!("Phone/2.0")));
        assert!(!json!(sessions).to_string().contains(id));
        assert_eq!(app.stores.count(&format!("sessions WHERE device_hash LIKE '%{id}%'")).await, 0);
        assert_eq!(app.stores.count("sessions WHERE length(device_hash) = 64").await, 1);

        let nothing = Tokens::of(&sign_in_on(&app, json!({})).await.expect(201));
        assert!(list(&app, &nothing).await[0].get("device").is_none());
    }
}

on_every_backend! {
    async fn an_account_has_at_most_a_hundred_sessions(backends: Backends) {
        let flags = [NO_GAP, "--sms-per-mobile-per-day=0", "--sms-per-ip-per-hour=0", "--sms-asks-per-ip-per-hour=0", "--image-code=never"];
        let app = TestApp::start_with(backends, &flags).await;
        let first = app.sign_in(MOBILE).await;
        let second = app.sign_in(MOBILE).await;
        app.stores.execute("UPDATE users SET sessions_opened = 100").await;
        let third = app.sign_in(MOBILE).await;
        assert_eq!(ids(&app, &third).await.len(), 3, "they are counted before any ends");
        // As many more as fit.
        for _ in 0..97 {
            let id = Uuid::now_v7().simple();
            let id = if backends.postgresql { format!("'{id}'") } else { format!("x'{id}'") };
            let columns = "user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent";
            let source = first.session_id().replace('-', "");
            let matches = if backends.postgresql { "replace(id::text, '-', '')" } else { "lower(hex(id))" };
            app.stores.execute(&format!(
                "INSERT INTO sessions (id, {columns}) SELECT {id}, {columns} FROM sessions WHERE {matches} = '{source}'"
            )).await;
        }
        app.stores.execute("UPDATE users SET sessions_opened = 100").await;
        let last = app.sign_in(MOBILE).await;
        let listed = ids(&app, &last).await;
        assert_eq!(listed.len(), 100);
        for tokens in [&second, &third, &last] {
            assert!(listed.contains(&tokens.session_id()));
        }
        assert_eq!(app.stores.count("sessions WHERE ended_by = 'limit'").await, 1);
    }
}

#[tokio::test]
async fn a_device_that_makes_no_sense_is_told_and_nothing_happens() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let tokens = app.sign_in(MOBILE).await;
    let long = "x".repeat(65);
    let wrong = [
        json!("a phone"),
        json!([]),
        json!(7),
        json!({ "id": "short" }),
        json!({ "id": long }),
        json!({ "id": "0190f2a6-5b7e-7c3a-9d55-密密密密密密密" }),
        json!({ "id": 1234567890123456_u64 }),
        json!({ "id": "" }),
        json!({ "name": long }),
        json!({ "name": ["a"] }),
        json!({ "name": "a\u{7}" }),
        json!({ "platform": "blackberry" }),
        json!({ "platform": "Android" }),
        json!({ "platform": 1 }),
        json!({ "id": "short", "platform": "blackberry" }),
    ];
    let bodies = [
        (Method::POST, "/app/v1_0/authorizations", json!({ "mobile": OTHER, "code": "123456" })),
        (Method::POST, "/app/v1_0/authorizations/password", json!({ "mobile": OTHER, "password": PASSWORD })),
        (Method::POST, "/app/v1_0/sms/codes", json!({ "mobile": OTHER })),
        (Method::POST, "/app/v1_0/password_resets", json!({ "mobile": OTHER, "code": "123456", "password": PASSWORD })),
        (Method::PUT, "/app/v1_0/user/password", json!({ "old_password": PASSWORD, "password": PASSWORD })),
        (Method::PUT, "/app/v1_0/user/mobile", json!({ "mobile": OTHER, "code": "123456", "current_code": "123456" })),
        (Method::POST, "/app/v1_0/account_deletions", json!({ "code": "123456" })),
        (Method::PUT, "/app/v1_0/authorizations", json!({})),
    ];
    for (method, path, body) in bodies {
        let token =
            if path.ends_with("authorizations") && method == Method::PUT { &tokens.refresh } else { &tokens.access };
        for device in &wrong {
            let mut body = body.clone();
            body["device"] = device.clone();
            let answer = app.send_as(method.clone(), path, token, body).await;
            let told = answer.expect_error(400, "request_invalid");
            let fields: Vec<_> = told["fields"].as_array().unwrap().iter().map(|field| &field["field"]).collect();
            assert_eq!(fields, ["device"], "{path} {device}");
        }
        // None at all, and none that says anything, make no difference.
        for device in [Value::Null, json!({}), json!({ "id": null, "name": "  ", "other": 1 })] {
            let mut body = body.clone();
            body["device"] = device.clone();
            let answer = app.send_as(method.clone(), path, token, body).await;
            assert!(answer.status != 400 || answer.json()["code"] != "request_invalid", "{path} {device}");
        }
    }
    expect_goes_on(&app, &tokens).await;
}

#[tokio::test]
async fn every_platform_and_ids_and_names_of_every_length_are_taken() {
    let flags = [NO_GAP, "--sms-per-mobile-per-day=0", "--image-code=never"];
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await;
    let platforms = ["android", "ios", "harmony", "web", "miniprogram", "desktop", "other"];
    for platform in platforms {
        let tokens = Tokens::of(&sign_in_on(&app, json!({ "platform": platform })).await.expect(201));
        assert_eq!(list(&app, &tokens).await[0]["device"], json!({ "platform": platform }));
    }
    for (id, name) in [("Az09_-".repeat(3), "名"), ("a".repeat(16), "a"), ("_".repeat(64), &*"名".repeat(64))] {
        let tokens = Tokens::of(&sign_in_on(&app, json!({ "id": id, "name": name })).await.expect(201));
        assert_eq!(list(&app, &tokens).await[0]["device"], json!({ "name": name }));
    }
    assert_eq!(app.stores.count("sessions WHERE device_hash IS NOT NULL").await, 3);
}

on_every_backend! {
    async fn sessions_end_and_begin_right_on_instances_whose_clocks_differ(backends: Backends) {
        let flags = ["--jwt-issuer=https://id.example", NO_GAP, "--sms-per-mobile-per-day=0", "--image-code=never"];
        let slow = TestApp::start_with(backends, &flags).await;
        let ahead = Clock::movable();
        // Not more than an access token may come from the future; `stores` has clocks that differ more.
        ahead.advance(chrono::Duration::seconds(50));
        let fast = TestApp::start_at(ahead, slow.stores.clone(), &flags).await;
        for (one, other) in [(&slow, &fast), (&fast, &slow)] {
            // Ended by one instance, whoever opened them.
            let (first, second, keeper) =
                (one.sign_in(MOBILE).await, other.sign_in(MOBILE).await, one.sign_in(MOBILE).await);
            end_others(one, &keeper).await.expect(204);
            for victim in [&first, &second] {
                support::expect_ended(one, victim).await;
                learns(other, victim).await;
            }
            // What is opened next lives on both, wherever it is opened.
            for app in [other, one] {
                let tokens = app.sign_in(MOBILE).await;
                for instance in [one, other] {
                    instance.user(&tokens.access).await.expect(200);
                    instance.user(&keeper.access).await.expect(200);
                }
                let refreshed = Tokens::of(&one.refresh(&tokens.refresh).await.expect(201));
                other.user(&refreshed.access).await.expect(200);
                assert!(ids(one, &keeper).await.contains(&tokens.session_id()));
            }
            let answer = end_others(other, &keeper).await;
            answer.expect(204);
        }
    }
}

on_every_backend! {
    async fn sessions_that_are_over_are_not_listed(backends: Backends) {
        let app = TestApp::start(backends).await;
        let old = app.sign_in(MOBILE).await;
        app.advance(61).await;
        let left = app.sign_in(MOBILE).await;
        app.sign_out(&left.access).await.expect(204);
        assert_eq!(ids(&app, &old).await, [old.session_id()]);

        app.advance(14 * 24 * 3600 - 120).await;
        let new = app.sign_in(MOBILE).await;
        assert_eq!(ids(&app, &new).await, [new.session_id(), old.session_id()]);
        app.advance(120).await;
        assert_eq!(ids(&app, &new).await, [new.session_id()]);
        // What is over cannot be ended.
        end(&app, &new, &old.session_id()).await.expect_error(404, "not_found");
        end(&app, &new, &left.session_id()).await.expect_error(404, "not_found");
    }
}

on_every_backend! {
    async fn users_end_any_session_of_theirs_and_no_other(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let (own, lost, third) = (app.sign_in(MOBILE).await, app.sign_in(MOBILE).await, app.sign_in(MOBILE).await);
        let stranger = app.sign_in(OTHER).await;
        let unknown = Uuid::now_v7().to_string();
        for id in [&*stranger.session_id(), &unknown, "1", "not-a-uuid", "%E5%AF%86", &own.session_id()[1..]] {
            end(&app, &own, id).await.expect_error(404, "not_found");
        }
        expect_goes_on(&app, &stranger).await;

        let answer = end(&app, &own, &lost.session_id()).await;
        answer.expect(204);
        assert!(answer.bytes.is_empty());
        expect_ended(&app, &lost).await;
        end(&app, &own, &lost.session_id()).await.expect_error(404, "not_found");
        end(&app, &lost, &own.session_id()).await.expect_error(401, "session_revoked");
        expect_goes_on(&app, &own).await;
        assert_eq!(ids(&app, &own).await, [third.session_id(), own.session_id()]);

        end(&app, &own, &own.session_id()).await.expect(204);
        expect_ended(&app, &own).await;
        expect_goes_on(&app, &third).await;
    }
}

on_every_backend! {
    async fn all_others_end_at_once(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let others = [app.sign_in(MOBILE).await, app.sign_in(MOBILE).await];
        let (own, stranger) = (app.sign_in(MOBILE).await, app.sign_in(OTHER).await);
        for _ in 0..2 {
            let answer = end_others(&app, &own).await;
            answer.expect(204);
            assert!(answer.bytes.is_empty());
        }
        for other in &others {
            expect_ended(&app, other).await;
        }
        expect_goes_on(&app, &own).await;
        expect_goes_on(&app, &stranger).await;
        assert_eq!(ids(&app, &own).await, [own.session_id()]);
    }
}

/// Waits until an instance has learnt that a session is over. It polls; how soon is for a benchmark.
async fn learns(instance: &TestApp, victim: &Tokens) {
    let learnt = async {
        while instance.user(&victim.access).await.status != 401 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), learnt).await.expect("the session to end");
    instance.user(&victim.access).await.expect_error(401, "session_revoked");
    instance.refresh(&victim.refresh).await.expect_error(401, "session_revoked");
}

on_every_backend! {
    async fn another_instance_learns_of_every_kind_of_end(backends: Backends) {
        let flags = ["--jwt-issuer=https://id.example", NO_GAP, "--sms-per-mobile-per-day=0"];
        let app = TestApp::start_with(backends, &flags).await;
        let other = TestApp::start_on(app.stores.clone(), &flags).await;
        let victim = async || {
            let tokens = app.sign_in(MOBILE).await;
            other.user(&tokens.access).await.expect(200);
            tokens
        };
        let keeper = victim().await;

        let one = victim().await;
        end(&app, &keeper, &one.session_id()).await.expect(204);
        learns(&other, &one).await;

        let one = victim().await;
        end_others(&app, &keeper).await.expect(204);
        learns(&other, &one).await;

        let one = victim().await;
        let code = app.code_for("reset_password", MOBILE, "").await;
        let body = json!({ "password": PASSWORD, "code": code });
        app.send_as(Method::PUT, "/app/v1_0/user/password", &keeper.access, body).await.expect(204);
        learns(&other, &one).await;

        let one = victim().await;
        let code = app.code_for("change_mobile", OTHER, &keeper.access).await;
        let current_code = app.code_for("change_mobile", MOBILE, &keeper.access).await;
        let body = json!({ "mobile": OTHER, "code": code, "current_code": current_code });
        app.send_as(Method::PUT, "/app/v1_0/user/mobile", &keeper.access, body).await.expect(200);
        learns(&other, &one).await;
        other.user(&keeper.access).await.expect(200);

        let code = app.code_for("reset_password", OTHER, "").await;
        let body = json!({ "mobile": OTHER, "code": code, "password": PASSWORD });
        app.post("/app/v1_0/password_resets", body).await.expect(204);
        learns(&other, &keeper).await;

        let (leaving, bystander) = (victim().await, victim().await);
        let code = app.code_for("delete_account", MOBILE, &leaving.access).await;
        let body = json!({ "code": code });
        app.send_as(Method::POST, "/app/v1_0/account_deletions", &leaving.access, body).await.expect(204);
        learns(&other, &leaving).await;
        learns(&other, &bystander).await;
    }
}

#[tokio::test]
async fn nobody_sees_or_ends_sessions_without_a_token() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let own = app.sign_in(MOBILE).await;
    let one = format!("{PATH}/{}", own.session_id());
    for (method, path) in [(Method::GET, PATH), (Method::DELETE, PATH), (Method::DELETE, &one)] {
        for token in [None, Some("rubbish"), Some(&*own.refresh)] {
            let request = app.request(method.clone(), path);
            let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
            let answer = app.send(request).await;
            answer.expect_error(401, "token_invalid");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    expect_goes_on(&app, &own).await;
}
