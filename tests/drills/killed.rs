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

/// The service is killed again and again.
async fn service_is_killed(stack: Stack) {
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

/// A store, the first or the second, is out of order for a while.
async fn store_fails(
    break_it: impl FnOnce(&mut Server, &mut Server),
    mend: impl AsyncFnOnce(&mut Server, &mut Server),
) {
    let _turn = turn().await;
    let (mut postgresql, mut redis) = (Server::postgresql().await, Server::redis().await);
    let stack = Stack::on_servers(&postgresql, &redis).await;
    let instance = stack.instance().await;
    let load = Load::on(&instance.url(), &stack.phones);
    load.more(ENOUGH).await;
    break_it(&mut postgresql, &mut redis);
    load.trouble().await;
    mend(&mut postgresql, &mut redis).await;
    load.more(ENOUGH).await;
    let seen = load.end().await;
    seen.expect_bounded(BOUND);
    seen.expect_kept(&stack, &instance.url(), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_the_service_is_killed() {
    let _turn = turn().await;
    let (postgresql, redis) = (Server::postgresql().await, Server::redis().await);
    service_is_killed(Stack::on_servers(&postgresql, &redis).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_the_service_on_sqlite_is_killed() {
    let _turn = turn().await;
    service_is_killed(Stack::on(None, None).await).await;
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
    store_fails(|postgresql, _| postgresql.kill(), async |postgresql, _| postgresql.start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_postgresql_stands_still() {
    store_fails(|postgresql, _| postgresql.freeze(), async |postgresql, _| postgresql.thaw()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_redis_is_killed() {
    store_fails(|_, redis| redis.kill(), async |_, redis| redis.start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_redis_stands_still() {
    store_fails(|_, redis| redis.freeze(), async |_, redis| redis.thaw()).await;
}
