//! Do all back ends of a seam keep the same contract?

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use fred::interfaces::KeysInterface;
use futures_util::future::join_all;
use phonepass::{
    auth::clock::Clock,
    model::{
        mobile::Mobile,
        purpose::Purpose,
        session::{Device, Lifetime, NewSession, SignInMethod},
    },
    store::{
        ephemeral::{self, CodeSlot, EphemeralStore, Issue, PendingCode, Redemption},
        users::{self, NewUser, Rotation, UserStore},
    },
};
use uuid::Uuid;

use crate::support::{
    MOBILE,
    backends::{Backends, Stores, server},
    on_every_backend,
};

const TTL: Duration = Duration::from_secs(300);
const GAP: Duration = Duration::from_secs(60);
const LIFETIME: Lifetime = Lifetime { sliding: chrono::Duration::days(14), absolute: chrono::Duration::days(90) };

async fn user_store(stores: &Stores) -> Arc<dyn UserStore> {
    let users = users::connect(&stores.database_url(), 8).await.unwrap();
    users.migrate().await.unwrap();
    users
}

async fn ephemeral_store(stores: &Stores, clock: &Clock) -> Arc<dyn EphemeralStore> {
    match stores.redis() {
        Some((_, prefix)) => ephemeral::connect(Some(&server("TEST_REDIS_URL")), prefix, clock.clone()).await.unwrap(),
        None => ephemeral::connect(None, "", clock.clone()).await.unwrap(),
    }
}

fn mobile() -> Mobile {
    Mobile::parse(MOBILE).unwrap()
}

fn slot() -> CodeSlot {
    CodeSlot { mobile: mobile(), purpose: Purpose::Login }
}

fn pending(digest: &str) -> PendingCode {
    PendingCode { digest: digest.to_owned(), tries_left: 5, ttl: TTL }
}

fn new_user(mobile: &str) -> NewUser {
    NewUser { id: Uuid::now_v7(), mobile: Mobile::parse(mobile).unwrap(), password_hash: None }
}

fn new_session(now: DateTime<Utc>) -> NewSession {
    NewSession {
        id: Uuid::now_v7(),
        method: SignInMethod::Sms,
        created_at: now,
        expires_at: LIFETIME.expiry(now, now),
        device: Device { ip: Some("192.0.2.1".parse().unwrap()), user_agent: Some("a phone".to_owned()) },
    }
}

on_every_backend! {
    async fn a_picture_code_is_read_once_and_expires(backends: Backends) {
        let stores = Stores::create(backends).await;
        let clock = Clock::movable();
        let codes = ephemeral_store(&stores, &clock).await;
        codes.put_image_code("id", "abcd", TTL).await.unwrap();
        codes.put_image_code("id", "efgh", TTL).await.unwrap();
        assert_eq!(codes.take_image_code("id").await.unwrap().as_deref(), Some("efgh"));
        assert_eq!(codes.take_image_code("id").await.unwrap(), None);
        codes.put_image_code("id", "abcd", TTL).await.unwrap();
        clock.advance(chrono::Duration::seconds(301));
        stores.expire(Duration::from_secs(301)).await;
        assert_eq!(codes.take_image_code("id").await.unwrap(), None);
    }
}

on_every_backend! {
    async fn one_of_many_issues_at_the_same_instant_wins(backends: Backends) {
        let stores = Stores::create(backends).await;
        let codes = ephemeral_store(&stores, &Clock::movable()).await;
        let digests: Vec<_> = (0..50).map(|n| pending(&format!("digest {n}"))).collect();
        let slot = slot();
        let outcomes = join_all(digests.iter().map(|code| codes.issue_code(&slot, Some(code), GAP))).await;
        let issued: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
        assert_eq!(issued.iter().filter(|issue| **issue == Issue::Issued).count(), 1);
        let winner = issued.iter().position(|issue| *issue == Issue::Issued).unwrap();
        let redeemed = codes.redeem_code(&slot, &digests[winner].digest).await.unwrap();
        assert!(matches!(redeemed, Redemption::Accepted(_)), "{redeemed:?}");
    }
}

