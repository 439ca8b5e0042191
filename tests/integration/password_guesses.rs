//! Guesses at passwords: their budgets, and their turns in the queue.

use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use reqwest::Method;
use serde_json::json;

use crate::{
    overload::Busy,
    support::{
        Answer, MOBILE, PASSWORD, TestApp, Tokens,
        backends::Backends,
        expect_retry_after, on_every_backend,
        senders::{HERE, HOUR, MANY_MESSAGES, OTHER, PHONE, PROXY, THERE, at, stranger},
    },
};

/// An account with a password, and a phone that has signed in at an address of its own.
async fn owner(backends: Backends, flags: &[&str]) -> TestApp {
    let app = TestApp::start_with(backends, &[&MANY_MESSAGES[..], flags].concat()).await;
    app.register(MOBILE, PASSWORD).await.expect_errno(0);
    at(HERE).on(PHONE).try_password(&app, MOBILE, PASSWORD).await.expect(201);
    app
}

/// Guesses wrong until strangers have none left of the hundred in all.
async fn use_up_in_all(app: &TestApp) {
    for n in 0..100 {
        if n % 20 == 0 {
            app.advance(HOUR / 2).await;
        }
        at(&stranger(n / 20)).try_wrong_password(app, MOBILE).await.expect_error(401, "credentials_invalid");
    }
    app.advance(HOUR).await;
}

/// What is refused now is looked at a second later.
fn expect_busy(answer: &Answer) {
    answer.expect_error(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "1");
}

on_every_backend! {
    async fn a_session_has_the_guesses_of_one_device_whatever_its_refreshes_bring(backends: Backends) {
        let app = owner(backends, &["--verify-per-mobile-per-hour=4"]).await;
        let mut refresh_token = at(HERE).on(PHONE).sign_in(&app, MOBILE).await.refresh;
        let mut looked_at = 0;
        for n in 0..4 {
            let device = format!("a-made-up-device-{n}");
            let request = app.request(Method::PUT, "/app/v1_0/authorizations").bearer_auth(&refresh_token);
            let request = request.json(&json!({ "device": { "id": device } }));
            refresh_token = Tokens::of(&app.send(request).await.expect(201)).refresh;
            for _ in 0..6 {
                let answer = at(THERE).on(&device).try_wrong_password(&app, MOBILE).await;
                looked_at += usize::from(answer.status == 401);
            }
        }
        assert_eq!(looked_at, 4, "those of the network");
        at(THERE).on(PHONE).try_password(&app, MOBILE, PASSWORD).await.expect(201);
    }
}

on_every_backend! {
    async fn a_network_has_so_many_wrong_guesses_an_hour_and_the_owner_has_other_ways(backends: Backends) {
        let app = owner(backends, &["--verify-per-mobile-per-hour=4"]).await;
        for mobile in [MOBILE, OTHER] {
            for _ in 0..4 {
                at(THERE).try_wrong_password(&app, mobile).await.expect_error(401, "credentials_invalid");
            }
            let answer = at(THERE).try_password(&app, mobile, PASSWORD).await;
            answer.expect_error(429, "too_many_requests");
            expect_retry_after(&answer, HOUR);
            for path in ["/api/v1.0/sessions", "/passport/login"] {
                let body = json!({ "mobile": mobile, "password": PASSWORD });
                at(THERE).post(&app, path, body).await.expect_errno(4201);
            }
        }
        // From elsewhere, by a code, or on a phone that is known.
        at(HERE).try_password(&app, MOBILE, PASSWORD).await.expect(201);
        at(THERE).sign_in(&app, MOBILE).await;
        at(THERE).on(PHONE).try_password(&app, MOBILE, PASSWORD).await.expect(201);
        app.advance(HOUR).await;
        at(THERE).try_password(&app, OTHER, PASSWORD).await.expect_error(401, "credentials_invalid");
    }
}

on_every_backend! {
    async fn all_strangers_together_have_five_times_as_many_an_hour_and_known_networks_another(backends: Backends) {
        let app = owner(backends, &["--verify-per-mobile-per-hour=2"]).await;
        for n in 0..5 {
            for _ in 0..2 {
                at(&stranger(n)).try_wrong_password(&app, MOBILE).await.expect_error(401, "credentials_invalid");
            }
        }
        at(THERE).try_password(&app, MOBILE, PASSWORD).await.expect_error(429, "too_many_requests");
        at(HERE).try_wrong_password(&app, MOBILE).await.expect_error(401, "credentials_invalid");
        at(HERE).try_password(&app, MOBILE, PASSWORD).await.expect(201);
    }
}

