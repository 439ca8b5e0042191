//! Three instances behind HAProxy: do they act as one, and does nobody notice when one goes?

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    haproxy::Balancer,
    load::Load,
    stack::{Instance, Stack, turn},
    support::{Answer, Tokens, other_than, process::until, servers::Server},
};

const MOBILE: &str = "13800138000";

const ENOUGH: usize = 30;

struct Cluster {
    stack: Stack,
    instances: Vec<Instance>,
    balancer: Balancer,
    client: reqwest::Client,
    // Dropped last: the instances use them.
    _servers: [Server; 2],
}

impl Cluster {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let servers = [Server::postgresql().await, Server::redis().await];
        let mut stack = Stack::on_servers(&servers[0], &servers[1]).await;
        stack.set("PUBLIC_URL", "https://id.example.com");
        stack.set("SECRET_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
        for (name, value) in settings {
            stack.set(name, value);
        }
        let mut instances = Vec::new();
        for _ in 0..3 {
            instances.push(stack.instance().await);
        }
        let addresses: Vec<_> = instances.iter().map(|instance| instance.address.as_str()).collect();
        let balancer = Balancer::over(&addresses).await;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build().unwrap();
        let cluster = Self { stack, instances, balancer, client, _servers: servers };
        until("HAProxy has found them ready", Duration::from_secs(30), async || {
            cluster.client.get(format!("{}/healthz", cluster.balancer.url)).send().await.unwrap().status() == 200
        })
        .await;
        cluster
    }

    /// Sends a request to one of the instances.
    async fn send(&self, instance: usize, method: Method, path: &str, token: &str, body: Value) -> Answer {
        let url = format!("{}{path}", self.instances[instance % 3].url());
        Answer::to(self.client.request(method, url).bearer_auth(token).json(&body)).await
    }

    async fn code(&self, instance: usize) -> String {
        self.send(instance, Method::POST, "/app/v1_0/sms/codes", "", json!({ "mobile": MOBILE })).await.expect(200);
        self.stack.phones.code(MOBILE).unwrap()
    }

    async fn sign_in(&self, instance: usize, code: &str) -> Answer {
        let body = json!({ "mobile": MOBILE, "code": code });
        self.send(instance, Method::POST, "/app/v1_0/authorizations", "", body).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_limits_and_sessions_are_those_of_all_instances() {
    let _turn = turn().await;
    let cluster = Cluster::start(&[("SMS_PER_MOBILE_PER_DAY", "4")]).await;

    // A code from one is good at another, and only once.
    let code = cluster.code(0).await;
    let tokens = Tokens::of(&cluster.sign_in(1, &code).await.expect(201));
    cluster.sign_in(2, &code).await.expect_error(400, "sms_code_expired");

    // Wrong tries count together.
    let code = cluster.code(1).await;
    for n in 0..5 {
        let answer = cluster.sign_in(n, other_than(&code)).await;
        assert_eq!(answer.expect_error(400, "sms_code_invalid")["attempts_left"], 4 - n);
    }
    cluster.sign_in(2, &code).await.expect_error(400, "sms_code_expired");

    // So do messages.
    cluster.code(2).await;
    cluster.code(0).await;
    let order = json!({ "mobile": MOBILE });
    let fifth = cluster.send(1, Method::POST, "/app/v1_0/sms/codes", "", order).await;
    fifth.expect_error(429, "sms_quota_exceeded");

    // A session that ends at one has ended everywhere, within a second.
    cluster.send(0, Method::DELETE, "/app/v1_0/authorizations", &tokens.access, Value::Null).await.expect(204);
    for n in 0..3 {
        until("the others know", Duration::from_secs(5), async || {
            cluster.send(n, Method::GET, "/app/v1_0/user", &tokens.access, Value::Null).await.status == 401
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_sign_in_is_the_same_session_at_any_instance() {
    let _turn = turn().await;
    let cluster = Cluster::start(&[]).await;
    let (code, key) = (cluster.code(0).await, Uuid::now_v7().to_string());
    let sign_in = |instance: usize| {
        let url = format!("{}/app/v1_0/authorizations", cluster.instances[instance].url());
        let request = cluster.client.post(url).header("idempotency-key", &key);
        Answer::to(request.json(&json!({ "mobile": MOBILE, "code": code })))
    };
    let (first, second, third) = tokio::join!(sign_in(0), sign_in(1), sign_in(2));
    let sessions = [first, second, third].map(|answer| Tokens::of(&answer.expect(201)).session_id());
    assert!(sessions.iter().all(|session| *session == sessions[0]), "{sessions:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_not_one_request() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(&[]).await;
    let load = Load::on(&cluster.balancer.url, &cluster.stack.phones);
    load.more(ENOUGH).await;
    for n in 0..3 {
        cluster.instances[n].process.running.signal("TERM");
        assert_eq!(cluster.instances[n].process.running.end().await, 0);
        cluster.stack.restart(&mut cluster.instances[n]).await;
        load.more(ENOUGH).await;
    }
    let seen = load.end().await;
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
    seen.expect_kept(&cluster.stack, &cluster.balancer.url, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_killed_takes_nobody_along() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(&[]).await;
    let load = Load::on(&cluster.balancer.url, &cluster.stack.phones);
    load.more(ENOUGH).await;
    cluster.instances[1].process.running.kill();
    load.more(ENOUGH).await;
    cluster.stack.restart(&mut cluster.instances[1]).await;
    load.more(ENOUGH).await;
    load.end().await.expect_kept(&cluster.stack, &cluster.balancer.url, None).await;
}
