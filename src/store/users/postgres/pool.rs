//! How does a statement reach PostgreSQL, and on which connections?
//!
//! By name, a statement is parsed once for each connection, and the connection has the settings that statements need. A
//! pooler in transaction mode may run each transaction on another connection, where neither names nor settings are. So
//! unnamed statements run in transactions that bring their settings along, also where there is a single statement: the
//! driver parses it in one trip and runs it in the next.
//!
//! Settings come by statements, not with the start of a connection: a pooler refuses those that it does not know.

use std::{sync::Arc, time::Instant};

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
    super::{PoolUse, Statements, Timeouts, pool_use},
    REST,
    decline::{Decline, again},
    diagnosis::{Diagnosis, LOOK, ask, writes},
};

type Results = sqlx::Result<Either<PgQueryResult, PgRow>>;

/// Connections to a server that writes.
#[derive(Debug)]
pub struct Pool {
    connections: PgPool,
    /// How long connections and statements may take.
    pub timeouts: Timeouts,
    /// What opens a transaction that brings its settings along; nothing where statements have names.
    opening: Option<Arc<str>>,
    decline: Decline,
    diagnosis: Diagnosis,
}

impl Pool {
    /// Connects when the first statement needs it.
    pub fn new(
        options: PgConnectOptions,
        statements: Statements,
        settings: &[(&str, &str)],
        max_connections: u32,
        timeouts: Timeouts,
    ) -> Self {
        let (greeting, opening) = match statements {
            Statements::Named => (sql("SET", settings, LOOK), None),
            Statements::Unnamed => (LOOK.into(), Some(format!("BEGIN; {}", sql("SET LOCAL", settings, "")).into())),
        };
        // A pooler refuses parameters of a connection that it does not know.
        let options = options.extra_float_digits(None);
        let diagnosis = Diagnosis::new(options.clone());
        let decline = Decline::default();
        let noticed = decline.clone();
        let connections = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(timeouts.connection)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let greeting = greeting.clone();
                Box::pin(async move {
                    let writes = ask(connection, greeting).await?;
                    if writes { Ok(()) } else { Err(sqlx::Error::protocol("the server only reads")) }
                })
            })
            .before_acquire(move |connection, meta| {
                let declined = noticed.within(meta.age);
                Box::pin(async move {
                    Ok(!declined && (meta.idle_for < REST || writes(connection).await.unwrap_or_default()))
                })
            })
            .connect_lazy_with(options);
        Self { connections, timeouts, opening, decline, diagnosis }
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
            Ok(transaction) => Ok(self.session(Link::Transaction(transaction), Instant::now())),
            Err(error) => Err(self.diagnosis.of(error).await),
        }
    }

    /// For statements by themselves: a transaction only where they need one.
    pub async fn acquire(&self) -> sqlx::Result<Session> {
        match self.opening {
            None => match self.connections.acquire().await {
                Ok(connection) => Ok(self.session(Link::Connection(connection), Instant::now())),
                Err(error) => Err(self.diagnosis.of(error).await),
            },
            Some(_) => self.begin().await,
        }
    }

    /// Is a connection that has rested still of use?
    pub fn keeps(&self, rested: &Rested) -> bool {
        !self.decline.within(rested.acquired.elapsed())
    }

    /// Continues with a connection that [`Session::finish`] has returned.
    pub fn resume(&self, Rested { connection, acquired }: Rested) -> Session {
        self.session(Link::Connection(connection), acquired)
    }

    fn session(&self, link: Link, acquired: Instant) -> Session {
        Session { link, acquired, named: self.opening.is_none(), decline: self.decline.clone() }
    }
}

/// Statements that make settings, and one before or after them.
fn sql(set: &str, settings: &[(&str, &str)], last: &str) -> Arc<str> {
    let settings = settings.iter().map(|(name, value)| format!("{set} {name} = '{value}'; "));
    settings.chain([last.to_owned()]).collect::<String>().into()
}

/// A connection between two sessions.
#[derive(Debug)]
pub struct Rested {
    /// The connection.
    pub connection: PoolConnection<Driver>,
    acquired: Instant,
}

/// A connection for some statements. One that is dropped before its end takes back what they did, if they are all or
/// nothing.
#[derive(Debug)]
pub struct Session {
    link: Link,
    /// When the pool gave the connection out.
    acquired: Instant,
    named: bool,
    decline: Decline,
}

#[derive(Debug)]
enum Link {
    Connection(PoolConnection<Driver>),
    Transaction(Transaction<'static, Driver>),
}

impl Session {
    /// Makes sure of what the statements did. Returns the connection if it has no transaction to end.
    pub async fn finish(self) -> sqlx::Result<Option<Rested>> {
        match self.link {
            Link::Connection(connection) => Ok(Some(Rested { connection, acquired: self.acquired })),
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
        let (sent, decline) = (Sent::of(query, self.named), self.decline.clone());
        self.connection().fetch_many(sent).inspect_err(move |error| decline.look_at(error)).boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Driver>,
    {
        let (sent, decline) = (Sent::of(query, self.named), self.decline.clone());
        self.connection().fetch_optional(sent).inspect_err(move |error| decline.look_at(error)).boxed()
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
        let sent = Sent::of(query, self.opening.is_none());
        let results = async move {
            let results: Vec<_> = again(|| async {
                let mut session = self.acquire().await?;
                let results = session.fetch_many(sent.clone()).try_collect().await?;
                session.finish().await?;
                Ok(results)
            })
            .await?;
            Ok(stream::iter(results).map(Ok))
        };
        results.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Driver>,
    {
        let sent = Sent::of(query, self.opening.is_none());
        let row = async move {
            again(|| async {
                let mut session = self.acquire().await?;
                let row = session.fetch_optional(sent.clone()).await?;
                session.finish().await?;
                Ok(row)
            })
            .await
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

/// A statement that can be sent again.
#[derive(Clone)]
struct Sent {
    sql: SqlStr,
    /// What was bound, or why that failed.
    arguments: Result<Option<PgArguments>, String>,
    /// Does the driver give it a name?
    named: bool,
}

impl Sent {
    fn of<'q>(mut query: impl Execute<'q, Driver>, named: bool) -> Self {
        let arguments = query.take_arguments().map_err(|error| error.to_string());
        let named = named && query.persistent();
        Self { sql: query.sql(), arguments, named }
    }
}

impl Execute<'_, Driver> for Sent {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&PgStatement> {
        None
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        std::mem::replace(&mut self.arguments, Ok(None)).map_err(BoxDynError::from)
    }

    fn persistent(&self) -> bool {
        self.named
    }
}
