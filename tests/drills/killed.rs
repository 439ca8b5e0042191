//! The service, Redis and PostgreSQL are killed (-9) or frozen (SIGSTOP) while people register.

use std::time::Duration;

use crate::{
    load::Load,
    stack::{Stack, turn},
    support::servers::Server,
};

/// No answer takes longer while a store is gone: a statement may take 5 seconds, and waiting for a connection comes before.
const BOUND: Duration = Duration::from_secs(9);

/// How many people are served before and after.
const ENOUGH: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_the_service_is_killed() {
    let _turn = turn().await;
    let (postgresql, redis) = (Server::postgresql().await, Server::redis().await);
    let stack = Stack::on_servers(&postgresql, &redis).await;
    let mut instance = stack.instance().await;
    let load = Load::on(&instance.url(), &stack.phones);
    for _ in 0..3 {
        load.more(ENOUGH).await;
        instance.process.running.kill();
        load.trouble().await;
        stack.restart(&mut instance).await;
    }
    load.more(ENOUGH).await;
    load.end().await.expect_kept(&stack, &instance.url(), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_the_service_on_sqlite_is_killed() {
    let _turn = turn().await;
    let stack = Stack::on(None, None).await;
    let mut instance = stack.instance().await;
    let load = Load::on(&instance.url(), &stack.phones);
    for _ in 0..3 {
        load.more(ENOUGH).await;
        instance.process.running.kill();
        load.trouble().await;
        stack.restart(&mut instance).await;
    }
    load.more(ENOUGH).await;
    load.end().await.expect_kept(&stack, &instance.url(), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_the_service_stands_still() {
    let _turn = turn().await;
    let (postgresql, redis) = (Server::postgresql().await, Server::redis().await);
    let stack = Stack::on_servers(&postgresql, &redis).await;
    let instance = stack.instance().await;
    let load = Load::on(&instance.url(), &stack.phones);
    load.more(ENOUGH).await;
    instance.process.running.signal("STOP");
    // Longer than a statement may take: what was under way is too old when the service wakes.
    tokio::time::sleep(Duration::from_secs(6)).await;
    instance.process.running.signal("CONT");
    load.more(ENOUGH).await;
    load.end().await.expect_kept(&stack, &instance.url(), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_postgresql_is_killed() {
    let _turn = turn().await;
    let (mut postgresql, redis) = (Server::postgresql().await, Server::redis().await);
    let stack = Stack::on_servers(&postgresql, &redis).await;
    let instance = stack.instance().await;
    let load = Load::on(&instance.url(), &stack.phones);
    load.more(ENOUGH).await;
    postgresql.kill();
    load.trouble().await;
    postgresql.start().await;
    load.more(ENOUGH).await;
    let seen = load.end().await;
    seen.expect_bounded(BOUND);
    seen.expect_kept(&stack, &instance.url(), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_postgresql_stands_still() {
    let _turn = turn().await;
    let (postgresql, redis) = (Server::postgresql().await, Server::redis().await);
    let stack = Stack::on_servers(&postgresql, &redis).await;
    let instance = stack.instance().await;
    let load = Load::on(&instance.url(), &stack.phones);
    load.more(ENOUGH).await;
    postgresql.freeze();
    load.trouble().await;
    postgresql.thaw();
    load.more(ENOUGH).await;
    let seen = load.end().await;
    seen.expect_bounded(BOUND);
    seen.expect_kept(&stack, &instance.url(), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_redis_is_killed() {
    let _turn = turn().await;
    let (postgresql, mut redis) = (Server::postgresql().await, Server::redis().await);
    let stack = Stack::on_servers(&postgresql, &redis).await;
    let instance = stack.instance().await;
    let load = Load::on(&instance.url(), &stack.phones);
    load.more(ENOUGH).await;
    redis.kill();
    load.trouble().await;
    redis.start().await;
    load.more(ENOUGH).await;
    let seen = load.end().await;
    seen.expect_bounded(BOUND);
    seen.expect_kept(&stack, &instance.url(), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_redis_stands_still() {
    let _turn = turn().await;
    let (postgresql, redis) = (Server::postgresql().await, Server::redis().await);
    let stack = Stack::on_servers(&postgresql, &redis).await;
    let instance = stack.instance().await;
    let load = Load::on(&instance.url(), &stack.phones);
    load.more(ENOUGH).await;
    redis.freeze();
    load.trouble().await;
    redis.thaw();
    load.more(ENOUGH).await;
    let seen = load.end().await;
    seen.expect_bounded(BOUND);
    seen.expect_kept(&stack, &instance.url(), None).await;
}
