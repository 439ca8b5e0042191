//! The connection that SQLite writes on, and when it is replaced.

use std::time::Duration;

use sqlx::{
    Connection, Sqlite as Driver, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use super::super::{PoolUse, pool_use};

/// The one connection that writes. SQLite has one writer at a time: queueing for it here is fair, its own busy loop is
/// not.
#[derive(Clone)]
pub struct Writer(SqlitePool);

impl Writer {
    /// Opens the file.
    pub async fn open(options: SqliteConnectOptions, timeout: Duration) -> sqlx::Result<Self> {
        Ok(Self(pool(1, timeout).connect_with(options).await?))
    }

    /// Starts to write: at once, so that no reader has to become a writer half-way.
    ///
    /// Every write is a transaction that is committed: of a statement by itself, the driver takes the first row for the
    /// end, and loses the error of what comes after, such as a full disk.
    pub async fn begin(&self) -> sqlx::Result<Transaction<'static, Driver>> {
        self.0.begin_with("BEGIN IMMEDIATE").await
    }

    /// Is it busy?
    pub fn usage(&self, name: &'static str) -> PoolUse {
        pool_use(name, &self.0)
    }

    /// Closes the connection once its work is done; later writes fail.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

/// Connections that are closed, and replaced, when their transaction did not end as the driver knows it.
///
/// A full disk, an I/O error and a lack of memory end a transaction in SQLite. The driver's `ROLLBACK` fails then, and it
/// takes whatever follows for a part of the former transaction.
pub fn pool(connections: u32, timeout: Duration) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(connections).acquire_timeout(timeout).after_release(|connection, _| {
        Box::pin(async move {
            // A rollback may be under way.
            connection.ping().await?;
            Ok(!connection.is_in_transaction())
        })
    })
}
