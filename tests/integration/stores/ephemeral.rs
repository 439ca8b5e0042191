//! The contract of the ephemeral store: on Redis, on a Redis Cluster and in-process.

mod askers;
mod flows;
mod lifetimes;
mod places;
mod tallies;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use fred::interfaces::KeysInterface;
use futures_util::future::join_all;
use phonepass::{
    clock::Clock,
    model::{limit::LimitName, mobile::Mobile, origin::Presence, purpose::Purpose},
    store::ephemeral::{
        self, Admission, As, Asker, Attempt, CodeSlot, Counter, Counting, EphemeralStore, Flow, PendingCode,
        Redemption, Replay, Tally, UsedCode,
    },
};
use uuid::Uuid;

use crate::support::{
    MOBILE, PATIENCE,
    backends::{Backends, Stores},
    needs::need,
    servers::Server,
};

const TTL: Duration = Duration::from_secs(300);
const GAP: Duration = Duration::from_secs(60);
const NETWORK: &str = "192.0.2.1";

/// A store of the test's own.
struct Bed {
    codes: Arc<dyn EphemeralStore>,
    clock: Clock,
    stores: Stores,
    cluster: Option<Server>,
}

impl Bed {
    async fn in_process() -> Self {
        Self::on(Stores::create(Backends::SQLITE_AND_IN_PROCESS).await, None, None).await
    }

    async fn redis() -> Self {
        let stores = Stores::create(Backends::SQLITE_AND_REDIS).await;
        Self::on(stores, Some(need("TEST_REDIS_URL")), None).await
    }

    async fn cluster() -> Self {
        let cluster = Server::redis_cluster().await;
        let url = cluster.url.clone();
        Self::on(Stores::create(Backends::SQLITE_AND_IN_PROCESS).await, Some(url), Some(cluster)).await
    }

    async fn on(stores: Stores, url: Option<String>, cluster: Option<Server>) -> Self {
        let clock = Clock::movable();
        let url = url.map(|url| url.parse().unwrap());
        let prefix = stores.redis().map_or("test:", |(_, prefix)| prefix);
        let codes = ephemeral::connect(url.as_ref(), prefix, PATIENCE, clock.clone()).await.unwrap();
        Self { codes, clock, stores, cluster }
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    async fn advance(&self, time: Duration) {
        self.clock.advance(chrono::Duration::from_std(time).unwrap());
        self.stores.expire(time).await;
        if let Some(cluster) = &self.cluster {
            for (key, rest) in keys_of(cluster).await {
                let millis = i64::try_from(time.as_millis()).unwrap();
                let _: i64 = if rest <= millis {
                    cluster.ask(&format!("DEL {key}")).await
                } else {
                    cluster.ask(&format!("PEXPIRE {key} {}", rest - millis)).await
                };
            }
        }
    }

    /// The keys that there are, without prefix, and for how many milliseconds; none in-process.
    async fn keys(&self) -> Vec<(String, i64)> {
        let mut keys = Vec::new();
        if let Some((client, prefix)) = self.stores.redis() {
            let script = "return redis.call('KEYS', ARGV[1] .. '*')";
            let names: Vec<String> =
                fred::interfaces::LuaInterface::eval(client, script, Vec::<String>::new(), vec![prefix.clone()])
                    .await
                    .unwrap();
            for name in names {
                let rest = client.pttl(&name).await.unwrap();
                keys.push((name.strip_prefix(prefix).unwrap().to_owned(), rest));
            }
        }
        if let Some(cluster) = &self.cluster {
            keys.extend(keys_of(cluster).await);
        }
        keys
    }

    async fn count(&self, tally: &Tally) -> Admission {
        self.codes.count(tally).await.unwrap()
    }

    async fn survey(&self, tally: &Tally) -> Admission {
        self.codes.survey(tally).await.unwrap()
    }

    async fn issue(&self, digest: &str, asker: &Asker) {
        let message = tally(self.now(), &[counter(LimitName::SmsPerMobile, None, Some(100))]);
        let issued = self.codes.issue_code(&slot(), &pending(digest), &message, asker, true).await.unwrap();
        assert_eq!(issued, Admission::Admitted);
    }

    /// Presents a code without limits.
    async fn present(&self, digest: &str, asker: &Asker, presenter: As) -> Redemption {
        self.present_within(digest, asker, presenter, 1000).await
    }

    /// Presents a code within a budget of wrong guesses of a network.
    async fn present_within(&self, digest: &str, asker: &Asker, presenter: As, budget: u32) -> Redemption {
        let guess = guess(self.now(), budget);
        self.redeem(&Presentation { digest, asker, presenter, guess: &guess, ..Presentation::default_with(&guess) })
            .await
    }

    async fn redeem(&self, presentation: &Presentation<'_>) -> Redemption {
        let attempt = Attempt {
            slot: &slot(),
            digest: presentation.digest,
            fixed: presentation.fixed,
            asker: presentation.asker,
            presenter: presentation.presenter.clone(),
            guess: presentation.guess,
            nothing: &|| presentation.nothing.clone(),
            sign_in: presentation.sign_in,
            unredeemed: &counter(LimitName::SmsUnredeemed, None, Some(3)),
            replay: presentation.replay,
            presence: &Presence::default(),
        };
        self.codes.redeem_code(&attempt).await.unwrap()
    }
}

async fn keys_of(cluster: &Server) -> Vec<(String, i64)> {
    let names: Vec<String> = cluster.ask("KEYS test:*").await;
    let mut keys = Vec::new();
    for name in names {
        keys.push((name.clone(), cluster.ask(&format!("PTTL {name}")).await));
    }
    keys
}

/// What varies of an attempt.
struct Presentation<'a> {
    digest: &'a str,
    fixed: Option<&'a str>,
    asker: &'a Asker,
    presenter: As,
    guess: &'a Tally,
    nothing: &'a Tally,
    sign_in: Option<&'a Tally>,
    replay: Option<&'a Replay>,
}

