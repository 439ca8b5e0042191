//! Do all back ends of a seam keep the same contract?

mod ephemeral;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, SubsecRound, Utc};
use futures_util::future::join_all;
use phonepass::{
    clock::Clock,
    model::{
        device::{Device, DeviceKey, Platform},
        mobile::Mobile,
        origin::Origin,
        session::{self, Lifetime, NewSession, Session, SessionEnd, SignInMethod},
        user::UserStatus,
    },
    store::users::{
        self, Acquaintances, Cursor, Guess, Guesser, MobileChange, NewUser, Refresher, Rotation, Statements, UserStore,
    },
};
use uuid::Uuid;

use crate::support::{MOBILE, WIDE, backends::Stores, on_every_backend};

const HOUR: Duration = Duration::from_secs(3600);
const COUNT: &str = "a count of wrong guesses";
const LIFETIME: Lifetime = Lifetime { sliding: chrono::Duration::days(14), absolute: chrono::Duration::days(90) };

async fn user_store(stores: &Stores) -> Arc<dyn UserStore> {
    let users = users::connect(&stores.database_url().parse().unwrap(), Statements::Named, 8, WIDE).await.unwrap();
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
        device_key: None,
    }
}

/// A session that begins now, with the id that belongs to it.
fn begun(now: DateTime<Utc>) -> NewSession {
    NewSession { id: session::id_at(now), ..new_session(now) }
}

/// Signs in, and returns whose session was opened.
async fn signed_in(users: &dyn UserStore, session: &NewSession) -> Uuid {
    users.sign_in(&new_user(MOBILE), session, COUNT).await.unwrap().0.id
}

async fn rotate(users: &dyn UserStore, session: Uuid, counter: u32, now: DateTime<Utc>) -> Rotation {
    users.rotate(session, counter, &refresher("192.0.2.1"), now, LIFETIME).await.unwrap()
}

fn refresher(ip: &str) -> Refresher {
    let origin = Origin { ip: Some(ip.parse().unwrap()), user_agent: Some("a phone".to_owned()), ..Origin::default() };
    Refresher { origin: Arc::new(origin), device_key: None }
}

/// The ids of the user's sessions that live, sorted.
async fn living(users: &dyn UserStore, user_id: Uuid, now: DateTime<Utc>) -> Vec<Uuid> {
    let mut ids: Vec<_> = users.sessions(user_id, 1000, now).await.unwrap().iter().map(|session| session.id).collect();
    ids.sort();
    ids
}

fn sorted(ids: impl IntoIterator<Item = Uuid>) -> Vec<Uuid> {
    let mut ids = Vec::from_iter(ids);
    ids.sort();
    ids
}

on_every_backend! {
    async fn a_user_is_registered_once_however_many_sign_in(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let attempts: Vec<_> = (0..50).map(|_| (new_user(MOBILE), new_session(now))).collect();
        let outcomes = join_all(attempts.iter().map(|(user, session)| users.sign_in(user, session, COUNT))).await;
        let signed_in: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap().0).collect();
        let found = signed_in.iter().zip(&attempts).filter(|(found, (wanted, _))| found.id == wanted.id).count();
        assert_eq!(found, 1);
        assert!(signed_in.iter().all(|user| user.id == signed_in[0].id));
        for (_, session) in &attempts {
            let rotated = rotate(&*users, session.id, 0, now).await;
            assert!(matches!(rotated, Rotation::Rotated(found, _) if found.user_id == signed_in[0].id));
        }
    }
}

