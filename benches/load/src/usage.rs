//! What did it cost? Processor time and memory of processes, as Linux tells them in `/proc`.

use std::{fs, time::Duration};

/// Linux tells processor time in hundredths of a second, whatever the kernel's own tick is.
const TICK: Duration = Duration::from_millis(10);

/// The processes to watch.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Processes {
    /// Process id of the server that is asked
    #[arg(long = "server-pid", value_name = "PID")]
    server: Option<u32>,
    /// Process id of the postmaster; its children count, too
    #[arg(long = "postgres-pid", value_name = "PID")]
    postgres: Option<u32>,
    /// Process id of Redis
    #[arg(long = "redis-pid", value_name = "PID")]
    redis: Option<u32>,
}

/// Processor time that processes have used since they were started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// The server that is asked.
    pub server: Duration,
    /// All processes of PostgreSQL.
    pub postgres: Duration,
    /// Redis.
    pub redis: Duration,
    /// This process.
    pub generator: Duration,
}

impl Usage {
    /// What was used since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            server: self.server.saturating_sub(earlier.server),
            postgres: self.postgres.saturating_sub(earlier.postgres),
            redis: self.redis.saturating_sub(earlier.redis),
            generator: self.generator.saturating_sub(earlier.generator),
        }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            server: self.server + other.server,
            postgres: self.postgres + other.postgres,
            redis: self.redis + other.redis,
            generator: self.generator + other.generator,
        }
    }
}

impl Processes {
    /// What they have used until now. Takes about a millisecond.
    pub fn usage(self) -> Usage {
        let alone = |pid: Option<u32>| pid.and_then(stat).map(|stat| stat.own).unwrap_or_default();
        Usage {
            server: alone(self.server),
            postgres: self.postgres.map(family).unwrap_or_default(),
            redis: alone(self.redis),
            generator: alone(Some(std::process::id())),
        }
    }

    /// Resident memory of the server, in kB.
    pub fn server_memory(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }
}

/// A process, its children, and those of its children that have ended.
fn family(parent: u32) -> Duration {
    let parent_stat = stat(parent).map(|stat| stat.own + stat.ended_children).unwrap_or_default();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children = pids.filter_map(stat).filter(|stat| stat.parent == parent).map(|stat| stat.own);
    parent_stat + children.sum::<Duration>()
}

struct Stat {
    parent: u32,
    own: Duration,
    ended_children: Duration,
}

fn stat(pid: u32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the last parenthesis may hold anything.
    let fields: Vec<&str> = line[line.rfind(')')? + 2..].split(' ').collect();
    let ticks = |field: usize| fields.get(field)?.parse().ok().map(|ticks: u32| TICK * ticks);
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own: ticks(11)? + ticks(12)?,
        ended_children: ticks(13)? + ticks(14)?,
    })
}
