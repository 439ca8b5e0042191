//! File descriptors: how many connections they have room for, and how patient the server is with a client as it runs
//! out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::Instant;

/// What macOS gives at most, even where its hard limit says that there is none.
const OPEN_MAX: u64 = 10_240;

/// Descriptors that are not for clients, beside those of the database: Redis, vendors, files, listeners.
const RESERVE: usize = 64;

/// Descriptors for each connection to the database: SQLite has three files.
const PER_DATABASE_CONNECTION: usize = 4;

/// How long the server waits for a client at least, however little room is left.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// How often the log says that there is no room.
const BETWEEN_LINES: i64 = 60;

/// The connections that all listeners of the process have open, and how many there may be.
#[derive(Debug)]
pub struct Room {
    max: usize,
    open: AtomicUsize,
    since: Instant,
    last_line: AtomicI64,
}

impl Room {
    /// Room for so many connections.
    pub fn of(max: usize) -> Arc<Self> {
        let last_line = AtomicI64::new(-BETWEEN_LINES);
        Arc::new(Self { max, open: AtomicUsize::new(0), since: Instant::now(), last_line })
    }

    /// Room for as many as anyone wants.
    pub fn unbounded() -> Arc<Self> {
        Self::of(usize::MAX)
    }

    /// Raises the soft limit of open files to the hard one, and takes what they leave beside a reserve for everything
    /// else that the process opens: a request that cannot reach its database is as good as refused.
    pub fn of_process(database_connections: u32) -> Arc<Self> {
        Self::of(places(raised_limit(), database_connections))
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes a place; `false` if there is none. The log says so once a minute.
    pub(super) fn take(&self) -> bool {
        if self.open.fetch_add(1, Ordering::Relaxed) < self.max {
            return true;
        }
        self.give_back();
        let now = i64::try_from(self.since.elapsed().as_secs()).unwrap_or(i64::MAX);
        let last = self.last_line.load(Ordering::Relaxed);
        let due = now - last >= BETWEEN_LINES;
        if due && self.last_line.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::error!(open = self.max, "connections are refused: raise the limit of open files (ulimit -n)");
        }
        false
    }

    pub(super) fn give_back(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// How long the server waits for a client that it would wait for this long: from half of the places on less, in
    /// proportion, and one second when the last place is taken.
    pub(super) fn patience(&self, full: Duration) -> Duration {
        let (open, half) = (self.open(), self.max / 2);
        if open <= half || full <= LEAST_PATIENCE {
            return full;
        }
        let left = self.max.saturating_sub(open) as f64 / (self.max - half) as f64;
        LEAST_PATIENCE + (full - LEAST_PATIENCE).mul_f64(left)
    }
}

/// The soft limit of open files once it is raised as far as it goes; `None` is no limit.
fn raised_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    for wanted in [maximum, Some(OPEN_MAX)] {
        let raises = current.is_some_and(|current| wanted.is_none_or(|wanted| wanted > current));
        if raises && setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum }).is_ok() {
            return wanted;
        }
    }
    current
}

/// How many connections of clients a limit of open files has room for: what a quarter of it or the stores' need,
/// whichever is more, leaves; half of it at least.
fn places(limit: Option<u64>, database_connections: u32) -> usize {
    let Some(limit) = limit else { return usize::MAX };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let stores = RESERVE + PER_DATABASE_CONNECTION * database_connections as usize;
    limit - stores.max(limit / 4).min(limit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_and_vendors_keep_a_share_of_the_descriptors() {
        for (limit, database, expected) in [
            (Some(1024), 12, 768),
            (Some(20_000), 12, 15_000),
            (Some(256), 12, 144),
            (Some(64), 12, 32),
            (Some(4096), 1000, 2048),
        ] {
            assert_eq!(places(limit, database), expected, "{limit:?}");
        }
        assert_eq!(places(None, 12), usize::MAX);
    }

    #[test]
    fn patience_ends_with_the_room() {
        let room = Room::of(100);
        let rest = Duration::from_secs(90);
        let mut before = rest;
        for open in 1..=100 {
            assert!(room.take());
            let patience = room.patience(rest);
            assert_eq!(open <= 50, patience == rest, "{open}: {patience:?}");
            assert!(patience <= before, "{open}");
            before = patience;
            if open == 75 {
                assert_eq!(patience, Duration::from_secs_f64(45.5));
            }
        }
        assert_eq!(before, LEAST_PATIENCE);
        assert!(!room.take());
        assert_eq!(room.open(), 100);
        assert_eq!(Room::unbounded().patience(rest), rest);
    }
}
