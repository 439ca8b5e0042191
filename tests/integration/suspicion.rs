//! Suspicion of fraud: what causes it, whom it spares, and what it does.

use reqwest::Method;
use serde_json::json;

use crate::{
    challenges::solved,
    support::{
        MOBILE, PASSWORD, TestApp, on_every_backend,
        senders::{DAY, HERE, HOUR, PROXY, THERE, at, messages_to, numbers, scattered_numbers},
    },
};

/// An address of 203.0.113.0/24.
fn in_block(n: usize) -> String {
    format!("203.0.113.{n}")
}

on_every_backend! {
    async fn the_eleventh_number_of_an_address_needs_a_challenge(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--sms-resend-seconds=1"]).await;
        let mobiles: Vec<_> = scattered_numbers(12).collect();
        for mobile in &mobiles[..10] {
            at(HERE).ask(&app, mobile).await.expect(200);
        }
        app.advance(2).await;
        at(HERE).ask(&app, &mobiles[0]).await.expect(200);
        at(HERE).ask(&app, &mobiles[10]).await.expect_error(403, "image_code_required");
        // Within the gap a challenge is no help, and is not asked for.
        at(HERE).ask(&app, &mobiles[0]).await.expect_error(429, "sms_too_frequent");
        at(THERE).ask(&app, &mobiles[11]).await.expect(200);
        at(HERE).ask_with_picture(&app, &mobiles[10]).await.expect(200);
        app.advance(2).await;
        at(HERE).ask(&app, &mobiles[10]).await.expect(200);
        at(HERE).ask(&app, &mobiles[11]).await.expect_error(403, "image_code_required");
        app.advance(HOUR - 1).await;
        at(HERE).ask(&app, &mobiles[11]).await.expect(200);
    }
}

on_every_backend! {
    async fn numbers_that_have_signed_in_before_are_not_among_the_eleven(backends: Backends) {
        let flags = [PROXY, "--sms-resend-seconds=0", "--sms-per-ip-per-hour=0", "--sms-asks-per-ip-per-hour=0"];
        let app = TestApp::start_with(backends, &flags).await;
        let mobiles: Vec<_> = scattered_numbers(30).collect();
        for mobile in &mobiles[..8] {
            at(THERE).sign_in(&app, mobile).await;
            app.advance(HOUR).await;
        }
        // An office: eight who have signed in before, and ten newcomers.
        for mobile in &mobiles[..18] {
            at(HERE).ask(&app, mobile).await.expect(200);
        }
        at(HERE).ask(&app, &mobiles[18]).await.expect_error(403, "image_code_required");
        at(HERE).ask(&app, &mobiles[3]).await.expect(200);
    }
}

on_every_backend! {
    async fn each_ask_takes_at_most_64_numbers_that_have_signed_in_before_out_of_the_eleven(backends: Backends) {
        let flags = [PROXY, "--sms-resend-seconds=0", "--sms-per-ip-per-hour=0", "--sms-asks-per-ip-per-hour=0"];
        let app = TestApp::start_with(backends, &flags).await;
        let mobiles: Vec<_> = scattered_numbers(77).collect();
        for mobile in &mobiles[..75] {
            at(HERE).ask_with_picture(&app, mobile).await.expect(200);
            at(HERE).try_code(&app, mobile, &app.last_code(mobile)).await.expect(201);
        }
        // Eleven are left.
        at(HERE).ask(&app, &mobiles[75]).await.expect_error(403, "image_code_required");
        for mobile in &mobiles[75..] {
            at(HERE).ask(&app, mobile).await.expect(200);
        }
    }
}

on_every_backend! {
    async fn the_fourth_code_that_is_not_redeemed_needs_a_challenge_unless_the_owner_asks(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        for _ in 0..3 {
            at(HERE).ask(&app, MOBILE).await.expect(200);
            app.advance(61).await;
        }
        for ip in [HERE, THERE] {
            at(ip).ask(&app, MOBILE).await.expect_error(403, "image_code_required");
        }
        at(HERE).ask_with_picture(&app, MOBILE).await.expect(200);
        at(HERE).try_code(&app, MOBILE, &app.last_code(MOBILE)).await.expect(201);
        app.advance(DAY).await;
        for _ in 0..3 {
            at(THERE).ask(&app, MOBILE).await.expect(200);
            app.advance(61).await;
        }
        at(THERE).ask(&app, MOBILE).await.expect_error(403, "image_code_required");
        at(HERE).ask(&app, MOBILE).await.expect(200);
        app.advance(HOUR).await;
        at(THERE).ask(&app, MOBILE).await.expect(200);
    }
}

