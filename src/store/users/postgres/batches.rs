//! Which statements does PostgreSQL run for many calls at once?
//!
//! Each is planned once and for all, so none may depend on how large a table was then: rows are found through an index
//! on whatever a batch names (`= ANY`), and nested loops are switched off: a plan that expects ten rows would compare each
//! of 256 calls with each of 256 rows.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    super::{
        RefusedRotation, Rotation, STATEMENT_TIMEOUT,
        batches::{Refresh, Rotations, SignIn, answers, bounded, rounds, users_of, users_with},
        rows::{Stored, Time, session_columns, user_columns},
    },
    STORE,
    connections::Connections,
    counter,
    decline::again,
    end_session,
    pool::Session,
    session_from, user_from,
};
use crate::{
    model::user::{User, UserStatus},
    store::coalesce::{Batch, Failure},
};

/// Signs users in. Takes their rows in the order of their mobiles: two instances cannot wait for each other.
pub struct SignIns(pub Arc<Connections>);

impl Batch for SignIns {
    type Call = SignIn;
    type Answer = User;

    const NAME: &'static str = "sign_ins";
    const STORE: &'static str = STORE;
    const TIMEOUT: Duration = STATEMENT_TIMEOUT;

    async fn run(&self, calls: &[SignIn]) -> Result<Vec<User>, Failure> {
        bounded(STORE, again(|| sign_in(&self.0, calls))).await
    }
}

/// One statement for all. Without calls, it needs what a sign-in needs, and changes nothing.
pub async fn sign_in(connections: &Connections, calls: &[SignIn]) -> sqlx::Result<Vec<User>> {
    let mut turn = connections.take().await?;
    let rows = sqlx::query(concat!(
        "WITH asked AS (
             SELECT user_id, mobile, session_id, amr, now, expires_at, ip, user_agent
             FROM unnest(
                 $1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[],
                 $8::text[]
             ) AS asked (user_id, mobile, session_id, amr, now, expires_at, ip, user_agent)
         ), signed_in AS (
             INSERT INTO users (id, mobile, name, status, created_at, updated_at, last_login)
             SELECT DISTINCT ON (mobile) user_id, mobile, mobile, 'active', now, now, now
             FROM asked ORDER BY mobile, now
             ON CONFLICT (mobile) DO UPDATE
             SET last_login = CASE WHEN users.status = 'active' THEN excluded.last_login ELSE users.last_login END
             RETURNING ",
        user_columns!(),
        "), opened AS (
             INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
             SELECT session_id, id, amr, 0, now, expires_at, ip, user_agent
             FROM asked JOIN signed_in USING (mobile)
             WHERE status = 'active'
             ON CONFLICT (id) DO NOTHING
         )
         SELECT ",
        user_columns!(),
        " FROM signed_in",
    ))
    .bind(column(calls, |call| call.user.id))
    .bind(column(calls, |call| call.user.mobile.as_str()))
    .bind(column(calls, |call| call.session.id))
    .bind(column(calls, |call| call.session.method.as_str()))
    .bind(column(calls, |call| call.session.created_at))
    .bind(column(calls, |call| call.session.expires_at))
    .bind(column(calls, |call| call.session.origin.ip.map(|ip| ip.to_string())))
    .bind(column(calls, |call| call.session.origin.user_agent.as_deref()))
    .fetch_all(&mut turn.session)
    .await?;
    turn.give_back().await?;
    users_of(calls, rows.iter().map(user_from).collect::<sqlx::Result<_>>()?)
}

/// Looks users up by id.
pub struct LookUps(pub Arc<Connections>);

impl Batch for LookUps {
    type Call = Uuid;
    type Answer = Option<User>;

    const NAME: &'static str = "look_ups";
    const STORE: &'static str = STORE;
    const TIMEOUT: Duration = STATEMENT_TIMEOUT;

    async fn run(&self, ids: &[Uuid]) -> Result<Vec<Option<User>>, Failure> {
        bounded(STORE, again(|| self.users(ids))).await
    }
}

impl LookUps {
    async fn users(&self, ids: &[Uuid]) -> sqlx::Result<Vec<Option<User>>> {
        let query =
            sqlx::query(concat!("SELECT ", user_columns!(), " FROM users WHERE id = ANY($1) AND mobile IS NOT NULL",))
                .bind(ids);
        let mut turn = self.0.take().await?;
        let rows = query.fetch_all(&mut turn.session).await?;
        turn.give_back().await?;
        Ok(users_with(ids, rows.iter().map(user_from).collect::<sqlx::Result<_>>()?))
    }
}

