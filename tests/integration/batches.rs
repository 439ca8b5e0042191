//! What do those get whose requests go to the stores together? What each would get alone.

use fred::interfaces::KeysInterface;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    Answer, TestApp, Tokens, backends::Backends, expect_ended, expect_goes_on, on_every_backend, other_than,
};

const UNLIMITED: [&str; 3] = ["--image-code=never", "--sms-per-ip-per-hour=0", "--sms-asks-per-ip-per-hour=0"];

/// A mobile with the code that was sent to it.
#[derive(Clone)]
struct Guest {
    mobile: String,
    code: String,
}

async fn guests(app: &TestApp, start: &str, count: usize) -> Vec<Guest> {
    let mut guests = Vec::new();
    for number in 0..count {
        let mobile = format!("{start}{number:0width$}", width = 11 - start.len());
        let code = app.code(&mobile).await;
        guests.push(Guest { mobile, code });
    }
    guests
}

async fn sign_in(app: &TestApp, guest: &Guest, key: Option<&str>) -> Answer {
    let body = json!({ "mobile": guest.mobile, "code": guest.code });
    let request = app.request(Method::POST, "/app/v1_0/authorizations").json(&body);
    app.send(match key {
        Some(key) => request.header("Idempotency-Key", key),
        None => request,
    })
    .await
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status.as_u16() == status).count()
}

on_every_backend! {
    async fn right_wrong_repeated_and_expired_codes_do_not_disturb_each_other(backends: Backends) {
        let app = TestApp::start_with(backends, &UNLIMITED).await;
        let expired = guests(&app, "1391", 20).await;
        app.advance(301).await;
        let (right, wrong) = (guests(&app, "1381", 20).await, guests(&app, "1382", 20).await);
        let wrong: Vec<_> =
            wrong.iter().map(|guest| Guest { code: other_than(&guest.code).to_owned(), ..guest.clone() }).collect();
        let (repeated, crowded) = (guests(&app, "1383", 20).await, guests(&app, "1384", 1).await);
        let key = Uuid::now_v7().to_string();

        let first = join_all(right.iter().map(|guest| sign_in(&app, guest, None)));
        let second = join_all(wrong.iter().map(|guest| sign_in(&app, guest, None)));
        let third = join_all(expired.iter().map(|guest| sign_in(&app, guest, None)));
        let fourth = join_all(repeated.iter().map(|guest| sign_in(&app, guest, Some(&key))));
        let fifth = join_all(repeated.iter().map(|guest| sign_in(&app, guest, Some(&key))));
        let sixth = join_all((0..40).map(|_| sign_in(&app, &crowded[0], None)));
        let (right_answers, wrong_answers, expired_answers, firsts, repetitions, crowd) =
            tokio::join!(first, second, third, fourth, fifth, sixth);

        for (guest, answer) in right.iter().zip(&right_answers) {
            let tokens = Tokens::of(&answer.expect(201));
            assert_eq!(app.user(&tokens.access).await.expect(200)["data"]["mobile"], guest.mobile.as_str());
            expect_goes_on(&app, &tokens).await;
        }
        for answer in &wrong_answers {
            assert_eq!(answer.expect_error(400, "sms_code_invalid")["attempts_left"], 4);
        }
        for answer in &expired_answers {
            answer.expect_error(400, "sms_code_expired");
        }
        for (first, repetition) in firsts.iter().zip(&repetitions) {
            let (first, repetition) = (Tokens::of(&first.expect(201)), Tokens::of(&repetition.expect(201)));
            assert_eq!(first.session_id(), repetition.session_id());
        }
        assert_eq!((count(&crowd, 201), count(&crowd, 400)), (1, 39));
        assert_eq!(app.stores.count("users").await, 41);
        assert_eq!(app.stores.count("sessions").await, 41);
    }
}

on_every_backend! {
    async fn one_mobile_many_times_makes_one_user(backends: Backends) {
        let app = TestApp::start_with(backends, &["--sms-test-codes=13600000000=246810"]).await;
        let guest = Guest { mobile: "13600000000".to_owned(), code: "246810".to_owned() };
        let answers = join_all((0..100).map(|_| sign_in(&app, &guest, None))).await;
        let bodies: Vec<_> = answers.iter().map(|answer| answer.expect(201)).collect();
        assert_eq!(bodies.iter().filter(|body| body["data"]["is_new_user"] == true).count(), 1);
        assert!(bodies.iter().all(|body| body["data"]["user_id"] == bodies[0]["data"]["user_id"]));
        assert_eq!((app.stores.count("users").await, app.stores.count("sessions").await), (1, 100));
    }
}