on_every_backend! {
    async fn of_some_mobiles_those_of_users_are_told_in_their_order(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let mobiles: Vec<_> = (0..100).map(|n| Mobile::parse(&format!("137000000{n:02}")).unwrap()).collect();
        let told = async |mobiles: &[Mobile]| users.registered(mobiles).await.unwrap();
        assert_eq!(told(&mobiles).await, []);
        for mobile in [&mobiles[99], &mobiles[7], &mobiles[42]] {
            users.sign_in(&new_user(mobile.as_str()), &begun(now), COUNT).await.unwrap();
        }
        assert_eq!(told(&mobiles).await, [7, 42, 99].map(|n| mobiles[n].clone()));
        let backwards: Vec<_> = mobiles[..50].iter().rev().cloned().collect();
        assert_eq!(told(&backwards).await, [42, 7].map(|n| mobiles[n].clone()));
        assert_eq!(told(&[]).await, []);
        // A disabled user keeps the number, a deleted one does not.
        let id = async |n: usize| users.user_by_mobile(&mobiles[n]).await.unwrap().unwrap().id;
        users.delete_user(id(7).await, &[], now).await.unwrap().unwrap();
        users.set_status(id(42).await, UserStatus::Disabled, &[], now).await.unwrap();
        assert_eq!(told(&mobiles).await, [42, 99].map(|n| mobiles[n].clone()));
    }
}

on_every_backend! {
    async fn a_taken_mobile_is_registered_by_one_of_many_and_the_rest_open_no_session(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let attempts: Vec<_> = (0..50).map(|_| (new_user(MOBILE), new_session(now))).collect();
        let outcomes = join_all(attempts.iter().map(|(user, session)| users.register(user, session, COUNT))).await;
        let mut registered = 0;
        for (outcome, (_, session)) in outcomes.into_iter().zip(&attempts) {
            let rotation = rotate(&*users, session.id, 0, now).await;
            match outcome.unwrap() {
                Some(_) => {
                    registered += 1;
                    assert!(matches!(rotation, Rotation::Rotated(..)));
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
            owner = signed_in(&*users, session).await;
        }
        let (session, later) = (&sessions[0], now + chrono::Duration::days(15));
        let end = async |owner, id, why| users.end_session(owner, id, why).await.unwrap();
        assert_eq!(end(Uuid::now_v7(), session.id, SessionEnd::Removal).await, None);
        assert_eq!(end(owner, session.id, SessionEnd::Removal).await, Some(session.expires_at));
        assert_eq!(end(owner, session.id, SessionEnd::SignOut).await, None);
        let endings = users.endings_since(None, HOUR).await.unwrap();
        assert_eq!((endings.ended, endings.of_users), (vec![session.id], vec![]));
        let since = Some(endings.at + chrono::Duration::seconds(1));
        assert!(users.endings_since(since, HOUR).await.unwrap().ended.is_empty());

        // Those that count as known, or live, stay until the later time.
        assert_eq!(end(owner, sessions[1].id, SessionEnd::SignOut).await, Some(sessions[1].expires_at));
        assert_eq!(end(owner, sessions[2].id, SessionEnd::Reuse).await, Some(sessions[2].expires_at));
        let delete = async |time, known, at_most| users.delete_sessions_over_before(time, known, at_most).await.unwrap();
        assert_eq!(delete(now, now, 100).await, 0);
        assert_eq!(delete(later, now, 1).await, 1);
        assert_eq!(delete(later, now, 100).await, 1);
        assert_eq!(delete(later, now, 100).await, 0);
        assert_eq!(delete(later, later, 2).await, 2);
        assert_eq!(delete(later, later, 2).await, 1);
    }
}

on_every_backend! {
    async fn signing_in_again_with_one_session_opens_no_other(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let session = new_session(Clock::system().now());
        let attempts: Vec<_> = (0..20).map(|_| new_user(MOBILE)).collect();
        let outcomes = join_all(attempts.iter().map(|user| users.sign_in(user, &session, COUNT))).await;
        let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap().0).collect();
        let owner = outcomes[0].id;
        assert!(outcomes.iter().all(|user| user.id == owner && user.created_at == session.created_at));
        let open = users.sessions(owner, 10, session.created_at).await.unwrap();
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
            let (user, _) = users.sign_in(&new_user(from.as_str()), &kept, COUNT).await.unwrap();
            users.sign_in(&new_user(from.as_str()), &other, COUNT).await.unwrap();
            movers.push((user, from, kept, other));
        }
        let to = mobile();
        let moves = movers.iter().map(|(user, from, kept, _)| users.change_mobile(user.id, (from, &to), kept.id, &[], now));
        let mut moved = 0;
        for (outcome, (user, _, kept, _)) in join_all(moves).await.into_iter().zip(&movers) {
            let open = living(&*users, user.id, now).await;
            match outcome.unwrap() {
                MobileChange::Changed(changed, ended) => {
                    moved += 1;
                    assert_eq!((changed.mobile.as_str(), changed.name.as_str()), (MOBILE, MOBILE));
                    assert_eq!((ended.user_id, ended.kept), (user.id, Some(kept.id)));
                    assert_eq!(open, [kept.id]);
                }
                MobileChange::Taken => assert_eq!(open.len(), 2),
                MobileChange::Gone => panic!("gone"),
            }
        }
        assert_eq!(moved, 1);
        // From a number that is not theirs, nothing changes.
        for (user, from, kept, _) in &movers {
            let (now_at, open) = (users.user(user.id).await.unwrap().unwrap().mobile, living(&*users, user.id, now).await);
            let other = Mobile::parse("13900139000").unwrap();
            let gone = users.change_mobile(user.id, (&other, from), kept.id, &[], now).await.unwrap();
            assert!(matches!(gone, MobileChange::Gone));
            assert_eq!(users.user(user.id).await.unwrap().unwrap().mobile, now_at);
            assert_eq!(living(&*users, user.id, now).await, open);
        }
    }
}

