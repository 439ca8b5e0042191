//! Which statements does SQLite run for many calls at once?
//!
//! A transaction costs a write to the disk, whatever is in it. Rows come as one JSON text each way of a statement, ids in
//! it as hexadecimal digits.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::{SqliteConnection, SqlitePool, sqlite::SqliteRow};
use uuid::Uuid;

use super::{
    super::{
        FormerRefresh, Opened, RefusedRotation, Rotation,
        batches::{Refresh, Rotations, SignIn, SignedIn, answers, bounded, opened_by, rounds, users_with},
        rows::{Stored, Time, new_session_columns, session_columns, user_columns},
    },
    STORE, clear_guesses, end_session, opened_from, session_from, user_from,
    writer::Writer,
};
use crate::{
    model::{
        device::Platform,
        session::{NewSession, SessionEnd},
        user::{User, UserStatus},
    },
    store::coalesce::{Batch, Failure},
};

/// Signs users in.
pub struct SignIns(pub Writer, pub Duration);

impl Batch for SignIns {
    type Call = SignIn;
    type Answer = (User, Opened);

    const NAME: &'static str = "sign_ins";
    const STORE: &'static str = STORE;

    fn timeout(&self) -> Duration {
        self.1
    }

    async fn run(&self, calls: &[SignIn]) -> Result<Vec<(User, Opened)>, Failure> {
        bounded(STORE, self.timeout(), async {
            let mut transaction = self.0.begin().await?;
            let users = sign_in(&mut transaction, calls).await?;
            transaction.commit().await?;
            Ok(users)
        })
        .await
    }
}

/// Runs within a transaction. Without calls, it needs what a sign-in needs, and changes nothing.
pub async fn sign_in(connection: &mut SqliteConnection, calls: &[SignIn]) -> sqlx::Result<Vec<(User, Opened)>> {
    let asked = array(calls, |SignIn { user, session, .. }| {
        json!([hex(user.id), user.mobile.as_str(), session.created_at.timestamp_micros()])
    });
    // `WHERE true` keeps the parser from taking ON CONFLICT for a join.
    let rows = sqlx::query(concat!(
        "INSERT INTO users (id, mobile, name, status, created_at, updated_at, last_login, sessions_opened)
         SELECT unhex(value ->> 0), value ->> 1, value ->> 1, 'active', value ->> 2, value ->> 2, value ->> 2, 1
         FROM json_each($1) WHERE true
         ON CONFLICT (mobile) DO UPDATE
         SET last_login = CASE WHEN status = 'active' THEN excluded.last_login ELSE last_login END,
             sessions_opened = sessions_opened + 1
         RETURNING sessions_valid_from, sessions_opened, ",
        user_columns!(),
    ))
    .bind(&asked)
    .fetch_all(&mut *connection)
    .await?;
    let opened = opened_by(calls, rows.iter().map(signed_in_from).collect::<sqlx::Result<_>>()?)?;
    let active = opened.iter().filter(|(user, _)| user.status == UserStatus::Active);
    insert_sessions(connection, active.map(|(user, opened)| (user.id, &opened.session))).await?;
    clear_guesses(connection, &calls.iter().map(|call| call.cleared.as_str()).collect::<Vec<_>>()).await?;
    Ok(opened)
}

/// Opens sessions; those that are there already stay as they are.
pub async fn insert_sessions(
    connection: &mut SqliteConnection,
    sessions: impl IntoIterator<Item = (Uuid, &NewSession)>,
) -> sqlx::Result<()> {
    let rows = sessions.into_iter().map(|(user_id, session)| row_of(user_id, session));
    sqlx::query(concat!(
        "INSERT INTO sessions (",
        new_session_columns!(),
        ")
         SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, 0, value ->> 3, value ->> 4, value ->> 5,
                value ->> 6, value ->> 7, value ->> 8, value ->> 9
         FROM json_each($1) WHERE true
         ON CONFLICT (id) DO NOTHING",
    ))
    .bind(Value::from_iter(rows).to_string())
    .execute(&mut *connection)
    .await
    .map(drop)
}

fn row_of(user_id: Uuid, session: &NewSession) -> Value {
    let device = &session.origin.device;
    json!([
        hex(session.id),
        hex(user_id),
        session.method.as_str(),
        session.created_at.timestamp_micros(),
        session.expires_at.timestamp_micros(),
        session.origin.ip,
        session.origin.user_agent,
        session.device_key.map(|key| key.of_user(user_id)),
        device.name,
        device.platform.map(Platform::as_str),
    ])
}

fn signed_in_from(row: &SqliteRow) -> sqlx::Result<SignedIn> {
    let user = user_from(row)?;
    let (valid_from, sessions_opened) = opened_from(row)?;
    Ok(SignedIn { user, valid_from, sessions_opened })
}

/// Looks users up by id.
pub struct LookUps(pub SqlitePool, pub Duration);

impl Batch for LookUps {
    type Call = Uuid;
    type Answer = Option<User>;

    const NAME: &'static str = "look_ups";
    const STORE: &'static str = STORE;

    fn timeout(&self) -> Duration {
        self.1
    }

    async fn run(&self, ids: &[Uuid]) -> Result<Vec<Option<User>>, Failure> {
        bounded(STORE, self.timeout(), self.users(ids)).await
    }
}

impl LookUps {
    async fn users(&self, ids: &[Uuid]) -> sqlx::Result<Vec<Option<User>>> {
        let query = sqlx::query(concat!(
            "SELECT ",
            user_columns!(),
            " FROM users WHERE id IN (SELECT unhex(value) FROM json_each($1)) AND mobile IS NOT NULL",
        ))
        .bind(array(ids, |id| json!(hex(*id))));
        Ok(users_with(ids, query.fetch_all(&self.0).await?.iter().map(user_from).collect::<sqlx::Result<_>>()?))
    }
}

