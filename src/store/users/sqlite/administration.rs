//! How does SQLite do what operators ask for?

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, Utc};
use serde_json::{Value, json};
use sqlx::{Sqlite as Driver, query::Query, sqlite::SqliteArguments};
use uuid::Uuid;

use super::{
    super::{Administration, Cursor, Ending, OpenError, migrations, rows::user_columns},
    STORE, Sqlite, clear_guesses, end_sessions, user_from,
};
use crate::{
    model::user::{ImportedUser, User, UserStatus},
    store::StoreError,
};

#[async_trait]
impl Administration for Sqlite {
    async fn set_status(
        &self,
        id: Uuid,
        status: UserStatus,
        cleared: &[String],
        now: DateTime<Utc>,
    ) -> Result<Option<Ending>, StoreError> {
        self.bounded(async {
            let mut transaction = self.writer.begin().await?;
            sqlx::query("UPDATE users SET status = $2, updated_at = $3 WHERE id = $1 AND mobile IS NOT NULL")
                .bind(id)
                .bind(status.as_str())
                .bind(now.timestamp_micros())
                .execute(&mut *transaction)
                .await?;
            let ended = match status {
                UserStatus::Active => None,
                UserStatus::Disabled | UserStatus::Deleted => end_sessions(&mut transaction, id, None, now).await?,
            };
            clear_guesses(&mut transaction, cleared).await?;
            transaction.commit().await?;
            Ok(ended)
        })
        .await
    }

    async fn users_after(&self, place: Cursor, at_most: u32) -> Result<Vec<User>, StoreError> {
        self.bounded(async {
            let query = match place {
                Cursor::Id(id) => sqlx::query(concat!(
                    "SELECT ",
                    user_columns!(),
                    " FROM users WHERE mobile IS NOT NULL AND id > $2 ORDER BY id LIMIT $1",
                ))
                .bind(at_most)
                .bind(id),
                Cursor::CreatedAt(time, id) => sqlx::query(concat!(
                    "SELECT ",
                    user_columns!(),
                    " FROM users
                     WHERE mobile IS NOT NULL AND (created_at, id) > ($2, $3)
                     ORDER BY created_at, id LIMIT $1",
                ))
                .bind(at_most)
                .bind(time.timestamp_micros())
                .bind(id),
            };
            query.fetch_all(&self.readers).await?.iter().map(user_from).collect()
        })
        .await
    }

    async fn import_users(&self, users: &[ImportedUser], now: DateTime<Utc>) -> Result<u64, StoreError> {
        let rows = users.iter().map(|user| {
            let (id, created_at) = (Uuid::now_v7().simple().to_string(), user.created_at.timestamp_micros());
            json!([id, user.mobile.as_str(), user.name, user.password_hash, created_at])
        });
        // One statement for all: one for each takes most of its time outside of SQLite. The condition tells SQLite that
        // ON belongs to INSERT, not to a join.
        let query = sqlx::query(
            "INSERT INTO users (id, mobile, name, password_hash, status, created_at, updated_at, last_login)
             SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, 'active', value ->> 4, $2, value ->> 4
             FROM json_each($1) WHERE true
             ON CONFLICT (mobile) DO NOTHING",
        )
        .bind(Value::from_iter(rows).to_string())
        .bind(now.timestamp_micros());
        self.bounded(self.change(query)).await
    }

    async fn end_all_sessions(
        &self,
        begun_before: DateTime<Utc>,
        setting: &str,
        former: &str,
        value: &str,
    ) -> Result<bool, StoreError> {
        self.bounded(async {
            let mut transaction = self.writer.begin().await?;
            let replaced = sqlx::query("UPDATE settings SET value = $3 WHERE name = $1 AND value = $2")
                .bind(setting)
                .bind(former)
                .bind(value)
                .execute(&mut *transaction)
                .await?;
            if replaced.rows_affected() == 0 {
                return Ok(false);
            }
            // Of one length, so that the greater text is the later time.
            sqlx::query(
                "INSERT INTO settings (name, value) VALUES ('sessions_valid_from', $1)
                 ON CONFLICT (name) DO UPDATE SET value = max(settings.value, excluded.value)",
            )
            .bind(begun_before.trunc_subsecs(3).timestamp_micros().to_string())
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn delete_sessions_over_before(
        &self,
        time: DateTime<Utc>,
        known: DateTime<Utc>,
        at_most: u32,
    ) -> Result<u64, StoreError> {
        // The condition of the index `sessions_distrusted`, word by word.
        let query = sqlx::query(
            "DELETE FROM sessions
             WHERE id IN (
                 SELECT id FROM (
                     SELECT id FROM sessions
                     WHERE expires_at < $1 AND revoked_at IS NOT NULL
                       AND coalesce(ended_by, '') NOT IN ('sign_out', 'limit')
                     ORDER BY expires_at LIMIT $3
                 )
                 UNION ALL
                 SELECT id FROM (SELECT id FROM sessions WHERE expires_at < $2 ORDER BY expires_at LIMIT $3)
             )",
        )
        .bind(time.timestamp_micros())
        .bind(known.timestamp_micros())
        .bind(at_most);
        self.bounded(self.change(query)).await
    }

    async fn setting_or_insert(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let query = sqlx::query_scalar(
            "INSERT INTO settings (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = settings.value
             RETURNING value",
        )
        .bind(name)
        .bind(value);
        self.bounded(async {
            let mut transaction = self.writer.begin().await?;
            let kept = query.fetch_one(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(kept)
        })
        .await
    }

    async fn migrate(&self) -> Result<(), OpenError> {
        let failed = |error: sqlx::Error| StoreError::new(STORE, error);
        // sqlx locks PostgreSQL while it migrates, but not SQLite.
        let mut transaction = self.writer.begin().await.map_err(failed)?;
        let known = sqlx::migrate!("migrations/sqlite");
        migrations::run(known, &mut *transaction).await.map_err(|error| migrations::failed(STORE, error))?;
        Ok(transaction.commit().await.map_err(failed)?)
    }
}

impl Sqlite {
    /// Runs one statement; returns how many rows it changed.
    pub(super) async fn change(&self, query: Query<'_, Driver, SqliteArguments>) -> sqlx::Result<u64> {
        let mut transaction = self.writer.begin().await?;
        let changed = query.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(changed.rows_affected())
    }
}
