//! Service for all others while one client opens, fills or does not read connections.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;
use phonepass::server::{self, Door, Room};
use poem::{
    Endpoint,
    endpoint::{make, make_sync},
};
use reqwest::Method;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};

use crate::{
    metrics::Scrape,
    support::{
        MOBILE, TestApp, Tokens,
        backends::Backends,
        process::{Process, free_port, until},
    },
};

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
const KIB: usize = 1024;

/// The address of an attacker, that of a bystander, and one that is trusted. (Tests come from 127.0.0.1 elsewhere.)
const ATTACKER: &str = "127.0.0.2";
const BYSTANDER: &str = "127.0.0.3";
const TRUSTED: &str = "127.0.0.4";

async fn start(flags: &[&str]) -> TestApp {
    TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, flags).await
}

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// Connects from an address of this machine, with a receive buffer of this many bytes if any.
async fn try_connect(from: &str, to: SocketAddr, buffer: Option<u32>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0)).unwrap();
    if let Some(buffer) = buffer {
        socket.set_recv_buffer_size(buffer).unwrap();
    }
    socket.connect(to).await
}

async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    try_connect(from, to, None).await.unwrap()
}

/// A connection that has been answered on; `None` if it was refused, which may show at any step.
async fn served(from: &str, to: SocketAddr) -> Option<TcpStream> {
    let mut stream = try_connect(from, to, None).await.ok()?;
    (ask(&mut stream).await == Some(200)).then_some(stream)
}

/// Asks on a connection; the status of the answer, or `None` if the connection is closed without one.
async fn ask(stream: &mut TcpStream) -> Option<u16> {
    stream.write_all(HEALTH).await.ok()?;
    status(stream).await
}

/// The status of an answer in one piece.
async fn status(stream: &mut TcpStream) -> Option<u16> {
    let mut buffer = vec![0; 64 * KIB];
    let length = stream.read(&mut buffer).await.unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length]).split(' ').nth(1)?.parse().ok()
}

async fn is_let_in(from: &str, to: SocketAddr) -> bool {
    served(from, to).await.is_some()
}

