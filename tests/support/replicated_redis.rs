//! How does a test start a Redis that outlives one of its servers? Under sentinels, or as a cluster.

use std::time::Duration;

use futures_util::future::join_all;

use super::{
    process::until,
    servers::{CLUSTERED, PRIMARY, Server},
};

/// How long servers may take to find each other on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many sentinels there are, and how many are needed to replace a primary.
const SENTINELS: usize = 3;
const QUORUM: usize = 2;

/// The last slot of each primary of a cluster.
const LAST_SLOTS: [u16; 3] = [5460, 10_922, 16_383];

/// Primaries with a replica each.
pub struct ReplicatedRedis {
    /// The setting that names it, as a flag.
    pub flag: String,
    primaries: Vec<Server>,
    replicas: Vec<Server>,
    sentinels: Vec<Server>,
}

impl ReplicatedRedis {
    /// A primary and a replica that sentinels look after.
    pub async fn under_sentinels(program: &str) -> Self {
        let primary = Server::redis_with(program, &[]).await;
        let replica = Server::redis_with(program, &["--replicaof", "127.0.0.1", &primary.port().to_string()]).await;
        let sentinels = join_all((0..SENTINELS).map(|_| Server::sentinel(program, &primary, QUORUM))).await;
        let others = sentinels[1..].iter().map(|sentinel| format!("node=127.0.0.1:{}&", sentinel.port()));
        let flag = format!(
            "--redis-url=redis-sentinel://127.0.0.1:{}?{}sentinelServiceName={PRIMARY}",
            sentinels[0].port(),
            others.collect::<String>()
        );
        let redis = Self { flag, primaries: vec![primary], replicas: vec![replica], sentinels };
        redis.expect_replicated().await;
        for sentinel in &redis.sentinels {
            until("each sentinel knows the others", PATIENCE, async || {
                let known = sentinel.ask::<String>("INFO sentinel").await;
                known.contains("status=ok") && known.contains(&format!("slaves=1,sentinels={SENTINELS}"))
            })
            .await;
        }
        redis
    }

    /// A cluster of three primaries.
    pub async fn in_a_cluster(program: &str) -> Self {
        let (primaries, replicas) = tokio::join!(
            join_all(LAST_SLOTS.map(|_| Server::redis_with(program, &CLUSTERED))),
            join_all(LAST_SLOTS.map(|_| Server::redis_with(program, &CLUSTERED))),
        );
        let mut first_slot = 0;
        for (epoch, (primary, last_slot)) in (1..).zip(primaries.iter().zip(LAST_SLOTS)) {
            let _: String = primary.ask(&format!("CLUSTER SET-CONFIG-EPOCH {epoch}")).await;
            let _: String = primary.ask(&format!("CLUSTER ADDSLOTSRANGE {first_slot} {last_slot}")).await;
            first_slot = last_slot + 1;
        }
        let nodes = || primaries.iter().chain(&replicas);
        for node in nodes().skip(1) {
            let _: String = node.ask(&format!("CLUSTER MEET 127.0.0.1 {}", primaries[0].port())).await;
        }
        let count = format!("cluster_known_nodes:{}", 2 * LAST_SLOTS.len());
        for node in nodes() {
            until("each node knows the others", PATIENCE, async || {
                let known = node.ask::<String>("CLUSTER INFO").await;
                known.contains("cluster_state:ok") && known.contains(&count)
            })
            .await;
        }
        for (primary, replica) in primaries.iter().zip(&replicas) {
            let id: String = primary.ask("CLUSTER MYID").await;
            let _: String = replica.ask(&format!("CLUSTER REPLICATE {id}")).await;
        }
        // Another one than the test kills: a client finds the rest by itself, but it has to find somebody.
        let flag = format!("--redis-url=redis-cluster://127.0.0.1:{}", primaries[1].port());
        let redis = Self { flag, primaries, replicas, sentinels: Vec::new() };
        redis.expect_replicated().await;
        for node in redis.primaries.iter().chain(&redis.replicas) {
            until("each node knows the replicas", PATIENCE, async || {
                node.ask::<String>("CLUSTER NODES").await.matches("slave").count() == LAST_SLOTS.len()
            })
            .await;
        }
        redis
    }

    /// Sends a command to every server that has keys.
    pub async fn ask_all(&self, command: &str) {
        for server in self.primaries.iter().chain(&self.replicas) {
            let _: String = server.ask(command).await;
        }
    }

    /// Sends a command to one of the primaries.
    pub async fn ask_primary(&self, number: usize, command: &str) {
        let _: String = self.primaries[number].ask(command).await;
    }

    /// SIGKILL for a primary.
    pub fn kill_a_primary(&mut self) {
        self.primaries[0].kill();
    }

    async fn expect_replicated(&self) {
        for replica in &self.replicas {
            until("each replica follows its primary", PATIENCE, async || {
                replica.ask::<String>("INFO replication").await.contains("master_link_status:up")
            })
            .await;
        }
    }
}
