//! Stored rows that cannot be read: an error that names them, for their owners alone.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::support::{
    PASSWORD, TestApp, Tokens,
    backends::{Backends, Stores},
    flows::FLAGS,
    on_every_backend,
    process::{Process, until},
};

const BAD: &str = "13810000010";

/// Users who signed in together, the one with number 10 is [`BAD`].
async fn users(app: &TestApp) -> Vec<Tokens> {
    let mobiles: Vec<_> = (0..20).map(|number| format!("138100000{number:02}")).collect();
    join_all(mobiles.iter().map(|mobile| app.sign_in(mobile))).await
}

/// The columns of one user and their session, with values that no version writes.
fn nonsense(backends: Backends) -> Vec<&'static str> {
    let for_all = [
        "UPDATE sessions SET amr = 'magic' WHERE user_id = (SELECT id FROM users WHERE mobile = '13810000010')",
        "UPDATE sessions SET refresh_counter = -7 WHERE user_id = (SELECT id FROM users WHERE mobile = '13810000010')",
    ];
    let of_times = if backends.postgresql {
        "UPDATE sessions SET expires_at = 'infinity' WHERE user_id = (SELECT id FROM users WHERE mobile = '13810000010')"
    } else {
        "UPDATE sessions SET expires_at = 9223372036854775807
         WHERE user_id = (SELECT id FROM users WHERE mobile = '13810000010')"
    };
    for_all.into_iter().chain([of_times]).collect()
}

on_every_backend! {
    async fn a_session_that_cannot_be_read_is_an_internal_error_for_its_owner_alone(backends: Backends) {
        for sql in nonsense(backends) {
            let app = TestApp::start_with(backends, &FLAGS).await;
            let users = users(&app).await;
            app.stores.execute(sql).await;
            let lists = join_all(users.iter().map(|user| app.get_as("/app/v1_0/user/sessions", &user.access)));
            for (number, answer) in lists.await.iter().enumerate() {
                if number == 10 { answer.expect_error(500, "internal") } else { answer.expect(200) };
            }
            let refreshed = join_all(users.iter().map(|user| app.refresh(&user.refresh))).await;
            for (number, answer) in refreshed.iter().enumerate() {
                match number {
                    // A refresh writes this value, and need not read it.
                    10 if sql.contains("expires_at") => drop(answer.expect(201)),
                    10 => drop(answer.expect_error(500, "internal")),
                    _ => drop(answer.expect(201)),
                }
            }
        }
    }
}

on_every_backend! {
    async fn a_user_who_cannot_be_read_is_an_internal_error_for_themselves_alone(backends: Backends) {
        let columns = if backends.postgresql {
            ["mobile = 'nonsense'", "last_login = 'infinity'", "created_at = '-infinity'"]
        } else {
            ["mobile = 'nonsense'", "last_login = 9223372036854775807", "name = CAST(x'ff' AS text)"]
        };
        for column in columns {
            let app = TestApp::start_with(backends, &FLAGS).await;
            let users = users(&app).await;
            app.stores.execute(&format!("UPDATE users SET {column} WHERE mobile = '{BAD}'")).await;
            let answers = join_all(users.iter().map(|user| app.user(&user.access))).await;
            for (number, answer) in answers.iter().enumerate() {
                if number == 10 { answer.expect_error(500, "internal") } else { answer.expect(200) };
            }
            app.send(app.request(Method::GET, "/api/v1.0/user").bearer_auth(&users[10].access)).await.expect_errno(4500);
            // A sign-in writes the time of the last one, and need not read it.
            if !column.contains("mobile") && !column.contains("last_login") {
                let code = app.code(BAD).await;
                app.sign_in_with(BAD, &code).await.expect_error(500, "internal");
                let credentials = json!({ "mobile": BAD, "password": PASSWORD });
                app.post("/app/v1_0/authorizations/password", credentials.clone()).await.expect_error(500, "internal");
                app.post("/passport/login", credentials).await.expect_errno(4500);
            }
            // Others sign in, and the service is ready.
            app.sign_in("13810000011").await;
            app.get("/readyz").await.expect(200);
        }
    }
}

on_every_backend! {
    async fn a_session_that_ended_at_a_time_that_cannot_be_read_has_ended(backends: Backends) {
        let flags = [&FLAGS[..], &["--public-url=https://id.example.com"]].concat();
        let app = TestApp::start_with(backends, &flags).await;
        let (bad, good) = (app.sign_in(BAD).await, app.sign_in("13810000011").await);
        let time = if backends.postgresql { "'infinity'" } else { "9223372036854775807" };
        app.stores.execute(&format!("UPDATE sessions SET revoked_at = {time} WHERE id IN
            (SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.mobile = '{BAD}')")).await;
        until("the session has ended", std::time::Duration::from_secs(10), async || {
            app.user(&bad.access).await.status == 401
        })
        .await;
        app.user(&bad.access).await.expect_error(401, "session_revoked");
        // Later ends are still noticed, by this instance and by one that starts.
        let other = TestApp::start_on(app.stores.clone(), &flags).await;
        other.sign_out(&good.access).await.expect(204);
        until("the other session has ended", std::time::Duration::from_secs(10), async || {
            app.user(&good.access).await.status == 401
        })
        .await;
    }
}

async fn the_log_names_it(backends: Backends) {
    let stores = Stores::create(backends).await;
    let url = stores.database_url();
    let settings = [("DATABASE_URL", url.as_str()), ("LOG_FORMAT", "json"), ("IMAGE_CODE", "never")];
    let process = Process::serve(stores.folder.path(), &settings, &[]).await;
    let tokens = process.sign_in(BAD).await;
    stores.execute("UPDATE sessions SET amr = 'hunter2'").await;
    process.refresh(&tokens.refresh).await.expect_error(500, "internal");
    stores.execute("UPDATE sessions SET amr = 'sms'").await;
    process.refresh(&tokens.refresh).await.expect(201);
    process.running.signal("TERM");
    let log = process.finished().await.stderr;
    let session = tokens.session_id();
    let line = log.lines().find(|line| line.contains("sessions.amr")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains(&session) && line.contains("ERROR"), "{line}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_names_table_column_and_id_of_what_cannot_be_read_on_postgresql() {
    the_log_names_it(Backends::POSTGRESQL_AND_IN_PROCESS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_names_table_column_and_id_of_what_cannot_be_read_on_sqlite() {
    the_log_names_it(Backends::SQLITE_AND_IN_PROCESS).await;
}