on_every_backend! {
    async fn a_block_of_addresses_is_suspicious_beyond_eight_times_the_bound_of_one(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--sms-per-ip-per-hour=1"]).await;
        let known: Vec<_> = (0..2).map(|n| format!("1390000{n}000")).collect();
        for mobile in &known {
            at(THERE).sign_in(&app, mobile).await;
            app.advance(HOUR).await;
        }
        for (n, mobile) in scattered_numbers(8).enumerate() {
            at(&in_block(n)).ask(&app, &mobile).await.expect(200);
        }
        at(&in_block(9)).ask(&app, MOBILE).await.expect_error(403, "image_code_required");
        at("203.0.114.9").ask(&app, MOBILE).await.expect(200);
        // A number that has signed in before is none of it.
        at(&in_block(10)).ask(&app, &known[0]).await.expect(200);
        app.advance(HOUR * 2).await;
        at(&in_block(9)).ask(&app, MOBILE).await.expect(200);
    }
}

on_every_backend! {
    async fn numbers_of_one_prefix_that_do_not_redeem_are_suspicious(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        for (n, mobile) in numbers(22).enumerate() {
            let answer = at(&format!("60.1.{n}.9")).ask(&app, &mobile).await;
            if n < 21 { answer.expect(200) } else { answer.expect_error(403, "image_code_required") };
        }
        at("61.0.0.1").ask(&app, "13700010000").await.expect(200);
    }
}

on_every_backend! {
    async fn numbers_of_one_prefix_that_redeem_are_not(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        for (n, mobile) in numbers(60).enumerate() {
            let ip = format!("60.1.{n}.9");
            at(&ip).ask(&app, &mobile).await.expect(200);
            if n % 5 != 0 {
                at(&ip).try_code(&app, &mobile, &app.last_code(&mobile)).await.expect(201);
            }
        }
    }
}

on_every_backend! {
    async fn fraud_says_what_suspicion_does(backends: Backends) {
        for (flags, status, code) in [
            (vec!["--fraud=challenge"], 403, "image_code_required"),
            (vec!["--fraud=deny"], 429, "sms_quota_exceeded"),
            (vec!["--fraud=record"], 200, ""),
            (vec!["--fraud=challenge", "--image-code=never"], 200, ""),
            (vec!["--fraud=deny", "--image-code=never"], 200, ""),
        ] {
            let app = TestApp::start_with(backends, &[&[PROXY][..], &flags].concat()).await;
            let mobiles: Vec<_> = scattered_numbers(11).collect();
            for mobile in &mobiles[..10] {
                at(HERE).ask(&app, mobile).await.expect(200);
            }
            let answer = at(HERE).ask(&app, &mobiles[10]).await;
            if status == 200 { answer.expect(200) } else { answer.expect_error(status, code) };
            assert_eq!(messages_to(&app, &mobiles[10]), usize::from(status == 200), "{flags:?}");
        }
    }
}

on_every_backend! {
    async fn a_solved_challenge_does_not_help_where_suspicion_refuses(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--fraud=deny"]).await;
        let mobiles: Vec<_> = scattered_numbers(11).collect();
        for mobile in &mobiles[..10] {
            at(HERE).ask(&app, mobile).await.expect(200);
        }
        at(HERE).ask_with_picture(&app, &mobiles[10]).await.expect_error(429, "sms_quota_exceeded");
        assert_eq!(app.picture_text("p").await, "abcd", "it was not looked at");
        at(HERE).ask_classic(&app, &mobiles[10]).await.expect_errno(4201);
    }
}

on_every_backend! {
    async fn where_a_picture_is_the_challenge_classic_front_ends_meet_no_other(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        for mobile in scattered_numbers(20) {
            at(HERE).ask_classic(&app, &mobile).await.expect_errno(0);
        }
    }
}

