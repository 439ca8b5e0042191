//! How does SQLite keep what a user owns?

use std::collections::HashSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use super::{
    super::{
        Accounts, Acquaintance, Acquaintances, Ending, FORGOTTEN_AT_ONCE, MobileChange, is_taken,
        rows::{Stored, Time, user_columns},
    },
    Sqlite, clear_guesses, end_sessions, user_from,
};
use crate::{
    model::{mobile::Mobile, user::User},
    store::StoreError,
};

#[async_trait]
impl Accounts for Sqlite {
    async fn user(&self, id: Uuid) -> Result<Option<User>, StoreError> {
        self.look_ups.call(id).await
    }

    async fn user_by_mobile(&self, mobile: &Mobile) -> Result<Option<User>, StoreError> {
        self.bounded(async {
            let sql = concat!("SELECT ", user_columns!(), " FROM users WHERE mobile = $1");
            let query = sqlx::query(sql).bind(mobile.as_str());
            query.fetch_optional(&self.readers).await?.as_ref().map(user_from).transpose()
        })
        .await
    }

    async fn registered(&self, mobiles: &[Mobile]) -> Result<Vec<Mobile>, StoreError> {
        self.bounded(async {
            let texts: Vec<_> = mobiles.iter().map(Mobile::as_str).collect();
            let sql = "SELECT mobile FROM users WHERE mobile IN (SELECT value FROM json_each($1))";
            let query = sqlx::query_scalar(sql).bind(serde_json::json!(texts).to_string());
            let found: HashSet<String> = query.fetch_all(&self.readers).await?.into_iter().collect();
            Ok(mobiles.iter().filter(|mobile| found.contains(mobile.as_str())).cloned().collect())
        })
        .await
    }

    async fn update_profile(
        &self,
        id: Uuid,
        name: Option<&str>,
        avatar_url: Option<Option<&str>>,
        now: DateTime<Utc>,
    ) -> Result<Option<User>, StoreError> {
        self.bounded(async {
            let mut transaction = self.writer.begin().await?;
            let query = sqlx::query(concat!(
                "UPDATE users
                 SET name = coalesce($2, name), avatar_url = CASE WHEN $3 THEN $4 ELSE avatar_url END, updated_at = $5
                 WHERE id = $1 AND status = 'active'
                 RETURNING ",
                user_columns!(),
            ));
            let query = query
                .bind(id)
                .bind(name)
                .bind(avatar_url.is_some())
                .bind(avatar_url.flatten())
                .bind(now.timestamp_micros());
            let user = query.fetch_optional(&mut *transaction).await?.as_ref().map(user_from).transpose()?;
            transaction.commit().await?;
            Ok(user)
        })
        .await
    }

    async fn set_password(
        &self,
        id: Uuid,
        password_hash: &str,
        keep: Option<Uuid>,
        cleared: &[String],
        now: DateTime<Utc>,
    ) -> Result<Option<Ending>, StoreError> {
        self.bounded(async {
            let mut transaction = self.writer.begin().await?;
            let changed =
                sqlx::query("UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1 AND status = 'active'")
                    .bind(id)
                    .bind(password_hash)
                    .bind(now.timestamp_micros())
                    .execute(&mut *transaction)
                    .await?;
            if changed.rows_affected() == 0 {
                return Ok(None);
            }
            let ended = end_sessions(&mut transaction, id, keep, now).await?;
            clear_guesses(&mut transaction, cleared).await?;
            transaction.commit().await?;
            Ok(ended)
        })
        .await
    }

    async fn change_mobile(
        &self,
        id: Uuid,
        (from, to): (&Mobile, &Mobile),
        keep: Uuid,
        cleared: &[String],
        now: DateTime<Utc>,
    ) -> Result<MobileChange, StoreError> {
        self.bounded(async {
            let mut transaction = self.writer.begin().await?;
            let changed = sqlx::query(concat!(
                "UPDATE users
                 SET mobile = $3, name = CASE WHEN name = $2 THEN $3 ELSE name END, updated_at = $4
                 WHERE id = $1 AND mobile = $2 AND status = 'active'
                 RETURNING ",
                user_columns!(),
            ))
            .bind(id)
            .bind(from.as_str())
            .bind(to.as_str())
            .bind(now.timestamp_micros())
            .fetch_optional(&mut *transaction)
            .await;
            let user = match changed {
                Ok(Some(row)) => user_from(&row)?,
                Ok(None) => return Ok(MobileChange::Gone),
                Err(error) if is_taken(&error) => return Ok(MobileChange::Taken),
                Err(error) => return Err(error),
            };
            let ended = end_sessions(&mut transaction, id, Some(keep), now).await?;
            let ended = ended.ok_or(sqlx::Error::RowNotFound)?;
            clear_guesses(&mut transaction, cleared).await?;
            transaction.commit().await?;
            Ok(MobileChange::Changed(Box::new(user), ended))
        })
        .await
    }