on_every_backend! {
    async fn a_right_password_clears_the_budget_of_its_network(backends: Backends) {
        let app = owner(backends, &["--verify-per-mobile-per-hour=2"]).await;
        for _ in 0..8 {
            at(THERE).try_wrong_password(&app, MOBILE).await.expect_error(401, "credentials_invalid");
            at(THERE).try_password(&app, MOBILE, PASSWORD).await.expect(201);
        }
    }
}

on_every_backend! {
    async fn beyond_a_hundred_in_all_strangers_need_a_challenge_and_the_owner_does_not(backends: Backends) {
        let app = owner(backends, &[]).await;
        use_up_in_all(&app).await;
        at(THERE).try_password(&app, MOBILE, PASSWORD).await.expect_error(403, "image_code_required");
        for path in ["/api/v1.0/sessions", "/passport/login"] {
            at(THERE).post(&app, path, json!({ "mobile": MOBILE, "password": PASSWORD })).await.expect_errno(4201);
        }
        let with_picture = async |ip: &str, password: &str| {
            app.put_picture("p", "abcd").await;
            let challenge = json!({ "kind": "picture", "response": "p:abcd" });
            let body = json!({ "mobile": MOBILE, "password": password, "challenge": challenge });
            at(ip).post(&app, "/app/v1_0/authorizations/password", body).await
        };
        with_picture(THERE, "a wrong secret").await.expect_error(401, "credentials_invalid");
        with_picture(THERE, PASSWORD).await.expect_error(429, "too_many_requests");
        assert_eq!(app.picture_text("p").await, "abcd", "the challenge of a refused guess is not used up");

        at(THERE).on(PHONE).try_wrong_password(&app, MOBILE).await.expect_error(401, "credentials_invalid");
        at(HERE).try_wrong_password(&app, MOBILE).await.expect_error(401, "credentials_invalid");
        // Codes have their own count.
        at(OTHER_PLACE).ask(&app, MOBILE).await.expect(200);
        at(THERE).try_wrong_code(&app, MOBILE).await.expect_error(400, "sms_code_invalid");
        at(THERE).on(PHONE).try_password(&app, MOBILE, PASSWORD).await.expect(201);
        at(stranger(9).as_str()).try_wrong_password(&app, MOBILE).await.expect_error(401, "credentials_invalid");
    }
}

on_every_backend! {
    async fn challenges_beyond_a_hundred_in_all_count_at_the_address_before_they_are_looked_at(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--sms-resend-seconds=0", "--sms-asks-per-ip-per-hour=3"]).await;
        app.register(MOBILE, PASSWORD).await.expect_errno(0);
        use_up_in_all(&app).await;
        let with_picture = async |ip: &str, text: &str| {
            app.put_picture("p", "abcd").await;
            let challenge = json!({ "kind": "picture", "response": format!("p:{text}") });
            let body = json!({ "mobile": MOBILE, "password": "a wrong secret", "challenge": challenge });
            at(ip).post(&app, "/app/v1_0/authorizations/password", body).await
        };
        for _ in 0..3 {
            with_picture(THERE, "zzzz").await.expect_error(400, "image_code_invalid");
        }
        let answer = with_picture(THERE, "abcd").await;
        answer.expect_error(429, "too_many_requests");
        expect_retry_after(&answer, HOUR);
        assert_eq!(app.picture_text("p").await, "abcd", "it was not looked at");
        with_picture(&stranger(9), "abcd").await.expect_error(401, "credentials_invalid");
    }
}

const OTHER_PLACE: &str = "203.0.113.200";

on_every_backend! {
    async fn a_reset_lets_strangers_begin_anew(backends: Backends) {
        let app = owner(backends, &[]).await;
        use_up_in_all(&app).await;
        at(THERE).try_password(&app, MOBILE, PASSWORD).await.expect_error(403, "image_code_required");
        let code = app.code_for("reset_password", MOBILE, "").await;
        app.post("/app/v1_0/password_resets", json!({ "mobile": MOBILE, "code": code, "password": PASSWORD })).await.expect(204);
        at(THERE).try_password(&app, MOBILE, PASSWORD).await.expect(201);
    }
}

on_every_backend! {
    async fn a_number_without_an_account_answers_the_same_all_along(backends: Backends) {
        let app = owner(backends, &[]).await;
        for n in 0..100 {
            if n % 20 == 0 {
                app.advance(HOUR / 2).await;
            }
            at(&stranger(n / 20)).try_wrong_password(&app, OTHER).await.expect_error(401, "credentials_invalid");
        }
        app.advance(HOUR).await;
        at(THERE).try_wrong_password(&app, OTHER).await.expect_error(403, "image_code_required");
    }
}

