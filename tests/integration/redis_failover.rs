//! Does the service outlive the Redis, or the Valkey, that it writes to?

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;

use crate::{
    faults::{expect_unavailable, in_time},
    support::{
        MOBILE, TestApp, backends::Backends, forwarder::Forwarder, needs::need, process::until,
        replicated_redis::ReplicatedRedis, servers::Server,
    },
};

/// How long it may take until everything works again, the time that the servers need for it included.
const RECOVERY: Duration = Duration::from_secs(30);

/// Users who sign in while a primary goes away, how many of them before, and how many at once.
const USERS: usize = 60;
const BEFORE: usize = 10;
const AT_ONCE: usize = 4;

const NEWCOMER: &str = "13700137000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_under_sentinels_outlives_its_primary() {
    outlives_a_primary(ReplicatedRedis::under_sentinels(&need("TEST_REDIS_SERVER")).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valkey_under_sentinels_outlives_its_primary() {
    outlives_a_primary(ReplicatedRedis::under_sentinels(&need("TEST_VALKEY_SERVER")).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_redis_outlives_a_primary() {
    outlives_a_primary(ReplicatedRedis::in_a_cluster(&need("TEST_REDIS_SERVER")).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_valkey_outlives_a_primary() {
    outlives_a_primary(ReplicatedRedis::in_a_cluster(&need("TEST_VALKEY_SERVER")).await).await;
}

/// A primary is killed while users sign in, who try again when they are told to.
async fn outlives_a_primary(mut redis: ReplicatedRedis) {
    // The share of strangers is one message more than the users have had.
    let total = format!("--sms-total-per-hour={}", ((USERS + 1) * 5).div_ceil(4));
    let flags = [
        &*redis.flag,
        "--image-code=never",
        "--sms-per-ip-per-hour=0",
        "--sms-asks-per-ip-per-hour=0",
        "--sms-resend-seconds=600",
        &total,
    ];
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await;
    let users = app.codes(USERS).await;

    let (next, accepted) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let sign_in_one_after_the_other = async || {
        while let Some((mobile, code)) = users.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut refusals = 0;
            until("a user is signed in, or the code gone", RECOVERY, async || {
                let answer = in_time(app.sign_in_with(mobile, code)).await;
                match answer.status.as_u16() {
                    201 => drop(accepted.fetch_add(1, Ordering::Relaxed)),
                    // The answer to the attempt that took the code got lost.
                    400 if refusals > 0 => drop(answer.expect_error(400, "sms_code_expired")),
                    _ => {
                        expect_unavailable(&answer);
                        refusals += 1;
                        return false;
                    }
                }
                true
            })
            .await;
        }
    };
    let kill = async {
        until("some have signed in", RECOVERY, async || accepted.load(Ordering::Relaxed) >= BEFORE).await;
        redis.kill_a_primary();
    };
    tokio::join!(join_all((0..AT_ONCE).map(|_| sign_in_one_after_the_other())), kill);
    let accepted = accepted.into_inner();
    assert!(accepted + AT_ONCE * 2 >= USERS, "{accepted}");

    until("the service is ready again", RECOVERY, async || in_time(app.get("/readyz")).await.status == 200).await;
    for (mobile, code) in &users {
        app.sign_in_with(mobile, code).await.expect_error(400, "sms_code_expired");
        app.get(&format!("/app/v1_0/sms/codes/{mobile}")).await.expect_error(429, "sms_too_frequent");
    }
    app.sign_in(NEWCOMER).await;
    app.get("/app/v1_0/sms/codes/13700137001").await.expect_error(429, "sms_quota_exceeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_became_a_replica_is_left() {
    let program = need("TEST_REDIS_SERVER");
    let former = Server::redis_with(&program, &[]).await;
    let new = Server::redis_with(&program, &["--replicaof", "127.0.0.1", &former.port().to_string()]).await;
    let address = Forwarder::to(former.port()).await;
    let flag = format!("--redis-url=redis://127.0.0.1:{}", address.port);
    let flags = [
        &*flag,
        "--image-code=never",
        "--sms-resend-seconds=0",
        "--sms-per-mobile-per-day=0",
        "--sms-per-ip-per-hour=0",
        "--sms-asks-per-ip-per-hour=0",
    ];
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await;
    let code = app.code(MOBILE).await;
    let keys: u64 = former.ask("DBSIZE").await;
    until("the replica has the code", RECOVERY, async || new.ask::<u64>("DBSIZE").await == keys).await;

    // Connections stay where they are.
    let _: String = new.ask("REPLICAOF NO ONE").await;
    let _: String = former.ask(&format!("REPLICAOF 127.0.0.1 {}", new.port())).await;
    address.move_to(new.port());
    until("the code is redeemed", RECOVERY, async || {
        let answer = in_time(app.sign_in_with(MOBILE, &code)).await;
        answer.status == 201 || {
            expect_unavailable(&answer);
            false
        }
    })
    .await;
    // Each of the service's connections finds out for itself.
    until("the other connections are there, too", RECOVERY, async || {
        let paths = (0..8).map(|number| format!("/app/v1_0/sms/codes/1390013900{number}"));
        let answers = join_all(paths.map(async |path| in_time(app.get(&path)).await)).await;
        answers.iter().all(|answer| answer.status == 200)
    })
    .await;
    app.sign_in(NEWCOMER).await;
}
