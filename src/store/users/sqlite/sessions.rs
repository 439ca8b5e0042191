//! How does SQLite keep who is signed in?

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Row;
use uuid::{Uuid, fmt::Simple};

use super::{
    super::{
        Ending, Endings, NewUser, OLDEST_AT_ONCE, Opened, Refresher, Rotation, Sessions,
        batches::{Refresh, SignIn},
        rows::{Stored, Time, session_columns, user_columns},
    },
    Sqlite,
    batches::insert_sessions,
    clear_guesses, end_session, end_sessions, opened_from, session_from, user_from,
};
use crate::{
    model::{
        session::{Lifetime, NewSession, Session, SessionEnd},
        user::User,
    },
    store::StoreError,
};

#[async_trait]
impl Sessions for Sqlite {
    async fn sign_in(&self, user: &NewUser, session: &NewSession, cleared: &str) -> Result<(User, Opened), StoreError> {
        let (user, session, cleared) = (user.clone(), session.clone(), cleared.to_owned());
        self.sign_ins.call(SignIn { user, session, cleared }).await
    }

    async fn register(&self, user: &NewUser, session: &NewSession, cleared: &str) -> Result<Option<User>, StoreError> {
        self.bounded(async {
            let mut transaction = self.writer.begin().await?;
            let row = sqlx::query(concat!(
                "INSERT INTO users (
                     id, mobile, name, password_hash, status, created_at, updated_at, last_login, sessions_opened
                 )
                 VALUES ($1, $2, $2, $3, 'active', $4, $4, $4, 1)
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
            insert_sessions(&mut transaction, [(user.id, session)]).await?;
            clear_guesses(&mut transaction, &[cleared]).await?;
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
        cleared: &str,
    ) -> Result<Option<Opened>, StoreError> {
        self.bounded(async {
            let mut transaction = self.writer.begin().await?;
            let row = sqlx::query(
                "UPDATE users
                 SET last_login = $1, password_hash = coalesce($2, password_hash),
                     sessions_opened = sessions_opened + 1
                 WHERE id = $3 AND password_hash = $4 AND status = 'active'
                 RETURNING id, sessions_valid_from, sessions_opened",
            )
            .bind(session.created_at.timestamp_micros())
            .bind(new_password_hash)
            .bind(user_id)
            .bind(password_hash)
            .fetch_optional(&mut *transaction)
            .await?;
            let Some((valid_from, living_at_most)) = row.as_ref().map(opened_from).transpose()? else {
                return Ok(None);
            };
            let session = session.clone().begun_after(valid_from);
            insert_sessions(&mut transaction, [(user_id, &session)]).await?;
            clear_guesses(&mut transaction, &[cleared]).await?;
            transaction.commit().await?;
            Ok(Some(Opened { session, living_at_most }))
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
            let Some(row) = query.bind(id).fetch_optional(&self.readers).await? else { return Ok(None) };
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
            let query = query.bind(user_id).bind(now.timestamp_micros()).bind(at_most);
            query.fetch_all(&self.readers).await?.iter().map(|row| session_from(row, false)).collect()
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
        self.bounded(async {
            let mut transaction = self.writer.begin().await?;
            let ended = end_session(&mut transaction, user_id, id, why).await?;
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
    ) -> Result<Option<Ending>, StoreError> {
        self.bounded(async {
            let mut transaction = self.writer.begin().await?;
            let ended = end_sessions(&mut transaction, user_id, keep, now).await?;
            transaction.commit().await?;
            Ok(ended)
        })
        .await
    }

    async fn end_oldest_sessions(
        &self,
        user_id: Uuid,
        newest: Uuid,
        at_most: u32,
        now: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, StoreError> {
        self.bounded(async {
            let mut transaction = self.writer.begin().await?;
            let ended = sqlx::query_scalar(concat!(
                "UPDATE sessions SET revoked_at = ",
                database_now!(),
                ", ended_by = 'limit'
                 WHERE id IN (
                     SELECT id FROM ",
                not_ended_of_user!(),
                " WHERE expires_at > $2
                     ORDER BY id = $3 DESC, created_at DESC, id DESC LIMIT $5 OFFSET $4
                 )
                 RETURNING id",
            ))
            .bind(user_id)
            .bind(now.timestamp_micros())
            .bind(newest)
            .bind(at_most)
            .bind(OLDEST_AT_ONCE)
            .fetch_all(&mut *transaction)
            .await?;
            sqlx::query(concat!(
                "UPDATE users
                 SET sessions_opened = (
                     SELECT count(*) FROM (
                         SELECT 1 FROM ",
                not_ended_of_user!(),
                " WHERE expires_at > $2 LIMIT $3
                     )
                 )
                 WHERE id = $1",
            ))
            .bind(user_id)
            .bind(now.timestamp_micros())
            .bind(at_most + 1)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(ended)
        })
        .await
    }

    async fn endings_since(&self, since: Option<DateTime<Utc>>, at_most: Duration) -> Result<Endings, StoreError> {
        self.bounded(async {
            // One row, whatever has ended: one for each session would take several times the memory of what is in it.
            let row = sqlx::query(concat!(
                "SELECT now AS at, ",
                valid_from!(),
                " AS valid_from,
                 (SELECT coalesce(group_concat(hex(id), ''), '')
                  FROM sessions WHERE revoked_at >= max(coalesce($1, 0), now - $2) AND length(id) = 16) AS ended,
                 (SELECT coalesce(group_concat(
                      hex(id) || printf('%032x', sessions_valid_from) || hex(coalesce(kept_session_id, zeroblob(16))), ''
                  ), '')
                  FROM users WHERE sessions_ended_at >= max(coalesce($1, 0), now - $2) AND length(id) = 16) AS users
                 FROM (SELECT ",
                database_now!(),
                " AS now)",
            ))
            .bind(since.map(|since| since.timestamp_micros()))
            .bind(i64::try_from(at_most.as_micros()).unwrap_or(i64::MAX))
            .fetch_one(&self.readers)
            .await?;
            let settings = Stored::of("settings", &row);
            let users = ids(row.try_get("users")?)?;
            let of_users = users.chunks_exact(3).filter_map(|of_user| {
                let valid_from = i64::try_from(of_user[1].as_u128()).ok().and_then(DateTime::from_timestamp_micros)?;
                let kept = Some(of_user[2]).filter(|id| !id.is_nil());
                Some(Ending { user_id: of_user[0], valid_from, kept })
            });
            Ok(Endings {
                at: settings.get::<Time>("at")?.0,
                valid_from: settings.get::<Time>("valid_from")?.0,
                ended: ids(row.try_get("ended")?)?,
                of_users: of_users.collect(),
            })
        })
        .await
    }
}

/// Ids that are written one behind the other.
fn ids(text: &str) -> sqlx::Result<Vec<Uuid>> {
    let ids = text.as_bytes().chunks_exact(Simple::LENGTH).map(Uuid::try_parse_ascii);
    ids.collect::<Result<_, _>>().map_err(|error| sqlx::Error::Decode(error.into()))
}
