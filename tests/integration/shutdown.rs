//! The end of the process: what is finished first, and which signals hurry it.

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use phonepass::server;
use poem::{Endpoint, Request, Response, Result, http::StatusCode};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::support::{
    MOBILE, PASSWORD,
    backends::Stores,
    on_every_backend,
    process::{Process, free_port, until},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A service on some stores, and where it shows its metrics.
async fn serve(stores: &Stores, environment: &[(&str, &str)]) -> (Process, String) {
    let metrics = format!("127.0.0.1:{}", free_port());
    let mut all = vec![("METRICS_ADDR", metrics.as_str()), ("SHUTDOWN_DELAY", "0"), ("LOG_FORMAT", "json")];
    all.extend(environment);
    let flags = stores.flags();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    (Process::serve(stores.folder.path(), &all, &flags).await, metrics)
}

fn address(process: &Process) -> &str {
    process.url.strip_prefix("http://").unwrap()
}

#[tokio::test]
async fn a_signal_ends_a_start_that_waits_for_a_database() {
    let (silent, folder) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), tempfile::tempdir().unwrap());
    let url = format!("postgres://postgres@{}/postgres", silent.local_addr().unwrap());
    let mut process = Process::start(folder.path(), &[("DATABASE_URL", &url)], &[]);
    let (_connection, _) = silent.accept().await.unwrap();
    process.running.signal("TERM");
    assert_eq!(process.running.end().await, 0);
}

/// Waits until new connections are refused.
async fn until_closed(address: &str) {
    until("the listener is closed", PATIENCE, async || TcpStream::connect(address).await.is_err()).await;
}

/// A vendor whose answers wait to be let go.
#[derive(Clone)]
struct SlowVendor {
    messages: Arc<Mutex<Vec<Value>>>,
    answers: Arc<Semaphore>,
    statuses: Arc<Mutex<Vec<StatusCode>>>,
}

impl SlowVendor {
    /// Answers with these statuses, the last one first; then with 200.
    async fn start(statuses: &[StatusCode]) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let vendor = Self {
            messages: Arc::default(),
            answers: Arc::new(Semaphore::new(0)),
            statuses: Arc::new(Mutex::new(statuses.to_vec())),
        };
        tokio::spawn(server::serve(listener, vendor.clone(), std::future::pending()));
        (vendor, url)
    }

    fn messages(&self) -> Vec<Value> {
        self.messages.lock().unwrap().clone()
    }
}

impl Endpoint for SlowVendor {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let message = request.take_body().into_json().await?;
        self.messages.lock().unwrap().push(message);
        self.answers.acquire().await.unwrap().forget();
        Ok(self.statuses.lock().unwrap().pop().unwrap_or(StatusCode::OK).into())
    }
}