on_every_backend! {
    async fn a_code_is_redeemed_by_one_of_many(backends: Backends) {
        let stores = Stores::create(backends).await;
        let codes = ephemeral_store(&stores, &Clock::movable()).await;
        let slot = slot();
        codes.issue_code(&slot, Some(&pending("right")), GAP).await.unwrap();
        let outcomes = join_all((0..100).map(|_| codes.redeem_code(&slot, "right"))).await;
        let accepted = outcomes.into_iter().filter(|outcome| matches!(outcome, Ok(Redemption::Accepted(_)))).count();
        assert_eq!(accepted, 1);
    }
}

on_every_backend! {
    async fn a_restored_code_keeps_its_tries_and_yields_to_a_newer_one(backends: Backends) {
        let stores = Stores::create(backends).await;
        let codes = ephemeral_store(&stores, &Clock::movable()).await;
        let slot = slot();
        codes.issue_code(&slot, Some(&pending("right")), Duration::ZERO).await.unwrap();
        codes.redeem_code(&slot, "wrong").await.unwrap();
        let Redemption::Accepted(code) = codes.redeem_code(&slot, "right").await.unwrap() else { panic!("accepted") };
        assert_eq!(code.tries_left, 4);
        assert!(code.ttl <= TTL && code.ttl > TTL - Duration::from_secs(30), "{code:?}");
        codes.restore_code(&slot, &code).await.unwrap();
        let wrong = codes.redeem_code(&slot, "wrong").await.unwrap();
        assert!(matches!(wrong, Redemption::Wrong { tries_left: 3 }), "{wrong:?}");

        let Redemption::Accepted(code) = codes.redeem_code(&slot, "right").await.unwrap() else { panic!("accepted") };
        codes.issue_code(&slot, Some(&pending("newer")), Duration::ZERO).await.unwrap();
        codes.restore_code(&slot, &code).await.unwrap();
        assert!(matches!(codes.redeem_code(&slot, "newer").await.unwrap(), Redemption::Accepted(_)));
        assert!(matches!(codes.redeem_code(&slot, "right").await.unwrap(), Redemption::Missing));
    }
}

on_every_backend! {
    async fn withdrawing_takes_back_the_code_and_the_gap_that_it_began_and_no_other(backends: Backends) {
        let stores = Stores::create(backends).await;
        let clock = Clock::movable();
        let codes = ephemeral_store(&stores, &clock).await;
        let slot = slot();
        codes.issue_code(&slot, Some(&pending("first")), GAP).await.unwrap();
        let rest = codes.resend_gap(&mobile()).await.unwrap().expect("a gap");
        assert!(rest <= GAP && rest > Duration::from_secs(30), "{rest:?}");
        codes.withdraw_code(&slot, "another").await.unwrap();
        assert!(codes.resend_gap(&mobile()).await.unwrap().is_some());
        codes.withdraw_code(&slot, "first").await.unwrap();
        assert_eq!(codes.resend_gap(&mobile()).await.unwrap(), None);
        assert!(matches!(codes.redeem_code(&slot, "first").await.unwrap(), Redemption::Missing));
    }
}

on_every_backend! {
    async fn a_gap_can_begin_without_a_code(backends: Backends) {
        let stores = Stores::create(backends).await;
        let codes = ephemeral_store(&stores, &Clock::movable()).await;
        assert_eq!(codes.issue_code(&slot(), None, GAP).await.unwrap(), Issue::Issued);
        assert!(matches!(codes.issue_code(&slot(), None, GAP).await.unwrap(), Issue::TooSoon(_)));
        assert!(matches!(codes.redeem_code(&slot(), "").await.unwrap(), Redemption::Missing));
    }
}

