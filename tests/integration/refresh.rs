//! Does a session go on and end as it should?

use futures_util::future::join_all;

use crate::support::{Answer, MOBILE, TestApp, Tokens, backends::Backends, on_every_backend};

#[track_caller]
fn next(answer: &Answer) -> Tokens {
    Tokens::of(&answer.expect(201))
}

on_every_backend! {
    async fn each_refresh_hands_out_the_next_token_and_the_session_goes_on(backends: Backends) {
        let app = TestApp::start(backends).await;
        let mut tokens = app.sign_in(MOBILE).await;
        for _ in 0..5 {
            app.advance(3601).await;
            app.user(&tokens.access).await.expect_error(401, "token_expired");
            let body = app.refresh(&tokens.refresh).await.expect(201);
            assert_eq!(body["data"]["is_new_user"], false);
            assert_eq!(body["data"]["refresh_expires_in"], 1_209_600);
            let refreshed = Tokens::of(&body);
            assert_ne!(refreshed.refresh, tokens.refresh);
            app.user(&refreshed.access).await.expect(200);
            tokens = refreshed;
        }
    }
}

on_every_backend! {
    async fn a_lost_answer_can_be_had_again_until_its_token_is_used(backends: Backends) {
        let app = TestApp::start(backends).await;
        let first = app.sign_in(MOBILE).await;
        let second = next(&app.refresh(&first.refresh).await);
        assert_eq!(next(&app.refresh(&first.refresh).await).refresh, second.refresh);
        assert_eq!(next(&app.refresh(&first.refresh).await).refresh, second.refresh);
        let third = next(&app.refresh(&second.refresh).await);
        app.refresh(&first.refresh).await.expect_error(401, "refresh_token_reused");

        for dead in [&first, &second, &third] {
            app.refresh(&dead.refresh).await.expect_error(401, "session_revoked");
            app.user(&dead.access).await.expect_error(401, "session_revoked");
        }
    }
}

on_every_backend! {
    async fn a_client_that_keeps_the_first_refresh_token_stays_signed_in_for_weeks(backends: Backends) {
        let app = TestApp::start(backends).await;
        let first = app.sign_in(MOBILE).await;
        for _ in 0..20 {
            app.advance(24 * 3600).await;
            let tokens = next(&app.refresh(&first.refresh).await);
            app.user(&tokens.access).await.expect(200);
        }
    }
}

on_every_backend! {
    async fn refreshes_at_the_same_instant_all_succeed_with_one_successor(backends: Backends) {
        let app = TestApp::start(backends).await;
        let first = app.sign_in(MOBILE).await;
        let answers = join_all((0..20).map(|_| app.refresh(&first.refresh))).await;
        let mut successors: Vec<_> = answers.iter().map(|answer| next(answer).refresh).collect();
        successors.dedup();
        assert_eq!(successors.len(), 1);
        app.refresh(&successors[0]).await.expect(201);
    }
}

on_every_backend! {
    async fn a_session_that_rests_for_two_weeks_is_over(backends: Backends) {
        let app = TestApp::start(backends).await;
        let tokens = app.sign_in(MOBILE).await;
        app.advance(14 * 24 * 3600 - 1).await;
        let tokens = next(&app.refresh(&tokens.refresh).await);
        app.advance(14 * 24 * 3600).await;
        app.refresh(&tokens.refresh).await.expect_error(401, "refresh_token_invalid");
    }
}

on_every_backend! {
    async fn no_session_lives_for_more_than_ninety_days(backends: Backends) {
        let app = TestApp::start(backends).await;
        let mut tokens = app.sign_in(MOBILE).await;
        for _ in 0..8 {
            app.advance(11 * 24 * 3600).await;
            tokens = next(&app.refresh(&tokens.refresh).await);
        }
        let body = app.refresh(&tokens.refresh).await.expect(201);
        assert_eq!(body["data"]["refresh_expires_in"], 2 * 24 * 3600);
        app.advance(2 * 24 * 3600).await;
        app.refresh(&Tokens::of(&body).refresh).await.expect_error(401, "refresh_token_invalid");
    }
}

