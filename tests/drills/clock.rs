//! The machine's clock jumps, forward and back, while people register.

use std::sync::Arc;

use chrono::Duration;

use crate::{
    load::Load,
    stack::{Stack, turn},
    support::{
        TestApp,
        backends::{Backends, Stores},
    },
};

const ENOUGH: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_the_clock_jumps() {
    let _turn = turn().await;
    let stores = Stores::create(Backends::POSTGRESQL_AND_REDIS).await;
    let stack = Stack::on(Some(&stores.database_url()), None).await;
    let flags = stack.flags();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let app = Arc::new(TestApp::start_on(stores, &flags).await);
    let load = Load::on(&app.url, &stack.phones);
    for minutes in [-50, 50, 20 * 60, -20 * 60] {
        load.more(ENOUGH).await;
        app.clock.advance(Duration::minutes(minutes));
    }
    load.more(ENOUGH).await;
    // Tokens of another hour do not count, and rightly so.
    load.end().await.expect_rows(&stack, None).await;
}
