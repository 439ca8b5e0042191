//! Bounds on messages, asked for by strangers and by the owner.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{
    MOBILE, PASSWORD, TestApp,
    backends::Backends,
    expect_retry_after, on_every_backend,
    process::until,
    senders::{
        DAY, HERE, HOUR, OTHER, PHONE, PROXY, Sender, THERE, at, messages_to, numbers, scattered_numbers, stranger,
    },
};

/// A vendor that is not there.
const NO_VENDOR: [&str; 3] =
    ["--sms-provider=webhook", "--sms-webhook-url=http://127.0.0.1:1/", "--sms-total-per-hour=0"];

on_every_backend! {
    async fn an_address_asks_so_many_times_an_hour_whatever_comes_of_it(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--sms-asks-per-ip-per-hour=4"]).await;
        at(HERE).on(PHONE).sign_in(&app, MOBILE).await;
        app.advance(HOUR).await;
        at(THERE).ask(&app, OTHER).await.expect(200);
        at(THERE).ask(&app, OTHER).await.expect_error(429, "sms_too_frequent");
        // A challenge that nothing asked for is looked at, and its refusal counts.
        let wrong = json!({ "mobile": "13700137000", "image_code_id": "p", "image_code": "zzzz" });
        at(THERE).post(&app, "/app/v1_0/sms/codes", wrong).await.expect_error(400, "image_code_expired");
        at(THERE).ask_classic(&app, MOBILE).await.expect_errno(4003);
        for mobile in [OTHER, "13600136000"] {
            let answer = at(THERE).ask(&app, mobile).await;
            answer.expect_error(429, "too_many_requests");
            expect_retry_after(&answer, HOUR);
        }
        app.put_picture("q", "abcd").await;
        let classic = json!({ "mobile": "13600136000", "image_code_id": "q", "image_code": "abcd" });
        at(THERE).post(&app, "/passport/sms_code", classic).await.expect_errno(4201);
        assert_eq!(app.picture_text("q").await, "abcd", "the picture was not read");
        // The owner is looked at, and so is everyone elsewhere.
        at(THERE).on(PHONE).ask(&app, MOBILE).await.expect(200);
        at(stranger(1).as_str()).ask(&app, "13600136000").await.expect(200);
        app.advance(HOUR).await;
        at(THERE).ask(&app, OTHER).await.expect(200);
    }
}

on_every_backend! {
    async fn an_address_learns_of_ten_registered_numbers_an_hour(backends: Backends) {
        let flags = [PROXY, "--sms-per-ip-per-hour=0", "--sms-asks-per-ip-per-hour=0", "--sms-resend-seconds=0", "--image-code=never"];
        let app = TestApp::start_with(backends, &flags).await;
        let registered: Vec<_> = scattered_numbers(14).collect();
        for mobile in &registered {
            at(THERE).sign_in(&app, mobile).await;
        }
        for mobile in &registered[..10] {
            at(HERE).ask_classic(&app, mobile).await.expect_errno(4003);
        }
        for mobile in [&registered[10], &registered[0], MOBILE] {
            at(HERE).ask_classic(&app, mobile).await.expect_errno(4201);
            assert_eq!(app.picture_text("p").await, "abcd", "the picture was not read");
        }
        // Not even where the owner is known.
        at(HERE).on(PHONE).sign_in(&app, &registered[11]).await;
        at(HERE).on(PHONE).ask_classic(&app, &registered[11]).await.expect_errno(4201);
        at("203.0.113.8").ask_classic(&app, &registered[10]).await.expect_errno(4003);
        app.advance(HOUR).await;
        at(HERE).ask_classic(&app, &registered[12]).await.expect_errno(4003);
    }
}

on_every_backend! {
    async fn requests_at_the_same_instant_learn_no_more(backends: Backends) {
        let flags = [PROXY, "--sms-per-ip-per-hour=0", "--sms-asks-per-ip-per-hour=0", "--image-code=never"];
        let app = TestApp::start_with(backends, &flags).await;
        let registered: Vec<_> = scattered_numbers(25).collect();
        for mobile in &registered {
            at(THERE).sign_in(&app, mobile).await;
        }
        let answers = join_all(registered.iter().enumerate().map(async |(n, mobile)| {
            let id = format!("p{n}");
            app.put_picture(&id, "abcd").await;
            let body = json!({ "mobile": mobile, "image_code_id": id, "image_code": "abcd" });
            at(HERE).post(&app, "/passport/sms_code", body).await
        }));
        let errnos: Vec<_> = answers.await.iter().map(|answer| answer.json()["errno"].as_i64().unwrap()).collect();
        assert_eq!(errnos.iter().filter(|errno| **errno == 4003).count(), 10, "{errnos:?}");
        assert_eq!(errnos.iter().filter(|errno| **errno == 4201).count(), 15, "{errnos:?}");
    }
}

