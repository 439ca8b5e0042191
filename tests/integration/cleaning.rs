//! Rows of the database that are deleted once they are not needed any more.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    MOBILE, TestApp,
    backends::{Backends, Stores},
    process::until,
};

const DAY: u64 = 24 * 60 * 60;
const BOTH: [Backends; 2] = [Backends::POSTGRESQL_AND_IN_PROCESS, Backends::SQLITE_AND_IN_PROCESS];

/// Lets minutes pass for the service, which deletes what is old once in each, until so many rows are left.
async fn until_rows(stores: &Stores, table: &str, rows: i64) {
    let what = format!("{table} has {rows} rows");
    until(&what, Duration::from_secs(30), async || {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::time::resume();
        stores.count(table).await == rows
    })
    .await;
}

#[tokio::test]
async fn a_count_of_wrong_guesses_goes_90_days_after_the_last_one() {
    for backends in BOTH {
        let app = TestApp::start(backends).await;
        let guess = async |mobile: &str| {
            let body = json!({ "mobile": mobile, "password": "wrong-password" });
            app.post("/app/v1_0/authorizations/password", body).await.expect_error(401, "credentials_invalid");
        };
        let (first, second) = ("13900139001", "13900139002");
        for mobile in [first, second] {
            guess(mobile).await;
        }
        app.advance(DAY).await;
        guess(second).await;
        assert_eq!(app.stores.count("wrong_guesses").await, 2);
        // The first has rested for 90 days, the second for 89.
        app.advance(89 * DAY + 1).await;
        until_rows(&app.stores, "wrong_guesses", 1).await;
        app.advance(DAY).await;
        until_rows(&app.stores, "wrong_guesses", 0).await;
    }
}

#[tokio::test]
async fn a_session_that_shows_the_owner_goes_90_days_after_it_expired() {
    for backends in BOTH {
        let app = TestApp::start(backends).await;
        app.sign_in(MOBILE).await;
        app.advance(20 * DAY).await;
        app.sign_in(MOBILE).await;
        // The first expired 90 days ago, the second 70.
        app.advance((14 + 90 - 20) * DAY + 1).await;
        until_rows(&app.stores, "sessions", 1).await;
        app.advance(20 * DAY).await;
        until_rows(&app.stores, "sessions", 0).await;
    }
}
