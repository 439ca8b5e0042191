//! How does a statement reach PostgreSQL, and on which connections?
//!
//! By name, a statement is parsed once for each connection, and the connection has the settings that statements need. A
//! pooler in transaction mode may run each transaction on another connection, where neither names nor settings are. So
//! unnamed statements run in transactions that bring their settings along, also where there is a single statement: the
//! driver parses it in one trip and runs it in the next.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt, StreamExt, TryFutureExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    AssertSqlSafe, Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres as Driver, SqlStr, Transaction,
    error::BoxDynError,
    pool::PoolConnection,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

use super::{
    super::{CONNECT_TIMEOUT, PoolUse, Statements, pool_use},
    REST,
    diagnosis::Diagnosis,
};

/// SQLSTATE of a write on a server that only reads.
const READ_ONLY: &str = "25006";

type Results = sqlx::Result<Either<PgQueryResult, PgRow>>;

/// Connections to a server that writes.
#[derive(Debug)]
pub struct Pool {
    connections: PgPool,
    /// What opens a transaction that brings its settings along; nothing where statements have names.
    opening: Option<Arc<str>>,
    demotion: Demotion,
    diagnosis: Diagnosis,
}

impl Pool {
    /// Connects when the first statement needs it.
    pub fn new(
        options: PgConnectOptions,
        statements: Statements,
        settings: &[(&str, &str)],
        max_connections: u32,
    ) -> Self {
        let (options, opening) = match statements {
            Statements::Named => (options.options(settings.iter().copied()), None),
            // A pooler refuses settings that it does not know.
            Statements::Unnamed => (options.extra_float_digits(None), Some(opening(settings))),
        };
        let diagnosis = Diagnosis::new(options.clone());
        let demotion = Demotion::default();
        let noticed = demotion.clone();
        let connections = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(CONNECT_TIMEOUT)
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    if writes(connection).await? { Ok(()) } else { Err(sqlx::Error::protocol("the server only reads")) }
                })
            })
            .before_acquire(move |connection, meta| {
                let demoted = noticed.within(meta.age);
                Box::pin(async move {
                    Ok(!demoted && (meta.idle_for < REST || writes(connection).await.unwrap_or_default()))
                })
            })
            .connect_lazy_with(options);
        Self { connections, opening: opening.map(Arc::from), demotion, diagnosis }
    }

    /// How many connections there may be.
    pub fn size(&self) -> u32 {
        self.connections.options().get_max_connections()
    }

    /// How many connections there are now.
    pub fn usage(&self, name: &'static str) -> PoolUse {
        pool_use(name, &self.connections)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    /// For several statements: all of them or none.
    pub async fn begin(&self) -> sqlx::Result<Session> {
        let transaction = match &self.opening {
            None => self.connections.begin().await,
            Some(opening) => self.connections.begin_with(AssertSqlSafe(opening.clone())).await,
        };
        match transaction {
            Ok(transaction) => Ok(self.session(Link::Transaction(transaction))),
            Err(error) => Err(self.diagnosis.of(error).await),
        }
    }

    /// For statements by themselves: a transaction only where they need one.
    pub async fn acquire(&self) -> sqlx::Result<Session> {
        match self.opening {
            None => match self.connections.acquire().await {
                Ok(connection) => Ok(self.resume(connection)),
                Err(error) => Err(self.diagnosis.of(error).await),
            },
            Some(_) => self.begin().await,
        }
    }

    /// Goes on with a connection that [`Session::finish`] has returned.
    pub fn resume(&self, connection: PoolConnection<Driver>) -> Session {
        self.session(Link::Connection(connection))
    }

    fn session(&self, link: Link) -> Session {
        Session { link, named: self.opening.is_none(), demotion: self.demotion.clone() }
    }
}

fn opening(settings: &[(&str, &str)]) -> String {
    let settings = settings.iter().map(|(name, value)| format!("; SET LOCAL {name} = '{value}'"));
    std::iter::once("BEGIN".to_owned()).chain(settings).collect()
}