on_every_backend! {
    async fn a_deleted_user_leaves_nothing_but_ids_and_times(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let session = NewSession { device_key: Some(DeviceKey([7; 32])), ..new_session(now) };
        let (user, _) = users.sign_in(&new_user(MOBILE), &session, COUNT).await.unwrap();
        rotate(&*users, session.id, 0, now).await;
        users.update_profile(user.id, Some("somebody"), Some(Some("https://example.com/a.png")), now).await.unwrap();
        users.set_password(user.id, "a hash", Some(session.id), &[], now).await.unwrap();
        assert_eq!(users.delete_user(user.id, &[], now).await.unwrap().unwrap().kept, None);
        assert!(users.delete_user(Uuid::now_v7(), &[], now).await.unwrap().is_none());
        assert!(users.user(user.id).await.unwrap().is_none());
        assert!(users.user_by_mobile(&mobile()).await.unwrap().is_none());
        for place in [Cursor::start(None), Cursor::start(Some(DateTime::UNIX_EPOCH))] {
            assert!(users.users_after(place, 10).await.unwrap().is_empty());
        }
        let left = users.session(session.id).await.unwrap().unwrap();
        assert_eq!((left.ip, left.user_agent, left.last_ip, left.last_user_agent), (None, None, None, None));
        assert!(left.is_ended);
        assert_eq!(stores.count("sessions WHERE device_hash IS NOT NULL").await, 0);
        for (table, column) in [("users", "mobile"), ("users", "avatar_url"), ("users", "password_hash")] {
            assert_eq!(stores.count(&format!("{table} WHERE {column} IS NOT NULL")).await, 0, "{column}");
        }
        assert_eq!(stores.count("users WHERE name = ''").await, 1);
        assert_ne!(signed_in(&*users, &new_session(now)).await, user.id);
    }
}

