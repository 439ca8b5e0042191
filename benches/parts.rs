//! How long do the parts of a request take? `cargo bench`; with `DATABASE_URL` and `REDIS_URL` those stores, too.
//!
//! What a whole service serves is measured by `benches/load.sh`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use phonepass::{
    auth::{
        access_token::{AccessTokens, Verified},
        algorithm::Algorithm,
        keys::{self, Keys},
        master_key::MasterKey,
        picture,
        refresh_token::RefreshTokens,
        revocation::Revocations,
    },
    clock::Clock,
    model::{
        limit::LimitName,
        mobile::Mobile,
        origin::{Origin, Presence},
        purpose::Purpose,
        session::{Lifetime, NewSession, Session, SignInMethod},
    },
    store::{
        ephemeral::{
            self, As, Asker, Attempt, CodeSlot, Counter, Counting, EphemeralStore, Flow, PendingCode, Redemption,
            RedisUrl, Tally,
        },
        users::{self, NewUser, Refresher, Statements, Timeouts, UserStore},
    },
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

/// What goes to a store at the same time.
const TOGETHER: [usize; 3] = [1, 64, 256];

fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

fn new_session() -> NewSession {
    let now = Clock::system().now();
    NewSession {
        id: Uuid::now_v7(),
        method: SignInMethod::Sms,
        created_at: now,
        expires_at: now + chrono::Duration::days(14),
        origin: Arc::new(Origin {
            ip: Some("192.0.2.1".parse().unwrap()),
            user_agent: Some("Example/1.0 (Android 16)".to_owned()),
            ..Origin::default()
        }),
        device_key: None,
    }
}

fn session() -> Session {
    new_session().opened_for(Uuid::now_v7())
}

/// Another one each time.
fn next_mobile() -> Mobile {
    static NEXT: AtomicU64 = AtomicU64::new(13_000_000_000);
    Mobile::parse(&NEXT.fetch_add(1, Ordering::Relaxed).to_string()).unwrap()
}

struct Tokens {
    runtime: Runtime,
    folder: TempDir,
    master: MasterKey,
}

impl Tokens {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        keys::generate(Algorithm::Rs256, folder.path(), Clock::system().now()).unwrap();
        Self { runtime: runtime(), folder, master: MasterKey::from_base64(&MasterKey::generate()).unwrap() }
    }

    fn keys(&self, algorithm: Algorithm) -> Arc<Keys> {
        Arc::new(Keys::load(algorithm, self.folder.path(), &self.master, Clock::system()).unwrap())
    }

    /// With an empty memory.
    fn access_tokens(&self, keys: Arc<Keys>, revocations: Arc<Revocations>) -> AccessTokens {
        AccessTokens {
            keys,
            issuer: "https://id.example".to_owned(),
            audience: "phonepass".to_owned(),
            ttl: chrono::Duration::hours(1),
            clock: Clock::system(),
            revocations,
            verified: Verified::default(),
        }
    }

    fn revocations(&self) -> Arc<Revocations> {
        let users = self
            .runtime
            .block_on(users::connect(&"sqlite::memory:".parse().unwrap(), Statements::Named, 2, Timeouts::default()))
            .unwrap();
        Arc::new(Revocations::new(users, Clock::system(), chrono::Duration::hours(1)))
    }
}

