//! Do all back ends of a seam keep the same contract?

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, SubsecRound, Utc};
use fred::interfaces::KeysInterface;
use futures_util::future::join_all;
use phonepass::{
    clock::Clock,
    model::{
        limit::LimitName,
        mobile::Mobile,
        origin::{Origin, Presence},
        purpose::Purpose,
        session::{Lifetime, NewSession, SignInMethod},
        user::UserStatus,
    },
    store::{
        ephemeral::{
            self, Admission, Attempt, CodeSlot, Counter, EphemeralStore, PendingCode, Redemption, Replay, Tally,
        },
        users::{self, Cursor, MobileChange, NewUser, Rotation, Statements, UserStore},
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
    let users = users::connect(&stores.database_url().parse().unwrap(), Statements::Named, 8).await.unwrap();
    users.migrate().await.unwrap();
    users
}

async fn ephemeral_store(stores: &Stores, clock: &Clock) -> Arc<dyn EphemeralStore> {
    match stores.redis() {
        Some((_, prefix)) => {
            ephemeral::connect(Some(&server("TEST_REDIS_URL").parse().unwrap()), prefix, clock.clone()).await.unwrap()
        }
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

/// A counter of this test's mobile.
fn counter(name: LimitName, limit: Option<u32>, suspicion: Option<u32>) -> Counter {
    Counter { name, subject: MOBILE.to_owned(), part: None, member: None, window: GAP, limit, suspicion }
}

fn tally(at: DateTime<Utc>, counters: &[Counter]) -> Tally {
    Tally { id: Uuid::now_v7().to_string(), at, counters: counters.to_vec() }
}

/// A message that nothing limits.
fn unlimited(at: DateTime<Utc>) -> Tally {
    tally(at, &[counter(LimitName::SmsPerMobile, None, Some(100))])
}

/// A message of which there is one a minute.
fn rare(at: DateTime<Utc>) -> Tally {
    tally(at, &[counter(LimitName::SmsPerMobile, Some(1), None)])
}

async fn issue(codes: &dyn EphemeralStore, at: DateTime<Utc>, digest: &str) {
    let issued = codes.issue_code(&slot(), Some(&pending(digest)), &unlimited(at), true).await.unwrap();
    assert_eq!(issued, Admission::Admitted);
}

/// Presents a code, within a budget of wrong guesses.
async fn redeem(codes: &dyn EphemeralStore, at: DateTime<Utc>, digest: &str, budget: u32) -> Redemption {
    let guess = tally(
        at,
        &[
            Counter { part: Some("192.0.2.1".to_owned()), ..counter(LimitName::WrongCodes, Some(budget), None) },
            counter(LimitName::WrongCodes, Some(5 * budget), None),
        ],
    );
    let unredeemed = counter(LimitName::SmsUnredeemed, None, Some(3));
    let attempt = Attempt {
        slot: &slot(),
        digest,
        fixed: None,
        guess: &guess,
        unredeemed: &unredeemed,
        replay: None,
        presence: &Presence::default(),
    };
    codes.redeem_code(&attempt).await.unwrap()
}

#[track_caller]
fn accepted(redemption: Redemption) -> PendingCode {
    let Redemption::Accepted(Some(code)) = redemption else { panic!("{redemption:?}") };
    code
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
        origin: Arc::new(Origin {
            ip: Some("192.0.2.1".parse().unwrap()),
            user_agent: Some("a phone".to_owned()),
            ..Origin::default()
        }),
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
        let clock = Clock::movable();
        let codes = ephemeral_store(&stores, &clock).await;
        let now = clock.now();
        let digests: Vec<_> = (0..50).map(|n| (pending(&format!("digest {n}")), rare(now))).collect();
        let slot = slot();
        let issues = digests.iter().map(|(code, message)| codes.issue_code(&slot, Some(code), message, true));
        let issued: Vec<_> = join_all(issues).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(issued.iter().filter(|issue| **issue == Admission::Admitted).count(), 1);
        let winner = issued.iter().position(|issue| *issue == Admission::Admitted).unwrap();
        accepted(redeem(&*codes, now, &digests[winner].0.digest, 20).await);
    }
}

on_every_backend! {
    async fn a_code_is_redeemed_by_one_of_many(backends: Backends) {
        let stores = Stores::create(backends).await;
        let clock = Clock::movable();
        let codes = ephemeral_store(&stores, &clock).await;
        let now = clock.now();
        issue(&*codes, now, "right").await;
        let outcomes = join_all((0..100).map(|_| redeem(&*codes, now, "right", 20))).await;
        let accepted = outcomes.into_iter().filter(|outcome| matches!(outcome, Redemption::Accepted(_))).count();
        assert_eq!(accepted, 1);
    }
}

on_every_backend! {
    async fn a_restored_code_keeps_its_tries_and_yields_to_a_newer_one(backends: Backends) {
        let stores = Stores::create(backends).await;
        let clock = Clock::movable();
        let codes = ephemeral_store(&stores, &clock).await;
        let now = clock.now();
        issue(&*codes, now, "right").await;
        redeem(&*codes, now, "wrong", 20).await;
        let code = accepted(redeem(&*codes, now, "right", 20).await);
        assert_eq!(code.tries_left, 4);
        assert!(code.ttl <= TTL && code.ttl > TTL - Duration::from_secs(30), "{code:?}");
        codes.restore_code(&slot(), Some(&code), None).await.unwrap();
        let wrong = redeem(&*codes, now, "wrong", 20).await;
        assert!(matches!(wrong, Redemption::Wrong { tries_left: Some(3) }), "{wrong:?}");

        let code = accepted(redeem(&*codes, now, "right", 20).await);
        issue(&*codes, now, "newer").await;
        codes.restore_code(&slot(), Some(&code), None).await.unwrap();
        accepted(redeem(&*codes, now, "newer", 20).await);
        assert!(matches!(redeem(&*codes, now, "right", 20).await, Redemption::Missing));
    }
}

on_every_backend! {
    async fn withdrawing_takes_back_the_code_and_what_its_message_counted_and_no_other(backends: Backends) {
        let stores = Stores::create(backends).await;
        let clock = Clock::movable();
        let codes = ephemeral_store(&stores, &clock).await;
        let now = clock.now();
        let (slot, message) = (slot(), rare(now));
        codes.issue_code(&slot, Some(&pending("first")), &message, true).await.unwrap();
        codes.withdraw_code(&slot, "another").await.unwrap();
        codes.uncount(&rare(now)).await.unwrap();
        let later = now + chrono::Duration::seconds(1);
        let refused = Admission::Refused { name: LimitName::SmsPerMobile, retry_after: Duration::from_secs(59) };
        assert_eq!(codes.survey(&rare(later)).await.unwrap(), refused);
        codes.withdraw_code(&slot, "first").await.unwrap();
        codes.uncount(&message).await.unwrap();
        assert_eq!(codes.survey(&rare(now)).await.unwrap(), Admission::Admitted);
        assert!(matches!(redeem(&*codes, now, "first", 20).await, Redemption::Missing));
    }
}

on_every_backend! {
    async fn a_message_can_be_counted_without_a_code(backends: Backends) {
        let stores = Stores::create(backends).await;
        let clock = Clock::movable();
        let codes = ephemeral_store(&stores, &clock).await;
        let now = clock.now();
        assert_eq!(codes.issue_code(&slot(), None, &rare(now), true).await.unwrap(), Admission::Admitted);
        let refused = codes.issue_code(&slot(), None, &rare(now), true).await.unwrap();
        assert!(matches!(refused, Admission::Refused { .. }), "{refused:?}");
        assert!(matches!(redeem(&*codes, now, "", 20).await, Redemption::Missing));
    }
}

on_every_backend! {
    async fn no_stretch_of_the_windows_length_holds_more_than_the_limit(backends: Backends) {
        let stores = Stores::create(backends).await;
        let clock = Clock::movable();
        let codes = ephemeral_store(&stores, &clock).await;
        let now = clock.now();
        let three = [counter(LimitName::SmsPerMobile, Some(3), None)];
        let mut admitted = Vec::new();
        for second in 0..200_i64 {
            match codes.count(&tally(now + chrono::Duration::seconds(second), &three)).await.unwrap() {
                Admission::Admitted => admitted.push(second),
                Admission::Refused { retry_after, .. } => {
                    // True to the second: then it is admitted, and not before.
                    let oldest = admitted[admitted.len() - 3];
                    assert_eq!(retry_after, Duration::from_secs((oldest + 60 - second).unsigned_abs()));
                }
                Admission::Suspicious => panic!("suspicious"),
            }
        }
        assert_eq!(admitted, [0, 1, 2, 60, 61, 62, 120, 121, 122, 180, 181, 182]);
    }
}

on_every_backend! {
    async fn many_at_the_same_instant_get_no_more_than_the_limit(backends: Backends) {
        let stores = Stores::create(backends).await;
        let clock = Clock::movable();
        let codes = ephemeral_store(&stores, &clock).await;
        let now = clock.now();
        let tallies: Vec<_> = (0..100).map(|_| tally(now, &[counter(LimitName::SmsPerMobile, Some(10), None)])).collect();
        let outcomes = join_all(tallies.iter().map(|tally| codes.count(tally))).await;
        let admitted = outcomes.into_iter().filter(|outcome| *outcome.as_ref().unwrap() == Admission::Admitted).count();
        assert_eq!(admitted, 10);
    }
}

on_every_backend! {
    async fn all_counters_count_or_none_and_the_longest_refusal_is_told(backends: Backends) {
        let stores = Stores::create(backends).await;
        let clock = Clock::movable();
        let codes = ephemeral_store(&stores, &clock).await;
        let now = clock.now();
        let short = Counter { window: Duration::from_secs(10), ..counter(LimitName::SmsGap, Some(1), None) };
        let both = [short.clone(), counter(LimitName::SmsPerMobile, Some(1), None), counter(LimitName::SmsPerIp, Some(2), None)];
        assert_eq!(codes.count(&tally(now, &both)).await.unwrap(), Admission::Admitted);
        let refused = codes.count(&tally(now, &both)).await.unwrap();
        assert_eq!(refused, Admission::Refused { name: LimitName::SmsPerMobile, retry_after: GAP });
        // What was refused counted nowhere.
        assert_eq!(codes.count(&tally(now, &[counter(LimitName::SmsPerIp, Some(2), None)])).await.unwrap(), Admission::Admitted);
        // Another subject is counted by itself.
        let other = both.map(|counter| Counter { subject: "13900139000".to_owned(), ..counter });
        let other = tally(now, &other);
        assert_eq!(codes.count(&other).await.unwrap(), Admission::Admitted);
        codes.uncount(&other).await.unwrap();
        assert_eq!(codes.count(&other).await.unwrap(), Admission::Admitted);
    }
}

on_every_backend! {
    async fn suspicion_stops_whoever_is_not_trusted(backends: Backends) {
        let stores = Stores::create(backends).await;
        let clock = Clock::movable();
        let codes = ephemeral_store(&stores, &clock).await;
        let now = clock.now();
        let message = |member: &str| {
            tally(now, &[Counter { member: Some(member.to_owned()), ..counter(LimitName::SmsMobilesPerIp, None, Some(2)) }])
        };
        let (slot, code) = (slot(), pending("right"));
        for member in ["a", "b", "a", "b"] {
            let issued = codes.issue_code(&slot, Some(&code), &message(member), false).await.unwrap();
            assert_eq!(issued, Admission::Admitted, "{member}");
        }
        let issued = codes.issue_code(&slot, Some(&pending("newer")), &message("c"), false).await.unwrap();
        assert_eq!(issued, Admission::Suspicious);
        accepted(redeem(&*codes, now, "right", 20).await);
        assert_eq!(codes.survey(&message("c")).await.unwrap(), Admission::Suspicious);
        assert_eq!(codes.issue_code(&slot, Some(&code), &message("c"), true).await.unwrap(), Admission::Suspicious);
        accepted(redeem(&*codes, now, "right", 20).await);
        assert_eq!(codes.issue_code(&slot, Some(&code), &message("c"), false).await.unwrap(), Admission::Admitted);
    }
}

on_every_backend! {
    async fn wrong_guesses_use_up_a_budget_over_all_codes_and_a_right_one_clears_it(backends: Backends) {
        let stores = Stores::create(backends).await;
        let clock = Clock::movable();
        let codes = ephemeral_store(&stores, &clock).await;
        let now = clock.now();
        for digest in ["first", "second"] {
            issue(&*codes, now, digest).await;
            redeem(&*codes, now, "wrong", 3).await;
        }
        accepted(redeem(&*codes, now, "second", 3).await);
        for left in (2..5).rev() {
            issue(&*codes, now, "right").await;
            let wrong = redeem(&*codes, now, "wrong", 3).await;
            assert!(matches!(wrong, Redemption::Wrong { tries_left: Some(4) }), "{left} {wrong:?}");
        }
        for digest in ["wrong", "right"] {
            let refused = redeem(&*codes, now, digest, 3).await;
            assert!(matches!(refused, Redemption::Refused { name: LimitName::WrongCodes, retry_after: GAP }), "{refused:?}");
        }
        accepted(redeem(&*codes, now + chrono::Duration::seconds(60), "right", 3).await);
    }
}

on_every_backend! {
    async fn a_redemption_is_repeated_for_whoever_knows_its_key_until_the_code_is_restored(backends: Backends) {
        let stores = Stores::create(backends).await;
        let clock = Clock::movable();
        let codes = ephemeral_store(&stores, &clock).await;
        let now = clock.now();
        issue(&*codes, now, "right").await;
        let present = async |key: &str, value: &str| {
            let replay = Replay { key: key.to_owned(), value: value.to_owned(), ttl: GAP };
            let (slot, guess, unredeemed) = (slot(), unlimited(now), counter(LimitName::SmsUnredeemed, None, Some(3)));
            let attempt = Attempt {
                slot: &slot,
                digest: "right",
                fixed: None,
                guess: &guess,
                unredeemed: &unredeemed,
                replay: Some(&replay),
                presence: &Presence::default(),
            };
            (codes.redeem_code(&attempt).await.unwrap(), replay)
        };
        let (redemption, replay) = present("key", "first").await;
        let code = accepted(redemption);
        let (repeated, _) = present("key", "second").await;
        assert!(matches!(&repeated, Redemption::Repeated(value) if value == "first"), "{repeated:?}");
        assert!(matches!(present("another", "third").await.0, Redemption::Missing));
        codes.restore_code(&slot(), Some(&code), Some(&replay)).await.unwrap();
        accepted(present("key", "fourth").await.0);
        clock.advance(chrono::Duration::seconds(61));
        stores.expire(Duration::from_secs(61)).await;
        assert!(matches!(present("key", "fifth").await.0, Redemption::Missing));
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
        let found = signed_in.iter().zip(&attempts).filter(|(found, (wanted, _))| found.id == wanted.id).count();
        assert_eq!(found, 1);
        assert!(signed_in.iter().all(|user| user.id == signed_in[0].id));
        for (_, session) in &attempts {
            let rotated = users.rotate(session.id, 0, now, LIFETIME).await.unwrap();
            assert!(matches!(rotated, Rotation::Rotated(found) if found.user_id == signed_in[0].id));
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
        let mut owner = Uuid::nil();
        for session in &sessions {
            owner = users.sign_in(&new_user(MOBILE), session).await.unwrap().id;
        }
        let (session, later) = (&sessions[0], now + chrono::Duration::days(15));
        assert_eq!(users.end_session(Uuid::now_v7(), session.id, now).await.unwrap(), None);
        assert_eq!(users.end_session(owner, session.id, now).await.unwrap(), Some(session.expires_at));
        assert_eq!(users.end_session(owner, session.id, now + chrono::Duration::hours(1)).await.unwrap(), None);
        assert_eq!(users.endings_since(now).await.unwrap().ended, [session.id]);
        assert!(users.endings_since(now + chrono::Duration::seconds(1)).await.unwrap().ended.is_empty());
        // A token may name one that has expired.
        assert_eq!(users.end_session(owner, sessions[1].id, later).await.unwrap(), Some(sessions[1].expires_at));

        assert_eq!(users.delete_sessions_over_before(now, 100).await.unwrap(), 0);
        assert_eq!(users.delete_sessions_over_before(later, 3).await.unwrap(), 3);
        assert_eq!(users.delete_sessions_over_before(later, 3).await.unwrap(), 2);
    }
}

on_every_backend! {
    async fn signing_in_again_with_one_session_opens_no_other(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let session = new_session(Clock::system().now());
        let attempts: Vec<_> = (0..20).map(|_| new_user(MOBILE)).collect();
        let outcomes = join_all(attempts.iter().map(|user| users.sign_in(user, &session))).await;
        let owner = outcomes[0].as_ref().unwrap().id;
        assert!(outcomes.iter().all(|outcome| outcome.as_ref().is_ok_and(|user| user.id == owner)));
        assert!(outcomes.iter().all(|user| user.as_ref().unwrap().created_at == session.created_at));
        let open = users.sessions(owner, session.created_at).await.unwrap();
        assert_eq!(open.iter().map(|open| open.id).collect::<Vec<_>>(), [session.id]);
        assert_eq!(open[0].ip.as_deref(), Some("192.0.2.1"));
    }
}

on_every_backend! {
    async fn a_number_is_taken_over_by_one_of_many_and_their_other_sessions_end(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let mut movers = Vec::new();
        for number in 0..10 {
            let from = Mobile::parse(&format!("1390000000{number}")).unwrap();
            let (kept, other) = (new_session(now), new_session(now));
            let user = users.sign_in(&new_user(from.as_str()), &kept).await.unwrap();
            users.sign_in(&new_user(from.as_str()), &other).await.unwrap();
            movers.push((user, from, kept, other));
        }
        let to = mobile();
        let moves = movers.iter().map(|(user, from, kept, _)| users.change_mobile(user.id, from, &to, kept.id, now));
        let mut moved = 0;
        for (outcome, (user, _, kept, other)) in join_all(moves).await.into_iter().zip(&movers) {
            let open = users.sessions(user.id, now).await.unwrap().len();
            match outcome.unwrap() {
                MobileChange::Changed(changed, ended) => {
                    moved += 1;
                    assert_eq!((changed.mobile.as_str(), changed.name.as_str()), (MOBILE, MOBILE));
                    assert_eq!(ended, [other.id]);
                    assert_eq!(users.sessions(user.id, now).await.unwrap()[0].id, kept.id);
                    assert_eq!(open, 1);
                }
                MobileChange::Taken => assert_eq!(open, 2),
                MobileChange::Gone => panic!("gone"),
            }
        }
        assert_eq!(moved, 1);
        let (user, from, kept, _) = &movers[0];
        let gone = users.change_mobile(user.id, &mobile(), from, kept.id, now).await.unwrap();
        assert!(matches!(gone, MobileChange::Gone | MobileChange::Changed(..)));
    }
}

on_every_backend! {
    async fn a_deleted_user_leaves_nothing_but_ids_and_times(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let session = new_session(now);
        let user = users.sign_in(&new_user(MOBILE), &session).await.unwrap();
        users.update_profile(user.id, Some("somebody"), Some(Some("https://example.com/a.png")), now).await.unwrap();
        users.set_password(user.id, "a hash", Some(session.id), now).await.unwrap();
        assert_eq!(users.delete_user(user.id, now).await.unwrap(), [session.id]);
        assert!(users.user(user.id).await.unwrap().is_none());
        assert!(users.user_by_mobile(&mobile()).await.unwrap().is_none());
        for place in [Cursor::start(None), Cursor::start(Some(DateTime::UNIX_EPOCH))] {
            assert!(users.users_after(place, 10).await.unwrap().is_empty());
        }
        let left = users.session(session.id).await.unwrap().unwrap();
        assert_eq!((left.ip, left.user_agent, left.revoked_at), (None, None, Some(now)));
        for (table, column) in [("users", "mobile"), ("users", "avatar_url"), ("users", "password_hash")] {
            assert_eq!(stores.count(&format!("{table} WHERE {column} IS NOT NULL")).await, 0, "{column}");
        }
        assert_eq!(stores.count("users WHERE name = ''").await, 1);
        let again = users.sign_in(&new_user(MOBILE), &new_session(now)).await.unwrap();
        assert_ne!(again.id, user.id);
    }
}

on_every_backend! {
    async fn a_session_opens_only_on_the_password_that_was_checked(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let user = users.sign_in(&new_user(MOBILE), &new_session(now)).await.unwrap();
        users.set_password(user.id, "first", None, now).await.unwrap();
        assert!(users.open_session(user.id, &new_session(now), "first", None).await.unwrap());
        assert!(users.open_session(user.id, &new_session(now), "first", Some("better")).await.unwrap());
        assert!(!users.open_session(user.id, &new_session(now), "first", None).await.unwrap());
        users.set_status(user.id, UserStatus::Disabled, now).await.unwrap();
        assert!(!users.open_session(user.id, &new_session(now), "better", None).await.unwrap());
        assert!(users.sessions(user.id, now).await.unwrap().is_empty());
    }
}

on_every_backend! {
    async fn a_setting_is_replaced_once_and_ends_the_sessions_begun_before_to_the_millisecond(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now().trunc_subsecs(3);
        let times = [-1000, -1, 0, 1].map(|microseconds| now + chrono::Duration::microseconds(microseconds));
        let sessions = times.map(new_session);
        let mut owner = Uuid::nil();
        for session in &sessions {
            owner = users.sign_in(&new_user(MOBILE), session).await.unwrap().id;
        }
        assert_eq!(users.setting_or_insert("name", "first").await.unwrap(), "first");
        assert_eq!(users.setting_or_insert("name", "second").await.unwrap(), "first");
        assert_eq!(users.endings_since(now).await.unwrap().valid_from, DateTime::UNIX_EPOCH);

        let begun_before = now + chrono::Duration::microseconds(999);
        assert!(!users.end_all_sessions(begun_before, "name", "zeroth", "second").await.unwrap());
        assert_eq!(users.sessions(owner, now).await.unwrap().len(), 4);
        let ends = (0..5).map(|_| users.end_all_sessions(begun_before, "name", "first", "second"));
        assert_eq!(join_all(ends).await.into_iter().filter(|ended| *ended.as_ref().unwrap()).count(), 1);
        assert_eq!(users.setting_or_insert("name", "third").await.unwrap(), "second");
        assert_eq!(users.endings_since(now).await.unwrap().valid_from, now);

        // It never goes back.
        let earlier = now - chrono::Duration::hours(1);
        assert!(users.end_all_sessions(earlier, "name", "second", "third").await.unwrap());
        assert_eq!(users.endings_since(now).await.unwrap().valid_from, now);

        let left: Vec<_> = users.sessions(owner, now).await.unwrap().iter().map(|session| session.id).collect();
        assert_eq!(left, [sessions[3].id, sessions[2].id]);
        for ended in &sessions[..2] {
            assert!(matches!(users.rotate(ended.id, 0, now, LIFETIME).await.unwrap(), Rotation::Ended));
            assert_eq!(users.end_session(owner, ended.id, now).await.unwrap(), None);
        }
        assert!(matches!(users.rotate(sessions[2].id, 0, now, LIFETIME).await.unwrap(), Rotation::Rotated(_)));
        assert_eq!(users.end_sessions(owner, Some(sessions[3].id), now).await.unwrap(), [sessions[2].id]);
    }
}

on_every_backend! {
    async fn migrating_again_and_at_the_same_time_changes_nothing(backends: Backends) {
        let stores = Stores::create(backends).await;
        let (first, second) = (
            users::connect(&stores.database_url().parse().unwrap(), Statements::Named, 8).await.unwrap(),
            users::connect(&stores.database_url().parse().unwrap(), Statements::Named, 8).await.unwrap(),
        );
        let (one, other) = tokio::join!(first.migrate(), second.migrate());
        one.unwrap();
        other.unwrap();
        first.migrate().await.unwrap();
        first.ping().await.unwrap();
    }
}