on_every_backend! {
    async fn where_there_are_others_a_picture_suffices_for_five_suspicious_numbers_an_hour(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--challenges=picture,pow", "--sms-resend-seconds=0"]).await;
        let mobiles: Vec<_> = scattered_numbers(17).collect();
        for mobile in &mobiles[..15] {
            at(HERE).ask_classic(&app, mobile).await.expect_errno(0);
        }
        at(HERE).ask_classic(&app, &mobiles[15]).await.expect_errno(4201);
        // It is numbers that count.
        at(HERE).ask_classic(&app, &mobiles[14]).await.expect_errno(0);
        at(THERE).ask_classic(&app, &mobiles[15]).await.expect_errno(0);
        app.advance(HOUR).await;
        at(HERE).ask_classic(&app, &mobiles[16]).await.expect_errno(0);
    }
}

on_every_backend! {
    async fn a_classic_front_end_that_sends_another_challenge_along_is_not_bound_to_five(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--challenges=picture,pow"]).await;
        let mobiles: Vec<_> = scattered_numbers(17).collect();
        for mobile in &mobiles[..15] {
            at(HERE).ask_classic(&app, mobile).await.expect_errno(0);
        }
        let ask = async |mobile: &str, challenge: &str| {
            app.put_picture("p", "abcd").await;
            let path = format!("/api/v1.0/sms_codes/{mobile}?image_code=abcd&image_code_id=p");
            let request = app.request(Method::GET, &path).header("x-forwarded-for", HERE);
            app.send(request.header("x-challenge-response", challenge)).await
        };
        let (mobile, other) = (&mobiles[15], &mobiles[16]);
        ask(mobile, "picture:p:abcd").await.expect_errno(4201);
        ask(mobile, "pow:x").await.expect_errno(4004);
        ask(mobile, &format!("pow:{}", solved(&app, other).await)).await.expect_errno(4004);
        assert_eq!(messages_to(&app, mobile), 0);
        let response = format!("pow:{}", solved(&app, mobile).await);
        ask(mobile, &response).await.expect_errno(0);
        ask(other, &response).await.expect_errno(4004);
        assert_eq!((messages_to(&app, mobile), messages_to(&app, other)), (1, 0));
    }
}

on_every_backend! {
    async fn a_slash_56_is_suspicious_by_itself(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--sms-resend-seconds=0"]).await;
        let mobiles: Vec<_> = scattered_numbers(104).collect();
        let within = |n: usize, slash_56: u8| format!("2001:db8:7:{slash_56:x}{n:02x}::1");
        // One /56 redeems, so that the /48 of both may leave some unredeemed; the other /56 may not.
        for (n, mobile) in mobiles[..80].iter().enumerate() {
            at(&within(n, 1)).sign_in(&app, mobile).await;
        }
        for (n, mobile) in mobiles[80..102].iter().enumerate() {
            let answer = at(&within(n, 2)).ask(&app, mobile).await;
            if n < 21 { answer.expect(200) } else { answer.expect_error(403, "image_code_required") };
        }
        at(&within(0, 3)).ask(&app, &mobiles[102]).await.expect(200);
    }
}

on_every_backend! {
    async fn nothing_tells_a_registered_number_from_others_where_a_reset_is_suspicious(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--sms-per-ip-per-hour=1"]).await;
        app.register(MOBILE, PASSWORD).await.expect_errno(0);
        app.advance(61).await;
        for (n, mobile) in scattered_numbers(8).enumerate() {
            at(&in_block(n)).ask(&app, &mobile).await.expect(200);
        }
        for (n, mobile) in [MOBILE, "13900139000"].into_iter().enumerate() {
            let answer = at(&in_block(20 + n)).ask_for(&app, "reset_password", mobile).await;
            answer.expect_error(403, "image_code_required");
        }
    }
}

on_every_backend! {
    async fn the_challenges_of_a_refusal_are_those_of_the_settings(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--challenges=picture,pow"]).await;
        for mobile in scattered_numbers(10) {
            at(HERE).ask(&app, &mobile).await.expect(200);
        }
        let body = at(HERE).ask(&app, MOBILE).await.expect_error(403, "image_code_required");
        let pow = json!({ "kind": "pow", "url": "/app/v1_0/challenges/pow" });
        assert_eq!(body["challenges"], json!([{ "kind": "picture" }, pow]));
    }
}
