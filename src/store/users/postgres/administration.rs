//! How does PostgreSQL do what operators ask for?

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use sqlx::{Executor, migrate::MigrateError};
use uuid::Uuid;

use super::{
    super::{Administration, Cursor, Ending, OpenError, Statements, migrations, rows::user_columns},
    Postgres, STORE, clear_guesses,
    decline::again,
    end_sessions,
    pool::Pool,
    user_from,
};
use crate::{
    model::user::{ImportedUser, User, UserStatus},
    store::StoreError,
};

/// Another instance may hold the lock, and a large table may take longer than any request.
const SETTINGS_OF_MIGRATIONS: [(&str, &str); 1] = [("statement_timeout", "0")];

/// Any number that no other application takes for its own lock.
const LOCK_OF_MIGRATIONS: i64 = 0x7068_6f6e_6570_6173;

const FORGET_NAMES: &str = "DEALLOCATE ALL";

#[async_trait]
impl Administration for Postgres {
    async fn set_status(
        &self,
        id: Uuid,
        status: UserStatus,
        cleared: &[String],
        now: DateTime<Utc>,
    ) -> Result<Option<Ending>, StoreError> {
        let change = || async {
            let mut transaction = self.pool.begin().await?;
            sqlx::query("UPDATE users SET status = $2, updated_at = $3 WHERE id = $1 AND mobile IS NOT NULL")
                .bind(id)
                .bind(status.as_str())
                .bind(now)
                .execute(&mut transaction)
                .await?;
            let ended = match status {
                UserStatus::Active => None,
                UserStatus::Disabled | UserStatus::Deleted => end_sessions(&mut transaction, id, None, now).await?,
            };
            clear_guesses(&mut transaction, cleared).await?;
            transaction.finish().await?;
            Ok(ended)
        };
        self.bounded(again(change)).await
    }

    async fn users_after(&self, place: Cursor, at_most: u32) -> Result<Vec<User>, StoreError> {
        self.bounded(async {
            let query = match place {
                Cursor::Id(id) => sqlx::query(concat!(
                    "SELECT ",
                    user_columns!(),
                    " FROM users WHERE mobile IS NOT NULL AND id > $2 ORDER BY id LIMIT $1",
                ))
                .bind(i64::from(at_most))
                .bind(id),
                Cursor::CreatedAt(time, id) => sqlx::query(concat!(
                    "SELECT ",
                    user_columns!(),
                    " FROM users
                     WHERE mobile IS NOT NULL AND (created_at, id) > ($2, $3)
                     ORDER BY created_at, id LIMIT $1",
                ))
                .bind(i64::from(at_most))
                .bind(time)
                .bind(id),
            };
            query.fetch_all(&self.pool).await?.iter().map(user_from).collect()
        })
        .await
    }

    async fn import_users(&self, users: &[ImportedUser], now: DateTime<Utc>) -> Result<u64, StoreError> {
        let ids: Vec<_> = users.iter().map(|_| Uuid::now_v7()).collect();
        let mobiles: Vec<_> = users.iter().map(|user| user.mobile.as_str()).collect();
        let names: Vec<_> = users.iter().map(|user| user.name.as_str()).collect();
        let hashes: Vec<_> = users.iter().map(|user| user.password_hash.as_deref()).collect();
        let times: Vec<_> = users.iter().map(|user| user.created_at).collect();
        // In the order of mobiles: two imports at once would else wait for each other.
        let query = sqlx::query(
            "INSERT INTO users (id, mobile, name, password_hash, status, created_at, updated_at, last_login)
             SELECT id, mobile, name, password_hash, 'active', created_at, $6, created_at
             FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
                 AS imported (id, mobile, name, password_hash, created_at)
             ORDER BY mobile
             ON CONFLICT (mobile) DO NOTHING",
        )
        .bind(ids)
        .bind(mobiles)
        .bind(names)
        .bind(hashes)
        .bind(times)
        .bind(now);
        Ok(self.bounded(query.execute(&self.pool)).await?.rows_affected())
    }

    async fn end_all_sessions(
        &self,
        begun_before: DateTime<Utc>,
        setting: &str,
        former: &str,
        value: &str,
    ) -> Result<bool, StoreError> {
        self.bounded(async {
            let mut transaction = self.pool.begin().await?;
            let replaced = sqlx::query("UPDATE settings SET value = $3 WHERE name = $1 AND value = $2")
                .bind(setting)
                .bind(former)
                .bind(value)
                .execute(&mut transaction)
                .await?;
            if replaced.rows_affected() == 0 {
                return Ok(false);
            }
            // Of one length and in UTC, so that the greater text is the later time.
            sqlx::query(
                "INSERT INTO settings (name, value) VALUES ('sessions_valid_from', $1)
                 ON CONFLICT (name) DO UPDATE SET value = greatest(settings.value, excluded.value)",
            )
            .bind(begun_before.to_rfc3339_opts(SecondsFormat::Millis, true))
            .execute(&mut transaction)
            .await?;
            transaction.finish().await?;
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
                     ORDER BY expires_at LIMIT $3 FOR UPDATE SKIP LOCKED
                 ) AS distrusted
                 UNION ALL
                 SELECT id FROM (
                     SELECT id FROM sessions WHERE expires_at < $2 ORDER BY expires_at LIMIT $3 FOR UPDATE SKIP LOCKED
                 ) AS known
             )",
        )
        .bind(time)
        .bind(known)
        .bind(i64::from(at_most));
        Ok(self.bounded(query.execute(&self.pool)).await?.rows_affected())
    }

    async fn setting_or_insert(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let query = sqlx::query_scalar(
            "INSERT INTO settings (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = settings.value
             RETURNING value",
        )
        .bind(name)
        .bind(value);
        self.bounded(query.fetch_one(&self.pool)).await
    }

    async fn migrate(&self) -> Result<(), OpenError> {
        // Unnamed, whatever is set: then it is right behind a pooler, too.
        let pool = Pool::new(self.options.clone(), Statements::Unnamed, &SETTINGS_OF_MIGRATIONS, 1, self.timeouts);
        let migrated = migrate(&pool).await;
        pool.close().await;
        migrated.map_err(|error| migrations::failed(STORE, error))
    }
}

/// All migrations that are missing, or none. The lock goes with the transaction: one of a session would stay with a
/// pooler's connection for ever.
async fn migrate(pool: &Pool) -> Result<(), MigrateError> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK_OF_MIGRATIONS).execute(&mut transaction).await?;
    // The migrator names its statements. A pooler's connection may have the names of one that failed.
    transaction.execute(FORGET_NAMES).await?;
    migrations::run(sqlx::migrate!("migrations/postgres"), transaction.connection()).await?;
    transaction.execute(FORGET_NAMES).await?;
    transaction.finish().await?;
    Ok(())
}
