//! Which calls go to a database together?

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::postgres::PgDatabaseError;
use uuid::Uuid;

use super::{NewUser, Opened, Refresher, Rotation, rows::unreadable};
use crate::{
    model::{
        mobile::Mobile,
        session::{Lifetime, NewSession},
        user::User,
    },
    store::{
        StoreError,
        coalesce::{Call, Failure},
    },
    telemetry::traces,
};

/// SQLite's primary code for a row that a constraint or a trigger refuses.
const SQLITE_CONSTRAINT: i32 = 19;

/// Classes of SQLSTATE that may be about a single row: data, constraints, deadlocks, locks, functions.
const CLASSES_OF_A_ROW: [&str; 5] = ["22", "23", "40", "55", "P0"];

/// Somebody signs in, see `Sessions::sign_in`.
pub struct SignIn {
    pub user: NewUser,
    pub session: NewSession,
    pub cleared: String,
}

/// A user who signed in, and what their sessions begin after.
#[derive(Clone)]
pub struct SignedIn {
    pub user: User,
    pub valid_from: Option<DateTime<Utc>>,
    pub sessions_opened: u32,
}

impl SignedIn {
    /// A session of this user, as the store has it.
    pub fn opened(self, session: &NewSession) -> (User, Opened) {
        let session = session.clone().begun_after(self.valid_from);
        (self.user, Opened { session, living_at_most: self.sessions_opened })
    }
}

impl Call for SignIn {
    fn subject(&self) -> u128 {
        subject_of(&self.user.mobile)
    }
}

/// A user is looked up.
impl Call for Uuid {
    fn subject(&self) -> u128 {
        self.as_u128()
    }
}

/// Somebody presents a refresh token, see `Sessions::rotate`.
#[derive(Clone)]
pub struct Refresh {
    pub session_id: Uuid,
    pub presented: u32,
    pub refresher: Refresher,
    pub now: DateTime<Utc>,
    pub lifetime: Lifetime,
}

impl Refresh {
    /// Names the token: the same one twice gets the same answer.
    pub fn token(&self) -> (Uuid, u32) {
        (self.session_id, self.presented)
    }
}

impl Call for Refresh {
    fn subject(&self) -> u128 {
        self.session_id.as_u128()
    }
}

/// What became of each token of a round.
pub type Rotations = HashMap<(Uuid, u32), Rotation>;

/// The tokens of a batch in rounds in which no session occurs twice: a statement sees each row once. Sorted, so that two
/// instances take rows in the same order and cannot wait for each other.
pub fn rounds(calls: &[Refresh]) -> Vec<Vec<Refresh>> {
    let mut sessions = HashMap::<Uuid, Vec<u32>>::with_capacity(calls.len());
    let mut rounds = Vec::<Vec<Refresh>>::new();
    for call in calls {
        let presented = sessions.entry(call.session_id).or_default();
        if presented.contains(&call.presented) {
            continue;
        }
        if presented.len() == rounds.len() {
            rounds.push(Vec::with_capacity(calls.len()));
        }
        rounds[presented.len()].push(call.clone());
        presented.push(call.presented);
    }
    for round in &mut rounds {
        round.sort_unstable_by_key(|call| call.session_id);
    }
    rounds
}

/// The answer to each call.
pub fn answers(calls: &[Refresh], rotations: &Rotations) -> Vec<Rotation> {
    calls.iter().map(|call| rotations.get(&call.token()).cloned().unwrap_or(Rotation::Expired)).collect()
}

/// The users of sign-ins and their sessions, in their order.
pub fn opened_by(calls: &[SignIn], signed_in: Vec<SignedIn>) -> sqlx::Result<Vec<(User, Opened)>> {
    let mut by_subject = HashMap::<_, SignedIn>::with_capacity(calls.len());
    for signed_in in signed_in {
        let subject = subject_of(&signed_in.user.mobile);
        // SQLite returns a user once for each call: the highest count is that after all of them.
        if by_subject.get(&subject).is_none_or(|other| other.sessions_opened < signed_in.sessions_opened) {
            by_subject.insert(subject, signed_in);
        }
    }
    let nobody_twice = by_subject.len() == calls.len();
    let mut opened = |call: &SignIn| {
        let subject = subject_of(&call.user.mobile);
        let user = if nobody_twice { by_subject.remove(&subject) } else { by_subject.get(&subject).cloned() };
        Ok(user.ok_or(sqlx::Error::RowNotFound)?.opened(&call.session))
    };
    calls.iter().map(&mut opened).collect()
}

/// The users with these ids, in their order.
pub fn users_with(ids: &[Uuid], users: Vec<User>) -> Vec<Option<User>> {
    let users: HashMap<_, _> = users.into_iter().map(|user| (user.id, user)).collect();
    ids.iter().map(|id| users.get(id).cloned()).collect()
}

fn subject_of(mobile: &Mobile) -> u128 {
    mobile.as_str().bytes().fold(0, |number, digit| number * 10 + u128::from(digit - b'0'))
}

/// Waits for a statement no longer than a request may, and tells whether a failure can be the fault of one of its rows.
#[track_caller]
pub fn bounded<T>(
    store: &'static str,
    timeout: Duration,
    work: impl Future<Output = sqlx::Result<T>>,
) -> impl Future<Output = Result<T, Failure>> {
    traces::call(store, async move {
        match tokio::time::timeout(timeout, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(failure(store, &error)),
            Err(_) => Err(Failure::Store(StoreError::new(store, "no answer in time"))),
        }
    })
}

fn failure(store: &'static str, error: &sqlx::Error) -> Failure {
    match unreadable(error) {
        Some(value) => Failure::Call(StoreError::Unreadable { store, value: value.clone() }),
        None if may_be_a_row(error) => Failure::Call(StoreError::new(store, error)),
        None => Failure::Store(StoreError::new(store, error)),
    }
}

fn may_be_a_row(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
            Some(error) => CLASSES_OF_A_ROW.iter().any(|class| error.code().starts_with(class)),
            None => {
                let code = error.code().and_then(|code| code.parse::<i32>().ok());
                code.is_some_and(|code| code & 0xFF == SQLITE_CONSTRAINT)
            }
        },
        sqlx::Error::RowNotFound | sqlx::Error::Encode(_) => true,
        _ => false,
    }
}
