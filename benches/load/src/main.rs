//! How fast is the service? Offers load and measures; `benches/load.sh` runs it.

mod codes;
mod hash;
mod http;
mod operations;
mod phase;
mod population;
mod redis;
mod requests;
mod results;
mod sqlite;
mod start;
mod table;
mod targets;
mod usage;

use std::{
    io::{self, Read},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use clap::{Parser, Subcommand};
use serde_json::{Map, Value, json};
use tokio::{runtime, task::LocalSet};

use crate::{
    codes::Vendor,
    operations::{Offer, Supplies},
    phase::{Outcome, Report},
    population::Population,
    results::Results,
    usage::Processes,
};

/// Measures Phonepass, and what it is compared with.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Offer load, and print what came of it: a line of JSON for each offer
    Run(Run),
    /// Print a hash of the password that users of the population have
    PasswordHash,
    /// Print how many passwords a second can be hashed on the cores that the service gives to it
    Hash {
        /// How long to measure
        #[arg(long, default_value = "3")]
        seconds: f64,
        #[command(flatten)]
        labels: Labels,
    },
    /// Print how long a script takes in Redis, one at a time
    RedisRoundTrip {
        /// Where Redis listens
        #[arg(long)]
        redis: SocketAddr,
        /// How long to measure
        #[arg(long, default_value = "3")]
        seconds: f64,
        #[command(flatten)]
        labels: Labels,
    },
    /// Print how many sign-ins SQLite takes with a transaction for each
    SqliteTransactions {
        /// A database that the service has made
        #[arg(long)]
        file: PathBuf,
        /// How long to measure
        #[arg(long, default_value = "3")]
        seconds: f64,
        #[command(flatten)]
        people: People,
        #[command(flatten)]
        labels: Labels,
    },
    /// Print how long the service takes to start on SQLite; its settings come from the environment
    Start {
        /// The service
        program: PathBuf,
        /// Where it will listen
        #[arg(long)]
        service: SocketAddr,
        /// An empty folder
        #[arg(long)]
        folder: PathBuf,
        /// How many times
        #[arg(long, default_value = "5")]
        times: u32,
        #[command(flatten)]
        labels: Labels,
    },
    /// Read lines of JSON, and print the table and the targets
    Table,
}

/// Who is there.
#[derive(clap::Args)]
struct People {
    /// Users of the population, with consecutive mobiles
    #[arg(long, default_value = "20000")]
    users: u32,
    /// The first of their mobiles
    #[arg(long, default_value = "13000000000")]
    first_mobile: u64,
    /// Every n-th user has a password
    #[arg(long, default_value = "4")]
    password_every: usize,
}

/// What else the JSON should hold.
#[derive(clap::Args)]
struct Labels {
    /// Such as round=1
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
}

#[derive(clap::Args)]
struct Run {
    /// What to ask, such as sign_in:64 (connections) or sign_in:64@9000 (requests a second); several run side by side
    #[arg(required = true)]
    offers: Vec<Offer>,
    /// The server that is asked
    #[arg(long)]
    service: SocketAddr,
    /// Where SMS_WEBHOOK_URL of the service points to
    #[arg(long)]
    webhook: SocketAddr,
    /// How long to measure
    #[arg(long, default_value = "3")]
    seconds: f64,
    #[command(flatten)]
    people: People,
    /// Sessions that take part in refresh, me and check
    #[arg(long, default_value = "1000")]
    sessions: usize,
    #[command(flatten)]
    labels: Labels,
    #[command(flatten)]
    processes: Processes,
}

