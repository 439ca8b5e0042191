//! What does the table say? A row for each operation, number of connections and store.

use serde_json::{Value, json};

use crate::results::{About, Results};

const HEAD: &str = "\
| store | operation | connections | a second | pgbench | ratio | p50 ms | p90 ms | p99 ms | server µs | PostgreSQL µs \
| Redis µs | generator µs | memory MB | errors |
| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --- |";

/// Prints the table in Markdown: medians over the rounds.
pub fn print(results: &Results) {
    println!("{HEAD}");
    // Alone in a closed loop, at a rate, and beside others.
    let kinds = [("phase", false), ("phase", true), ("mixed", false)];
    for (what, offered) in kinds {
        let mut about = vec![("what", json!(what)), ("offered", json!(offered))];
        for store in results.values("store", &about) {
            about.push(("store", store));
            for operation in results.values("operation", &about) {
                about.push(("operation", operation));
                for connections in results.values("connections", &about) {
                    about.push(("connections", connections));
                    println!("{}", row(results, &about));
                    about.pop();
                }
                about.pop();
            }
            about.pop();
        }
    }
}

fn row(results: &Results, about: &About<'_>) -> String {
    let line = results.about(about).next().unwrap_or(&Value::Null);
    let text = |member: &str| line[member].as_str().map_or_else(|| line[member].to_string(), str::to_owned);
    let pgbench =
        [("what", json!("pgbench")), ("store", line["store"].clone()), ("operation", line["operation"].clone())];
    let (best, ratio) = match (line["what"].as_str(), line["offered"].as_bool()) {
        (Some("phase"), Some(false)) => {
            (results.best("per_second", &pgbench), results.ratio("per_second", about, &pgbench))
        }
        _ => (None, None),
    };
    let operation = match line["beside"].as_array().and_then(|others| others.first()?.as_str()) {
        Some(other) => format!("{} beside {other}", text("operation")),
        None if line["offered"] == true => format!("{} at a rate", text("operation")),
        None => text("operation"),
    };
    let number = |member: &str, divisor: f64, digits: usize| {
        let median = results.median(member, about);
        median.map_or_else(|| "–".to_owned(), |number| format!("{:.digits$}", number / divisor))
    };
    let cells = [
        text("store"),
        operation,
        text("connections"),
        number("per_second", 1.0, 0),
        best.map_or_else(|| "–".to_owned(), |best| format!("{best:.0}")),
        ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
        number("p50_us", 1000.0, 2),
        number("p90_us", 1000.0, 2),
        number("p99_us", 1000.0, 2),
        number("server_us", 1.0, 0),
        number("postgres_us", 1.0, 0),
        number("redis_us", 1.0, 0),
        number("generator_us", 1.0, 0),
        number("server_kb", 1024.0, 0),
        errors(results, about),
    ];
    format!("| {} |", cells.join(" | "))
}

/// Errors of all rounds by status, 0 for broken connections.
fn errors(results: &Results, about: &About<'_>) -> String {
    let mut sums = std::collections::BTreeMap::<&String, u64>::new();
    for (status, count) in results.about(about).filter_map(|line| line["errors"].as_object()).flatten() {
        *sums.entry(status).or_default() += count.as_u64().unwrap_or_default();
    }
    let words: Vec<String> = sums.into_iter().map(|(status, count)| format!("{status}: {count}")).collect();
    words.join(", ")
}

/// Prints what the service is made of, and what it takes before any request: medians of what was measured.
pub fn print_bare(results: &Results) {
    println!("| bare | |\n| --- | --: |");
    let measures = [
        ("redis_round_trip", "p50_us", 1.0, "a script in Redis, one at a time: p50 in µs"),
        ("postgres_round_trip", "p50_us", 1.0, "the statement in PostgreSQL, one at a time: p50 in µs"),
        ("hash", "per_second", 1.0, "argon2id hashes a second on the cores that the service gives to them"),
        ("sqlite_transactions", "per_second", 1.0, "sign-ins a second in SQLite, a transaction each"),
        ("idle", "server_kb", 1024.0, "memory without load in MB"),
        ("start", "milliseconds", 1.0, "start on SQLite until ready in ms"),
    ];
    for (what, member, divisor, words) in measures {
        // Some are told for each operation or store; the others have no such member.
        let part = if what == "idle" { "store" } else { "operation" };
        let mut kinds = results.values(part, &[("what", json!(what))]);
        if kinds.is_empty() {
            kinds.push(Value::Null);
        }
        for kind in kinds {
            let name = kind.as_str().map_or_else(String::new, |kind| format!("{kind}: "));
            if let Some(median) = results.median(member, &[("what", json!(what)), (part, kind)]) {
                println!("| {name}{words} | {:.0} |", median / divisor);
            }
        }
    }
}
