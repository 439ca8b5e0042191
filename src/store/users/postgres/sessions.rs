//! How does PostgreSQL keep who is signed in?

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{Postgres as Driver, postgres::PgArguments, query::Query};
use uuid::Uuid;

use super::{
    super::{
        Endings, NewUser, Rotation, SESSIONS_SHOWN, Sessions,
        batches::{Refresh, SignIn},
        bounded,
        rows::{Stored, Time, session_columns, user_columns},
    },
    Postgres, STORE, end_session, end_sessions, session_from, user_from,
};
use crate::{
    model::{
        session::{Lifetime, NewSession, Session},
        user::User,
    },
    store::StoreError,
};

#[async_trait]
impl Sessions for Postgres {
    async fn sign_in(&self, user: &NewUser, session: &NewSession) -> Result<User, StoreError> {
        self.sign_ins.call(SignIn { user: user.clone(), session: session.clone() }).await
    }

    async fn register(&self, user: &NewUser, session: &NewSession) -> Result<Option<User>, StoreError> {
        bounded(STORE, async {
            let row = with_session(
                concat!(
                    "WITH registered AS (
                     INSERT INTO users (id, mobile, name, password_hash, status, created_at, updated_at, last_login)
                     VALUES ($7, $8, $8, $9, 'active', $3, $3, $3)
                     ON CONFLICT (mobile) DO NOTHING
                     RETURNING ",
                    user_columns!(),
                    "), opened AS (
                     INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
                     SELECT $1, id, $2, 0, $3, $4, $5, $6 FROM registered
                 )
                 SELECT ",
                    user_columns!(),
                    " FROM registered",
                ),
                session,
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
        Ok(bounded(STORE, query.execute(&self.pool)).await?.rows_affected() == 1)
    }

    async fn session(&self, id: Uuid) -> Result<Option<Session>, StoreError> {
        bounded(STORE, async {
            let query = sqlx::query(concat!("SELECT ", session_columns!(), " FROM sessions WHERE id = $1")).bind(id);
            query.fetch_optional(&self.pool).await?.as_ref().map(session_from).transpose()
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
            let query = query.bind(user_id).bind(now).bind(i64::from(SESSIONS_SHOWN));
            query.fetch_all(&self.pool).await?.iter().map(session_from).collect()
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
        bounded(STORE, end_session(&self.pool, user_id, id, now)).await
    }

    async fn end_sessions(
        &self,
        user_id: Uuid,
        keep: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, StoreError> {
        bounded(STORE, end_sessions(&self.pool, user_id, keep, now)).await
    }

    async fn endings_since(&self, since: DateTime<Utc>) -> Result<Endings, StoreError> {
        // One row, whatever has ended: one for each session would take several times the memory of what is in it.
        bounded(STORE, async {
            let query = sqlx::query(concat!(
                "SELECT ",
                valid_from!(),
                " AS valid_from, coalesce(array_agg(id), '{}') AS ended FROM sessions WHERE revoked_at >= $1"
            ));
            let row = query.bind(since).fetch_one(&self.pool).await?;
            let valid_from = Stored::of("settings", &row).get::<Time>("valid_from")?.0;
            Ok(Endings { valid_from, ended: Stored::of("sessions", &row).get("ended")? })
        })
        .await
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
