//! Do all back ends of a seam keep the same contract?

mod ephemeral;

use std::sync::Arc;

use chrono::{DateTime, SubsecRound, Utc};
use futures_util::future::join_all;
use phonepass::{
    clock::Clock,
    model::{
        mobile::Mobile,
        origin::Origin,
        session::{Lifetime, NewSession, SignInMethod},
        user::UserStatus,
    },
    store::users::{self, Cursor, MobileChange, NewUser, Rotation, Statements, UserStore},
};
use uuid::Uuid;

use crate::support::{MOBILE, backends::Stores, on_every_backend};

const LIFETIME: Lifetime = Lifetime { sliding: chrono::Duration::days(14), absolute: chrono::Duration::days(90) };

async fn user_store(stores: &Stores) -> Arc<dyn UserStore> {
    let users = users::connect(&stores.database_url().parse().unwrap(), Statements::Named, 8).await.unwrap();
    users.migrate().await.unwrap();
    users
}

fn mobile() -> Mobile {
    Mobile::parse(MOBILE).unwrap()
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
