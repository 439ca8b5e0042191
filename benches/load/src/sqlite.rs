//! How many sign-ins does SQLite take with a transaction for each? The statements of the service, without a service.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, TransactionBehavior, params};

use crate::{population::Population, requests::USER_AGENT};

const UPSERT: &str = "INSERT INTO users (id, mobile, name, status, created_at, updated_at, last_login)
    VALUES ($1, $2, $2, 'active', $3, $3, $3)
    ON CONFLICT (mobile) DO UPDATE
    SET last_login = CASE WHEN status = 'active' THEN excluded.last_login ELSE last_login END
    RETURNING id";

const INSERT: &str = "INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
    VALUES ($1, $2, 'sms', 0, $3, $4, '10.123.145.167', $5)
    ON CONFLICT (id) DO NOTHING";

const FOURTEEN_DAYS: i64 = 14 * 24 * 3600 * 1_000_000;

/// Sign-ins a second of users of the population, one after the other for this long, each safely on the disk.
pub fn transactions_per_second(file: &Path, mut users: Population, time: Duration) -> rusqlite::Result<f64> {
    let mut connection = Connection::open(file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let start = Instant::now();
    let mut done = 0_u64;
    while start.elapsed() < time {
        #[expect(clippy::disallowed_methods, reason = "this is no test, and its time is not moved")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(now.as_micros()).expect("it is not that late");
        // Like a UUIDv7: milliseconds, then what makes it unique.
        let id = (now.as_millis() << 80 | u128::from(done)).to_be_bytes();
        let mobile = users.draw();
        let mobile = std::str::from_utf8(&mobile).expect("digits");
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let user: Vec<u8> =
            transaction.prepare_cached(UPSERT)?.query_one(params![id, mobile, micros], |row| row.get(0))?;
        transaction.prepare_cached(INSERT)?.execute(params![id, user, micros, micros + FOURTEEN_DAYS, USER_AGENT])?;
        transaction.commit()?;
        done += 1;
    }
    Ok(done as f64 / start.elapsed().as_secs_f64())
}
