//! Who signs in while something breaks, and what were they told?

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::{
    phone::Phones,
    stack::Stack,
    support::{Tokens, process::until},
};

const WORKERS: usize = 8;

/// How long somebody tries to get in before they give up.
const ENDURANCE: Duration = Duration::from_secs(30);

/// How long a client waits for an answer: longer than any time limit of the service.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(15);

/// Somebody who was told that they are signed in.
#[derive(Debug)]
pub struct Told {
    pub user_id: Uuid,
    pub session_id: Uuid,
    pub tokens: Tokens,
}

/// What the clients have seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub told: Vec<Told>,
    /// Everything but an answer that a client can use: no answer, a 5xx, `errno` 4001.
    pub failures: Vec<String>,
    pub slowest: Duration,
}

/// People who register, one after the other, as fast as they are served.
pub struct Load {
    street: Arc<Street>,
    workers: Vec<JoinHandle<()>>,
}

struct Street {
    url: String,
    client: reqwest::Client,
    phones: Phones,
    next: AtomicU64,
    closed: AtomicBool,
    seen: Mutex<Seen>,
}

impl Load {
    /// Starts to register at this URL.
    pub fn on(url: &str, phones: &Phones) -> Self {
        let client = reqwest::Client::builder().timeout(CLIENT_TIMEOUT).no_proxy().build().unwrap();
        let street = Arc::new(Street {
            url: url.to_owned(),
            client,
            phones: phones.clone(),
            next: AtomicU64::new(13_000_000_000),
            closed: AtomicBool::new(false),
            seen: Mutex::default(),
        });
        let workers = (0..WORKERS).map(|_| tokio::spawn(work(street.clone()))).collect();
        Self { street, workers }
    }

    /// Waits until so many more have been told that they are signed in.
    pub async fn more(&self, people: usize) {
        let told = || self.street.seen.lock().unwrap().told.len();
        let (before, deadline) = (told(), Instant::now() + Duration::from_secs(60));
        while told() < before + people {
            let last = self.street.seen.lock().unwrap().failures.last().cloned();
            assert!(Instant::now() < deadline, "{} of {people} got in; then: {last:?}", told() - before);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until something has failed since: whatever is broken has been met.
    pub async fn trouble(&self) {
        let failures = || self.street.seen.lock().unwrap().failures.len();
        let before = failures();
        until("something fails", Duration::from_secs(30), async || failures() > before).await;
    }

    /// Lets everybody finish.
    pub async fn end(self) -> Seen {
        self.street.closed.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.unwrap();
        }
        std::mem::take(&mut self.street.seen.lock().unwrap())
    }
}

impl Seen {
    /// Fails unless everybody who was told that they are signed in is there, once, with that session. The database is asked
    /// at `database`, if that is another way than the service takes.
    pub async fn expect_rows(&self, stack: &Stack, database: Option<&str>) {
        assert!(self.told.len() > WORKERS, "nobody was there: {:?}", self.failures);
        for told in &self.told {
            let users = stack.count("SELECT count(*) FROM users WHERE id = $1", told.user_id, database).await;
            let sessions = stack.count("SELECT count(*) FROM sessions WHERE id = $1", told.session_id, database).await;
            assert_eq!((users, sessions), (1, 1), "{told:?}");
        }
    }

    /// Fails unless, beyond that, they still are signed in.
    pub async fn expect_kept(&self, stack: &Stack, url: &str, database: Option<&str>) {
        self.expect_rows(stack, database).await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        for told in &self.told {
            let user =
                client.get(format!("{url}/app/v1_0/user")).bearer_auth(&told.tokens.access).send().await.unwrap();
            assert_eq!(user.status(), 200, "{told:?}");
        }
        let told = self.told.last().unwrap();
        let refresh = client.put(format!("{url}/app/v1_0/authorizations")).bearer_auth(&told.tokens.refresh);
        assert_eq!(refresh.send().await.unwrap().status(), 201);
    }

    /// Fails unless every answer came within this time.
    #[track_caller]
    pub fn expect_bounded(&self, limit: Duration) {
        assert!(self.slowest <= limit, "{:?}; {:?}", self.slowest, self.failures.last());
    }
}

async fn work(street: Arc<Street>) {
    while !street.closed.load(Ordering::Relaxed) {
        let number = street.next.fetch_add(1, Ordering::Relaxed);
        let told = tokio::time::timeout(ENDURANCE, street.get_in(number)).await;
        if let Ok(Some(told)) = told {
            street.seen.lock().unwrap().told.push(told);
        }
    }
}

impl Street {
    /// Asks for a code and registers with it, by code or, one in five, with a password. `None`: it was refused, as when a
    /// code went with its store, or an answer was lost whose repetition tells no more.
    async fn get_in(&self, number: u64) -> Option<Told> {
        let mobile = number.to_string();
        let (status, _) = self.insist(Method::POST, "/app/v1_0/sms/codes", "", json!({ "mobile": mobile })).await?;
        let code = self.phones.code(&mobile).filter(|_| status == 200)?;
        let (status, body) = if number.is_multiple_of(5) {
            let body = json!({ "mobile": mobile, "smscode": code, "password": "four green teapots" });
            self.insist(Method::POST, "/passport/register", "", body).await?
        } else {
            let body = json!({ "mobile": mobile, "code": code });
            self.insist(Method::POST, "/app/v1_0/authorizations", &Uuid::now_v7().to_string(), body).await?
        };
        let signed_in = status == 201 || body["errno"] == 0;
        signed_in.then(|| {
            let tokens = Tokens::of(&body);
            let user_id = body["data"]["user_id"].as_str().unwrap().parse().unwrap();
            Told { user_id, session_id: tokens.session_id().parse().unwrap(), tokens }
        })
    }

    /// Sends a request until there is an answer that says something. `None` once the street is closed.
    async fn insist(&self, method: Method, path: &str, key: &str, body: Value) -> Option<(u16, Value)> {
        loop {
            let mut request = self.client.request(method.clone(), format!("{}{path}", self.url)).json(&body);
            if !key.is_empty() {
                request = request.header("idempotency-key", key);
            }
            if let Some(answer) = self.attempt(request).await {
                return Some(answer);
            }
            if self.closed.load(Ordering::Relaxed) {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn attempt(&self, request: RequestBuilder) -> Option<(u16, Value)> {
        let began = Instant::now();
        let answer = async {
            let answer = request.send().await?;
            let status = answer.status().as_u16();
            let json = answer.bytes().await.map(|bytes| serde_json::from_slice(&bytes).unwrap_or_default())?;
            Ok::<(u16, Value), reqwest::Error>((status, json))
        };
        let answer = answer.await;
        let mut seen = self.seen.lock().unwrap();
        seen.slowest = seen.slowest.max(began.elapsed());
        match answer {
            Ok((status, body)) if status < 500 && body["errno"] != 4001 => return Some((status, body)),
            Ok((status, body)) => seen.failures.push(format!("{status} {body}")),
            Err(error) => seen.failures.push(format!("{error:?}")),
        }
        None
    }
}