on_every_backend! {
    async fn the_old_password_is_guessed_at_as_by_a_known_device(backends: Backends) {
        let app = owner(backends, &["--verify-per-mobile-per-hour=2"]).await;
        let tokens = Tokens::of(&at(HERE).try_password(&app, MOBILE, PASSWORD).await.expect(201));
        let change = async |old: &str| {
            let body = json!({ "old_password": old, "password": "another long secret" });
            let request = app.request(Method::PUT, "/app/v1_0/user/password").header("x-forwarded-for", THERE);
            app.send(request.bearer_auth(&tokens.access).json(&body)).await
        };
        for _ in 0..2 {
            at(THERE).try_wrong_password(&app, MOBILE).await.expect_error(401, "credentials_invalid");
        }
        // What strangers have at this address is used up; the token shows the owner.
        for _ in 0..2 {
            change("a wrong secret").await.expect_error(400, "old_password_wrong");
        }
        change(PASSWORD).await.expect_error(429, "too_many_requests");
        app.advance(HOUR - 100).await;
        let tokens = app.refresh(&tokens.refresh).await;
        tokens.expect(201);
    }
}

on_every_backend! {
    async fn one_password_at_many_numbers_is_looked_at_so_many_times_an_hour(backends: Backends) {
        let app = owner(backends, &["--guesses-per-ip-per-hour=5"]).await;
        for n in 0..5 {
            at(THERE).try_wrong_password(&app, &format!("1370000000{n}")).await.expect_error(401, "credentials_invalid");
        }
        for n in 5..8 {
            let answer = at(THERE).try_wrong_password(&app, &format!("1370000000{n}")).await;
            answer.expect_error(429, "too_many_requests");
        }
        at(HERE).try_password(&app, MOBILE, PASSWORD).await.expect(201);
        at(THERE).on(PHONE).try_password(&app, MOBILE, PASSWORD).await.expect(201);
    }
}

on_every_backend! {
    async fn guesses_at_one_number_take_turns_and_what_is_refused_counts_nothing(backends: Backends) {
        let app = owner(backends, &["--verify-per-mobile-per-hour=3"]).await;
        let answers = join_all((0..30).map(|_| at(THERE).try_wrong_password(&app, MOBILE))).await;
        let looked_at = answers.iter().filter(|answer| answer.status == 401).count();
        assert!((1..=3).contains(&looked_at), "{looked_at}");
        answers.iter().filter(|answer| answer.status == 503).for_each(expect_busy);
        assert!(answers.iter().all(|answer| [401, 429, 503].contains(&answer.status.as_u16())));
        // So many are left.
        for _ in looked_at..3 {
            at(THERE).try_wrong_password(&app, MOBILE).await.expect_error(401, "credentials_invalid");
        }
        at(THERE).try_wrong_password(&app, MOBILE).await.expect_error(429, "too_many_requests");
    }
}

on_every_backend! {
    async fn right_passwords_at_the_same_instant_cost_nothing(backends: Backends) {
        let app = owner(backends, &["--verify-per-mobile-per-hour=2"]).await;
        for _ in 0..3 {
            let answers = join_all((0..10).map(|_| at(THERE).try_password(&app, MOBILE, PASSWORD))).await;
            assert!(answers.iter().any(|answer| answer.status == 201));
            answers.iter().filter(|answer| answer.status != 201).for_each(expect_busy);
        }
        at(THERE).try_wrong_password(&app, MOBILE).await.expect_error(401, "credentials_invalid");
        at(THERE).try_password(&app, MOBILE, PASSWORD).await.expect(201);
    }
}

on_every_backend! {
    async fn while_a_stranger_guesses_the_owner_has_a_turn_beside(backends: Backends) {
        let app = owner(backends, &[]).await;
        let busy = Busy::on_all_cores_of(&app).await;
        let ips = [THERE, "203.0.113.5"];
        let mut guesses: FuturesUnordered<_> = ips.into_iter().map(|ip| at(ip).try_wrong_password(&app, MOBILE)).collect();
        // The other one has the turn and waits for a core. It has it for half a second after that, so long does a wrong
        // answer take.
        expect_busy(&guesses.next().await.unwrap());
        drop(busy);
        let phone = at(THERE).on(PHONE).try_password(&app, MOBILE, PASSWORD);
        let (phone, guess) = tokio::join!(phone, guesses.next());
        guess.unwrap().expect_error(401, "credentials_invalid");
        phone.expect(201);
    }
}
