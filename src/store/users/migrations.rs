//! The migrations that a database needs, and those that it may have.

use sqlx::migrate::{Migrate, MigrateError, Migrator};

use super::OpenError;
use crate::store::StoreError;

/// Why they did not run: a history that does not fit stays as it is, however often the service is started.
pub fn failed(store: &'static str, error: MigrateError) -> OpenError {
    match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) | MigrateError::Dirty(_) => {
            OpenError::Unfit(error.to_string())
        }
        error => StoreError::new(store, error).into(),
    }
}

/// Runs those that are missing. The caller holds a lock: two runs at once would both apply them.
///
/// An unknown one that is newer than all of `migrator` is accepted: a newer version of the service has run it, and during a
/// rolling upgrade, or after a rollback, older instances start. An unknown older one means that this is the database of
/// another program.
pub async fn run(mut migrator: Migrator, connection: &mut impl Migrate) -> Result<(), MigrateError> {
    let newest = migrator.iter().map(|migration| migration.version).max();
    connection.ensure_migrations_table(&migrator.table_name).await?;
    for applied in connection.list_applied_migrations(&migrator.table_name).await? {
        if migrator.version_exists(applied.version) {
            continue;
        }
        if Some(applied.version) < newest {
            return Err(MigrateError::VersionMissing(applied.version));
        }
        tracing::info!(version = applied.version, "the database has a migration of a newer version");
    }
    migrator.set_locking(false).set_ignore_missing(true).run_direct(None, connection, false).await
}