fn tokens(criterion: &mut Criterion) {
    let tokens = Tokens::new();
    let revocations = tokens.revocations();
    let mut group = criterion.benchmark_group("access token");
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Hs256] {
        let keys = tokens.keys(algorithm);
        let (service, session) = (tokens.access_tokens(keys.clone(), revocations.clone()), session());
        let token = service.issue(&session).unwrap().jwt;
        group.bench_function(format!("sign {algorithm}"), |bencher| {
            bencher.iter(|| service.issue(black_box(&session)).unwrap());
        });
        group.bench_function(format!("verify {algorithm}"), |bencher| {
            let forgetful = || tokens.access_tokens(keys.clone(), revocations.clone());
            bencher.iter_batched(
                forgetful,
                |service| service.verify(black_box(&token)).unwrap(),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("verify {algorithm} again"), |bencher| {
            bencher.iter(|| service.verify(black_box(&token)).unwrap());
        });
    }
    group.finish();

    let refresh_tokens = RefreshTokens::new(&tokens.master);
    let token = refresh_tokens.issue(Uuid::now_v7(), 7);
    criterion.bench_function("refresh token: read", |bencher| {
        bencher.iter(|| refresh_tokens.read(black_box(&token)).unwrap());
    });
}

fn values(criterion: &mut Criterion) {
    criterion.bench_function("mobile: parse", |bencher| {
        bencher.iter(|| Mobile::parse(black_box("+86 138-0013-8000")).unwrap());
    });
    criterion.bench_function("picture: draw", |bencher| bencher.iter(|| picture::draw(black_box("AC3X"))));
}

fn user_stores(criterion: &mut Criterion) {
    let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
    let mut urls = vec![format!("sqlite://{}/bench.db", folder.path().display())];
    urls.extend(std::env::var("DATABASE_URL").ok());
    for url in urls {
        let users = runtime
            .block_on(users::connect(&url.parse().unwrap(), Statements::Named, 12, Timeouts::default()))
            .unwrap();
        runtime.block_on(users.migrate()).unwrap();
        for together in TOGETHER {
            user_store(criterion, &runtime, users.as_ref(), together);
        }
    }
}

fn user_store(criterion: &mut Criterion, runtime: &Runtime, users: &dyn UserStore, together: usize) {
    let mut group = criterion.benchmark_group(format!("{}, {together} together", users.name()));
    group.throughput(Throughput::Elements(together as u64));
    let sign_in = || async {
        let user = NewUser { id: Uuid::now_v7(), mobile: next_mobile(), password_hash: None };
        let session = new_session();
        (users.sign_in(&user, &session, "a count").await.unwrap().0.id, session.id)
    };
    group.bench_function("sign in", |bencher| {
        bencher.iter(|| runtime.block_on(join_all((0..together).map(|_| sign_in()))));
    });
    let known = runtime.block_on(join_all((0..together).map(|_| sign_in())));
    group.bench_function("look up", |bencher| {
        bencher.iter(|| runtime.block_on(join_all(known.iter().map(|(id, _)| users.user(*id)))));
    });
    let lifetime = Lifetime { sliding: chrono::Duration::days(14), absolute: chrono::Duration::days(90) };
    let refresher = Refresher { origin: new_session().origin, device_key: None };
    let mut counter = 0;
    group.bench_function("refresh", |bencher| {
        bencher.iter(|| {
            let now = Clock::system().now();
            let rotations = known.iter().map(|(_, session)| users.rotate(*session, counter, &refresher, now, lifetime));
            runtime.block_on(join_all(rotations));
            counter += 1;
        });
    });
    group.finish();
}

fn ephemeral_stores(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut urls = vec![None];
    urls.extend(std::env::var("REDIS_URL").ok().map(Some));
    for url in urls {
        let url: Option<RedisUrl> = url.map(|url: String| url.parse().unwrap());
        let store = ephemeral::connect(url.as_ref(), "bench:", ephemeral::TIMEOUT, Clock::system());
        let codes = runtime.block_on(store).unwrap();
        for together in TOGETHER {
            ephemeral_store(criterion, &runtime, codes.as_ref(), together);
        }
    }
}

fn ephemeral_store(criterion: &mut Criterion, runtime: &Runtime, codes: &dyn EphemeralStore, together: usize) {
    let mut group = criterion.benchmark_group(format!("{}, {together} together", codes.name()));
    group.throughput(Throughput::Elements(together as u64));
    let slots = || -> Vec<_> {
        let slots: Vec<_> =
            (0..together).map(|_| CodeSlot { mobile: next_mobile(), purpose: Purpose::Login }).collect();
        let code = &PendingCode { digest: "right".to_owned(), tries_per_asker: 5, ttl: Duration::from_secs(60) };
        let messages: Vec<_> = slots.iter().map(|slot| message(slot.mobile.as_str())).collect();
        let issued = slots.iter().zip(&messages).map(|(slot, message)| {
            let asker = asker(slot.mobile.as_str());
            async move { codes.issue_code(slot, code, message, &asker, true).await }
        });
        runtime.block_on(join_all(issued));
        slots
    };
    group.bench_function("redeem", |bencher| {
        bencher.iter_batched(
            slots,
            |slots| {
                let redeemed = runtime.block_on(join_all(slots.iter().map(|slot| redeem(codes, slot))));
                assert!(redeemed.iter().all(|redemption| matches!(redemption, Redemption::Accepted(_))));
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

async fn redeem(codes: &dyn EphemeralStore, slot: &CodeSlot) -> Redemption {
    let mobile = slot.mobile.as_str();
    let network = asker(mobile).network;
    let here = Counter { part: Some(network.clone()), ..counter(LimitName::WrongCodes, mobile) };
    let at_all = counter(LimitName::WrongCodesPerIp, &network);
    let attempt = Attempt {
        slot,
        digest: "right",
        fixed: None,
        asker: &asker(mobile),
        presenter: As::Asker,
        guess: &tally(mobile, vec![here.clone(), counter(LimitName::WrongCodes, mobile), at_all.clone()]),
        nothing: &|| tally(mobile, vec![here.clone(), at_all.clone()]),
        sign_in: Some(&tally(mobile, vec![counter(LimitName::SignInsPerUser, mobile)])),
        unredeemed: &counter(LimitName::SmsUnredeemed, mobile),
        replay: None,
        presence: &Presence::default(),
    };
    codes.redeem_code(&attempt).await.unwrap()
}

/// A network of each mobile's own.
fn asker(mobile: &str) -> Asker {
    Asker { network: format!("network of {mobile}"), device: None }
}

fn message(mobile: &str) -> Tally {
    let network = asker(mobile).network;
    let [gap, per_mobile, unredeemed] =
        [LimitName::SmsGap, LimitName::SmsPerMobile, LimitName::SmsUnredeemed].map(|name| counter(name, mobile));
    let [asks, per_ip] = [LimitName::SmsAsks, LimitName::SmsPerIp].map(|name| counter(name, &network));
    let flow = |name, group: &str| Flow { name, group: group.to_owned(), sent_per_hour: Some(240), unredeemed: true };
    let flows = vec![flow(LimitName::SmsBlock, "192.0.2.0/24"), flow(LimitName::SmsPrefix, &mobile[..7])];
    Tally { flows, ..tally(mobile, vec![gap, per_mobile, unredeemed, asks, per_ip]) }
}

fn tally(mobile: &str, counters: Vec<Counter>) -> Tally {
    let id = Uuid::now_v7().to_string();
    Tally { id, at: Clock::system().now(), network: asker(mobile).network, counters, flows: Vec::new() }
}

fn counter(name: LimitName, subject: &str) -> Counter {
    Counter {
        name,
        subject: subject.to_owned(),
        part: None,
        member: None,
        window: Duration::from_secs(3600),
        limit: Some(10),
        suspicion: None,
        counting: Counting::IfAdmitted,
    }
}

criterion_group!(parts, tokens, values, user_stores, ephemeral_stores);
criterion_main!(parts);
