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
    for store in results.values("store", &[("what", json!("phase"))]) {
        for operation in results.values("operation", &[("what", json!("phase")), ("store", store.clone())]) {
            let pgbench = [("what", json!("pgbench")), ("store", store.clone()), ("operation", operation.clone())];
            let mut about = vec![("what", json!("phase")), ("store", store.clone()), ("operation", operation.clone())];
            for rate in [false, true] {
                about.push(("offered", json!(rate)));
                for connections in results.values("connections", &about) {
                    about.push(("connections", connections));
                    println!("{}", row(results, &about, &pgbench));
                    about.pop();
                }
                about.pop();
            }
        }
    }
}

fn row(results: &Results, about: &About<'_>, pgbench: &About<'_>) -> String {
    let text = |member: &str| match results.about(about).next().map(|line| &line[member]) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    let number = |member: &str, divisor: f64, digits: usize| {
        let median = results.median(member, about);
        median.map_or_else(|| "–".to_owned(), |number| format!("{:.digits$}", number / divisor))
    };
    let cells = [
        text("store"),
        if text("rate") == "null" { text("operation") } else { format!("{} at a rate", text("operation")) },
        text("connections"),
        number("per_second", 1.0, 0),
        results.best("per_second", pgbench).map_or_else(|| "–".to_owned(), |best| format!("{best:.0}")),
        results.ratio("per_second", about, pgbench).map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
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
