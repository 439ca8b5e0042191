//! Which statements does PostgreSQL run for many calls at once?
//!
//! Each is planned once and for all, so none may depend on how large a table was then: rows are found through an index
//! on whatever a batch names (`= ANY`), and nested loops are switched off: a plan that expects ten rows would compare each
//! of 256 calls with each of 256 rows.

use std::{sync::Arc, time::Duration};

use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{
    super::{
        FormerRefresh, Opened, RefusedRotation, Rotation,
        batches::{Refresh, Rotations, SignIn, SignedIn, answers, bounded, opened_by, rounds, users_with},
        rows::{Stored, Time, new_session_columns, session_columns, user_columns},
    },
    STORE,
    connections::Connections,
    counter,
    decline::again,
    end_session, opened_from,
    pool::Session,
    session_from, user_from,
};
use crate::{
    model::{
        device::Platform,
        session::SessionEnd,
        user::{User, UserStatus},
    },
    store::coalesce::{Batch, Failure},
};

/// Signs users in. Takes their rows in the order of their mobiles: two instances cannot wait for each other.
pub struct SignIns(pub Arc<Connections>);

impl Batch for SignIns {
    type Call = SignIn;
    type Answer = (User, Opened);

    const NAME: &'static str = "sign_ins";
    const STORE: &'static str = STORE;

    fn timeout(&self) -> Duration {
        self.0.timeouts().statement
    }

    async fn run(&self, calls: &[SignIn]) -> Result<Vec<(User, Opened)>, Failure> {
        bounded(STORE, self.timeout(), again(|| sign_in(&self.0, calls))).await
    }
}

