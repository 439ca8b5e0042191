//! Guesses at codes: tries of those who asked for one, and the budgets of all others.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{
    Answer, MOBILE, PASSWORD, TestApp, expect_retry_after, on_every_backend,
    senders::{DAY, HERE, HOUR, MANY_MESSAGES, OTHER, PHONE, PROXY, THERE, at, stranger, wrong},
};

/// No bound on messages, and with pictures as challenges.
const ANY_MESSAGES: [&str; 6] = [
    PROXY,
    "--sms-resend-seconds=0",
    "--sms-per-ip-per-hour=0",
    "--sms-per-mobile-per-day=0",
    "--sms-asks-per-ip-per-hour=0",
    "--fraud=record",
];

/// Where a code was asked for from that others guess at.
const OWNER: &str = "203.0.113.200";

/// Guesses wrong so many times at codes that the owner asked for, from one network.
async fn waste(app: &TestApp, ip: &str, mobile: &str, guesses: usize) {
    for n in 0..guesses {
        if n % 5 == 0 {
            at(OWNER).ask(app, mobile).await.expect(200);
        }
        at(ip).try_wrong_code(app, mobile).await.expect_error(400, "sms_code_invalid");
    }
}

/// Uses up the hundred guesses of strangers, from five networks in two hours, so that only those in all are used up.
async fn use_up_in_all(app: &TestApp, mobile: &str) {
    for n in 0..5 {
        waste(app, &stranger(n), mobile, 20).await;
        app.advance(HOUR / 2).await;
    }
    app.advance(HOUR).await;
}

#[track_caller]
fn expect_attempts(answer: &Answer, left: u64) {
    assert_eq!(answer.expect_error(400, "sms_code_invalid")["attempts_left"], left);
}

on_every_backend! {
    async fn whoever_asked_has_five_tries_that_others_do_not_touch(backends: Backends) {
        let app = TestApp::start_with(backends, &ANY_MESSAGES).await;
        at(HERE).ask(&app, MOBILE).await.expect(200);
        // All others together have five.
        for left in (0..5).rev() {
            let ip = stranger(left as usize);
            expect_attempts(&at(&ip).try_wrong_code(&app, MOBILE).await, left);
        }
        let code = app.last_code(MOBILE);
        for guess in [wrong(&app, MOBILE), &code] {
            let answer = at(THERE).try_code(&app, MOBILE, guess).await;
            answer.expect_error(429, "too_many_requests");
            expect_retry_after(&answer, 300);
        }
        let registration = json!({ "mobile": MOBILE, "sms_code": code, "password": PASSWORD });
        at(THERE).post(&app, "/api/v1.0/users", registration).await.expect_errno(4201);
        for left in (1..5).rev() {
            expect_attempts(&at(HERE).try_wrong_code(&app, MOBILE).await, left);
        }
        at(HERE).try_code(&app, MOBILE, &code).await.expect(201);
    }
}

on_every_backend! {
    async fn a_code_is_burnt_once_all_who_asked_have_used_their_tries(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        at(HERE).ask(&app, MOBILE).await.expect(200);
        // The gap refuses the second asker, who has tries all the same.
        at(THERE).ask(&app, MOBILE).await.expect_error(429, "sms_too_frequent");
        let code = app.last_code(MOBILE);
        for left in (0..5).rev() {
            expect_attempts(&at(HERE).try_wrong_code(&app, MOBILE).await, left);
        }
        at(HERE).try_code(&app, MOBILE, &code).await.expect_error(400, "sms_code_expired");
        for left in (1..5).rev() {
            expect_attempts(&at(THERE).try_wrong_code(&app, MOBILE).await, left);
        }
        at(THERE).try_code(&app, MOBILE, &code).await.expect(201);

        app.advance(61).await;
        for ip in [HERE, THERE] {
            at(ip).ask(&app, MOBILE).await;
        }
        let code = app.last_code(MOBILE);
        for ip in [HERE, THERE] {
            for _ in 0..5 {
                at(ip).try_wrong_code(&app, MOBILE).await.expect_error(400, "sms_code_invalid");
            }
        }
        for ip in [HERE, THERE, OWNER] {
            at(ip).try_code(&app, MOBILE, &code).await.expect_error(400, "sms_code_expired");
        }
    }
}

