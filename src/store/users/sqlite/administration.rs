//! How does SQLite do what operators ask for?

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{Sqlite as Driver, query::Query, sqlite::SqliteArguments};
use uuid::Uuid;

use super::{
    super::{Administration, bounded, migrations, rows::user_columns},
    STORE, Sqlite, end_sessions, user_from,
};
use crate::{
    model::user::{ImportedUser, User, UserStatus},
    store::StoreError,
};

#[async_trait]
impl Administration for Sqlite {
    async fn set_status(&self, id: Uuid, status: UserStatus, now: DateTime<Utc>) -> Result<Vec<Uuid>, StoreError> {
        bounded(STORE, async {
            let mut transaction = self.writer.begin().await?;
            sqlx::query("UPDATE users SET status = $2, updated_at = $3 WHERE id = $1 AND mobile IS NOT NULL")
                .bind(id)
                .bind(status.as_str())
                .bind(now.timestamp_micros())
                .execute(&mut *transaction)
                .await?;
            let ended = match status {
                UserStatus::Active => Vec::new(),
                UserStatus::Disabled | UserStatus::Deleted => end_sessions(&mut transaction, id, None, now).await?,
            };
            transaction.commit().await?;
            Ok(ended)
        })
        .await
    }

    async fn users_after(
        &self,
        after: Option<Uuid>,
        created_after: Option<DateTime<Utc>>,
        at_most: u32,
    ) -> Result<Vec<User>, StoreError> {
        bounded(STORE, async {
            let query = sqlx::query(concat!(
                "SELECT ",
                user_columns!(),
                " FROM users
                 WHERE mobile IS NOT NULL AND id > $1 AND created_at >= $2
                 ORDER BY id LIMIT $3",
            ))
            .bind(after.unwrap_or_default())
            .bind(created_after.unwrap_or_default().timestamp_micros())
            .bind(at_most);
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
        bounded(STORE, self.change(query)).await
    }

    async fn end_all_sessions(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE sessions SET revoked_at = $1 WHERE revoked_at IS NULL");
        let query = query.bind(now.timestamp_micros());
        self.change(query).await.map(drop).map_err(|error| StoreError::new(STORE, error))
    }

    async fn delete_sessions_over_before(&self, time: DateTime<Utc>, at_most: u32) -> Result<u64, StoreError> {
        let query =
            sqlx::query("DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < $1 LIMIT $2)")
                .bind(time.timestamp_micros())
                .bind(at_most);
        bounded(STORE, self.change(query)).await
    }

    async fn setting_or_insert(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let query = sqlx::query_scalar(
            "INSERT INTO settings (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = settings.value
             RETURNING value",
        )
        .bind(name)
        .bind(value);
        bounded(STORE, async {
            let mut transaction = self.writer.begin().await?;
            let kept = query.fetch_one(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(kept)
        })
        .await
    }

    async fn set_setting(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE settings SET value = $2 WHERE name = $1").bind(name).bind(value);
        bounded(STORE, self.change(query)).await.map(drop)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        let failed = |error: sqlx::Error| StoreError::new(STORE, error);
        // sqlx locks PostgreSQL while it migrates, but not SQLite.
        let mut transaction = self.writer.begin().await.map_err(failed)?;
        let known = sqlx::migrate!("migrations/sqlite");
        migrations::run(known, &mut *transaction).await.map_err(|error| StoreError::new(STORE, error))?;
        transaction.commit().await.map_err(failed)
    }
}

impl Sqlite {
    /// Runs one statement; returns how many rows it changed.
    async fn change(&self, query: Query<'_, Driver, SqliteArguments>) -> sqlx::Result<u64> {
        let mut transaction = self.writer.begin().await?;
        let changed = query.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(changed.rows_affected())
    }
}