/// Has the other side closed this connection?
fn is_closed(stream: &TcpStream) -> bool {
    !matches!(stream.try_read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_so_many_connections_and_others_are_served_meanwhile() {
    let app = start(&["--connections-per-ip=8"]).await;
    let to = address(&app.url);
    let (over, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let bystander = tokio::spawn({
        let (over, rounds) = (over.clone(), rounds.clone());
        async move {
            let mut kept = connect(BYSTANDER, to).await;
            while !over.load(Ordering::Relaxed) {
                assert!(is_let_in(BYSTANDER, to).await);
                assert_eq!(ask(&mut kept).await, Some(200));
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut open = Vec::new();
    for _ in 0..8 {
        let mut stream = connect(ATTACKER, to).await;
        assert_eq!(ask(&mut stream).await, Some(200));
        open.push(stream);
    }
    for attempt in 0..500 {
        assert!(!is_let_in(ATTACKER, to).await, "{attempt}");
    }
    let before = rounds.load(Ordering::Relaxed);
    until("others are served", Duration::from_secs(30), async || rounds.load(Ordering::Relaxed) > before + 3).await;
    app.sign_in(MOBILE).await;
    over.store(true, Ordering::Relaxed);
    bystander.await.unwrap();

    // Those that are there go on, and one that is closed makes room for another.
    for stream in &mut open {
        assert_eq!(ask(stream).await, Some(200));
    }
    drop(open.pop());
    until("room for another", Duration::from_secs(30), async || is_let_in(ATTACKER, to).await).await;
}

#[tokio::test]
async fn proxies_and_exempt_networks_have_as_many_connections_as_they_want() {
    let flags = ["--connections-per-ip=2", "--trusted-proxies=127.0.0.4", "--limit-exempt=127.0.0.0/31"];
    for (flags, exempt, bounded) in [
        (&flags[..], &[TRUSTED, "127.0.0.1"][..], &[ATTACKER, BYSTANDER][..]),
        (&["--connections-per-ip=0"], &[TRUSTED, ATTACKER], &[]),
        (&[], &[], &[]),
    ] {
        let app = start(flags).await;
        for (addresses, most) in [(exempt, 20), (bounded, 2)] {
            for from in addresses {
                let mut open = Vec::new();
                for _ in 0..20 {
                    open.extend(served(from, address(&app.url)).await);
                }
                assert_eq!(open.len(), most, "{from} {flags:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_address_has_256_connections_by_default() {
    let app = start(&[]).await;
    let mut open = Vec::new();
    for _ in 0..256 {
        let mut stream = connect(ATTACKER, address(&app.url)).await;
        assert_eq!(ask(&mut stream).await, Some(200));
        open.push(stream);
    }
    assert!(!is_let_in(ATTACKER, address(&app.url)).await);
    assert!(is_let_in(BYSTANDER, address(&app.url)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_refusal_of_a_near_peer_names_the_setting_for_proxies() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = format!("127.0.0.1:{}", free_port());
    let environment = [("CONNECTIONS_PER_IP", "4"), ("METRICS_ADDR", &metrics), ("SHUTDOWN_DELAY", "0")];
    let process = Process::serve(folder.path(), &environment, &[]).await;
    let to = address(&process.url);
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(ATTACKER, to).await;
        assert_eq!(ask(&mut stream).await, Some(200));
        open.push(stream);
    }
    for _ in 0..30 {
        assert!(!is_let_in(ATTACKER, to).await);
    }
    let scrape = Scrape::of(&metrics).await;
    assert_eq!(scrape.value("phonepass_http_connections_refused_total", &[("reason", "address")]), 30.0);
    assert!(scrape.value("phonepass_http_connections", &[]) >= 4.0);
    process.running.signal("TERM");
    let finished = process.finished().await;
    let lines = finished.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let warnings: Vec<_> = lines.filter(|line| line["message"].as_str().unwrap().contains("TRUSTED_PROXIES")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!((&warnings[0]["level"], &warnings[0]["peer"]), (&"WARN".into(), &ATTACKER.into()));
}

/// A header block of about this many bytes.
fn head_of(bytes: usize) -> Vec<u8> {
    let mut head = b"GET /healthz HTTP/1.1\r\nHost: x\r\n".to_vec();
    for number in 0..40 {
        head.extend(format!("X-{number:02}: {}\r\n", "x".repeat(bytes / 40 - 8)).as_bytes());
    }
    head.extend(b"\r\n");
    head
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_block_has_at_most_64_kibibytes_here_and_where_metrics_are() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = format!("127.0.0.1:{}", free_port());
    let environment = [("METRICS_ADDR", metrics.as_str()), ("SHUTDOWN_DELAY", "0")];
    let process = Process::serve(folder.path(), &environment, &[]).await;
    for to in [address(&process.url), metrics.parse().unwrap()] {
        for (bytes, fits) in [(8 * KIB, true), (60 * KIB, true), (70 * KIB, false), (10_000 * KIB, false)] {
            let mut stream = connect(ATTACKER, to).await;
            let head = head_of(bytes);
            let written = stream.write_all(&head).await;
            let status = timeout(Duration::from_secs(30), status(&mut stream)).await.expect("an answer, or the end");
            if fits {
                assert!(matches!(status, Some(200 | 404)), "{bytes}: {status:?}");
            } else {
                assert!(matches!(status, Some(431) | None), "{bytes}: {status:?}");
                assert!(bytes < 1000 * KIB || written.is_err(), "all of it was read");
            }
        }
        // As many fields as fit into it are too many.
        let mut stream = connect(ATTACKER, to).await;
        let fields = "A: b\r\n".repeat(5000);
        stream.write_all(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes()).await.unwrap();
        assert!(matches!(status(&mut stream).await, Some(431) | None));
    }
}

/// A server of the test's own behind a door, and its address.
async fn serve(door: Arc<Door>, endpoint: impl Endpoint<Output = poem::Response> + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(server::serve_at(door, listener, endpoint, std::future::pending()));
    address
}

/// Waits until at most so many connections are open; returns after how many seconds.
async fn seconds_until(room: &Room, open: usize) -> f64 {
    let started = Instant::now();
    while room.open() > open {
        sleep(Duration::from_millis(100)).await;
        assert!(started.elapsed() < Duration::from_secs(600), "{} are open", room.open());
    }
    started.elapsed().as_secs_f64()
}

#[tokio::test]
async fn who_does_not_read_an_answer_for_thirty_seconds_is_cut_off() {
    let room = Room::of(1000);
    let answered = Arc::new(AtomicUsize::new(0));
    let large = make_sync({
        let answered = answered.clone();
        move |_| {
            answered.fetch_add(1, Ordering::Relaxed);
            poem::Response::builder().body(vec![b'x'; 1024 * KIB])
        }
    });
    let to = serve(Door::new(room.clone(), 0, Vec::new()), large).await;
    let mut stream = try_connect(ATTACKER, to, Some(4096)).await.unwrap();
    for _ in 0..32 {
        stream.write_all(HEALTH).await.unwrap();
    }
    // What the kernel takes before it is full must be through, in real time: then no further request is answered.
    let mut before = 0;
    until("the client's place is full", Duration::from_secs(30), async || {
        let answered = answered.load(Ordering::Relaxed);
        std::mem::replace(&mut before, answered) == answered && answered > 0
    })
    .await;
    assert_eq!(room.open(), 1);
    assert!(before < 32, "all was read");
    tokio::time::pause();
    let seconds = seconds_until(&room, 0).await;
    assert!((29.0..33.0).contains(&seconds), "{seconds} s");
    // What the kernel still had for the client is gone as well.
    let mut bytes = Vec::new();
    assert!(stream.read_to_end(&mut bytes).await.is_err() || bytes.len() < 16 * 1024 * KIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_gets_all_of_an_answer() {
    let room = Room::of(1000);
    let large = make_sync(|_| poem::Response::builder().body(vec![b'x'; 16 * 1024 * KIB]));
    let to = serve(Door::new(room.clone(), 0, Vec::new()), large).await;
    let mut stream = try_connect(ATTACKER, to, Some(64 * 1024)).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let (mut total, mut buffer) = (0, vec![0; 256 * KIB]);
    loop {
        let length = stream.read(&mut buffer).await.unwrap();
        if length == 0 {
            break;
        }
        total += length;
        sleep(Duration::from_millis(5)).await;
    }
    assert!(total > 16 * 1024 * KIB, "{total}");
}

#[tokio::test]
async fn rests_become_shorter_as_connections_run_out() {
    let room = Room::of(20);
    let trusted = TRUSTED.parse::<IpAddr>().unwrap();
    let to = serve(
        Door::new(room.clone(), 0, vec![IpNet::from(trusted)]),
        make_sync(|_| poem::Response::builder().body("ok")),
    )
    .await;
    let mut trusted = connect(TRUSTED, to).await;
    assert_eq!(ask(&mut trusted).await, Some(200));
    let mut open = Vec::new();
    for _ in 0..9 {
        let mut stream = connect(ATTACKER, to).await;
        assert_eq!(ask(&mut stream).await, Some(200));
        open.push(stream);
    }
    tokio::time::pause();
    // Up to half of the places, a rest has its full time.
    sleep(Duration::from_secs(80)).await;
    assert_eq!(room.open(), 10);
    for stream in open.iter_mut().chain([&mut trusted]) {
        assert_eq!(ask(stream).await, Some(200));
    }
    // When all are taken, the next is refused, and one that rests has seconds.
    let mut refused = 0;
    while refused == 0 && open.len() < 100 {
        match served(ATTACKER, to).await {
            Some(stream) => open.push(stream),
            None => refused += 1,
        }
        assert!(room.open() <= 20);
    }
    assert_eq!(refused, 1);
    let seconds = seconds_until(&room, 19).await;
    assert!(seconds < 4.0, "{seconds} s");
    assert!(is_let_in(BYSTANDER, to).await);
    // The fewer are open, the longer the others may rest.
    sleep(Duration::from_secs(12)).await;
    assert!((15..=19).contains(&room.open()), "{}", room.open());
    sleep(Duration::from_secs(45)).await;
    assert!((11..=16).contains(&room.open()), "{}", room.open());
    // A proxy keeps its time whatever clients do.
    assert_eq!(ask(&mut trusted).await, Some(200));
}

#[tokio::test]
async fn bodies_have_less_time_as_connections_run_out() {
    let room = Room::of(20);
    let trusted = TRUSTED.parse::<IpAddr>().unwrap();
    let begun = Arc::new(AtomicUsize::new(0));
    let read = make({
        let begun = begun.clone();
        move |mut request| {
            begun.fetch_add(1, Ordering::Relaxed);
            async move {
                request.take_body().into_vec().await?;
                Ok::<_, poem::Error>(poem::Response::default())
            }
        }
    });
    let to = serve(Door::new(room.clone(), 0, vec![IpNet::from(trusted)]), read).await;
    let begin = async |from: &str| {
        let before = begun.load(Ordering::Relaxed);
        let mut stream = connect(from, to).await;
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf").await.unwrap();
        until("a body is read", Duration::from_secs(30), async || begun.load(Ordering::Relaxed) > before).await;
        stream
    };
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(begin(ATTACKER).await);
    }
    tokio::time::pause();
    // Up to half of the places, a body has its full time.
    let started = Instant::now();
    sleep(Duration::from_secs(9)).await;
    assert_eq!(room.open(), 10);
    seconds_until(&room, 0).await;
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    tokio::time::resume();

    // When all are taken, it has seconds, and the fewer are open, the longer the others may take.
    let mut proxy = begin(TRUSTED).await;
    for _ in 1..20 {
        open.push(begin(ATTACKER).await);
    }
    assert_eq!(room.open(), 20);
    tokio::time::pause();
    let started = Instant::now();
    let seconds = seconds_until(&room, 19).await;
    assert!(seconds < 4.0, "{seconds} s");
    sleep(Duration::from_secs(5).saturating_sub(started.elapsed())).await;
    assert!((13..=17).contains(&room.open()), "{}", room.open());
    // A proxy keeps its time whatever clients do.
    sleep(Duration::from_secs(9).saturating_sub(started.elapsed())).await;
    proxy.write_all(b"half").await.unwrap();
    assert_eq!(status(&mut proxy).await, Some(200));
}

#[tokio::test]
async fn connections_that_say_nothing_make_room_for_those_that_do() {
    let room = Room::of(50);
    let to = serve(Door::new(room.clone(), 0, Vec::new()), make_sync(|_| poem::Response::builder().body("ok"))).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(connect(ATTACKER, to).await);
    }
    until("the places are taken", Duration::from_secs(30), async || room.open() > 45).await;
    tokio::time::pause();
    // Two seconds at 46 of them, one at 50, and a look of two.
    let seconds = seconds_until(&room, room.open() - 1).await;
    assert!(seconds < 6.0, "{seconds} s");
    assert!(is_let_in(BYSTANDER, to).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_keep_their_descriptors_while_clients_take_all_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("prlimit");
    // The soft limit is raised: 80 connections would not fit into it.
    command.args(["--nofile=64:160", env!("CARGO_BIN_EXE_phonepass")]).current_dir(folder.path());
    let environment =
        [("HTTP_ADDR", at.as_str()), ("CONNECTIONS_PER_IP", "0"), ("IMAGE_CODE", "never"), ("SHUTDOWN_DELAY", "0")];
    let mut process = Process::of(command, &at, &environment);
    process.ready().await;
    let to = address(&process.url);
    // One request, then a rest: again and again, as fast as there is room.
    let (over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let flood = tokio::spawn({
        let (over, most) = (over.clone(), most.clone());
        async move {
            let mut open = Vec::new();
            while !over.load(Ordering::Relaxed) {
                match served(ATTACKER, to).await {
                    Some(stream) => open.push(stream),
                    None => sleep(Duration::from_millis(10)).await,
                }
                open.retain(|stream| !is_closed(stream));
                most.fetch_max(open.len(), Ordering::Relaxed);
            }
        }
    });
    until("all places are taken", Duration::from_secs(30), async || most.load(Ordering::Relaxed) >= 65).await;
    // A client that tries again gets through the whole of a sign-in: nothing answers 500 or 503 for want of a descriptor.
    let again = async |method: Method, path: &str, body: Option<Value>| {
        for _ in 0..200 {
            let request = process.request(method.clone(), path).header("accept", "application/json");
            let request = body.iter().fold(request, |request, body| request.json(body));
            if let Ok(answer) = request.send().await {
                assert!(answer.status().is_success(), "{path}: {answer:?}");
                return answer.json::<Value>().await.unwrap();
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("no place for {path}");
    };
    for number in 0..5 {
        let mobile = format!("{}{number}", &MOBILE[..10]);
        again(Method::GET, &format!("/app/v1_0/sms/codes/{mobile}"), None).await;
        let code = again(Method::GET, "/dev/sms", None).await[0]["code"].clone();
        let body = serde_json::json!({ "mobile": mobile, "code": code });
        let tokens = Tokens::of(&again(Method::POST, "/app/v1_0/authorizations", Some(body)).await);
        assert!(!tokens.access.is_empty());
    }
    over.store(true, Ordering::Relaxed);
    flood.await.unwrap();
    let most = most.load(Ordering::Relaxed);
    assert!((65..=80).contains(&most), "{most} connections at once");
    process.running.signal("TERM");
    let finished = process.finished().await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(!finished.stderr.contains("could not be accepted"), "{}", finished.stderr);
    assert!(finished.stderr.contains("raise the limit of open files"), "{}", finished.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_refusals_a_hundred_a_second_are_written_and_the_others_counted() {
    const REQUESTS: usize = 3000;
    let folder = tempfile::tempdir().unwrap();
    let metrics = format!("127.0.0.1:{}", free_port());
    let environment = [
        ("METRICS_ADDR", metrics.as_str()),
        ("REQUESTS_PER_IP_PER_MINUTE", "1"),
        ("LOG_FORMAT", "json"),
        ("SHUTDOWN_DELAY", "0"),
    ];
    let process = Process::serve(folder.path(), &environment, &[]).await;
    // In the classic families, a refusal is a 200.
    for (from, path) in [(ATTACKER, "/app/v1_0/user"), (BYSTANDER, "/api/v1.0/user")] {
        let mut stream = connect(from, address(&process.url)).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n");
        let requests = format!("{request}\r\n").repeat(REQUESTS - 1) + &format!("{request}Connection: close\r\n\r\n");
        let (mut reads, mut writes) = stream.split();
        let mut answers = Vec::new();
        let (written, read) = tokio::join!(writes.write_all(requests.as_bytes()), reads.read_to_end(&mut answers));
        written.and(read).unwrap();
        assert_eq!(String::from_utf8(answers).unwrap().matches("HTTP/1.1 ").count(), REQUESTS);
    }
    let scrape = Scrape::of(&metrics).await;
    let refused = 2.0 * (REQUESTS as f64 - 1.0);
    assert_eq!(scrape.value("phonepass_http_requests_total", &[("code", "too_many_requests")]), refused);
    assert_eq!(scrape.value("phonepass_security_events_total", &[("event", "limited")]), refused);
    process.running.signal("TERM");
    let finished = process.finished().await;

    let lines: Vec<Value> = finished.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (message, is_one) in [
        ("request served", (|line: &Value| line["code"] == "too_many_requests") as fn(&Value) -> bool),
        ("security event", |line| line["event"] == "limited"),
    ] {
        let written: Vec<_> = lines.iter().filter(|line| line["message"] == message && is_one(line)).collect();
        let left_out: Vec<_> = lines.iter().filter(|line| line["of"] == message).collect();
        let counted: u64 = left_out.iter().map(|line| line["left_out"].as_u64().unwrap()).sum();
        assert!(counted > 0, "{message}: {} lines", written.len());
        assert_eq!(written.len() as f64 + counted as f64, refused, "{message}");
        let time = |line: &Value| {
            chrono::DateTime::parse_from_rfc3339(line["timestamp"].as_str().unwrap()).unwrap().timestamp_millis()
        };
        let milliseconds = time(written.last().unwrap()) - time(written[0]);
        let seconds = usize::try_from(milliseconds / 1000).unwrap() + 1;
        assert!(written.len() <= 100 * (seconds + 1), "{} lines in {milliseconds} ms", written.len());
    }
    // What is no refusal is written all the same.
    assert!(lines.iter().any(|line| line["code"] == "token_invalid"), "{lines:?}");
}