/// One statement for all. Without calls, it needs what a sign-in needs, and changes nothing.
pub async fn sign_in(connections: &Connections, calls: &[SignIn]) -> sqlx::Result<Vec<(User, Opened)>> {
    let mut turn = connections.take().await?;
    let rows = sqlx::query(concat!(
        "WITH asked AS (
             SELECT *
             FROM unnest(
                 $1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[],
                 $8::text[], $9::bytea[], $10::text[], $11::text[]
             ) AS asked (
                 user_id, mobile, session_id, amr, now, expires_at, ip, user_agent, device_key, device_name, platform
             )
         ), signed_in AS (
             INSERT INTO users (id, mobile, name, status, created_at, updated_at, last_login, sessions_opened)
             SELECT DISTINCT ON (mobile) user_id, mobile, mobile, 'active', now, now, now,
                    count(*) OVER (PARTITION BY mobile)
             FROM asked ORDER BY mobile, now
             ON CONFLICT (mobile) DO UPDATE
             SET last_login = CASE WHEN users.status = 'active' THEN excluded.last_login ELSE users.last_login END,
                 sessions_opened = users.sessions_opened + excluded.sessions_opened
             RETURNING sessions_valid_from, sessions_opened, ",
        user_columns!(),
        "), opened AS (
             INSERT INTO sessions (",
        new_session_columns!(),
        ")
             SELECT ",
        begun_after!("session_id", "asked.now"),
        ", id, amr, 0, greatest(asked.now, sessions_valid_from), expires_at, ip, user_agent, ",
        device_hash!("id", "device_key"),
        ", device_name, platform
             FROM asked JOIN signed_in USING (mobile)
             WHERE status = 'active'
             ON CONFLICT (id) DO NOTHING
         ), cleared AS (
             DELETE FROM wrong_guesses WHERE subject = ANY($12)
         )
         SELECT sessions_valid_from, sessions_opened, ",
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
    .bind(column(calls, |call| call.session.device_key.as_ref().map(|key| &key.0[..])))
    .bind(column(calls, |call| call.session.origin.device.name.as_deref()))
    .bind(column(calls, |call| call.session.origin.device.platform.map(Platform::as_str)))
    .bind(column(calls, |call| call.cleared.as_str()))
    .fetch_all(&mut turn.session)
    .await?;
    turn.give_back().await?;
    opened_by(calls, rows.iter().map(signed_in_from).collect::<sqlx::Result<_>>()?)
}

fn signed_in_from(row: &PgRow) -> sqlx::Result<SignedIn> {
    let user = user_from(row)?;
    let (valid_from, sessions_opened) = opened_from(row)?;
    Ok(SignedIn { user, valid_from, sessions_opened })
}

/// Looks users up by id.
pub struct LookUps(pub Arc<Connections>);

impl Batch for LookUps {
    type Call = Uuid;
    type Answer = Option<User>;

    const NAME: &'static str = "look_ups";
    const STORE: &'static str = STORE;

    fn timeout(&self) -> Duration {
        self.0.timeouts().statement
    }

    async fn run(&self, ids: &[Uuid]) -> Result<Vec<Option<User>>, Failure> {
        bounded(STORE, self.timeout(), again(|| self.users(ids))).await
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

    fn timeout(&self) -> Duration {
        self.0.timeouts().statement
    }

    async fn run(&self, calls: &[Refresh]) -> Result<Vec<Rotation>, Failure> {
        bounded(STORE, self.timeout(), again(|| self.rotate_all(calls))).await
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
    // A query in RETURNING sees rows as they were before.
    let rows = sqlx::query(concat!(
        "UPDATE sessions s
         SET refresh_counter = asked.presented + 1,
             refreshed_at = asked.now,
             expires_at = least(asked.now + asked.sliding, s.created_at + asked.absolute),
             last_ip = asked.new_ip,
             last_user_agent = asked.new_agent,
             device_hash = coalesce(s.device_hash, ",
        device_hash!("s.user_id", "asked.device_key"),
        "),
             device_name = coalesce(asked.new_name, s.device_name),
             platform = coalesce(asked.new_platform, s.platform)
         FROM unnest(
                 $1::uuid[], $2::integer[], $3::timestamptz[], $4::interval[], $5::interval[], $6::text[], $7::text[],
                 $8::bytea[], $9::text[], $10::text[]
             ) AS asked (
                 session_id, presented, now, sliding, absolute, new_ip, new_agent, device_key, new_name,
                 new_platform
             )
         WHERE s.id = ANY($1) AND s.id = asked.session_id AND s.expires_at > asked.now AND ",
        not_ended!("s", "u.status = 'active'"),
        "  AND s.refresh_counter - asked.presented IN (0, 1)
         RETURNING presented,
             (SELECT ARRAY[former.refresh_counter::text, former.last_ip, former.last_user_agent]
              FROM sessions former WHERE former.id = s.id) AS former, ",
        session_columns!(),
    ))
    .bind(column(round, |call| call.session_id))
    .bind(column(round, |call| call.presented.cast_signed()))
    .bind(column(round, |call| call.now))
    .bind(column(round, |call| call.lifetime.sliding))
    .bind(column(round, |call| call.lifetime.absolute))
    .bind(column(round, |call| call.refresher.origin.ip.map(|ip| ip.to_string())))
    .bind(column(round, |call| call.refresher.origin.user_agent.as_deref()))
    .bind(column(round, |call| call.refresher.device_key.as_ref().map(|key| &key.0[..])))
    .bind(column(round, |call| call.refresher.origin.device.name.as_deref()))
    .bind(column(round, |call| call.refresher.origin.device.platform.map(Platform::as_str)))
    .fetch_all(&mut *session)
    .await?;
    for row in &rows {
        let presented = sqlx::Row::try_get::<i32, _>(row, "presented")?.cast_unsigned();
        let former =
            Stored::of("sessions", row).parse("former", |[counter, ip, user_agent]: [Option<String>; 3]| {
                let used_before = counter?.parse::<u32>().ok()? > presented;
                Some(FormerRefresh { used_before, ip, user_agent })
            })?;
        let session = session_from(row, false)?;
        rotations.insert((session.id, presented), Rotation::Rotated(Box::new(session), former));
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
            end_session(&mut *session, user_id, id, SessionEnd::Reuse).await?;
        }
        rotations.insert(call.token(), reason);
    }
    Ok(())
}

/// One value of each call.
fn column<'a, C, T>(calls: &'a [C], value: impl Fn(&'a C) -> T) -> Vec<T> {
    calls.iter().map(value).collect()
}
