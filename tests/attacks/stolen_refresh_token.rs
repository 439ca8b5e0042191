//! A stolen refresh token: a thief who refreshes strictly in turn with the owner never presents one that is too old.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    on_both_stores, report,
    support::{
        MOBILE, Tokens,
        backends::{Backends, Stores},
        process::Process,
    },
};

/// Address and user agent. The owner's address changes within one network, as an IPv6 /64 is one.
const OWNER: [(&str, &str); 2] = [("2001:db8::1", "the app on a phone"), ("2001:db8::2", "the app on a phone")];
const THIEF: (&str, &str) = ("203.0.113.1", "a script");

/// The events about refreshes in a log, with their reason and the address that they name.
fn events(log: &str) -> Vec<[String; 3]> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let events = lines.filter(|line| line["event"].as_str().is_some_and(|event| event.starts_with("refresh_")));
    let named = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let events = events.inspect(|event| assert!(event["user_id"].is_string() && event["session_id"].is_string()));
    events.map(|event| ["event", "reason", "ip"].map(|field| named(&event, field))).collect()
}

on_both_stores! {
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
        let ask = request(OWNER[0], Method::POST, "/app/v1_0/sms/codes").json(&json!({ "mobile": MOBILE }));
        process.send(ask).await.expect(200);
        let outbox = process.request(Method::GET, "/dev/sms").header("accept", "application/json");
        let code = process.send(outbox).await.expect(200)[0]["code"].clone();
        let sign_in = request(OWNER[0], Method::POST, "/app/v1_0/authorizations")
            .json(&json!({ "mobile": MOBILE, "code": code }));
        let mut owner = Tokens::of(&process.send(sign_in).await.expect(201));
        let refresh = async |client, tokens: &Tokens| {
            let request = request(client, Method::PUT, "/app/v1_0/authorizations").bearer_auth(&tokens.refresh);
            Tokens::of(&process.send(request).await.expect(201))
        };

        // The owner in one network leaves no event.
        owner = refresh(OWNER[1], &owner).await;
        // The thief has a copy of the token that the owner will use next. The second of the two gets the same successor.
        let mut thief = owner.clone();
        for step in OWNER {
            thief = refresh(THIEF, &thief).await;
            owner = refresh(step, &owner).await;
        }
        assert_eq!(thief.refresh, owner.refresh, "both are in step");
        process.running.signal("TERM");
        let finished = process.finished().await;

        let told = events(&finished.stderr);
        report("a thief of a refresh token in turn with the owner, two steps each", &told);
        let of_the_thief = ["refresh_from_new_network", "network_and_agent", THIEF.0];
        let step = |address| [of_the_thief, ["refresh_repeated", "", address]];
        let expected = OWNER.map(|(address, _)| step(address)).concat();
        assert_eq!(told, expected, "no step of the thief goes without an event");
    }
}
