//! Reading stored rows: a value that makes no sense is reported with its table, its column and the id of its row.

use chrono::{DateTime, Utc};
use sqlx::{
    ColumnIndex, Decode, Postgres, Row, Sqlite, Type,
    error::BoxDynError,
    postgres::{PgTypeInfo, PgValueRef},
    sqlite::{SqliteTypeInfo, SqliteValueRef},
};
use uuid::Uuid;

use crate::hex::hex;

/// PostgreSQL counts from the year 2000 on: in microseconds since 1970.
const EPOCH_OF_POSTGRESQL: i64 = 946_684_800_000_000;

/// A stored value that cannot be read. It is named, never shown.
#[derive(Clone, Debug, thiserror::Error)]
#[error("failed to read {table}.{column} of {id}: {reason}")]
pub struct Unreadable {
    table: &'static str,
    column: &'static str,
    id: String,
    reason: String,
}

/// The columns of a `User`. Statements name them: a newer version may have added others, in any order.
macro_rules! user_columns {
    () => {
        "id, mobile, name, avatar_url, password_hash, status, created_at, last_login"
    };
}

/// The columns of a `Session`.
macro_rules! session_columns {
    () => {
        "id, user_id, amr, refresh_counter, created_at, refreshed_at, expires_at, ip, user_agent, last_ip, last_user_agent, \
         device_name, platform"
    };
}

/// The columns of a `NewSession`.
macro_rules! new_session_columns {
    () => {
        "id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent, device_hash, device_name, platform"
    };
}

pub(super) use {new_session_columns, session_columns, user_columns};

/// A row of one table.
pub struct Stored<'r, R> {
    row: &'r R,
    table: &'static str,
    key: &'static str,
}

impl<'r, R: Row> Stored<'r, R>
where
    &'static str: ColumnIndex<R>,
    Uuid: Decode<'r, R::Database> + Type<R::Database>,
    Vec<u8>: Decode<'r, R::Database>,
{
    /// A row with the columns of this table.
    pub fn of(table: &'static str, row: &'r R) -> Self {
        Self { row, table, key: "id" }
    }

    /// The columns that a joined table contributes; `key` holds the id of its row.
    pub fn joined(&self, table: &'static str, key: &'static str) -> Self {
        Self { row: self.row, table, key }
    }

    /// The value of a column.
    pub fn get<T: Decode<'r, R::Database> + Type<R::Database>>(&self, column: &'static str) -> sqlx::Result<T> {
        self.row.try_get(column).map_err(|error| match error {
            sqlx::Error::ColumnDecode { source, .. } => self.unreadable(column, &source.to_string()),
            error => self.unreadable(column, &error.to_string()),
        })
    }

    /// The value of a column, as the type that it stands for.
    pub fn parse<V, T>(&self, column: &'static str, parse: impl FnOnce(V) -> Option<T>) -> sqlx::Result<T>
    where
        V: Decode<'r, R::Database> + Type<R::Database>,
    {
        parse(self.get(column)?).ok_or_else(|| self.unreadable(column, "not a value that this version knows"))
    }

    fn unreadable(&self, column: &'static str, reason: &str) -> sqlx::Error {
        let id = self.row.try_get::<Uuid, _>(self.key).map(|id| id.to_string());
        let id = id.or_else(|_| self.row.try_get_unchecked::<Vec<u8>, _>(self.key).map(|bytes| hex(&bytes)));
        sqlx::Error::Decode(Box::new(Unreadable {
            table: self.table,
            column,
            id: id.unwrap_or_default(),
            reason: reason.to_owned(),
        }))
    }
}

/// A stored time. The driver's own type panics at one that is out of its range, such as `infinity`.
pub struct Time(pub DateTime<Utc>);

impl Time {
    fn from_micros(micros: Option<i64>) -> Result<Self, BoxDynError> {
        micros.and_then(DateTime::from_timestamp_micros).map(Self).ok_or_else(|| "out of range".into())
    }
}

impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        <DateTime<Utc> as Type<Postgres>>::type_info()
    }
}

impl Decode<'_, Postgres> for Time {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        Self::from_micros(<i64 as Decode<Postgres>>::decode(value)?.checked_add(EPOCH_OF_POSTGRESQL))
    }
}

impl Type<Sqlite> for Time {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }

    fn compatible(type_info: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(type_info)
    }
}

impl Decode<'_, Sqlite> for Time {
    fn decode(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        Self::from_micros(Some(<i64 as Decode<Sqlite>>::decode(value)?))
    }
}

/// What of a stored row could not be read, if that is what went wrong.
pub fn unreadable(error: &sqlx::Error) -> Option<&Unreadable> {
    match error {
        sqlx::Error::Decode(error) => error.downcast_ref(),
        _ => None,
    }
}
