//! Which statements does SQLite run for many calls at once?
//!
//! A transaction costs a write to the disk, whatever is in it. Rows come as one JSON text each way of a statement, ids in
//! it as hexadecimal digits.

use std::{collections::hash_map::Entry, time::Duration};

use serde_json::json;
use sqlx::{SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::{
    super::{
        RefusedRotation, Rotation, STATEMENT_TIMEOUT,
        batches::{Refresh, Rotations, SignIn, answers, bounded, rounds, users_of, users_with},
        rows::{Stored, Time, session_columns, user_columns},
    },
    STORE, end_session, session_from, user_from,
    writer::Writer,
};
use crate::{
    model::user::{User, UserStatus},
    store::coalesce::{Batch, Failure},
};

/// Signs users in.
pub struct SignIns(pub Writer);

impl Batch for SignIns {
    type Call = SignIn;
    type Answer = User;

    const NAME: &'static str = "sign_ins";
    const STORE: &'static str = STORE;
    const TIMEOUT: Duration = STATEMENT_TIMEOUT;

    async fn run(&self, calls: &[SignIn]) -> Result<Vec<User>, Failure> {
        bounded(STORE, async {
            let mut transaction = self.0.begin().await?;
            let users = sign_in(&mut transaction, calls).await?;
            transaction.commit().await?;
            Ok(users)
        })
        .await
    }
}

/// Runs within a transaction. Without calls, it needs what a sign-in needs, and changes nothing.
pub async fn sign_in(connection: &mut SqliteConnection, calls: &[SignIn]) -> sqlx::Result<Vec<User>> {
    let asked = array(calls, |SignIn { user, session }| {
        json!([
            hex(user.id),
            user.mobile.as_str(),
            hex(session.id),
            session.method.as_str(),
            session.created_at.timestamp_micros(),
            session.expires_at.timestamp_micros(),
            session.origin.ip,
            session.origin.user_agent,
        ])
    });
    // `WHERE true` keeps the parser from taking ON CONFLICT for a join.
    let rows = sqlx::query(concat!(
        "INSERT INTO users (id, mobile, name, status, created_at, updated_at, last_login)
         SELECT unhex(value ->> 0), value ->> 1, value ->> 1, 'active', value ->> 4, value ->> 4, value ->> 4
         FROM json_each($1) WHERE true
         ON CONFLICT (mobile) DO UPDATE
         SET last_login = CASE WHEN status = 'active' THEN excluded.last_login ELSE last_login END
         RETURNING ",
        user_columns!(),
    ))
    .bind(&asked)
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
         SELECT unhex(value ->> 2), users.id, value ->> 3, 0, value ->> 4, value ->> 5, value ->> 6, value ->> 7
         FROM json_each($1) JOIN users ON mobile = value ->> 1
         WHERE status = 'active'
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(&asked)
    .execute(&mut *connection)
    .await?;
    users_of(calls, rows.iter().map(user_from).collect::<sqlx::Result<_>>()?)
}

/// Looks users up by id.
pub struct LookUps(pub SqlitePool);

impl Batch for LookUps {
    type Call = Uuid;
    type Answer = Option<User>;

    const NAME: &'static str = "look_ups";
    const STORE: &'static str = STORE;
    const TIMEOUT: Duration = STATEMENT_TIMEOUT;

    async fn run(&self, ids: &[Uuid]) -> Result<Vec<Option<User>>, Failure> {
        bounded(STORE, self.users(ids)).await
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
pub struct Refreshes(pub Writer);

impl Batch for Refreshes {
    type Call = Refresh;
    type Answer = Rotation;

    const NAME: &'static str = "refreshes";
    const STORE: &'static str = STORE;
    const TIMEOUT: Duration = STATEMENT_TIMEOUT;

    async fn run(&self, calls: &[Refresh]) -> Result<Vec<Rotation>, Failure> {
        bounded(STORE, self.rotate_all(calls)).await
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
    let asked = array(round, |call| {
        json!([
            hex(call.session_id),
            call.presented,
            call.now.timestamp_micros(),
            call.lifetime.sliding.num_microseconds(),
            call.lifetime.absolute.num_microseconds(),
        ])
    });
    let rows = sqlx::query(concat!(
        "UPDATE sessions
         SET refresh_counter = (value ->> 1) + 1,
             refreshed_at = value ->> 2,
             expires_at = min((value ->> 2) + (value ->> 3), created_at + (value ->> 4))
         FROM json_each($1)
         WHERE sessions.id = unhex(value ->> 0) AND expires_at > value ->> 2 AND ",
        not_ended!("sessions"),
        "  AND refresh_counter - (value ->> 1) IN (0, 1)
           AND EXISTS (SELECT 1 FROM users WHERE users.id = user_id AND status = 'active')
         RETURNING ",
        session_columns!(),
    ))
    .bind(asked)
    .fetch_all(&mut *connection)
    .await?;
    for row in &rows {
        let session = session_from(row)?;
        rotations.insert((session.id, session.refresh_counter - 1), Rotation::Rotated(session));
    }
    for call in round {
        if let Entry::Vacant(refused) = rotations.entry(call.token()) {
            refused.insert(refuse(connection, call).await?);
        }
    }
    Ok(())
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
        end_session(connection, user_id, call.session_id, call.now).await?;
    }
    Ok(reason)
}

fn array<C>(calls: &[C], row: impl Fn(&C) -> serde_json::Value) -> String {
    serde_json::Value::Array(calls.iter().map(row).collect()).to_string()
}

fn hex(id: Uuid) -> String {
    id.simple().to_string()
}