/// Rotates refresh tokens.
pub struct Refreshes(pub Writer, pub Duration);

impl Batch for Refreshes {
    type Call = Refresh;
    type Answer = Rotation;

    const NAME: &'static str = "refreshes";
    const STORE: &'static str = STORE;

    fn timeout(&self) -> Duration {
        self.1
    }

    async fn run(&self, calls: &[Refresh]) -> Result<Vec<Rotation>, Failure> {
        bounded(STORE, self.timeout(), self.rotate_all(calls)).await
    }
}

impl Refreshes {
    async fn rotate_all(&self, calls: &[Refresh]) -> sqlx::Result<Vec<Rotation>> {
        let mut rotations = Rotations::new();
        let mut transaction = self.0.begin().await?;
        for round in rounds(calls) {
            rotate(&mut transaction, &round, &mut rotations).await?;
        }
        transaction.commit().await?;
        Ok(answers(calls, &rotations))
    }
}

async fn rotate(connection: &mut SqliteConnection, round: &[Refresh], rotations: &mut Rotations) -> sqlx::Result<()> {
    let former = former(connection, round).await?;
    let asked = array(round, |call| {
        let (origin, user_id) = (&call.refresher.origin, former.get(&call.session_id).map(|(user_id, ..)| *user_id));
        json!([
            hex(call.session_id),
            call.presented,
            call.now.timestamp_micros(),
            call.lifetime.sliding.num_microseconds(),
            call.lifetime.absolute.num_microseconds(),
            origin.ip,
            origin.user_agent,
            call.refresher.device_key.zip(user_id).map(|(key, user_id)| key.of_user(user_id)),
            origin.device.name,
            origin.device.platform.map(Platform::as_str),
        ])
    });
    let rows = sqlx::query(concat!(
        "UPDATE sessions
         SET refresh_counter = (value ->> 1) + 1,
             refreshed_at = value ->> 2,
             expires_at = min((value ->> 2) + (value ->> 3), created_at + (value ->> 4)),
             last_ip = value ->> 5,
             last_user_agent = value ->> 6,
             device_hash = coalesce(device_hash, value ->> 7),
             device_name = coalesce(value ->> 8, device_name),
             platform = coalesce(value ->> 9, platform)
         FROM json_each($1)
         WHERE sessions.id = unhex(value ->> 0) AND expires_at > value ->> 2 AND ",
        not_ended!("sessions", "u.status = 'active'"),
        "  AND refresh_counter - (value ->> 1) IN (0, 1)
         RETURNING ",
        session_columns!(),
    ))
    .bind(asked)
    .fetch_all(&mut *connection)
    .await?;
    for row in &rows {
        let session = session_from(row, false)?;
        let presented = session.refresh_counter - 1;
        let Some((_, counter, former)) = former.get(&session.id) else { continue };
        let former = FormerRefresh { used_before: *counter > presented, ..former.clone() };
        rotations.insert((session.id, presented), Rotation::Rotated(Box::new(session), former));
    }
    for call in round {
        if let Entry::Vacant(refused) = rotations.entry(call.token()) {
            refused.insert(refuse(connection, call).await?);
        }
    }
    Ok(())
}

/// Whose the sessions are, their counters, and who refreshed them last: RETURNING knows the new values only.
async fn former(
    connection: &mut SqliteConnection,
    round: &[Refresh],
) -> sqlx::Result<HashMap<Uuid, (Uuid, u32, FormerRefresh)>> {
    let rows = sqlx::query(
        "SELECT id, user_id, refresh_counter, last_ip, last_user_agent
         FROM sessions WHERE id IN (SELECT unhex(value) FROM json_each($1))",
    )
    .bind(array(round, |call| json!(hex(call.session_id))))
    .fetch_all(connection)
    .await?;
    let sessions = rows.iter().map(|row| {
        let row = Stored::of("sessions", row);
        let former =
            FormerRefresh { used_before: false, ip: row.get("last_ip")?, user_agent: row.get("last_user_agent")? };
        Ok((row.get("id")?, (row.get("user_id")?, row.get("refresh_counter")?, former)))
    });
    sessions.collect()
}

/// Finds out why one was refused, and ends its session if the token was used up long ago.
async fn refuse(connection: &mut SqliteConnection, call: &Refresh) -> sqlx::Result<Rotation> {
    let row = sqlx::query(concat!(
        "SELECT s.id, s.user_id, u.status, NOT (",
        not_ended!("s"),
        ") AS ended, s.expires_at, s.refresh_counter
         FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.id = $1",
    ))
    .bind(call.session_id)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(Rotation::Expired) };
    let row = Stored::of("sessions", &row);
    let reason = RefusedRotation {
        user_id: row.get("user_id")?,
        status: UserStatus::from_column(row.joined("users", "user_id").get("status")?),
        ended: row.get("ended")?,
        expires_at: row.get::<Time>("expires_at")?.0,
        refresh_counter: row.get("refresh_counter")?,
    }
    .reason(call.presented, call.now);
    if let Rotation::Reused(user_id) = reason {
        end_session(connection, user_id, call.session_id, SessionEnd::Reuse).await?;
    }
    Ok(reason)
}

fn array<C>(calls: &[C], row: impl Fn(&C) -> Value) -> String {
    Value::Array(calls.iter().map(row).collect()).to_string()
}

fn hex(id: Uuid) -> String {
    id.simple().to_string()
}
