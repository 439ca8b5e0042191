//! Counts of wrong guesses in PostgreSQL.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{
    super::{Guess, Guesser, Guesses},
    Postgres, clear_guesses,
};
use crate::store::StoreError;

#[async_trait]
impl Guesses for Postgres {
    async fn take_guess(
        &self,
        subject: &str,
        guesser: Guesser,
        at_most: u32,
        now: DateTime<Utc>,
    ) -> Result<Guess, StoreError> {
        let query = sqlx::query(
            "INSERT INTO wrong_guesses AS counted (subject, by_strangers, by_known_networks, last_at)
             SELECT $1, $2, $3, $5 WHERE $4 > 0
             ON CONFLICT (subject) DO UPDATE
             SET by_strangers = counted.by_strangers + excluded.by_strangers,
                 by_known_networks = counted.by_known_networks + excluded.by_known_networks,
                 last_at = excluded.last_at
             WHERE CASE $3 WHEN 0 THEN counted.by_strangers ELSE counted.by_known_networks END < $4",
        )
        .bind(subject)
        .bind(i32::from(guesser == Guesser::Stranger))
        .bind(i32::from(guesser == Guesser::KnownNetwork))
        .bind(at_most.cast_signed())
        .bind(now);
        let taken = self.bounded(query.execute(&self.pool)).await?.rows_affected();
        Ok(if taken == 0 { Guess::Exhausted } else { Guess::Taken })
    }

    async fn return_guess(&self, subject: &str, guesser: Guesser) -> Result<(), StoreError> {
        let query = sqlx::query(
            "UPDATE wrong_guesses
             SET by_strangers = greatest(by_strangers - $2, 0),
                 by_known_networks = greatest(by_known_networks - $3, 0)
             WHERE subject = $1",
        )
        .bind(subject)
        .bind(i32::from(guesser == Guesser::Stranger))
        .bind(i32::from(guesser == Guesser::KnownNetwork));
        self.bounded(query.execute(&self.pool)).await.map(drop)
    }

    async fn clear_guesses(&self, subjects: &[String]) -> Result<(), StoreError> {
        self.bounded(clear_guesses(&self.pool, subjects)).await
    }

    async fn delete_guesses_before(&self, time: DateTime<Utc>, at_most: u32) -> Result<u64, StoreError> {
        let query = sqlx::query(
            "DELETE FROM wrong_guesses
             WHERE subject IN (
                 SELECT subject FROM wrong_guesses WHERE last_at < $1 ORDER BY last_at LIMIT $2 FOR UPDATE SKIP LOCKED
             )",
        )
        .bind(time)
        .bind(i64::from(at_most));
        Ok(self.bounded(query.execute(&self.pool)).await?.rows_affected())
    }
}