    async fn delete_user(
        &self,
        id: Uuid,
        cleared: &[String],
        now: DateTime<Utc>,
    ) -> Result<Option<Ending>, StoreError> {
        self.bounded(async {
            let mut transaction = self.writer.begin().await?;
            sqlx::query(
                "UPDATE users
                 SET mobile = NULL, name = '', avatar_url = NULL, password_hash = NULL, status = 'deleted',
                     updated_at = $2
                 WHERE id = $1",
            )
            .bind(id)
            .bind(now.timestamp_micros())
            .execute(&mut *transaction)
            .await?;
            let ended = end_sessions(&mut transaction, id, None, now).await?;
            forget_sessions(&mut transaction, id, DateTime::<Utc>::MAX_UTC).await?;
            clear_guesses(&mut transaction, cleared).await?;
            transaction.commit().await?;
            Ok(ended)
        })
        .await
    }

    async fn forget_sessions(
        &self,
        user_id: Uuid,
        begun_until: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.bounded(async {
            let mut transaction = self.writer.begin().await?;
            let oldest = forget_sessions(&mut transaction, user_id, begun_until).await?;
            transaction.commit().await?;
            Ok(oldest)
        })
        .await
    }

    async fn acquaintances(
        &self,
        mobile: &Mobile,
        since: DateTime<Utc>,
        at_most: u32,
    ) -> Result<Option<Acquaintances>, StoreError> {
        self.bounded(async {
            let rows = sqlx::query(concat!(
                "WITH owner AS (
                     SELECT id, sessions_valid_from, kept_session_id FROM users WHERE mobile = $1
                 ), valid AS (
                     SELECT created_at, refreshed_at, revoked_at, ended_by, device_hash, ip, last_ip
                     FROM sessions
                     WHERE user_id = (SELECT id FROM owner) AND created_at >= max(",
                valid_from!(),
                ",       (SELECT coalesce(sessions_valid_from, 0) FROM owner))
                     UNION ALL
                     SELECT created_at, refreshed_at, revoked_at, ended_by, device_hash, ip, last_ip
                     FROM sessions
                     WHERE id = (SELECT kept_session_id FROM owner) AND created_at >= ",
                valid_from!(),
                ")
                 SELECT id, device_hash, ip, last_ip
                 FROM owner LEFT JOIN valid
                   ON coalesce(refreshed_at, created_at) >= $2
                  AND (revoked_at IS NULL OR ended_by IN ('sign_out', 'limit'))
                 ORDER BY created_at DESC LIMIT $3",
            ))
            .bind(mobile.as_str())
            .bind(since.timestamp_micros())
            .bind(at_most)
            .fetch_all(&self.readers)
            .await?;
            acquaintances_from(&rows)
        })
        .await
    }
}

/// See [`Accounts::forget_sessions`].
async fn forget_sessions(
    connection: &mut SqliteConnection,
    user_id: Uuid,
    begun_until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    let query = sqlx::query(
        "UPDATE sessions
         SET ip = NULL, user_agent = NULL, last_ip = NULL, last_user_agent = NULL, device_hash = NULL,
             device_name = NULL, platform = NULL
         WHERE id IN (
             SELECT id FROM sessions
             WHERE user_id = $1 AND created_at <= $3
               AND coalesce(ip, user_agent, last_ip, last_user_agent, device_hash, device_name, platform) IS NOT NULL
             ORDER BY created_at DESC LIMIT $2
         )
         RETURNING id, created_at",
    );
    let query = query.bind(user_id).bind(FORGOTTEN_AT_ONCE).bind(begun_until.timestamp_micros());
    let rows = query.fetch_all(connection).await?;
    let begun = rows.iter().map(|row| Ok(Stored::of("sessions", row).get::<Time>("created_at")?.0));
    Ok(begun.collect::<sqlx::Result<Vec<_>>>()?.into_iter().min())
}

fn acquaintances_from(rows: &[SqliteRow]) -> sqlx::Result<Option<Acquaintances>> {
    let Some(first) = rows.first() else { return Ok(None) };
    let sessions = rows.iter().map(|row| {
        let row = Stored::of("users", row);
        Ok(Acquaintance::new(row.get("device_hash")?, [row.get("ip")?, row.get("last_ip")?]))
    });
    let mut sessions = sessions.collect::<sqlx::Result<Vec<_>>>()?;
    // Without a session there is a row all the same.
    sessions.retain(Acquaintance::tells);
    Ok(Some(Acquaintances { user_id: Stored::of("users", first).get("id")?, sessions }))
}
