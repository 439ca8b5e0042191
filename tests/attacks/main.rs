//! Simulations of attacks, and of ordinary use beside them, each with its figures: `./test.sh --test attacks`
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use phonepass_test_support as support;

mod burnt_codes;
mod daily_messages;
mod enumeration;
mod floods;
mod locked_passwords;
mod ordinary_use;
mod pumping;
mod refused_numbers;
mod stolen_refresh_token;
mod visitor;

/// Prints what a simulation found, for the table in `docs/security.md`: `./test.sh --test attacks -- --show-output`
#[expect(clippy::print_stdout, reason = "the test harness shows it on demand")]
fn report(attack: &str, figures: &impl serde::Serialize) {
    println!("{attack}: {}", serde_json::to_string(figures).unwrap());
}

/// Defines a test that runs a simulation with each ephemeral store: Redis beside PostgreSQL, in-process beside SQLite.
macro_rules! on_both_stores {
    ($(#[$attribute:meta])* async fn $name:ident($backends:ident: Backends) $body:block) => {
        mod $name {
            use super::*;

            async fn test($backends: Backends) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgresql_and_redis() {
                test(Backends::POSTGRESQL_AND_REDIS).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite_and_in_process() {
                test(Backends::SQLITE_AND_IN_PROCESS).await;
            }
        }
    };
}

use on_both_stores;
