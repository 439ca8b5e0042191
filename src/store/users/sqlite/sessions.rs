//! How does SQLite keep who is signed in?

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::{
    super::{NewUser, RefusedRotation, Rotation, SESSIONS_SHOWN, Sessions, bounded},
    STORE, Sqlite, end_sessions, session_from, time_from, user_from,
};
use crate::{
    model::{
        session::{Lifetime, NewSession, Session},
        user::{User, UserStatus},
    },
    store::StoreError,
};

#[async_trait]
impl Sessions for Sqlite {
    async fn sign_in(&self, user: &NewUser, session: &NewSession) -> Result<User, StoreError> {
        bounded(STORE, async {
            let mut transaction = self.write().await?;
            let row = sqlx::query(
                "INSERT INTO users (id, mobile, name, status, created_at, updated_at, last_login)
                 VALUES ($1, $2, $2, 'active', $3, $3, $3)
                 ON CONFLICT (mobile) DO UPDATE
                 SET last_login = CASE WHEN status = 'active' THEN excluded.last_login ELSE last_login END
                 RETURNING *",
            )
            .bind(user.id)
            .bind(user.mobile.as_str())
            .bind(session.created_at.timestamp_micros())
            .fetch_one(&mut *transaction)
            .await?;
            let found = user_from(&row)?;
            if found.status == UserStatus::Active {
                insert_session(&mut transaction, found.id, session).await?;
            }
            transaction.commit().await?;
            Ok(found)
        })
        .await
    }

    async fn register(&self, user: &NewUser, session: &NewSession) -> Result<Option<User>, StoreError> {
        bounded(STORE, async {
            let mut transaction = self.write().await?;
            let row = sqlx::query(
                "INSERT INTO users (id, mobile, name, password_hash, status, created_at, updated_at, last_login)
                 VALUES ($1, $2, $2, $3, 'active', $4, $4, $4)
                 ON CONFLICT (mobile) DO NOTHING
                 RETURNING *",
            )
            .bind(user.id)
            .bind(user.mobile.as_str())
            .bind(&user.password_hash)
            .bind(session.created_at.timestamp_micros())
            .fetch_optional(&mut *transaction)
            .await?;
            let Some(row) = row else { return Ok(None) };
            insert_session(&mut transaction, user.id, session).await?;
            transaction.commit().await?;
            user_from(&row).map(Some)
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
        bounded(STORE, async {
            let mut transaction = self.write().await?;
            let signed_in = sqlx::query(
                "UPDATE users
                 SET last_login = $1, password_hash = coalesce($2, password_hash)
                 WHERE id = $3 AND password_hash = $4 AND status = 'active'",
            )
            .bind(session.created_at.timestamp_micros())
            .bind(new_password_hash)
            .bind(user_id)
            .bind(password_hash)
            .execute(&mut *transaction)
            .await?;
            if signed_in.rows_affected() == 0 {
                return Ok(false);
            }
            insert_session(&mut transaction, user_id, session).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn session(&self, id: Uuid) -> Result<Option<Session>, StoreError> {
        bounded(STORE, async {
            let query = sqlx::query("SELECT * FROM sessions WHERE id = $1").bind(id);
            query.fetch_optional(&self.readers).await?.as_ref().map(session_from).transpose()
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
            let query = query.bind(user_id).bind(now.timestamp_micros()).bind(SESSIONS_SHOWN);
            query.fetch_all(&self.readers).await?.iter().map(session_from).collect()
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
            let mut transaction = self.write().await?;
            let row = sqlx::query(
                "UPDATE sessions
                 SET refresh_counter = $2 + 1,
                     refreshed_at = $3,
                     expires_at = min($3 + $4, created_at + $5)
                 WHERE id = $1 AND revoked_at IS NULL AND expires_at > $3 AND refresh_counter - $2 IN (0, 1)
                   AND EXISTS (SELECT 1 FROM users WHERE users.id = user_id AND status = 'active')
                 RETURNING *",
            )
            .bind(session_id)
            .bind(presented)
            .bind(now.timestamp_micros())
            .bind(lifetime.sliding.num_microseconds())
            .bind(lifetime.absolute.num_microseconds())
            .fetch_optional(&mut *transaction)
            .await?;
            let outcome = match row {
                Some(row) => Rotation::Rotated(session_from(&row)?),
                None => refused_rotation(&mut transaction, session_id, presented, now).await?,
            };
            transaction.commit().await?;
            Ok(outcome)
        })
        .await
    }

    async fn end_session(&self, user_id: Uuid, id: Uuid, now: DateTime<Utc>) -> Result<bool, StoreError> {
        bounded(STORE, async { end_session(&mut *self.writer.acquire().await?, user_id, id, now).await }).await
    }

    async fn end_sessions(
        &self,
        user_id: Uuid,
        keep: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, StoreError> {
        bounded(STORE, async { end_sessions(&mut *self.writer.acquire().await?, user_id, keep, now).await }).await
    }

    async fn sessions_ended_since(&self, since: DateTime<Utc>) -> Result<Vec<(Uuid, DateTime<Utc>)>, StoreError> {
        bounded(STORE, async {
            let query = sqlx::query("SELECT id, revoked_at FROM sessions WHERE revoked_at >= $1");
            let rows = query.bind(since.timestamp_micros()).fetch_all(&self.readers).await?;
            rows.iter().map(|row| Ok((row.try_get("id")?, time_from(row, "revoked_at")?))).collect()
        })
        .await
    }
}

async fn insert_session(connection: &mut SqliteConnection, user_id: Uuid, session: &NewSession) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
         VALUES ($1, $2, $3, 0, $4, $5, $6, $7)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(session.id)
    .bind(user_id)
    .bind(session.method.as_str())
    .bind(session.created_at.timestamp_micros())
    .bind(session.expires_at.timestamp_micros())
    .bind(session.origin.ip.map(|ip| ip.to_string()))
    .bind(&session.origin.user_agent)
    .execute(connection)
    .await
    .map(drop)
}

async fn end_session(
    connection: &mut SqliteConnection,
    user_id: Uuid,
    id: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let query = sqlx::query(
        "UPDATE sessions SET revoked_at = $3
         WHERE id = $2 AND user_id = $1 AND revoked_at IS NULL AND expires_at > $3",
    );
    let ended = query.bind(user_id).bind(id).bind(now.timestamp_micros()).execute(connection).await?;
    Ok(ended.rows_affected() == 1)
}

async fn refused_rotation(
    connection: &mut SqliteConnection,
    session_id: Uuid,
    presented: u32,
    now: DateTime<Utc>,
) -> sqlx::Result<Rotation> {
    let row = sqlx::query(
        "SELECT s.user_id, u.status, s.revoked_at IS NOT NULL AS ended, s.expires_at, s.refresh_counter
         FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.id = $1",
    )
    .bind(session_id)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(Rotation::Expired) };
    let reason = RefusedRotation {
        user_id: row.try_get("user_id")?,
        status: UserStatus::from_column(row.try_get("status")?),
        ended: row.try_get("ended")?,
        expires_at: time_from(&row, "expires_at")?,
        refresh_counter: row.try_get("refresh_counter")?,
    }
    .reason(presented, now);
    if let Rotation::Reused(user_id) = reason {
        end_session(connection, user_id, session_id, now).await?;
    }
    Ok(reason)
}