on_every_backend! {
    async fn a_session_opens_only_on_the_password_that_was_checked(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let id = signed_in(&*users, &new_session(now)).await;
        users.set_password(id, "first", None, &[], now).await.unwrap();
        let open = async |hash, new_hash| users.open_session(id, &new_session(now), hash, new_hash, COUNT).await.unwrap();
        assert!(open("first", None).await.is_some());
        assert!(open("first", Some("better")).await.is_some());
        assert!(open("first", None).await.is_none());
        users.set_status(id, UserStatus::Disabled, &[], now).await.unwrap();
        assert!(open("better", None).await.is_none());
        assert!(living(&*users, id, now).await.is_empty());
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
            owner = signed_in(&*users, session).await;
        }
        assert_eq!(users.setting_or_insert("name", "first").await.unwrap(), "first");
        assert_eq!(users.setting_or_insert("name", "second").await.unwrap(), "first");
        assert_eq!(users.endings_since(None, HOUR).await.unwrap().valid_from, DateTime::UNIX_EPOCH);

        let begun_before = now + chrono::Duration::microseconds(999);
        assert!(!users.end_all_sessions(begun_before, "name", "zeroth", "second").await.unwrap());
        assert_eq!(living(&*users, owner, now).await.len(), 4);
        let ends = (0..5).map(|_| users.end_all_sessions(begun_before, "name", "first", "second"));
        assert_eq!(join_all(ends).await.into_iter().filter(|ended| *ended.as_ref().unwrap()).count(), 1);
        assert_eq!(users.setting_or_insert("name", "third").await.unwrap(), "second");
        assert_eq!(users.endings_since(None, HOUR).await.unwrap().valid_from, now);

        // It never goes back.
        let earlier = now - chrono::Duration::hours(1);
        assert!(users.end_all_sessions(earlier, "name", "second", "third").await.unwrap());
        assert_eq!(users.endings_since(None, HOUR).await.unwrap().valid_from, now);

        let left: Vec<_> = users.sessions(owner, 10, now).await.unwrap().iter().map(|session| session.id).collect();
        assert_eq!(left, [sessions[3].id, sessions[2].id]);
        for ended in &sessions[..2] {
            assert!(matches!(rotate(&*users, ended.id, 0, now).await, Rotation::Ended));
            assert_eq!(users.end_session(owner, ended.id, SessionEnd::SignOut).await.unwrap(), None);
        }
        assert!(matches!(rotate(&*users, sessions[2].id, 0, now).await, Rotation::Rotated(..)));
        users.end_sessions(owner, Some(sessions[3].id), now).await.unwrap();
        assert_eq!(living(&*users, owner, now).await, [sessions[3].id]);
    }
}

on_every_backend! {
    async fn migrating_again_and_at_the_same_time_changes_nothing(backends: Backends) {
        let stores = Stores::empty(backends).await;
        let (first, second) = (
            users::connect(&stores.database_url().parse().unwrap(), Statements::Named, 8, WIDE).await.unwrap(),
            users::connect(&stores.database_url().parse().unwrap(), Statements::Named, 8, WIDE).await.unwrap(),
        );
        let (one, other) = tokio::join!(first.migrate(), second.migrate());
        one.unwrap();
        other.unwrap();
        first.migrate().await.unwrap();
        first.ping().await.unwrap();
    }
}

/// A clock of another instance: some minutes behind or ahead.
const SKEWS: [i64; 3] = [-7, 0, 7];

on_every_backend! {
    async fn sessions_of_a_user_end_together_and_later_ones_live_whatever_the_clocks_say(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        for (before, end, after) in
            SKEWS.iter().flat_map(|a| SKEWS.iter().flat_map(move |b| SKEWS.iter().map(move |c| (a, b, c))))
        {
            let [before, end, after] = [before, end, after].map(|skew| now + chrono::Duration::minutes(*skew));
            let [first, kept] = [begun(before), begun(before)];
            let mut opened = Vec::new();
            let mut owner = Uuid::nil();
            for session in [&first, &kept] {
                let (user, open) = users.sign_in(&new_user(MOBILE), session, COUNT).await.unwrap();
                owner = user.id;
                opened.push(open.session.id);
            }
            let ending = users.end_sessions(owner, Some(opened[1]), end).await.unwrap().unwrap();
            assert_eq!(ending.kept, Some(opened[1]));
            assert_eq!(ending.valid_from, ending.valid_from.trunc_subsecs(3));
            for id in &opened {
                assert!(session::begun_at(*id) < ending.valid_from);
            }
            // By code, and by password.
            let (_, by_code) = users.sign_in(&new_user(MOBILE), &begun(after), COUNT).await.unwrap();
            users.set_password(owner, "hash", Some(by_code.session.id), &[], end).await.unwrap().unwrap();
            let by_password =
                users.open_session(owner, &begun(after), "hash", None, COUNT).await.unwrap().unwrap();
            let second = users.endings_since(None, HOUR).await.unwrap().of_users;
            let [second] = second.as_slice() else { panic!("{second:?}") };
            assert!(second.valid_from > ending.valid_from);
            let session = &by_password.session;
            assert!(session::begun_at(session.id) >= second.valid_from);
            assert!(session.created_at >= second.valid_from && session.created_at >= after);
            assert_eq!(session::begun_at(session.id), session.created_at.trunc_subsecs(3));
            let kept = sorted([by_code.session.id, session.id]);
            assert_eq!(living(&*users, owner, now).await, kept, "one kept before is over unless it is kept again");
            for id in kept {
                assert!(matches!(rotate(&*users, id, 0, now).await, Rotation::Rotated(..)));
                assert!(!users.session(id).await.unwrap().unwrap().is_ended);
            }
            for id in opened {
                assert!(matches!(rotate(&*users, id, 0, now).await, Rotation::Ended));
                assert!(users.session(id).await.unwrap().unwrap().is_ended);
                // One that is over is not kept.
                let ending = users.end_sessions(owner, Some(id), end).await.unwrap().unwrap();
                assert_eq!(ending.kept, None);
                assert!(living(&*users, owner, now).await.is_empty());
            }
            users.delete_user(owner, &[], now).await.unwrap();
                stores.execute("DELETE FROM users").await;
        }
    }
}

