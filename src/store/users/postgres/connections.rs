//! Which connections do batches use?

use std::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::{
    super::{PoolUse, Timeouts},
    REST,
    diagnosis::writes,
    pool::{Pool, Rested, Session},
};

/// Connections that stay out of their pool between batches: a pool tries each connection that comes back, which costs as
/// much as a small batch.
pub struct Connections {
    pool: Pool,
    idle: Mutex<Vec<Idle>>,
    /// As many as the pool has connections.
    turns: Semaphore,
}

struct Idle {
    rested: Rested,
    since: Instant,
}

/// A connection for one batch.
pub struct Turn<'a> {
    /// The connection.
    pub session: Session,
    connections: &'a Connections,
    _permit: SemaphorePermit<'a>,
}

impl Connections {
    /// Takes all connections of a pool.
    pub fn new(pool: Pool) -> Self {
        let turns = Semaphore::new(pool.size() as usize);
        Self { pool, idle: Mutex::default(), turns }
    }

    /// How long connections and statements may take.
    pub fn timeouts(&self) -> Timeouts {
        self.pool.timeouts
    }

    /// A connection that works, as far as anybody knows.
    pub async fn take(&self) -> sqlx::Result<Turn<'_>> {
        let permit = self.turns.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let session = match self.rested().await {
            Some(session) => session,
            None => self.pool.acquire().await?,
        };
        Ok(Turn { session, connections: self, _permit: permit })
    }

    /// Ends all of them once their batches are done.
    pub async fn close(&self) {
        let _turns = self.turns.acquire_many(self.pool.size()).await;
        self.turns.close();
        // Returns them to the pool, whose `close` waits for connections in use.
        self.locked().clear();
        self.pool.close().await;
    }

    /// How busy they are. Those that rest here are in use as far as their pool knows.
    pub fn pool_use(&self, name: &'static str) -> PoolUse {
        let known = self.pool.usage(name);
        let rested = u32::try_from(self.locked().len()).unwrap_or(u32::MAX);
        PoolUse { in_use: known.in_use.saturating_sub(rested), idle: known.idle.saturating_add(rested), ..known }
    }

    async fn rested(&self) -> Option<Session> {
        let Idle { mut rested, since } = self.locked().pop()?;
        let works = self.pool.keeps(&rested)
            && (since.elapsed() < REST
                || matches!(timeout(self.timeouts().connection, writes(&mut rested.connection)).await, Ok(Ok(true))));
        if works {
            return Some(self.pool.resume(rested));
        }
        // The server was restarted meanwhile, or does not answer, or plans are outdated: the others are no better.
        drop(rested.connection.detach());
        self.locked().clear();
        None
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().expect("no panic while the connections are held")
    }
}

impl Turn<'_> {
    /// Makes sure of what the batch did, and keeps the connection for the next one. Without it (after an error, or in the
    /// middle of a statement) the pool looks after it.
    pub async fn give_back(self) -> sqlx::Result<()> {
        if let Some(rested) = self.session.finish().await? {
            self.connections.locked().push(Idle { rested, since: Instant::now() });
        }
        Ok(())
    }
}