on_every_backend! {
    async fn a_device_that_asked_takes_its_tries_along_and_its_network_has_none(backends: Backends) {
        let app = TestApp::start_with(backends, &ANY_MESSAGES).await;
        // On Wi-Fi, then on the network of a carrier.
        at(HERE).on(PHONE).ask(&app, MOBILE).await.expect(200);
        for left in (0..5).rev() {
            expect_attempts(&at(HERE).try_wrong_code(&app, MOBILE).await, left);
        }
        at(HERE).try_wrong_code(&app, MOBILE).await.expect_error(429, "too_many_requests");
        for left in (1..5).rev() {
            expect_attempts(&at(THERE).on(PHONE).try_wrong_code(&app, MOBILE).await, left);
        }
        at(THERE).on(PHONE).try_code(&app, MOBILE, &app.last_code(MOBILE)).await.expect(201);
    }
}

on_every_backend! {
    async fn parallel_wrong_tries_of_strangers_never_get_more_than_five(backends: Backends) {
        let app = TestApp::start_with(backends, &ANY_MESSAGES).await;
        at(HERE).ask(&app, MOBILE).await.expect(200);
        let strangers: Vec<_> = (0..50).map(stranger).collect();
        let answers = join_all(strangers.iter().map(|ip| at(ip).try_wrong_code(&app, MOBILE))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 400).count(), 5);
        assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 45);
        at(HERE).try_code(&app, MOBILE, &app.last_code(MOBILE)).await.expect(201);
    }
}

on_every_backend! {
    async fn a_network_has_twenty_wrong_guesses_an_hour_at_a_number(backends: Backends) {
        let app = TestApp::start_with(backends, &ANY_MESSAGES).await;
        waste(&app, HERE, MOBILE, 20).await;
        at(OWNER).ask(&app, MOBILE).await.expect(200);
        let code = app.last_code(MOBILE);
        for guess in [wrong(&app, MOBILE), &code] {
            let answer = at(HERE).try_code(&app, MOBILE, guess).await;
            answer.expect_error(429, "too_many_requests");
            expect_retry_after(&answer, HOUR);
        }
        // It is looked at from elsewhere, with all tries but one.
        expect_attempts(&at(THERE).try_wrong_code(&app, MOBILE).await, 4);
        app.advance(HOUR).await;
        at(OWNER).ask(&app, MOBILE).await.expect(200);
        at(HERE).try_code(&app, MOBILE, &app.last_code(MOBILE)).await.expect(201);
    }
}

on_every_backend! {
    async fn strangers_together_have_a_hundred_wrong_guesses_until_a_right_one(backends: Backends) {
        let app = TestApp::start_with(backends, &ANY_MESSAGES).await;
        at("203.0.113.9").on(PHONE).sign_in(&app, MOBILE).await;
        use_up_in_all(&app, MOBILE).await;
        at(OWNER).ask(&app, MOBILE).await.expect(200);
        let code = app.last_code(MOBILE);
        let answer = at(THERE).try_code(&app, MOBILE, &code).await;
        answer.expect_error(403, "image_code_required");
        let registration = json!({ "mobile": MOBILE, "sms_code": code, "password": PASSWORD });
        at(THERE).post(&app, "/api/v1.0/users", registration).await.expect_errno(4201);
        // The phone is none of them, wherever it is.
        at("203.0.113.77").on(PHONE).try_wrong_code(&app, MOBILE).await.expect_error(400, "sms_code_invalid");
        at("203.0.113.78").on(PHONE).try_code(&app, MOBILE, &code).await.expect(201);
        // That was a right one: strangers begin anew.
        at(OWNER).ask(&app, MOBILE).await.expect(200);
        at(THERE).try_wrong_code(&app, MOBILE).await.expect_error(400, "sms_code_invalid");
    }
}