on_every_backend! {
    async fn a_session_that_is_kept_ends_by_itself(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let (kept, other) = (begun(now), begun(now));
        let owner = signed_in(&*users, &kept).await;
        signed_in(&*users, &other).await;
        for _ in 0..2 {
            users.end_sessions(owner, Some(kept.id), now).await.unwrap();
            assert_eq!(living(&*users, owner, now).await, [kept.id]);
        }
        assert!(users.end_session(owner, other.id, SessionEnd::Removal).await.unwrap().is_none());
        assert!(users.end_session(owner, kept.id, SessionEnd::SignOut).await.unwrap().is_some());
        assert!(living(&*users, owner, now).await.is_empty());
        assert!(users.end_sessions(Uuid::now_v7(), None, now).await.unwrap().is_none());
    }
}

on_every_backend! {
    async fn an_ending_and_sign_ins_at_once_leave_sessions_that_are_over_or_began_later(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let owner = signed_in(&*users, &begun(now)).await;
        let sessions: Vec<_> = (0..20).map(|_| begun(now)).collect();
        let user = new_user(MOBILE);
        let sign_ins = sessions.iter().map(|session| users.sign_in(&user, session, COUNT));
        let (ending, opened) = tokio::join!(users.end_sessions(owner, None, now), join_all(sign_ins));
        let valid_from = ending.unwrap().unwrap().valid_from;
        let living = living(&*users, owner, now).await;
        for (_, opened) in opened.into_iter().map(Result::unwrap) {
            let lives = living.contains(&opened.session.id);
            assert_eq!(lives, opened.session.created_at >= valid_from);
            assert_eq!(lives, session::begun_at(opened.session.id) >= valid_from);
        }
    }
}

on_every_backend! {
    async fn the_oldest_sessions_end_however_many_sign_in_at_once(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let mut sessions = Vec::new();
        for number in 0..100 {
            sessions.push(begun(now + chrono::Duration::seconds(number)));
        }
        let user = new_user(MOBILE);
        let mut owner = Uuid::nil();
        for outcome in join_all(sessions.iter().map(|session| users.sign_in(&user, session, COUNT))).await {
            let (user, opened) = outcome.unwrap();
            owner = user.id;
            assert!(opened.living_at_most <= 100);
        }
        let later: Vec<_> = (0..20).map(|number| begun(now + chrono::Duration::seconds(200 + number))).collect();
        let sign_in = async |session: &NewSession| {
            let (_, opened) = users.sign_in(&user, session, COUNT).await.unwrap();
            assert!(opened.living_at_most > 100);
            users.end_oldest_sessions(owner, session.id, 100, now).await.unwrap()
        };
        let ended: Vec<_> = join_all(later.iter().map(sign_in)).await.into_iter().flatten().collect();
        assert_eq!(sorted(ended), sorted(sessions[..20].iter().map(|session| session.id)));
        let left = sessions[20..].iter().chain(&later).map(|session| session.id);
        assert_eq!(living(&*users, owner, now).await, sorted(left));
        assert_eq!(stores.count("users WHERE sessions_opened = 100").await, 1);
        // The one that was just opened stays, also where its clock is slow.
        let slow = begun(now - chrono::Duration::minutes(9));
        users.sign_in(&user, &slow, COUNT).await.unwrap();
        assert_eq!(users.end_oldest_sessions(owner, slow.id, 100, now).await.unwrap(), [sessions[20].id]);
    }
}