on_every_backend! {
    async fn failed_messages_count_five_an_hour_at_a_number_and_thirty_at_an_address(backends: Backends) {
        let app = TestApp::start_with(backends, &[&[PROXY][..], &NO_VENDOR].concat()).await;
        for _ in 0..5 {
            // Neither gap nor quota are used up.
            at(HERE).ask(&app, MOBILE).await.expect_error(502, "sms_send_failed");
        }
        for ip in [HERE, THERE] {
            let answer = at(ip).ask(&app, MOBILE).await;
            answer.expect_error(429, "sms_quota_exceeded");
            expect_retry_after(&answer, HOUR);
        }
        for mobile in scattered_numbers(25) {
            at(HERE).ask(&app, &mobile).await.expect_error(502, "sms_send_failed");
        }
        let answer = at(HERE).ask(&app, OTHER).await;
        answer.expect_error(429, "too_many_requests");
        expect_retry_after(&answer, HOUR);
        at(THERE).ask(&app, OTHER).await.expect_error(502, "sms_send_failed");
        app.advance(HOUR).await;
        at(HERE).ask(&app, MOBILE).await.expect_error(502, "sms_send_failed");
    }
}

on_every_backend! {
    async fn strangers_together_get_four_fifths_of_all_messages_and_the_owners_the_rest(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--sms-total-per-hour=5", "--sms-resend-seconds=0"]).await;
        at(HERE).on(PHONE).sign_in(&app, MOBILE).await;
        app.advance(HOUR).await;
        let mobiles: Vec<_> = scattered_numbers(5).collect();
        for (n, mobile) in mobiles[..4].iter().enumerate() {
            at(&stranger(n)).ask(&app, mobile).await.expect(200);
        }
        for answer in [at(THERE).ask(&app, &mobiles[4]).await, at(THERE).ask_with_picture(&app, &mobiles[4]).await] {
            answer.expect_error(429, "sms_quota_exceeded");
            expect_retry_after(&answer, HOUR);
        }
        at(THERE).ask_classic(&app, &mobiles[4]).await.expect_errno(4201);
        at(THERE).on(PHONE).ask(&app, MOBILE).await.expect(200);
        at(THERE).on(PHONE).ask(&app, MOBILE).await.expect_error(429, "sms_quota_exceeded");
        app.advance(HOUR).await;
        at(THERE).ask(&app, &mobiles[4]).await.expect(200);
    }
}

on_every_backend! {
    async fn known_requests_count_for_no_address(backends: Backends) {
        let flags = [PROXY, "--sms-per-ip-per-hour=3", "--sms-asks-per-ip-per-hour=4", "--sms-resend-seconds=0"];
        let app = TestApp::start_with(backends, &flags).await;
        // An office of users who have signed in there before, more than an address may have messages.
        let users: Vec<_> = scattered_numbers(9).collect();
        for mobile in &users {
            at(HERE).sign_in(&app, mobile).await;
            app.advance(HOUR).await;
        }
        for mobile in &users {
            at(HERE).sign_in(&app, mobile).await;
        }
        // Of the four requests of the address, the first three have counted.
        at(THERE).sign_in(&app, OTHER).await;
        at(HERE).ask_classic(&app, OTHER).await.expect_errno(4003);
        at(HERE).ask_classic(&app, OTHER).await.expect_errno(4201);
        at(HERE).ask(&app, MOBILE).await.expect_error(429, "too_many_requests");
    }
}

on_every_backend! {
    async fn a_known_device_has_as_many_asks_at_its_number_as_an_address_has(backends: Backends) {
        let flags = [PROXY, "--sms-asks-per-ip-per-hour=3", "--sms-resend-seconds=0"];
        let app = TestApp::start_with(backends, &flags).await;
        at(HERE).on(PHONE).sign_in(&app, MOBILE).await;
        app.advance(HOUR).await;
        let wrong = json!({ "mobile": MOBILE, "image_code_id": "none", "image_code": "zzzz" });
        let ask_wrong = async |sender: Sender<'_>| sender.post(&app, "/app/v1_0/sms/codes", wrong.clone()).await;
        for sender in [at(THERE), at(THERE).on(PHONE)] {
            for _ in 0..3 {
                ask_wrong(sender).await.expect_error(400, "image_code_expired");
            }
            let answer = ask_wrong(sender).await;
            answer.expect_error(429, "too_many_requests");
            expect_retry_after(&answer, HOUR);
        }
        app.advance(HOUR).await;
        at(THERE).on(PHONE).ask(&app, MOBILE).await.expect(200);
    }
}