on_every_backend! {
    async fn beyond_the_hundred_a_challenge_buys_one_guess_an_hour(backends: Backends) {
        let app = TestApp::start_with(backends, &ANY_MESSAGES).await;
        use_up_in_all(&app, MOBILE).await;
        at(OWNER).ask(&app, MOBILE).await.expect(200);
        let code = app.last_code(MOBILE);
        let with_picture = async |ip: &str, code: &str, text: &str| {
            app.put_picture("p", "abcd").await;
            let challenge = json!({ "kind": "picture", "response": format!("p:{text}") });
            let body = json!({ "mobile": MOBILE, "code": code, "challenge": challenge });
            at(ip).post(&app, "/app/v1_0/authorizations", body).await
        };
        at(THERE).try_code(&app, MOBILE, &code).await.expect_error(403, "image_code_required");
        // A wrong challenge is no guess.
        with_picture(THERE, &code, "zzzz").await.expect_error(400, "image_code_invalid");
        with_picture(THERE, wrong(&app, MOBILE), "abcd").await.expect_error(400, "sms_code_invalid");
        // The next one is refused before its challenge is used up.
        let answer = with_picture(HERE, &code, "abcd").await;
        answer.expect_error(429, "too_many_requests");
        expect_retry_after(&answer, HOUR);
        assert_eq!(app.picture_text("p").await, "abcd");
        at(HERE).try_code(&app, MOBILE, &code).await.expect_error(429, "too_many_requests");

        app.advance(HOUR).await;
        at(OWNER).ask(&app, MOBILE).await.expect(200);
        with_picture(HERE, &app.last_code(MOBILE), "abcd").await.expect(201);
        at(OWNER).ask(&app, MOBILE).await.expect(200);
        at(THERE).try_wrong_code(&app, MOBILE).await.expect_error(400, "sms_code_invalid");
    }
}

on_every_backend! {
    async fn the_guess_of_the_hour_beyond_the_hundred_is_given_back_where_it_is_not_looked_at(backends: Backends) {
        let app = TestApp::start_with(backends, &ANY_MESSAGES).await;
        for n in 0..5 {
            app.advance(HOUR / 2).await;
            waste(&app, &stranger(n), MOBILE, 20).await;
        }
        let with_picture = async |ip: &str| {
            app.put_picture("p", "abcd").await;
            let challenge = json!({ "kind": "picture", "response": "p:abcd" });
            let body = json!({ "mobile": MOBILE, "code": app.last_code(MOBILE), "challenge": challenge });
            at(ip).post(&app, "/app/v1_0/authorizations", body).await
        };
        // The common tries at this code are used up.
        with_picture(THERE).await.expect_error(429, "too_many_requests");
        at(OWNER).ask(&app, MOBILE).await.expect(200);
        with_picture(HERE).await.expect(201);
    }
}

on_every_backend! {
    async fn a_reset_with_a_challenge_beyond_the_hundred_lets_strangers_begin_anew(backends: Backends) {
        let app = TestApp::start_with(backends, &ANY_MESSAGES).await;
        app.register(MOBILE, PASSWORD).await.expect_errno(0);
        app.advance(61).await;
        use_up_in_all(&app, MOBILE).await;
        let code = app.code_for("reset_password", MOBILE, "").await;
        at(THERE).reset(&app, MOBILE, &code).await.expect_error(403, "image_code_required");
        app.put_picture("p", "abcd").await;
        let challenge = json!({ "kind": "picture", "response": "p:abcd" });
        let body = json!({ "mobile": MOBILE, "code": code, "password": PASSWORD, "challenge": challenge });
        at(THERE).post(&app, "/app/v1_0/password_resets", body).await.expect(204);
        at(OWNER).ask(&app, MOBILE).await.expect(200);
        at(THERE).try_wrong_code(&app, MOBILE).await.expect_error(400, "sms_code_invalid");
    }
}