on_every_backend! {
    async fn a_row_that_the_database_refuses_costs_nobody_else_anything(backends: Backends) {
        let app = TestApp::start_with(backends, &UNLIMITED).await;
        let mut guests = guests(&app, "1381", 60).await;
        if backends.postgresql {
            app.stores.execute("ALTER TABLE users ADD CONSTRAINT refused CHECK (mobile <> '13810000030')").await;
        } else {
            let trigger = "CREATE TRIGGER refused BEFORE INSERT ON users WHEN NEW.mobile = '13810000030'
                           BEGIN SELECT RAISE(ABORT, 'refused'); END";
            app.stores.execute(trigger).await;
        }
        let answers = join_all(guests.iter().map(|guest| sign_in(&app, guest, None))).await;
        let refused = guests.remove(30);
        for (number, answer) in answers.iter().enumerate() {
            if number == 30 {
                answer.expect_error(503, "unavailable");
            } else {
                expect_goes_on(&app, &Tokens::of(&answer.expect(201))).await;
            }
        }
        for guest in &guests {
            sign_in(&app, guest, None).await.expect_error(400, "sms_code_expired");
        }

        let cure = if backends.postgresql {
            "ALTER TABLE users DROP CONSTRAINT refused"
        } else {
            "DROP TRIGGER refused"
        };
        app.stores.execute(cure).await;
        sign_in(&app, &refused, None).await.expect(201);
        assert_eq!((app.stores.count("users").await, app.stores.count("sessions").await), (60, 60));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_redis_cannot_use_costs_nobody_else_anything() {
    let app = TestApp::start_with(Backends::SQLITE_AND_REDIS, &UNLIMITED).await;
    let guests = guests(&app, "1381", 40).await;
    let (client, prefix) = app.stores.redis().unwrap();
    let counter = format!("{prefix}limit:wrong_codes:13810000020:127.0.0.1");
    let _: () = client.set(&counter, "not what it should be", None, None, false).await.unwrap();
    let answers = join_all(guests.iter().map(|guest| sign_in(&app, guest, None))).await;
    for (number, answer) in answers.iter().enumerate() {
        let expected = if number == 20 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CREATED };
        assert_eq!(answer.status, expected);
    }
    let _: () = client.del(&counter).await.unwrap();
    sign_in(&app, &guests[20], None).await.expect(201);
}

on_every_backend! {
    async fn refreshes_of_all_kinds_at_once_do_not_disturb_each_other(backends: Backends) {
        let app = TestApp::start_with(backends, &UNLIMITED).await;
        let mut tokens = Vec::new();
        for guest in guests(&app, "1381", 24).await {
            tokens.push(Tokens::of(&sign_in(&app, &guest, None).await.expect(201)));
        }
        let (current, rest) = tokens.split_at(6);
        let (lost, rest) = rest.split_at(6);
        let (stolen, ended) = rest.split_at(6);
        for tokens in lost {
            app.refresh(&tokens.refresh).await.expect(201);
        }
        let mut successors = Vec::new();
        for tokens in stolen {
            let next = Tokens::of(&app.refresh(&tokens.refresh).await.expect(201));
            successors.push(Tokens::of(&app.refresh(&next.refresh).await.expect(201)));
        }
        for tokens in ended {
            app.sign_out(&tokens.access).await.expect(204);
        }

        // The current one of each three times, and the stolen ones together with their successors.
        let thrice = current.iter().chain(current).chain(current);
        let all: Vec<_> = thrice.chain(lost).chain(stolen).chain(ended).collect();
        let answers = join_all(all.iter().map(|tokens| app.refresh(&tokens.refresh))).await;
        let (good, rest) = answers.split_at(24);
        let (reused, over) = rest.split_at(6);
        good.iter().for_each(|answer| drop(answer.expect(201)));
        for n in 0..6 {
            let next: Vec<_> = [n, n + 6, n + 12].map(|n| Tokens::of(&good[n].json()).refresh).into();
            assert!(next.iter().all(|token| *token == next[0]), "{next:?}");
        }
        reused.iter().for_each(|answer| drop(answer.expect_error(401, "refresh_token_reused")));
        over.iter().for_each(|answer| drop(answer.expect_error(401, "session_revoked")));
        for tokens in &successors {
            expect_ended(&app, tokens).await;
        }
    }
}

on_every_backend! {
    async fn users_who_are_looked_up_together_get_themselves(backends: Backends) {
        let app = TestApp::start_with(backends, &UNLIMITED).await;
        let mut known = Vec::new();
        for guest in guests(&app, "1381", 20).await {
            known.push((Tokens::of(&sign_in(&app, &guest, None).await.expect(201)).access, guest.mobile));
        }
        let thrice: Vec<_> = known.iter().chain(&known).chain(&known).collect();
        let answers = join_all(thrice.iter().map(|(token, _)| app.user(token))).await;
        for ((_, mobile), answer) in thrice.iter().zip(&answers) {
            assert_eq!(answer.expect(200)["data"]["mobile"], mobile.as_str());
        }
    }
}