on_every_backend! {
    async fn a_reset_for_an_unknown_number_answers_as_one_for_a_known_number(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        app.register(MOBILE, PASSWORD).await.expect_errno(0);
        app.advance(61).await;
        let mut seen = Vec::new();
        for mobile in [MOBILE, OTHER] {
            let mut answers = Vec::new();
            answers.push(at(HERE).reset(&app, mobile, "000000").await);
            answers.push(at(HERE).ask_for(&app, "reset_password", mobile).await);
            // The second asker, whom the gap refuses.
            answers.push(at(THERE).ask_for(&app, "reset_password", mobile).await);
            for ip in [HERE, THERE] {
                for n in 0..6 {
                    // A right one is not among them, or one in a million times.
                    answers.push(at(ip).reset(&app, mobile, &format!("11111{n}")).await);
                }
            }
            answers.push(at(stranger(1).as_str()).reset(&app, mobile, "111111").await);
            app.advance(61).await;
            answers.push(at(HERE).ask_for(&app, "reset_password", mobile).await);
            for n in 0..6 {
                answers.push(at(stranger(n).as_str()).reset(&app, mobile, "111111").await);
            }
            app.advance(300).await;
            answers.push(at(HERE).reset(&app, mobile, "111111").await);
            let told = answers.iter().map(|answer| {
                let body = answer.json();
                let rest = body["retry_after"].as_u64().map(|seconds| seconds / 30);
                (answer.status.as_u16(), body["code"].clone(), body["attempts_left"].clone(), rest)
            });
            seen.push(told.collect::<Vec<_>>());
        }
        assert_eq!(seen[0], seen[1]);
        assert!(seen[0].iter().any(|(_, code, left, _)| code == "sms_code_invalid" && *left == 4), "{seen:?}");
        assert_eq!(messages_to(&app, OTHER), 0);
    }
}

on_every_backend! {
    async fn a_reset_that_no_vendor_takes_answers_as_one_for_an_unknown_number(backends: Backends) {
        let app = TestApp::start(backends).await;
        app.register(MOBILE, PASSWORD).await.expect_errno(0);
        app.advance(61).await;
        let app = TestApp::start_at(app.clock.clone(), app.stores.clone(), &[&[PROXY][..], &NO_VENDOR].concat()).await;
        for mobile in [MOBILE, OTHER] {
            at(HERE).ask_for(&app, "reset_password", mobile).await.expect(200);
            until("the failed message", Duration::from_secs(10), async || app.app.detached.count() == 0).await;
            at(THERE).ask_for(&app, "reset_password", mobile).await.expect_error(429, "sms_too_frequent");
            let body = at(HERE).reset(&app, mobile, "000000").await.expect_error(400, "sms_code_invalid");
            assert_eq!(body["attempts_left"], 4);
        }
    }
}

on_every_backend! {
    async fn exempt_networks_meet_no_bound_by_address_or_block_and_no_suspicion(backends: Backends) {
        let flags = [
            PROXY,
            "--limit-exempt=192.0.2.0/24,2001:db8::/32",
            "--sms-per-ip-per-hour=1",
            "--sms-asks-per-ip-per-hour=1",
            "--guesses-per-ip-per-hour=1",
            "--verify-per-mobile-per-hour=1",
            "--requests-per-ip-per-minute=1",
        ];
        let app = TestApp::start_with(backends, &flags).await;
        for ip in [HERE, "2001:db8:1::9"] {
            for mobile in numbers(25) {
                at(ip).ask(&app, &mobile).await.expect(200);
            }
            app.advance(61).await;
            for mobile in scattered_numbers(4) {
                for _ in 0..2 {
                    at(ip).try_code(&app, &mobile, "000000").await;
                }
            }
            app.advance(DAY).await;
        }
        // What counts at a number counts for exempt networks, too: strangers together have five guesses.
        for _ in 0..5 {
            at(HERE).try_wrong_password(&app, MOBILE).await.expect_error(401, "credentials_invalid");
        }
        at(HERE).try_wrong_password(&app, MOBILE).await.expect_error(429, "too_many_requests");
        at(THERE).ask(&app, MOBILE).await.expect(200);
        at(THERE).ask(&app, OTHER).await.expect_error(429, "too_many_requests");
    }
}

#[tokio::test]
async fn an_exempt_network_has_no_share_of_the_places_in_the_process() {
    let flags = [
        PROXY,
        "--limit-exempt=192.0.2.0/24",
        "--sms-per-ip-per-hour=0",
        "--sms-asks-per-ip-per-hour=0",
        "--image-code=never",
    ];
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await;
    let served = async |ip: &str, series: u32| {
        let mut served = 0;
        for n in 0..250 {
            let answer = at(ip).ask(&app, &format!("{series}{n:04}0000")).await;
            served += usize::from(answer.status == 200);
        }
        served
    };
    // Each number takes some of the thousand places of a network.
    assert_eq!(served(HERE, 138).await, 250);
    assert!(served(THERE, 139).await < 250);
}