on_every_backend! {
    async fn a_known_network_counts_by_itself(backends: Backends) {
        let app = TestApp::start_with(backends, &ANY_MESSAGES).await;
        at(HERE).sign_in(&app, MOBILE).await;
        use_up_in_all(&app, MOBILE).await;
        // All that strangers have is used up; the owner's network has as much once more.
        waste(&app, HERE, MOBILE, 20).await;
        at(OWNER).ask(&app, MOBILE).await.expect(200);
        at(HERE).try_wrong_code(&app, MOBILE).await.expect_error(429, "too_many_requests");
        for _ in 0..4 {
            app.advance(HOUR).await;
            waste(&app, HERE, MOBILE, 20).await;
        }
        app.advance(HOUR).await;
        at(OWNER).ask(&app, MOBILE).await.expect(200);
        at(HERE).try_wrong_code(&app, MOBILE).await.expect_error(403, "image_code_required");
    }
}

on_every_backend! {
    async fn a_known_device_has_twenty_guesses_an_hour_whatever_others_do(backends: Backends) {
        let app = TestApp::start_with(backends, &ANY_MESSAGES).await;
        let phone = at(HERE).on(PHONE);
        phone.sign_in(&app, MOBILE).await;
        use_up_in_all(&app, MOBILE).await;
        for ip in (0..4).map(stranger) {
            at(OWNER).ask(&app, MOBILE).await.expect(200);
            for _ in 0..5 {
                at(&ip).on(PHONE).try_wrong_code(&app, MOBILE).await.expect_error(400, "sms_code_invalid");
            }
        }
        at(OWNER).ask(&app, MOBILE).await.expect(200);
        at(THERE).on(PHONE).try_wrong_code(&app, MOBILE).await.expect_error(429, "too_many_requests");
        app.advance(HOUR).await;
        at(OWNER).ask(&app, MOBILE).await.expect(200);
        at(THERE).on(PHONE).try_code(&app, MOBILE, &app.last_code(MOBILE)).await.expect(201);
    }
}

on_every_backend! {
    async fn a_guess_where_no_code_is_counts_for_its_network_alone(backends: Backends) {
        let app = TestApp::start_with(backends, &ANY_MESSAGES).await;
        for n in 0..6 {
            let ip = stranger(n);
            for _ in 0..20 {
                at(&ip).try_code(&app, MOBILE, "000000").await.expect_error(400, "sms_code_expired");
            }
            at(&ip).try_code(&app, MOBILE, "000000").await.expect_error(429, "too_many_requests");
        }
        // More than a hundred together: none of them was at a code.
        at(OWNER).ask(&app, MOBILE).await.expect(200);
        at(THERE).try_wrong_code(&app, MOBILE).await.expect_error(400, "sms_code_invalid");
        at(THERE).try_code(&app, MOBILE, &app.last_code(MOBILE)).await.expect(201);
    }
}

on_every_backend! {
    async fn an_address_guesses_at_a_hundred_numbers_an_hour(backends: Backends) {
        let app = TestApp::start_with(backends, &ANY_MESSAGES).await;
        at(HERE).on(PHONE).sign_in(&app, MOBILE).await;
        let mut looked_at = 0;
        for mobile in (0..150).map(|n| format!("138{n:08}")) {
            let answer = at(HERE).try_code(&app, &mobile, "000000").await;
            looked_at += usize::from(answer.status == 400);
            assert!(answer.status == 400 || answer.status == 429, "{answer:?}");
        }
        assert_eq!(looked_at, 100);
        // Passwords have their own hundred, other addresses theirs, and an owner's phone is none of it.
        at(HERE).try_wrong_password(&app, OTHER).await.expect_error(401, "credentials_invalid");
        at(THERE).try_code(&app, OTHER, "000000").await.expect_error(400, "sms_code_expired");
        at(HERE).on(PHONE).try_code(&app, MOBILE, "000000").await.expect_error(400, "sms_code_expired");
    }
}

