//! The network between the service and a store breaks while people register.

use std::time::Duration;

use crate::{
    load::Load,
    stack::{Stack, turn},
    support::{forwarder::Forwarder, servers::Server},
};

/// No answer takes longer: see `killed.rs`.
const BOUND: Duration = Duration::from_secs(9);

const ENOUGH: usize = 30;

/// A server's URL, by another port.
fn by(way: &Forwarder, url: &str) -> String {
    let (rest, path) = match url.strip_suffix("/postgres") {
        Some(rest) => (rest, "/postgres"),
        None => (url, ""),
    };
    let (host, _) = rest.rsplit_once(':').unwrap();
    format!("{host}:{}{path}", way.port)
}

async fn drill(break_it: impl Fn(&Forwarder, &Forwarder)) {
    let _turn = turn().await;
    let (postgresql, redis) = (Server::postgresql().await, Server::redis().await);
    let (to_postgresql, to_redis) = (Forwarder::to(postgresql.port()).await, Forwarder::to(redis.port()).await);
    let (database, ephemeral) = (by(&to_postgresql, &postgresql.url), by(&to_redis, &redis.url));
    let stack = Stack::on(Some(&database), Some(&ephemeral)).await;
    let instance = stack.instance().await;
    let load = Load::on(&instance.url(), &stack.phones);
    load.more(ENOUGH).await;
    break_it(&to_postgresql, &to_redis);
    load.trouble().await;
    to_postgresql.mend();
    to_redis.mend();
    load.more(ENOUGH).await;
    let seen = load.end().await;
    seen.expect_bounded(BOUND);
    seen.expect_kept(&stack, &instance.url(), Some(&postgresql.url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_the_way_to_postgresql_is_cut() {
    drill(|to_postgresql, _| to_postgresql.cut()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_the_way_to_redis_is_cut() {
    drill(|_, to_redis| to_redis.cut()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_in_a_partition_from_postgresql() {
    drill(|to_postgresql, _| to_postgresql.swallow()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_in_a_partition_from_redis() {
    drill(|_, to_redis| to_redis.swallow()).await;
}
