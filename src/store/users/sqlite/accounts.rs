//! How does SQLite keep what a user owns?

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    super::{Accounts, MobileChange, bounded, is_taken, rows::user_columns},
    STORE, Sqlite, end_sessions, user_from,
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
        bounded(STORE, async {
            let sql = concat!("SELECT ", user_columns!(), " FROM users WHERE mobile = $1");
            let query = sqlx::query(sql).bind(mobile.as_str());
            query.fetch_optional(&self.readers).await?.as_ref().map(user_from).transpose()
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
        bounded(STORE, async {
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
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<Uuid>>, StoreError> {
        bounded(STORE, async {
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
            transaction.commit().await?;
            Ok(Some(ended))
        })
        .await
    }

    async fn change_mobile(
        &self,
        id: Uuid,
        from: &Mobile,
        to: &Mobile,
        keep: Uuid,
        now: DateTime<Utc>,
    ) -> Result<MobileChange, StoreError> {
        bounded(STORE, async {
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
            transaction.commit().await?;
            Ok(MobileChange::Changed(Box::new(user), ended))
        })
        .await
    }

    async fn delete_user(&self, id: Uuid, now: DateTime<Utc>) -> Result<Vec<Uuid>, StoreError> {
        bounded(STORE, async {
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
            sqlx::query("UPDATE sessions SET ip = NULL, user_agent = NULL WHERE user_id = $1")
                .bind(id)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(ended)
        })
        .await
    }
}