impl<'a> Presentation<'a> {
    /// An asker's right code that no limit stands before.
    fn default_with(nothing: &'a Tally) -> Self {
        static ASKER: std::sync::LazyLock<Asker> = std::sync::LazyLock::new(owner);
        Self {
            digest: "right",
            fixed: None,
            asker: &ASKER,
            presenter: As::Asker,
            guess: nothing,
            nothing,
            sign_in: None,
            replay: None,
        }
    }
}

fn slot() -> CodeSlot {
    CodeSlot { mobile: Mobile::parse(MOBILE).unwrap(), purpose: Purpose::Login }
}

fn pending(digest: &str) -> PendingCode {
    PendingCode { digest: digest.to_owned(), tries_per_asker: 5, ttl: TTL }
}

fn owner() -> Asker {
    network(NETWORK)
}

fn network(network: &str) -> Asker {
    Asker { network: network.to_owned(), device: None }
}

/// A counter of this test's mobile.
fn counter(name: LimitName, limit: Option<u32>, suspicion: Option<u32>) -> Counter {
    Counter {
        name,
        subject: MOBILE.to_owned(),
        part: None,
        member: None,
        window: GAP,
        limit,
        suspicion,
        counting: Counting::IfAdmitted,
    }
}

/// A counter of this test's network.
fn of_network(name: LimitName, limit: u32) -> Counter {
    Counter { subject: NETWORK.to_owned(), ..counter(name, Some(limit), None) }
}

fn tally(at: DateTime<Utc>, counters: &[Counter]) -> Tally {
    let id = Uuid::now_v7().to_string();
    Tally { id, at, network: NETWORK.to_owned(), counters: counters.to_vec(), flows: Vec::new() }
}

/// A message of which there is one a minute.
fn rare(at: DateTime<Utc>) -> Tally {
    tally(at, &[counter(LimitName::SmsGap, Some(1), None)])
}

/// A guess of which there are so many of a network at a mobile, and five times as many of a mobile and of a network.
fn guess(at: DateTime<Utc>, budget: u32) -> Tally {
    let here = Counter { part: Some(NETWORK.to_owned()), ..counter(LimitName::WrongCodes, Some(budget), None) };
    let together = counter(LimitName::WrongCodes, Some(5 * budget), None);
    tally(at, &[here, together, of_network(LimitName::WrongCodesPerIp, 5 * budget)])
}

fn refused(name: LimitName, retry_after: Duration) -> Admission {
    Admission::Refused { name, retry_after }
}

#[track_caller]
fn accepted(redemption: Redemption) -> UsedCode {
    let Redemption::Accepted(code) = redemption else { panic!("{redemption:?}") };
    *code
}

#[track_caller]
fn wrong(redemption: Redemption, left: u32) {
    assert!(matches!(redemption, Redemption::Wrong { tries_left: Some(tries) } if tries == left), "{redemption:?}");
}

#[track_caller]
fn missing(redemption: Redemption) {
    assert!(matches!(redemption, Redemption::Missing), "{redemption:?}");
}

#[track_caller]
fn not_looked_at(redemption: Redemption, name: LimitName) {
    assert!(matches!(redemption, Redemption::Refused { name: refused, .. } if refused == name), "{redemption:?}");
}

/// Defines a test of the contract, on every back end.
macro_rules! contract {
    (async fn $name:ident($bed:ident) $body:block) => {
        mod $name {
            use super::*;

            async fn test($bed: Bed) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_redis() {
                test(Bed::redis().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_a_cluster() {
                test(Bed::cluster().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_process() {
                test(Bed::in_process().await).await;
            }
        }
    };
}

use contract;
