//! How does PostgreSQL keep who is signed in?

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{Postgres as Driver, postgres::PgArguments, query::Query};
use uuid::Uuid;

use super::{
    super::{
        Ending, Endings, NewUser, OLDEST_AT_ONCE, Opened, Refresher, Rotation, Sessions,
        batches::{Refresh, SignIn},
        rows::{Stored, Time, new_session_columns, session_columns, user_columns},
    },
    Postgres,
    decline::again,
    end_session, end_sessions, hold_user, opened_from, session_from, user_from,
};
use crate::{
    model::{
        device::Platform,
        session::{Lifetime, NewSession, Session, SessionEnd},
        user::User,
    },
    store::StoreError,
};

#[async_trait]
impl Sessions for Postgres {
    async fn sign_in(&self, user: &NewUser, session: &NewSession, cleared: &str) -> Result<(User, Opened), StoreError> {
        let (user, session, cleared) = (user.clone(), session.clone(), cleared.to_owned());
        self.sign_ins.call(SignIn { user, session, cleared }).await
    }

    async fn register(&self, user: &NewUser, session: &NewSession, cleared: &str) -> Result<Option<User>, StoreError> {
        self.bounded(async {
            let row = with_session(
                concat!(
                    "WITH registered AS (
                     INSERT INTO users (
                         id, mobile, name, password_hash, status, created_at, updated_at, last_login, sessions_opened
                     )
                     VALUES ($11, $12, $12, $13, 'active', $3, $3, $3, 1)
                     ON CONFLICT (mobile) DO NOTHING
                     RETURNING ",
                    user_columns!(),
                    "), opened AS (
                     INSERT INTO sessions (",
                    new_session_columns!(),
                    ")
                     SELECT $1, id, $2, 0, $3, $4, $5, $6, ",
                    device_hash!("id", "$7"),
                    ", $8, $9 FROM registered
                 ), cleared AS (
                     DELETE FROM wrong_guesses WHERE subject = $10 AND EXISTS (SELECT FROM registered)
                 )
                 SELECT ",
                    user_columns!(),
                    " FROM registered",
                ),
                session,
                cleared,
            )
            .bind(user.id)
            .bind(user.mobile.as_str())
            .bind(&user.password_hash)
            .fetch_optional(&self.pool)
            .await?;
            row.as_ref().map(user_from).transpose()
        })
        .await
    }

    async fn open_session(
        &self,
        user_id: Uuid,
        session: &NewSession,
        password_hash: &str,
        new_password_hash: Option<&str>,
        cleared: &str,
    ) -> Result<Option<Opened>, StoreError> {
        self.bounded(async {
            let row = with_session(
                concat!(
                    "WITH signed_in AS (
                     UPDATE users
                     SET last_login = $3, password_hash = coalesce($13, password_hash),
                         sessions_opened = sessions_opened + 1
                     WHERE id = $11 AND password_hash = $12 AND status = 'active'
                     RETURNING id, sessions_valid_from, sessions_opened
                 ), opened AS (
                     INSERT INTO sessions (",
                    new_session_columns!(),
                    ")
                     SELECT ",
                    begun_after!("$1::uuid", "$3"),
                    ", id, $2, 0, greatest($3, sessions_valid_from), $4, $5, $6, ",
                    device_hash!("id", "$7"),
                    ", $8, $9 FROM signed_in
                 ), cleared AS (
                     DELETE FROM wrong_guesses WHERE subject = $10 AND EXISTS (SELECT FROM signed_in)
                 )
                 SELECT id, sessions_valid_from, sessions_opened FROM signed_in",
                ),
                session,
                cleared,
            )
            .bind(user_id)
            .bind(password_hash)
            .bind(new_password_hash)
            .fetch_optional(&self.pool)
            .await?;
            let Some((valid_from, living_at_most)) = row.as_ref().map(opened_from).transpose()? else {
                return Ok(None);
            };
            Ok(Some(Opened { session: session.clone().begun_after(valid_from), living_at_most }))
        })
        .await
    }

    async fn session(&self, id: Uuid) -> Result<Option<Session>, StoreError> {
        self.bounded(async {
            let query = sqlx::query(concat!(
                "SELECT NOT (",
                not_ended!("sessions"),
                ") AS is_ended, ",
                session_columns!(),
                " FROM sessions WHERE id = $1"
            ));
            let Some(row) = query.bind(id).fetch_optional(&self.pool).await? else { return Ok(None) };
            session_from(&row, Stored::of("sessions", &row).get("is_ended")?).map(Some)
        })
        .await
    }

    async fn sessions(&self, user_id: Uuid, at_most: u32, now: DateTime<Utc>) -> Result<Vec<Session>, StoreError> {
        self.bounded(async {
            let query = sqlx::query(concat!(
                "SELECT ",
                session_columns!(),
                " FROM ",
                not_ended_of_user!(),
                " WHERE expires_at > $2 ORDER BY created_at DESC, id DESC LIMIT $3",
            ));
            let query = query.bind(user_id).bind(now).bind(i64::from(at_most));
            query.fetch_all(&self.pool).await?.iter().map(|row| session_from(row, false)).collect()
        })
        .await
    }