on_every_backend! {
    async fn whoever_asked_is_looked_at_though_the_address_has_guessed_too_often(backends: Backends) {
        let flags = [&ANY_MESSAGES[..], &["--guesses-per-ip-per-hour=3"]].concat();
        let app = TestApp::start_with(backends, &flags).await;
        for n in 0..3 {
            at(HERE).try_code(&app, &format!("1370000000{n}"), "000000").await.expect_error(400, "sms_code_expired");
        }
        at(HERE).try_code(&app, OTHER, "000000").await.expect_error(429, "too_many_requests");
        at(HERE).ask(&app, OTHER).await.expect(200);
        at(HERE).try_wrong_code(&app, OTHER).await.expect_error(400, "sms_code_invalid");
        at(HERE).try_code(&app, OTHER, &app.last_code(OTHER)).await.expect(201);
    }
}

on_every_backend! {
    async fn an_account_signs_in_so_many_times_an_hour(backends: Backends) {
        let app = TestApp::start_with(backends, &[&ANY_MESSAGES[..], &["--sign-ins-per-user-per-hour=3"]].concat()).await;
        app.register(OTHER, PASSWORD).await.expect_errno(0);
        for mobile in [MOBILE, OTHER] {
            // The registration was the first.
            for _ in usize::from(mobile == OTHER)..3 {
                at(HERE).sign_in(&app, mobile).await;
            }
            at(HERE).ask(&app, mobile).await.expect(200);
            let code = app.last_code(mobile);
            let answer = at(HERE).try_code(&app, mobile, &code).await;
            answer.expect_error(429, "too_many_requests");
            expect_retry_after(&answer, HOUR);
        }
        at(HERE).try_password(&app, OTHER, PASSWORD).await.expect_error(429, "too_many_requests");
        let sign_in = json!({ "mobile": OTHER, "password": PASSWORD });
        at(HERE).post(&app, "/passport/login", sign_in).await.expect_errno(4201);
        // Codes are good for other purposes all the same.
        at(HERE).ask_for(&app, "reset_password", OTHER).await.expect(200);
        app.advance(HOUR).await;
        for _ in 0..3 {
            at(HERE).try_wrong_password(&app, OTHER).await.expect_error(401, "credentials_invalid");
            at(HERE).try_password(&app, OTHER, PASSWORD).await.expect(201);
        }
        at(HERE).try_password(&app, OTHER, PASSWORD).await.expect_error(429, "too_many_requests");
    }
}

on_every_backend! {
    async fn a_code_that_too_many_sign_ins_refuse_is_not_used_up(backends: Backends) {
        let app = TestApp::start_with(backends, &[&MANY_MESSAGES[..], &["--sign-ins-per-user-per-hour=1"]].concat()).await;
        at(HERE).sign_in(&app, MOBILE).await;
        app.advance(HOUR - 100).await;
        at(HERE).ask(&app, MOBILE).await.expect(200);
        let code = app.last_code(MOBILE);
        at(HERE).try_code(&app, MOBILE, &code).await.expect_error(429, "too_many_requests");
        app.advance(100).await;
        at(HERE).try_code(&app, MOBILE, &code).await.expect(201);
    }
}

on_every_backend! {
    async fn a_test_number_is_guessed_at_twenty_times_a_day_over_all_networks(backends: Backends) {
        let flags = [PROXY, "--sms-test-codes=13600000000=246810", "--verify-per-mobile-per-hour=1"];
        let app = TestApp::start_with(backends, &flags).await;
        for _ in 0..70 {
            at(HERE).ask(&app, "13600000000").await.expect(200);
            at(HERE).try_code(&app, "13600000000", "246810").await.expect(201);
        }
        for n in 0..20 {
            let body = at(&stranger(n)).try_code(&app, "13600000000", "000000").await.expect_error(400, "sms_code_invalid");
            assert!(body.get("attempts_left").is_none(), "{body}");
            if n < 19 {
                // A code that is known to many gives no guess back.
                at(&stranger(n)).try_code(&app, "13600000000", "246810").await.expect(201);
            }
        }
        for ip in [HERE, THERE] {
            let answer = at(ip).try_code(&app, "13600000000", "246810").await;
            answer.expect_error(429, "too_many_requests");
            expect_retry_after(&answer, DAY);
        }
        app.advance(DAY).await;
        at(HERE).try_code(&app, "13600000000", "246810").await.expect(201);
    }
}
