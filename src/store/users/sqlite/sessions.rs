//! How does SQLite keep who is signed in?

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{Row, SqliteConnection};
use uuid::{Uuid, fmt::Simple};

use super::{
    super::{
        Endings, NewUser, Rotation, SESSIONS_SHOWN, Sessions,
        batches::{Refresh, SignIn},
        bounded,
        rows::{Stored, Time, session_columns, user_columns},
    },
    STORE, Sqlite, end_session, end_sessions, session_from, user_from,
};
use crate::{
    model::{
        session::{Lifetime, NewSession, Session},
        user::User,
    },
    store::StoreError,
};

#[async_trait]
impl Sessions for Sqlite {
    async fn sign_in(&self, user: &NewUser, session: &NewSession) -> Result<User, StoreError> {
        self.sign_ins.call(SignIn { user: user.clone(), session: session.clone() }).await
    }

    async fn register(&self, user: &NewUser, session: &NewSession) -> Result<Option<User>, StoreError> {
        bounded(STORE, async {
            let mut transaction = self.writer.begin().await?;
            let row = sqlx::query(concat!(
                "INSERT INTO users (id, mobile, name, password_hash, status, created_at, updated_at, last_login)
                 VALUES ($1, $2, $2, $3, 'active', $4, $4, $4)
                 ON CONFLICT (mobile) DO NOTHING
                 RETURNING ",
                user_columns!(),
            ))
            .bind(user.id)
            .bind(user.mobile.as_str())
            .bind(&user.password_hash)
            .bind(session.created_at.timestamp_micros())
            .fetch_optional(&mut *transaction)
            .await?;
            let Some(row) = row else { return Ok(None) };
            let registered = user_from(&row)?;
            insert_session(&mut transaction, user.id, session).await?;
            transaction.commit().await?;
            Ok(Some(registered))
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
            let mut transaction = self.writer.begin().await?;
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
            let query = sqlx::query(concat!("SELECT ", session_columns!(), " FROM sessions WHERE id = $1")).bind(id);
            query.fetch_optional(&self.readers).await?.as_ref().map(session_from).transpose()
        })
        .await
    }

    async fn sessions(&self, user_id: Uuid, now: DateTime<Utc>) -> Result<Vec<Session>, StoreError> {
        bounded(STORE, async {
            let query = sqlx::query(concat!(
                "SELECT ",
                session_columns!(),
                " FROM sessions
                 WHERE user_id = $1 AND expires_at > $2 AND ",
                not_ended!("sessions"),
                " ORDER BY created_at DESC, id DESC LIMIT $3",
            ));
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
        self.refreshes.call(Refresh { session_id, presented, now, lifetime }).await
    }

    async fn end_session(
        &self,
        user_id: Uuid,
        id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        bounded(STORE, async {
            let mut transaction = self.writer.begin().await?;
            let ended = end_session(&mut transaction, user_id, id, now).await?;
            transaction.commit().await?;
            Ok(ended)
        })
        .await
    }

    async fn end_sessions(
        &self,
        user_id: Uuid,
        keep: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, StoreError> {
        bounded(STORE, async {
            let mut transaction = self.writer.begin().await?;
            let ended = end_sessions(&mut transaction, user_id, keep, now).await?;
            transaction.commit().await?;
            Ok(ended)
        })
        .await
    }

    async fn endings_since(&self, since: DateTime<Utc>) -> Result<Endings, StoreError> {
        bounded(STORE, async {
            // One row, whatever has ended: one for each session would take several times the memory of what is in it.
            let query = sqlx::query(concat!(
                "SELECT ",
                valid_from!(),
                " AS valid_from, coalesce(group_concat(hex(id), ''), '') AS ended
                 FROM sessions WHERE revoked_at >= $1 AND length(id) = 16"
            ));
            let row = query.bind(since.timestamp_micros()).fetch_one(&self.readers).await?;
            let ended =
                row.try_get::<&str, _>("ended")?.as_bytes().chunks_exact(Simple::LENGTH).map(Uuid::try_parse_ascii);
            let ended = ended.collect::<Result<_, _>>().map_err(|error| sqlx::Error::Decode(error.into()))?;
            Ok(Endings { valid_from: Stored::of("settings", &row).get::<Time>("valid_from")?.0, ended })
        })
        .await
    }
}

async fn insert_session(connection: &mut SqliteConnection, user_id: Uuid, session: &NewSession) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
         VALUES ($1, $2, $3, 0, $4, $5, $6, $7)",
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
