//! A thief who refreshes strictly in turn with the owner never presents a token that is too old. What gives the theft away?

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    report,
    support::{
        MOBILE, Tokens,
        backends::{Backends, Stores},
        process::Process,
    },
};

const OWNER: (&str, &str) = ("192.0.2.1", "the app on a phone");
const THIEF: (&str, &str) = ("203.0.113.1", "a script");

/// Which events a log has about a session, with the address that they name.
fn events(log: &str) -> Vec<(String, String)> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let events = lines.filter(|line| line["target"] == "phonepass::event");
    let named = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    events.map(|event| (named(&event, "event"), named(&event, "ip"))).collect()
}

async fn a_thief_in_turn_with_the_owner_leaves_an_event_by_the_second_step(backends: Backends) {
    let stores = Stores::create(backends).await;
    let environment = [("LOG_FORMAT", "json"), ("TRUSTED_PROXIES", "127.0.0.1"), ("SHUTDOWN_DELAY", "0")];
    let flags = stores.flags();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let process = Process::serve(stores.folder.path(), &environment, &flags).await;
    let request = |(address, agent): (&str, &str), method: Method, path: &str| {
        process
            .request(method, path)
            .header("x-forwarded-for", address.to_owned())
            .header("user-agent", agent.to_owned())
    };
    let ask = request(OWNER, Method::POST, "/app/v1_0/sms/codes").json(&json!({ "mobile": MOBILE }));
    process.send(ask).await.expect(200);
    let outbox = process.request(Method::GET, "/dev/sms").header("accept", "application/json");
    let code = process.send(outbox).await.expect(200)[0]["code"].clone();
    let sign_in =
        request(OWNER, Method::POST, "/app/v1_0/authorizations").json(&json!({ "mobile": MOBILE, "code": code }));
    let mut owner = Tokens::of(&process.send(sign_in).await.expect(201));
    let refresh = async |client, tokens: &Tokens| {
        let request = request(client, Method::PUT, "/app/v1_0/authorizations").bearer_auth(&tokens.refresh);
        Tokens::of(&process.send(request).await.expect(201))
    };

    // The owner at home leaves no trace.
    owner = refresh(OWNER, &owner).await;
    // The thief has a copy of the token that the owner will use next. Whoever comes second gets the same successor.
    let mut thief = owner.clone();
    for _ in 0..2 {
        thief = refresh(THIEF, &thief).await;
        owner = refresh(OWNER, &owner).await;
    }
    assert_eq!(thief.refresh, owner.refresh, "both are in step");
    process.running.signal("TERM");
    let finished = process.finished().await;

    let events = events(&finished.stderr);
    let told: Vec<_> = events.iter().filter(|(event, _)| event.starts_with("refresh_")).collect();
    report("a thief of a refresh token in turn with the owner, two steps each", &told);
    let first = told.first().expect("an event");
    assert!(["refresh_from_new_network", "refresh_repeated"].contains(&first.0.as_str()), "{told:?}");
    assert_eq!(first.1, THIEF.0, "the first step of the thief is told, none of the owner before it: {told:?}");
    assert!(told.iter().any(|(event, _)| event == "refresh_repeated"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thief_in_turn_with_the_owner_is_told_of_on_postgresql_and_redis() {
    a_thief_in_turn_with_the_owner_leaves_an_event_by_the_second_step(Backends::POSTGRESQL_AND_REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thief_in_turn_with_the_owner_is_told_of_on_sqlite_and_in_process() {
    a_thief_in_turn_with_the_owner_leaves_an_event_by_the_second_step(Backends::SQLITE_AND_IN_PROCESS).await;
}