    async fn rotate(
        &self,
        session_id: Uuid,
        presented: u32,
        refresher: &Refresher,
        now: DateTime<Utc>,
        lifetime: Lifetime,
    ) -> Result<Rotation, StoreError> {
        let refresher = refresher.clone();
        self.refreshes.call(Refresh { session_id, presented, refresher, now, lifetime }).await
    }

    async fn end_session(&self, user_id: Uuid, id: Uuid, why: SessionEnd) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.bounded(end_session(&self.pool, user_id, id, why)).await
    }

    async fn end_sessions(
        &self,
        user_id: Uuid,
        keep: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<Option<Ending>, StoreError> {
        let change = || async {
            let mut transaction = self.pool.begin().await?;
            hold_user(&mut transaction, user_id).await?;
            let ended = end_sessions(&mut transaction, user_id, keep, now).await?;
            transaction.finish().await?;
            Ok(ended)
        };
        self.bounded(again(change)).await
    }

    async fn end_oldest_sessions(
        &self,
        user_id: Uuid,
        newest: Uuid,
        at_most: u32,
        now: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, StoreError> {
        let change = || async {
            let mut transaction = self.pool.begin().await?;
            hold_user(&mut transaction, user_id).await?;
            let ended: Vec<Uuid> = sqlx::query_scalar(concat!(
                "UPDATE sessions SET revoked_at = now(), ended_by = 'limit'
                 WHERE id IN (
                     SELECT id FROM ",
                not_ended_of_user!(),
                " WHERE expires_at > $2
                     ORDER BY id = $3 DESC, created_at DESC, id DESC OFFSET $4 LIMIT $5
                 )
                 RETURNING id",
            ))
            .bind(user_id)
            .bind(now)
            .bind(newest)
            .bind(i64::from(at_most))
            .bind(i64::from(OLDEST_AT_ONCE))
            .fetch_all(&mut transaction)
            .await?;
            sqlx::query(concat!(
                "UPDATE users
                 SET sessions_opened = (
                     SELECT count(*) FROM (
                         SELECT FROM ",
                not_ended_of_user!(),
                " WHERE expires_at > $2 LIMIT $3
                     ) AS living
                 )
                 WHERE id = $1",
            ))
            .bind(user_id)
            .bind(now)
            .bind(i64::from(at_most) + 1)
            .execute(&mut transaction)
            .await?;
            transaction.finish().await?;
            Ok(ended)
        };
        self.bounded(again(change)).await
    }

    async fn endings_since(&self, since: Option<DateTime<Utc>>, at_most: Duration) -> Result<Endings, StoreError> {
        // One row, whatever has ended: one for each session would take several times the memory of what is in it.
        self.bounded(async {
            let row = sqlx::query(concat!(
                "SELECT now() AS at, ",
                valid_from!(),
                " AS valid_from, ended, users, valid_froms, kept
                 FROM (
                     SELECT coalesce(array_agg(id), '{}') AS ended
                     FROM sessions WHERE revoked_at >= greatest($1, now() - $2::interval)
                 ) AS by_themselves, (
                     SELECT coalesce(array_agg(id), '{}') AS users,
                            coalesce(array_agg((extract(epoch FROM sessions_valid_from) * 1000)::bigint), '{}')
                                AS valid_froms,
                            coalesce(array_agg(kept_session_id), '{}') AS kept
                     FROM users WHERE sessions_ended_at >= greatest($1, now() - $2::interval)
                 ) AS together"
            ))
            .bind(since)
            .bind(at_most)
            .fetch_one(&self.pool)
            .await?;
            let (settings, sessions, users) =
                (Stored::of("settings", &row), Stored::of("sessions", &row), Stored::of("users", &row));
            let kept = users.get::<Vec<Option<Uuid>>>("kept")?;
            let of_users = users.get::<Vec<Uuid>>("users")?.into_iter().zip(users.get::<Vec<i64>>("valid_froms")?);
            let of_users = of_users.zip(kept).filter_map(|((user_id, valid_from), kept)| {
                Some(Ending { user_id, valid_from: DateTime::from_timestamp_millis(valid_from)?, kept })
            });
            Ok(Endings {
                at: settings.get::<Time>("at")?.0,
                valid_from: settings.get::<Time>("valid_from")?.0,
                ended: sessions.get("ended")?,
                of_users: of_users.collect(),
            })
        })
        .await
    }
}

/// A statement whose `$1` to `$9` are a new session, and whose `$10` names a count of wrong guesses.
fn with_session<'q>(sql: &'static str, session: &'q NewSession, cleared: &'q str) -> Query<'q, Driver, PgArguments> {
    sqlx::query(sql)
        .bind(session.id)
        .bind(session.method.as_str())
        .bind(session.created_at)
        .bind(session.expires_at)
        .bind(session.origin.ip.map(|ip| ip.to_string()))
        .bind(&session.origin.user_agent)
        .bind(session.device_key.as_ref().map(|key| &key.0[..]))
        .bind(&session.origin.device.name)
        .bind(session.origin.device.platform.map(Platform::as_str))
        .bind(cleared)
}
