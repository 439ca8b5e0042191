//! Which targets are met?

use std::{num::NonZero, thread};

use serde_json::{Value, json};

use crate::results::Results;

/// At least or at most so much.
#[derive(Clone, Copy)]
enum Bound {
    Least(f64),
    Most(f64),
}

use Bound::{Least, Most};

/// Prints a line for each target: what was measured, and whether that is enough. What was not measured is left open.
pub fn print(results: &Results) {
    println!("| target | measured | bound | |\n| --- | --: | --: | --- |");
    for (name, measured, bound) in all(results) {
        let (word, limit, met) = match bound {
            Least(limit) => ("≥", limit, measured.is_some_and(|number| number >= limit)),
            Most(limit) => ("≤", limit, measured.is_some_and(|number| number <= limit)),
        };
        let (number, verdict) = match measured {
            Some(number) => (format!("{number:.2}"), if met { "PASS" } else { "MISS" }),
            None => ("–".to_owned(), "not measured"),
        };
        println!("| {name} | {number} | {word} {limit} | {verdict} |");
    }
}

fn all(results: &Results) -> Vec<(String, Option<f64>, Bound)> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get) as f64;
    let phase = |store: &str, operation: &str, connections: u32, offered: bool| -> Vec<(&str, Value)> {
        vec![
            ("what", json!("phase")),
            ("store", json!(store)),
            ("operation", json!(operation)),
            ("connections", json!(connections)),
            ("offered", json!(offered)),
        ]
    };
    let closed = |store: &str, operation: &str, connections| phase(store, operation, connections, false);
    let mixed = |operation: &str| [("what", json!("mixed")), ("operation", json!(operation))];
    let alone = |what: &str| [("what", json!(what))];
    let mut targets = Vec::new();
    let mut add = |name: String, measured, bound| targets.push((name, measured, bound));

    for operation in ["register", "sign_in", "refresh"] {
        let pgbench = [("what", json!("pgbench")), ("store", json!("small")), ("operation", json!(operation))];
        for (connections, least) in [(64, 1.2), (256, 1.5)] {
            let ratio = results.ratio("per_second", &closed("small", operation, connections), &pgbench);
            add(format!("{operation} to the best of pgbench, connections: {connections}"), ratio, Least(least));
        }
    }
    for operation in ["register", "sign_in"] {
        let median = results.median("p50_us", &closed("small", operation, 1));
        let postgres = [("what", json!("postgres_round_trip")), ("operation", json!(operation))];
        let bare = results.median("p50_us", &postgres).zip(results.median("p50_us", &alone("redis_round_trip")));
        let ratio = median.zip(bare).map(|(median, (postgres, redis))| median / (postgres + redis));
        add(format!("{operation}: p50 of 1 connection to a round trip of PostgreSQL and of Redis"), ratio, Most(1.3));
    }
    let p99 = results.median("p99_us", &phase("small", "sign_in", 64, true)).map(|micros| micros / 1000.0);
    add("sign_in at 70 % of the maximum of 64 connections: p99 in ms".to_owned(), p99, Most(10.0));
    for connections in [1, 64, 256] {
        let empty = closed("empty", "empty", connections);
        for (operation, least) in [("check", 0.8), ("me", 0.5)] {
            let ratio = results.ratio("per_second", &closed("small", operation, connections), &empty);
            add(format!("{operation} to an empty handler, connections: {connections}"), ratio, Least(least));
        }
    }
    let password = results.ratio("per_second", &closed("small", "password", 64), &alone("hash"));
    add("password to bare hashes, connections: 64".to_owned(), password, Least(0.95));
    let beside = results.ratio("per_second", &mixed("password"), &alone("hash"));
    add("password to bare hashes, beside sign_in by code".to_owned(), beside, Least(0.95));
    let kept = results.ratio("per_second", &mixed("sign_in"), &closed("small", "sign_in", 64));
    add("sign_in by code beside passwords to without, connections: 64".to_owned(), kept, Least(0.5));
    let p99 = results.median("p99_us", &mixed("sign_in")).map(|micros| micros / 1000.0);
    add("sign_in by code beside passwords: p99 in ms".to_owned(), p99, Most(50.0));
    let pictures = results.median("per_second", &closed("small", "picture", 64));
    add("pictures a second and core of this machine".to_owned(), pictures.map(|number| number / cores), Least(1500.0));
    let micros = results.median("server_us", &closed("small", "picture", 64));
    add(
        "pictures a second of the server's processor time".to_owned(),
        micros.map(|micros| 1e6 / micros),
        Least(1500.0),
    );
    for connections in [64, 256] {
        let sqlite = closed("sqlite", "sign_in", connections);
        let ratio = results.ratio("per_second", &sqlite, &alone("sqlite_transactions"));
        add(format!("SQLite: sign_in to a transaction each, connections: {connections}"), ratio, Least(10.0));
    }
    for connections in [64, 256] {
        let small = closed("small", "sign_in", connections);
        let ratio = results.ratio("per_second", &closed("large", "sign_in", connections), &small);
        add(format!("sign_in with the large population to the small, connections: {connections}"), ratio, Least(0.85));
    }
    let megabytes = |kilobytes: f64| kilobytes / 1024.0;
    add("memory without load in MB".to_owned(), results.median("server_kb", &alone("idle")).map(megabytes), Most(30.0));
    for (store, operation) in [("small", "sign_in"), ("sqlite", "sign_in"), ("small", "password")] {
        let memory = results.median("server_kb", &closed(store, operation, 256)).map(megabytes);
        add(format!("memory after {operation} on 256 connections in MB, {store}"), memory, Most(100.0));
    }
    let start = results.median("milliseconds", &alone("start"));
    add("start on SQLite until ready in ms".to_owned(), start, Most(100.0));
    targets
}