fn main() -> io::Result<()> {
    match Cli::parse().command {
        Command::Run(args) => {
            // One thread: it keeps up, and leaves the other cores to those who are measured.
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, offer_load(args))?;
        }
        Command::PasswordHash => println!("{}", hash::password_hash()),
        Command::Hash { seconds, labels } => {
            let per_second = hash::per_second(Duration::from_secs_f64(seconds));
            print_line(&labels, json!({"what": "hash", "per_second": tenths(per_second)}));
        }
        Command::RedisRoundTrip { redis, seconds, labels } => {
            let micros = redis::round_trips(redis, Duration::from_secs_f64(seconds))?;
            print_line(&labels, json!({"what": "redis_round_trip", "p50_us": micros.value_at_quantile(0.5)}));
        }
        Command::SqliteTransactions { file, seconds, people, labels } => {
            let users = Population::new(people.first_mobile, people.users, 1);
            let per_second = sqlite::transactions_per_second(&file, users, Duration::from_secs_f64(seconds));
            let per_second = per_second.map_err(io::Error::other)?;
            print_line(&labels, json!({"what": "sqlite_transactions", "per_second": tenths(per_second)}));
        }
        Command::Start { program, service, folder, times, labels } => {
            for time in 0..times {
                let took = start::start(&program, service, &folder.join(time.to_string()))?;
                print_line(&labels, json!({"what": "start", "milliseconds": tenths(took.as_secs_f64() * 1e3)}));
            }
        }
        Command::Table => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text)?;
            let results = Results::parse(&text).map_err(io::Error::other)?;
            table::print(&results);
            println!();
            table::print_bare(&results);
            println!();
            targets::print(&results);
        }
    }
    Ok(())
}

async fn offer_load(args: Run) -> io::Result<()> {
    let vendor = Vendor::listen(args.webhook, args.service).await?;
    let People { users, first_mobile, password_every } = args.people;
    let supplies = Supplies::new(args.service, vendor, first_mobile, users, password_every, args.sessions);
    let seconds = Duration::from_secs_f64(args.seconds);
    let report = phase::run(&args.offers, seconds, args.service, &supplies, args.processes).await?;
    for outcome in &report.outcomes {
        print_line(&args.labels, in_words(&report, outcome));
    }
    Ok(())
}

/// What came of one offer. Costs are told when it was the only one.
fn in_words(report: &Report, outcome: &Outcome) -> Value {
    let seconds = report.measured.as_secs_f64();
    let alone = report.outcomes.len() == 1 && outcome.answered > 0;
    let micros = |time: Duration| alone.then(|| tenths(time.as_secs_f64() * 1e6 / outcome.answered as f64));
    let latency = |quantile| (outcome.answered > 0).then(|| outcome.latencies.value_at_quantile(quantile));
    let others = report.outcomes.iter().filter(|other| !std::ptr::eq(*other, outcome));
    let beside: Vec<String> = others.map(|other| other.offer.operation.to_string()).collect();
    let errors: Map<String, Value> =
        outcome.errors.iter().map(|(status, count)| (status.to_string(), (*count).into())).collect();
    json!({
        "what": if report.outcomes.len() == 1 { "phase" } else { "mixed" },
        "operation": outcome.offer.operation.to_string(),
        "beside": beside,
        "connections": outcome.offer.connections,
        "offered": outcome.offer.rate.is_some(),
        "rate": outcome.offer.rate,
        "seconds": seconds,
        "answered": outcome.answered,
        "per_second": tenths(outcome.answered as f64 / seconds),
        "errors": errors,
        "p50_us": latency(0.5),
        "p90_us": latency(0.9),
        "p99_us": latency(0.99),
        "max_us": latency(1.0),
        "server_us": micros(report.usage.server),
        "postgres_us": micros(report.usage.postgres),
        "redis_us": micros(report.usage.redis),
        "generator_us": micros(report.usage.generator),
        "server_kb": report.server_memory,
    })
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Prints a result as a line of JSON, labels first.
fn print_line(labels: &Labels, result: Value) {
    let mut line = Map::new();
    for label in &labels.labels {
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        line.insert(name.to_owned(), value.parse().map_or_else(|_| value.into(), |number: i64| number.into()));
    }
    if let Value::Object(members) = result {
        line.extend(members);
    }
    println!("{}", Value::Object(line));
}