/// Rotates refresh tokens.
pub struct Refreshes(pub Arc<Connections>);

impl Batch for Refreshes {
    type Call = Refresh;
    type Answer = Rotation;

    const NAME: &'static str = "refreshes";
    const STORE: &'static str = STORE;
    const TIMEOUT: Duration = STATEMENT_TIMEOUT;

    async fn run(&self, calls: &[Refresh]) -> Result<Vec<Rotation>, Failure> {
        bounded(STORE, again(|| self.rotate_all(calls))).await
    }
}

impl Refreshes {
    async fn rotate_all(&self, calls: &[Refresh]) -> sqlx::Result<Vec<Rotation>> {
        let mut turn = self.0.take().await?;
        let mut rotations = Rotations::new();
        for round in rounds(calls) {
            rotate(&mut turn.session, &round, &mut rotations).await?;
        }
        turn.give_back().await?;
        Ok(answers(calls, &rotations))
    }
}

async fn rotate(session: &mut Session, round: &[Refresh], rotations: &mut Rotations) -> sqlx::Result<()> {
    let rows = sqlx::query(concat!(
        "UPDATE sessions s
         SET refresh_counter = asked.presented + 1,
             refreshed_at = asked.now,
             expires_at = least(asked.now + asked.sliding, s.created_at + asked.absolute)
         FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::interval[], $5::interval[])
             AS asked (session_id, presented, now, sliding, absolute)
         WHERE s.id = ANY($1) AND s.id = asked.session_id AND s.expires_at > asked.now AND ",
        not_ended!("s"),
        "  AND s.refresh_counter - asked.presented IN (0, 1)
           AND (SELECT u.status FROM users u WHERE u.id = s.user_id) = 'active'
         RETURNING presented, ",
        session_columns!(),
    ))
    .bind(column(round, |call| call.session_id))
    .bind(column(round, |call| call.presented.cast_signed()))
    .bind(column(round, |call| call.now))
    .bind(column(round, |call| call.lifetime.sliding))
    .bind(column(round, |call| call.lifetime.absolute))
    .fetch_all(&mut *session)
    .await?;
    for row in &rows {
        let presented = sqlx::Row::try_get::<i32, _>(row, "presented")?.cast_unsigned();
        let session = session_from(row)?;
        rotations.insert((session.id, presented), Rotation::Rotated(session));
    }
    let refused: Vec<_> = round.iter().filter(|call| !rotations.contains_key(&call.token())).collect();
    if refused.is_empty() { Ok(()) } else { refuse(session, &refused, rotations).await }
}

/// Finds out why some were refused, and ends the sessions whose token was used up long ago.
async fn refuse(session: &mut Session, refused: &[&Refresh], rotations: &mut Rotations) -> sqlx::Result<()> {
    let rows = sqlx::query(concat!(
        "SELECT s.id, s.user_id, (SELECT u.status FROM users u WHERE u.id = s.user_id) AS status,
                NOT (",
        not_ended!("s"),
        ") AS ended, s.expires_at, s.refresh_counter
         FROM sessions s
         WHERE s.id = ANY($1)",
    ))
    .bind(column(refused, |call| call.session_id))
    .fetch_all(&mut *session)
    .await?;
    for row in &rows {
        let row = Stored::of("sessions", row);
        let id: Uuid = row.get("id")?;
        let Some(call) = refused.iter().find(|call| call.session_id == id) else { continue };
        let reason = RefusedRotation {
            user_id: row.get("user_id")?,
            status: UserStatus::from_column(row.joined("users", "user_id").get("status")?),
            ended: row.get("ended")?,
            expires_at: row.get::<Time>("expires_at")?.0,
            refresh_counter: row.parse("refresh_counter", counter)?,
        }
        .reason(call.presented, call.now);
        if let Rotation::Reused(user_id) = reason {
            end_session(&mut *session, user_id, id, call.now).await?;
        }
        rotations.insert(call.token(), reason);
    }
    Ok(())
}

/// One value of each call.
fn column<'a, C, T>(calls: &'a [C], value: impl Fn(&'a C) -> T) -> Vec<T> {
    calls.iter().map(value).collect()
}