fn hashes(found: &Acquaintances) -> Vec<Option<&str>> {
    found.sessions.iter().map(|session| session.device_hash.as_deref()).collect()
}

on_every_backend! {
    async fn an_owner_is_known_by_sessions_that_nobody_had_reason_to_end(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let since = now - chrono::Duration::days(90);
        let known = async |at_most| users.acquaintances(&mobile(), since, at_most).await.unwrap();
        assert!(known(100).await.is_none());
        let key = |number| Some(DeviceKey([number; 32]));
        let mut owner = Uuid::nil();
        // The newest last; by its device: one that lives, signed out, removed, reused, too long ago.
        let ages = [(5, 91), (4, 60), (3, 50), (2, 40), (1, 30)];
        let mut sessions = Vec::new();
        for (number, days) in ages {
            let began = now - chrono::Duration::days(days);
            let session = NewSession { device_key: key(number), expires_at: now, ..begun(began) };
            owner = signed_in(&*users, &session).await;
            sessions.push(session);
        }
        let hash = |number| key(number).unwrap().of_user(owner);
        users.end_session(owner, sessions[3].id, SessionEnd::SignOut).await.unwrap();
        users.end_session(owner, sessions[2].id, SessionEnd::Removal).await.unwrap();
        users.end_session(owner, sessions[1].id, SessionEnd::Reuse).await.unwrap();
        let found = known(100).await.unwrap();
        assert_eq!(found.user_id, owner);
        assert_eq!(hashes(&found), [Some(&*hash(1)), Some(&*hash(2))]);
        assert_eq!(found.sessions[0].networks, ["192.0.2.1"]);
        assert_eq!(known(1).await.unwrap().sessions.len(), 1);
        assert_ne!(key(1).unwrap().of_user(Uuid::now_v7()), hash(1), "bound to the user");

        // As the former version ends sessions, which tells no reason.
        stores.execute("UPDATE sessions SET ended_by = NULL WHERE ended_by = 'sign_out'").await;
        assert_eq!(hashes(&known(100).await.unwrap()), [Some(&*hash(1))]);

        // A refresh brings its network, and a device where there was none. It stays: the holder of one session would have as
        // many devices as they like.
        let living = begun(now);
        signed_in(&*users, &living).await;
        for (counter, number) in [(0, 9), (1, 10)] {
            let refresher = Refresher { device_key: key(number), ..refresher("2001:db8:1:2:3::4") };
            users.rotate(living.id, counter, &refresher, now, LIFETIME).await.unwrap();
        }
        let found = known(1).await.unwrap();
        assert_eq!(hashes(&found), [Some(&*hash(9))]);
        assert_eq!(found.sessions[0].networks, ["192.0.2.1", "2001:db8:1:2::"]);

        // Endings of all but one leave that one.
        users.end_sessions(owner, Some(living.id), now).await.unwrap();
        assert_eq!(hashes(&known(100).await.unwrap()), [Some(&*hash(9))]);
        users.end_sessions(owner, None, now).await.unwrap();
        assert_eq!(known(100).await.unwrap().sessions.len(), 0);
        users.delete_user(owner, &[], now).await.unwrap();
        assert!(known(100).await.is_none());
    }
}