on_every_backend! {
    async fn a_reset_code_that_was_promised_is_sent_before_the_end(backends: Backends) {
        let stores = Stores::create(backends).await;
        // The message for the reset is refused at first: what is left to do then is a second try.
        let (vendor, url) = SlowVendor::start(&[StatusCode::BAD_GATEWAY, StatusCode::OK]).await;
        let environment = [
            ("SMS_PROVIDER", "webhook"),
            ("SMS_TOTAL_PER_HOUR", "0"),
            ("SMS_WEBHOOK_URL", &url),
            ("SMS_RESEND_SECONDS", "0"),
        ];
        let (process, _) = serve(&stores, &environment).await;
        vendor.answers.add_permits(1);
        process.get(&format!("/app/v1_0/sms/codes/{MOBILE}")).await.expect(200);
        let code = vendor.messages()[0]["code"].as_str().unwrap().to_owned();
        process.sign_in_with(MOBILE, &code).await.expect(201);

        let body = json!({ "mobile": MOBILE, "purpose": "reset_password" });
        process.post("/app/v1_0/sms/codes", body).await.expect(200);
        until("the vendor is asked", PATIENCE, async || vendor.messages().len() == 2).await;
        process.running.signal("TERM");
        until_closed(address(&process)).await;
        vendor.answers.add_permits(2);
        let finished = process.finished().await;
        finished.expect_success();
        let messages = vendor.messages();
        assert_eq!(messages.len(), 3, "{finished:?}");
        assert_eq!(messages[1], messages[2]);
        let mut sent = finished.stderr.lines().filter(|line| line.contains(r#""event":"code_sent""#));
        assert!(sent.next_back().unwrap().contains(r#""reason":"reset_password""#), "{finished:?}");
    }
}

/// Lets every new user wait for this connection's end: as a slow statement, because the service does not wait for a lock as
/// long as a slow machine needs.
const UNTIL_RELEASED: &str = "
    SELECT pg_advisory_lock(1);
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        WHILE NOT pg_try_advisory_xact_lock(1) LOOP PERFORM pg_sleep(0.01); END LOOP;
        RETURN NEW;
    END $$;
    CREATE TRIGGER wait BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION wait()";

/// Holds a lock that no sign-in gets past.
enum Lock {
    PostgreSql(PgConnection),
    Sqlite(SqliteConnection),
}

impl Lock {
    async fn take(stores: &Stores) -> Self {
        let url = stores.database_url();
        if url.starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            connection.execute("BEGIN IMMEDIATE").await.unwrap();
            Self::Sqlite(connection)
        } else {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            connection.execute(UNTIL_RELEASED).await.unwrap();
            Self::PostgreSql(connection)
        }
    }

    async fn release(self) {
        match self {
            Self::PostgreSql(connection) => connection.close().await.unwrap(),
            Self::Sqlite(connection) => connection.close().await.unwrap(),
        }
    }
}

on_every_backend! {
    async fn a_sign_in_whose_client_hung_up_is_completed_before_the_end(backends: Backends) {
        let stores = Stores::create(backends).await;
        let (process, metrics) = serve(&stores, &[]).await;
        process.get(&format!("/app/v1_0/sms/codes/{MOBILE}")).await.expect(200);
        let messages = process.send(process.request(Method::GET, "/dev/sms").header("accept", "application/json")).await;
        let code = messages.expect(200)[0]["code"].as_str().unwrap().to_owned();

        let lock = Lock::take(&stores).await;
        let body = json!({ "mobile": MOBILE, "code": code }).to_string();
        let request = format!(
            "POST /app/v1_0/authorizations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut client = TcpStream::connect(address(&process)).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        until("the code is used up", PATIENCE, async || {
            let text = reqwest::get(format!("http://{metrics}/metrics")).await.unwrap().text().await.unwrap();
            let right = r#"phonepass_sms_codes_checked_total{purpose="login",outcome="right"} 1"#;
            text.contains(right)
        })
        .await;
        drop(client);
        process.running.signal("TERM");
        until_closed(address(&process)).await;
        lock.release().await;
        process.finished().await.expect_success();
        assert_eq!((stores.count("users").await, stores.count("sessions").await), (1, 1));
    }
}

/// A request that is being served until its body is there.
async fn in_flight(process: &Process) -> TcpStream {
    let mut stream = TcpStream::connect(address(process)).await.unwrap();
    let head = "POST /app/v1_0/authorizations/password HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut read = [0; 25];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, *b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    for (first, second, delay) in [("TERM", "TERM", "0"), ("INT", "HUP", "0"), ("HUP", "INT", "60")] {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::serve(folder.path(), &[("SHUTDOWN_DELAY", delay)], &[]).await;
        let mut waiting = in_flight(&process).await;
        process.running.signal(first);
        if delay == "0" {
            until_closed(address(&process)).await;
        } else {
            until("/readyz answers 503", PATIENCE, async || process.get("/readyz").await.status == 503).await;
        }
        process.running.signal(second);
        let finished = process.finished().await;
        assert_eq!(finished.code, 130, "{finished:?}");
        assert!(finished.stderr.contains("second signal"), "{finished:?}");
        let mut answer = String::new();
        // Cut off, by an end or by a reset.
        let _ = waiting.read_to_string(&mut answer).await;
        assert_eq!(answer, "");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_that_ignores_hangups_from_its_start_outlives_its_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("/bin/sh");
    // What `nohup` does.
    command.args(["-c", r#"trap "" HUP; exec "$0""#, env!("CARGO_BIN_EXE_phonepass")]).current_dir(folder.path());
    let environment = [("HTTP_ADDR", address.as_str()), ("SHUTDOWN_DELAY", "0")];
    let mut process = Process::of(command, &address, &environment);
    process.ready().await;
    for _ in 0..3 {
        process.running.signal("HUP");
        process.get("/readyz").await.expect(200);
    }
    process.running.signal("TERM");
    process.finished().await.expect_success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_leaves_the_database_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::serve(folder.path(), &[("SHUTDOWN_DELAY", "0")], &[]).await;
    process.sign_in(MOBILE).await;
    process.post("/passport/login", json!({ "mobile": MOBILE, "password": PASSWORD })).await.expect_errno(4106);
    process.running.signal("TERM");
    process.finished().await.expect_success();
    let data = folder.path().join("data");
    assert!(data.join("phonepass.db").exists() && !data.join("phonepass.db-wal").exists());
}