/// Can the server do more than read? A standby cannot, nor a primary that somebody takes out of service.
pub async fn writes(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let row = sqlx::raw_sql("SHOW transaction_read_only").fetch_one(connection).await?;
    Ok(sqlx::Row::try_get::<&str, _>(&row, 0)? == "off")
}

/// When a write was last refused because the server only reads. Whatever was connected by then is of no use.
#[derive(Clone, Debug, Default)]
struct Demotion(Arc<Mutex<Option<Instant>>>);

impl Demotion {
    fn look_at(&self, error: &sqlx::Error) {
        if error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == READ_ONLY) {
            *self.0.lock().expect("no panic while it is held") = Some(Instant::now());
        }
    }

    fn within(&self, time: Duration) -> bool {
        let noticed = *self.0.lock().expect("no panic while it is held");
        noticed.is_some_and(|noticed| noticed.elapsed() <= time)
    }
}

/// A connection for some statements. One that is dropped before its end takes back what they did, if they are all or
/// nothing.
#[derive(Debug)]
pub struct Session {
    link: Link,
    named: bool,
    demotion: Demotion,
}

#[derive(Debug)]
enum Link {
    Connection(PoolConnection<Driver>),
    Transaction(Transaction<'static, Driver>),
}

impl Session {
    /// Makes sure of what the statements did. Returns the connection if it has no transaction to end.
    pub async fn finish(self) -> sqlx::Result<Option<PoolConnection<Driver>>> {
        match self.link {
            Link::Connection(connection) => Ok(Some(connection)),
            Link::Transaction(transaction) => transaction.commit().await.map(|()| None),
        }
    }

    /// For what only a connection can do; its statements may have names.
    pub fn connection(&mut self) -> &mut PgConnection {
        match &mut self.link {
            Link::Connection(connection) => connection,
            Link::Transaction(transaction) => transaction,
        }
    }
}

impl<'c> Executor<'c> for &'c mut Session {
    type Database = Driver;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Results>
    where
        'c: 'e,
        E: 'q + Execute<'q, Driver>,
    {
        let (named, demotion) = (self.named, self.demotion.clone());
        let results = self.connection().fetch_many(Sent { query, named });
        results.inspect_err(move |error| demotion.look_at(error)).boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Driver>,
    {
        let (named, demotion) = (self.named, self.demotion.clone());
        let row = self.connection().fetch_optional(Sent { query, named });
        row.inspect_err(move |error| demotion.look_at(error)).boxed()
    }

    fn prepare_with<'e>(self, sql: SqlStr, types: &'e [PgTypeInfo]) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'c: 'e,
    {
        self.connection().prepare_with(sql, types)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Driver>>>
    where
        'c: 'e,
    {
        self.connection().describe(sql)
    }
}

/// Each statement by itself.
impl<'c> Executor<'c> for &'c Pool {
    type Database = Driver;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Results>
    where
        'c: 'e,
        E: 'q + Execute<'q, Driver>,
    {
        let results = async move {
            let mut session = self.acquire().await?;
            let results: Vec<_> = session.fetch_many(query).try_collect().await?;
            session.finish().await?;
            Ok(stream::iter(results).map(Ok))
        };
        results.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Driver>,
    {
        let row = async move {
            let mut session = self.acquire().await?;
            let row = session.fetch_optional(query).await?;
            session.finish().await?;
            Ok(row)
        };
        row.boxed()
    }

    fn prepare_with<'e>(self, sql: SqlStr, types: &'e [PgTypeInfo]) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'c: 'e,
    {
        async move { self.acquire().await?.prepare_with(sql, types).await }.boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Driver>>>
    where
        'c: 'e,
    {
        async move { self.acquire().await?.describe(sql).await }.boxed()
    }
}

/// A statement that the driver gives a name, or none.
struct Sent<E> {
    query: E,
    named: bool,
}

impl<'q, E: Execute<'q, Driver>> Execute<'q, Driver> for Sent<E> {
    fn sql(self) -> SqlStr {
        self.query.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.query.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.query.take_arguments()
    }

    fn persistent(&self) -> bool {
        self.named && self.query.persistent()
    }
}