on_every_backend! {
    async fn a_refresh_tells_what_the_session_was_like_before(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let device = Device { name: Some("小明的手机".to_owned()), platform: Some(Platform::Harmony), ..Device::default() };
        let origin = Origin { device, ..(*new_session(now).origin).clone() };
        let session = NewSession { origin: Arc::new(origin), ..begun(now) };
        signed_in(&*users, &session).await;
        let refresh = async |counter, ip: &str| match users.rotate(session.id, counter, &refresher(ip), now, LIFETIME).await {
            Ok(Rotation::Rotated(session, former)) => (*session, former),
            other => panic!("{}", other.is_ok()),
        };
        let (first, former): (Session, _) = refresh(0, "192.0.2.2").await;
        assert_eq!((former.used_before, former.ip), (false, None));
        assert_eq!((first.last_ip.as_deref(), first.last_user_agent.as_deref()), (Some("192.0.2.2"), Some("a phone")));
        assert_eq!((first.device_name.as_deref(), first.platform), (Some("小明的手机"), Some(Platform::Harmony)));
        let (_, former) = refresh(0, "192.0.2.3").await;
        assert_eq!((former.used_before, former.ip.as_deref()), (true, Some("192.0.2.2")));
        let (_, former) = refresh(1, "192.0.2.4").await;
        assert_eq!((former.used_before, former.ip.as_deref()), (false, Some("192.0.2.3")));
        assert_eq!(former.user_agent.as_deref(), Some("a phone"));
    }
}

on_every_backend! {
    async fn no_more_guesses_are_taken_than_there_are_and_a_right_one_clears_them(backends: Backends) {
        let stores = Stores::create(backends).await;
        let users = user_store(&stores).await;
        let now = Clock::system().now();
        let take = async |guesser| users.take_guess(COUNT, guesser, 100, now).await.unwrap();
        let guesses = join_all((0..130).map(|_| take(Guesser::Stranger))).await;
        assert_eq!(guesses.iter().filter(|guess| **guess == Guess::Taken).count(), 100);
        // A budget of their own.
        assert_eq!(take(Guesser::KnownNetwork).await, Guess::Taken);
        assert_eq!(users.take_guess(COUNT, Guesser::KnownNetwork, 1, now).await.unwrap(), Guess::Exhausted);
        users.return_guess(COUNT, Guesser::Stranger).await.unwrap();
        assert_eq!(take(Guesser::Stranger).await, Guess::Taken);
        assert_eq!(take(Guesser::Stranger).await, Guess::Exhausted);
        assert_eq!(users.take_guess("another", Guesser::Stranger, 0, now).await.unwrap(), Guess::Exhausted);
        users.return_guess("another", Guesser::Stranger).await.unwrap();

        let exhausted = async || take(Guesser::Stranger).await == Guess::Exhausted;
        let cleared = [COUNT.to_owned()];
        let id = signed_in(&*users, &begun(now)).await;
        assert!(!exhausted().await, "by a code");
        join_all((0..100).map(|_| take(Guesser::Stranger))).await;
        users.set_password(id, "hash", None, &cleared, now).await.unwrap();
        assert!(!exhausted().await, "by a reset");
        join_all((0..100).map(|_| take(Guesser::Stranger))).await;
        assert!(users.open_session(id, &begun(now), "wrong", None, COUNT).await.unwrap().is_none());
        assert!(exhausted().await);
        users.open_session(id, &begun(now), "hash", None, COUNT).await.unwrap().unwrap();
        assert!(!exhausted().await, "by a password");
        join_all((0..100).map(|_| take(Guesser::Stranger))).await;
        users.set_status(id, UserStatus::Active, &cleared, now).await.unwrap();
        assert!(!exhausted().await, "by an operator who enables");
        join_all((0..100).map(|_| take(Guesser::Stranger))).await;
        users.clear_guesses(&cleared).await.unwrap();
        assert!(!exhausted().await, "by an operator who unlocks");
        join_all((0..100).map(|_| take(Guesser::Stranger))).await;
        assert!(users.register(&new_user(MOBILE), &begun(now), COUNT).await.unwrap().is_none());
        assert!(exhausted().await);
        users.register(&new_user("13900139000"), &begun(now), COUNT).await.unwrap().unwrap();
        assert!(!exhausted().await, "by a registration");

        assert_eq!(users.delete_guesses_before(now, 10).await.unwrap(), 0);
        assert_eq!(users.delete_guesses_before(now + chrono::Duration::seconds(1), 10).await.unwrap(), 1);
    }
}
