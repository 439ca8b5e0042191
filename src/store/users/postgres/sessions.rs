//! How does PostgreSQL keep who is signed in?

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{Postgres as Driver, Row, postgres::PgArguments, query::Query};
use uuid::Uuid;

use super::{
    super::{NewUser, RefusedRotation, Rotation, SESSIONS_SHOWN, Sessions, bounded},
    Postgres, STORE, end_sessions, session_from, user_from,
};
use crate::{
    model::{
        session::{Lifetime, NewSession, Session},
        user::{User, UserStatus},
    },
    store::StoreError,
};

#[async_trait]
impl Sessions for Postgres {
    async fn sign_in(&self, user: &NewUser, session: &NewSession) -> Result<User, StoreError> {
        bounded(STORE, async {
            let query = with_session(
                "WITH signed_in AS (
                     INSERT INTO users (id, mobile, name, status, created_at, updated_at, last_login)
                     VALUES ($7, $8, $8, 'active', $3, $3, $3)
                     ON CONFLICT (mobile) DO UPDATE
                     SET last_login = CASE WHEN users.status = 'active' THEN $3 ELSE users.last_login END
                     RETURNING *
                 ), opened AS (
                     INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
                     SELECT $1, id, $2, 0, $3, $4, $5, $6 FROM signed_in WHERE status = 'active'
                     ON CONFLICT (id) DO NOTHING
                 )
                 SELECT * FROM signed_in",
                session,
            );
            user_from(&query.bind(user.id).bind(user.mobile.as_str()).fetch_one(&self.0).await?)
        })
        .await
    }

    async fn register(&self, user: &NewUser, session: &NewSession) -> Result<Option<User>, StoreError> {
        bounded(STORE, async {
            let row = with_session(
                "WITH registered AS (
                     INSERT INTO users (id, mobile, name, password_hash, status, created_at, updated_at, last_login)
                     VALUES ($7, $8, $8, $9, 'active', $3, $3, $3)
                     ON CONFLICT (mobile) DO NOTHING
                     RETURNING *
                 ), opened AS (
                     INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
                     SELECT $1, id, $2, 0, $3, $4, $5, $6 FROM registered
                 )
                 SELECT * FROM registered",
                session,
            )
            .bind(user.id)
            .bind(user.mobile.as_str())
            .bind(&user.password_hash)
            .fetch_optional(&self.0)
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
    ) -> Result<bool, StoreError> {
        let query = with_session(
            "WITH signed_in AS (
                 UPDATE users
                 SET last_login = $3, password_hash = coalesce($9, password_hash)
                 WHERE id = $7 AND password_hash = $8 AND status = 'active'
                 RETURNING id
             )
             INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
             SELECT $1, id, $2, 0, $3, $4, $5, $6 FROM signed_in",
            session,
        )
        .bind(user_id)
        .bind(password_hash)
        .bind(new_password_hash);
        Ok(bounded(STORE, query.execute(&self.0)).await?.rows_affected() == 1)
    }

    async fn session(&self, id: Uuid) -> Result<Option<Session>, StoreError> {
        bounded(STORE, async {
            let query = sqlx::query("SELECT * FROM sessions WHERE id = $1").bind(id);
            query.fetch_optional(&self.0).await?.as_ref().map(session_from).transpose()
        })
        .await
    }

    async fn sessions(&self, user_id: Uuid, now: DateTime<Utc>) -> Result<Vec<Session>, StoreError> {
        bounded(STORE, async {
            let query = sqlx::query(
                "SELECT * FROM sessions
                 WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2
                 ORDER BY created_at DESC, id DESC LIMIT $3",
            );
            let query = query.bind(user_id).bind(now).bind(i64::from(SESSIONS_SHOWN));
            query.fetch_all(&self.0).await?.iter().map(session_from).collect()
        })
        .await
    }

    async fn rotate(
        &self,
        session_id: Uuid,
        presented: u32,
        now: DateTime<Utc>,
        lifetime: Lifetime,
    ) -> Result<Rotation, StoreError> {
        bounded(STORE, async {
            let row = sqlx::query(
                "UPDATE sessions s
                 SET refresh_counter = $2 + 1,
                     refreshed_at = $3,
                     expires_at = least($3 + $4, s.created_at + $5)
                 FROM users u
                 WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > $3 AND s.refresh_counter - $2 IN (0, 1)
                   AND u.id = s.user_id AND u.status = 'active'
                 RETURNING s.*",
            )
            .bind(session_id)
            .bind(presented.cast_signed())
            .bind(now)
            .bind(lifetime.sliding)
            .bind(lifetime.absolute)
            .fetch_optional(&self.0)
            .await?;
            match row {
                Some(row) => session_from(&row).map(Rotation::Rotated),
                None => self.refused_rotation(session_id, presented, now).await,
            }
        })
        .await
    }

    async fn end_session(&self, user_id: Uuid, id: Uuid, now: DateTime<Utc>) -> Result<bool, StoreError> {
        bounded(STORE, self.end(user_id, id, now)).await
    }

    async fn end_sessions(
        &self,
        user_id: Uuid,
        keep: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, StoreError> {
        bounded(STORE, async { end_sessions(&mut *self.0.acquire().await?, user_id, keep, now).await }).await
    }

    async fn sessions_ended_since(&self, since: DateTime<Utc>) -> Result<Vec<(Uuid, DateTime<Utc>)>, StoreError> {
        let query = sqlx::query_as("SELECT id, revoked_at FROM sessions WHERE revoked_at >= $1").bind(since);
        bounded(STORE, query.fetch_all(&self.0)).await
    }
}

impl Postgres {
    async fn end(&self, user_id: Uuid, id: Uuid, now: DateTime<Utc>) -> sqlx::Result<bool> {
        let query = sqlx::query(
            "UPDATE sessions SET revoked_at = $3
             WHERE id = $2 AND user_id = $1 AND revoked_at IS NULL AND expires_at > $3",
        );
        Ok(query.bind(user_id).bind(id).bind(now).execute(&self.0).await?.rows_affected() == 1)
    }

    async fn refused_rotation(&self, session_id: Uuid, presented: u32, now: DateTime<Utc>) -> sqlx::Result<Rotation> {
        let row = sqlx::query(
            "SELECT s.user_id, u.status, s.revoked_at IS NOT NULL AS ended, s.expires_at, s.refresh_counter
             FROM sessions s JOIN users u ON u.id = s.user_id
             WHERE s.id = $1",
        )
        .bind(session_id)
        .fetch_optional(&self.0)
        .await?;
        let Some(row) = row else { return Ok(Rotation::Expired) };
        let reason = RefusedRotation {
            user_id: row.try_get("user_id")?,
            status: UserStatus::from_column(row.try_get("status")?),
            ended: row.try_get("ended")?,
            expires_at: row.try_get("expires_at")?,
            refresh_counter: row.try_get::<i32, _>("refresh_counter")?.cast_unsigned(),
        }
        .reason(presented, now);
        if let Rotation::Reused(user_id) = reason {
            self.end(user_id, session_id, now).await?;
        }
        Ok(reason)
    }
}

/// A statement whose `$1` to `$6` are a new session.
fn with_session<'q>(sql: &'static str, session: &'q NewSession) -> Query<'q, Driver, PgArguments> {
    sqlx::query(sql)
        .bind(session.id)
        .bind(session.method.as_str())
        .bind(session.created_at)
        .bind(session.expires_at)
        .bind(session.origin.ip.map(|ip| ip.to_string()))
        .bind(&session.origin.user_agent)
}