on_every_backend! {
    async fn signing_out_ends_both_tokens_of_this_session_alone(backends: Backends) {
        let app = TestApp::start(backends).await;
        let phone = app.sign_in(MOBILE).await;
        app.advance(61).await;
        let tablet = app.sign_in(MOBILE).await;
        let answer = app.sign_out(&phone.access).await;
        answer.expect(204);
        assert!(answer.bytes.is_empty());
        app.user(&phone.access).await.expect_error(401, "session_revoked");
        app.refresh(&phone.refresh).await.expect_error(401, "session_revoked");
        app.sign_out(&phone.access).await.expect_error(401, "session_revoked");
        app.user(&tablet.access).await.expect(200);
        app.refresh(&tablet.refresh).await.expect(201);
    }
}

on_every_backend! {
    async fn a_restarted_instance_still_refuses_the_tokens_of_ended_sessions(backends: Backends) {
        let app = TestApp::start(backends).await;
        let tokens = app.sign_in(MOBILE).await;
        app.sign_out(&tokens.access).await.expect(204);
        let issuer = format!("--jwt-issuer={}", app.url);
        let restarted = TestApp::start_on(app.stores.clone(), &[&issuer]).await;
        restarted.user(&tokens.access).await.expect_error(401, "session_revoked");
    }
}

on_every_backend! {
    async fn another_instance_learns_that_a_session_has_ended(backends: Backends) {
        let app = TestApp::start_with(backends, &["--jwt-issuer=https://id.example"]).await;
        let other = TestApp::start_on(app.stores.clone(), &["--jwt-issuer=https://id.example"]).await;
        let tokens = app.sign_in(MOBILE).await;
        other.user(&tokens.access).await.expect(200);
        app.sign_out(&tokens.access).await.expect(204);
        // The other instance polls; how soon is for a benchmark, that it does is for this test.
        let learnt = async {
            while other.user(&tokens.access).await.status != 401 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), learnt).await.expect("the session to end");
    }
}

#[tokio::test]
async fn a_forged_or_mangled_refresh_token_is_refused() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let tokens = app.sign_in(MOBILE).await;
    let mut flipped = tokens.refresh.clone().into_bytes();
    flipped[30] = if flipped[30] == b'A' { b'B' } else { b'A' };
    let forgeries = [
        String::from_utf8(flipped).unwrap(),
        tokens.refresh[..tokens.refresh.len() - 1].to_owned(),
        tokens.refresh[3..].to_owned(),
        format!("{}A", tokens.refresh),
        "rt_".to_owned(),
        "nonsense".to_owned(),
        tokens.access.clone(),
    ];
    for forgery in &forgeries {
        app.refresh(forgery).await.expect_error(401, "refresh_token_invalid");
    }
    let request = app.request(reqwest::Method::PUT, "/app/v1_0/authorizations");
    let answer = app.send(request).await;
    answer.expect_error(401, "refresh_token_invalid");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    app.refresh(&tokens.refresh).await.expect(201);
}

on_every_backend! {
    async fn a_disabled_user_neither_signs_in_nor_refreshes_nor_uses_a_token(backends: Backends) {
        let app = TestApp::start(backends).await;
        let tokens = app.sign_in(MOBILE).await;
        app.stores.execute("UPDATE users SET status = 'disabled'").await;
        app.user(&tokens.access).await.expect_error(401, "session_revoked");
        app.refresh(&tokens.refresh).await.expect_error(403, "account_disabled");
        app.advance(61).await;
        let code = app.code(MOBILE).await;
        app.sign_in_with(MOBILE, "000000").await.expect(400);
        app.sign_in_with(MOBILE, &code).await.expect_error(403, "account_disabled");
    }
}
