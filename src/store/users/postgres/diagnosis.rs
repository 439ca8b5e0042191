//! Why no connection comes about. The driver's pool tries again until time is up, and then says no more than that.

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::{sync::Mutex, time::timeout};

/// Tells whether the server only reads.
pub const LOOK: &str = "SHOW transaction_read_only";

/// How long an answer is good for: while a server is down, everybody asks.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// How long to look: the caller has waited already.
const PATIENCE: Duration = Duration::from_millis(250);

/// Looks for what is wrong with a server, for everybody who asks at the same time.
pub struct Diagnosis {
    options: PgConnectOptions,
    last: Mutex<Option<(Instant, Option<String>)>>,
}

/// The options hold a password.
impl fmt::Debug for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Diagnosis")
    }
}

impl Diagnosis {
    /// Of the server that is connected to in this way.
    pub fn new(options: PgConnectOptions) -> Self {
        Self { options, last: Mutex::default() }
    }

    /// What an error means; the cause, where it is that the pool gave up.
    pub async fn of(&self, error: sqlx::Error) -> sqlx::Error {
        if !matches!(error, sqlx::Error::PoolTimedOut) {
            return error;
        }
        let mut last = self.last.lock().await;
        let cause = match &*last {
            Some((at, cause)) if at.elapsed() < GOOD_FOR => cause.clone(),
            _ => {
                let cause = self.look().await;
                *last = Some((Instant::now(), cause.clone()));
                cause
            }
        };
        cause.map_or(error, |cause| sqlx::Error::Io(io::Error::other(cause)))
    }

    /// Connects; `None` if that works, so that the pool is merely busy.
    async fn look(&self) -> Option<String> {
        let tried = async {
            let mut connection = self.options.connect().await?;
            let writes = writes(&mut connection).await;
            connection.close_hard().await?;
            if writes? { Ok(()) } else { Err(sqlx::Error::protocol("the server only reads")) }
        };
        match timeout(PATIENCE, tried).await {
            Ok(Ok(())) => None,
            Ok(Err(sqlx::Error::Io(error))) => Some(in_words(&error)),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("timed out".to_owned()),
        }
    }
}

/// Can the server do more than read? A standby cannot, nor a primary that is taken out of service.
pub async fn writes(connection: &mut PgConnection) -> sqlx::Result<bool> {
    ask(connection, LOOK.into()).await
}

/// Runs statements that end with [`LOOK`], and reads its answer.
pub async fn ask(connection: &mut PgConnection, sql: Arc<str>) -> sqlx::Result<bool> {
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?;
    Ok(sqlx::Row::try_get::<&str, _>(&row, 0)? == "off")
}

fn in_words(error: &io::Error) -> String {
    // Without the number of the system's error.
    if error.raw_os_error().is_some() { error.kind().to_string() } else { error.to_string() }
}