#[tokio::test]
async fn in_redis_everything_expires_and_no_code_stands_in_the_clear() {
    let stores = Stores::create(Backends::SQLITE_AND_REDIS).await;
    let app = crate::support::TestApp::start_on(stores.clone(), &[]).await;
    let code = app.code(MOBILE).await;
    let picture = app.picture("a-picture").await;
    let (client, prefix) = stores.redis().unwrap();
    let text: String = client.get(format!("{prefix}image_code:a-picture")).await.unwrap();
    assert_eq!(text, picture);
    assert_eq!(text, text.to_lowercase());
    let fields: std::collections::HashMap<String, String> =
        fred::interfaces::HashesInterface::hgetall(client, format!("{prefix}sms_code:login:{MOBILE}")).await.unwrap();
    assert_eq!(fields["tries_left"], "5");
    assert!(fields.values().all(|value| !value.contains(&code)), "{fields:?}");
    for key in ["image_code:a-picture", "sms_code:login:13800138000", "limit:sms_gap:13800138000"] {
        let rest: i64 = client.pttl(format!("{prefix}{key}")).await.unwrap();
        assert!(rest > 0, "{key}: {rest}");
    }
}

on_every_backend! {
    async fn a_user_is_registered_once_however_many_sign_in(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let attempts: Vec<_> = (0..50).map(|_| (new_user(MOBILE), new_session(now))).collect();
        let outcomes = join_all(attempts.iter().map(|(user, session)| users.sign_in(user, session))).await;
        let signed_in: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
        assert_eq!(signed_in.iter().filter(|outcome| outcome.is_new).count(), 1);
        assert!(signed_in.iter().all(|outcome| outcome.user.id == signed_in[0].user.id));
        for (_, session) in &attempts {
            let rotated = users.rotate(session.id, 0, now, LIFETIME).await.unwrap();
            assert!(matches!(rotated, Rotation::Rotated(found) if found.user_id == signed_in[0].user.id));
        }
    }
}

on_every_backend! {
    async fn a_taken_mobile_is_registered_by_one_of_many_and_the_rest_open_no_session(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let attempts: Vec<_> = (0..50).map(|_| (new_user(MOBILE), new_session(now))).collect();
        let outcomes = join_all(attempts.iter().map(|(user, session)| users.register(user, session))).await;
        let mut registered = 0;
        for (outcome, (_, session)) in outcomes.into_iter().zip(&attempts) {
            let rotation = users.rotate(session.id, 0, now, LIFETIME).await.unwrap();
            match outcome.unwrap() {
                Some(_) => {
                    registered += 1;
                    assert!(matches!(rotation, Rotation::Rotated(_)));
                }
                None => assert!(matches!(rotation, Rotation::Expired)),
            }
        }
        assert_eq!(registered, 1);
    }
}

on_every_backend! {
    async fn ended_sessions_are_listed_and_old_ones_deleted_in_batches(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let sessions: Vec<_> = (0..5).map(|_| new_session(now)).collect();
        for session in &sessions {
            users.sign_in(&new_user(MOBILE), session).await.unwrap();
        }
        users.end_session(sessions[0].id, now).await.unwrap();
        users.end_session(sessions[0].id, now + chrono::Duration::hours(1)).await.unwrap();
        assert_eq!(users.sessions_ended_since(now).await.unwrap(), [(sessions[0].id, now)]);
        assert!(users.sessions_ended_since(now + chrono::Duration::seconds(1)).await.unwrap().is_empty());

        let later = now + chrono::Duration::days(15);
        assert_eq!(users.delete_sessions_over_before(now, 100).await.unwrap(), 0);
        assert_eq!(users.delete_sessions_over_before(later, 3).await.unwrap(), 3);
        assert_eq!(users.delete_sessions_over_before(later, 3).await.unwrap(), 2);
    }
}

on_every_backend! {
    async fn a_setting_is_kept_until_it_is_replaced(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        assert_eq!(users.setting_or_insert("name", "first").await.unwrap(), "first");
        assert_eq!(users.setting_or_insert("name", "second").await.unwrap(), "first");
        users.set_setting("name", "second").await.unwrap();
        assert_eq!(users.setting_or_insert("name", "third").await.unwrap(), "second");
    }
}

on_every_backend! {
    async fn migrating_again_and_at_the_same_time_changes_nothing(backends: Backends) {
        let stores = Stores::create(backends).await;
        let (first, second) = (
            users::connect(&stores.database_url(), 8).await.unwrap(),
            users::connect(&stores.database_url(), 8).await.unwrap(),
        );
        let (one, other) = tokio::join!(first.migrate(), second.migrate());
        one.unwrap();
        other.unwrap();
        first.migrate().await.unwrap();
        first.ping().await.unwrap();
    }
}
