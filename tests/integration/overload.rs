//! More passwords at once than there are cores for: what is refused, and what that costs.

use std::{
    iter,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use phonepass::auth::cores::Party;
use reqwest::Method;
use serde_json::json;
use tokio::sync::oneshot;

use crate::{
    faults::expect_unavailable,
    support::{
        MOBILE, PASSWORD, PATIENCE, TestApp, Tokens,
        backends::Backends,
        on_every_backend,
        senders::{HERE, PROXY, THERE, at},
    },
};

const NEWCOMER: &str = "13900139000";

/// Work on every core that hashes passwords, until this is dropped.
pub struct Busy {
    _let_go: Vec<mpsc::Sender<()>>,
}

impl Busy {
    /// Returns once all of it has begun.
    pub async fn on_all_cores_of(app: &TestApp) -> Self {
        let mut busy = Vec::new();
        for _ in 0..thread::available_parallelism().unwrap().get().div_ceil(2) {
            let (let_go, wait) = mpsc::channel();
            let (begin, begun) = oneshot::channel();
            let work = move || {
                begin.send(()).unwrap();
                let _: Result<(), _> = wait.recv();
            };
            let hashing = app.app.hashing.clone();
            tokio::spawn(async move { hashing.run(work).await });
            begun.await.unwrap();
            busy.push(let_go);
        }
        Self { _let_go: busy }
    }
}

on_every_backend! {
    async fn a_password_that_would_wait_too_long_is_refused_and_costs_nothing(backends: Backends) {
        let app = TestApp::start_with(backends, &["--verify-per-mobile-per-hour=3", "--sms-resend-seconds=0"]).await;
        let tokens = Tokens::of(&app.register(MOBILE, PASSWORD).await.expect_errno(0));
        let code = app.classic_code(NEWCOMER).await;
        let reset = app.code_for("reset_password", MOBILE, "").await;

        let wrong = json!({ "mobile": MOBILE, "password": "a wrong secret" });
        let registration = json!({ "mobile": NEWCOMER, "sms_code": code, "password": PASSWORD });
        let resetting = json!({ "mobile": MOBILE, "code": reset, "password": "another long secret" });
        let change = json!({ "old_password": PASSWORD, "password": "another long secret" });
        let password = "/app/v1_0/user/password";
        let requests = || {
            [
                app.request(Method::POST, "/app/v1_0/authorizations/password").json(&wrong),
                app.request(Method::PUT, password).bearer_auth(&tokens.access).json(&change),
                app.request(Method::POST, "/app/v1_0/password_resets").json(&resetting),
                app.request(Method::POST, "/api/v1.0/sessions").json(&wrong),
                app.request(Method::POST, "/passport/login").json(&wrong),
                app.request(Method::POST, "/api/v1.0/users").json(&registration),
            ]
        };
        let busy = Busy::on_all_cores_of(&app).await;
        app.app.hashing.set_max_wait(Duration::from_millis(100));
        let answers = join_all(requests().map(|request| app.send(request))).await;
        let (of_the_app, classic) = answers.split_at(3);
        of_the_app.iter().for_each(expect_unavailable);
        classic.iter().for_each(|answer| drop(answer.expect_errno(4001)));
        // All else is served meanwhile.
        app.user(&tokens.access).await.expect(200);
        app.sign_in(NEWCOMER.replace('9', "7").as_str()).await;
        app.picture("p").await;
        drop(busy);
        app.app.hashing.set_max_wait(PATIENCE);

        // The three guesses of this hour are still there, and so are the codes.
        for _ in 0..3 {
            app.post("/app/v1_0/authorizations/password", wrong.clone()).await.expect_error(401, "credentials_invalid");
        }
        app.post("/api/v1.0/users", registration.clone()).await.expect_errno(0);
        app.post("/app/v1_0/password_resets", resetting.clone()).await.expect(204);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_takes_the_same_time_behind_a_queue() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    app.register(MOBILE, PASSWORD).await.expect_errno(0);
    app.register(NEWCOMER, PASSWORD).await.expect_errno(0);
    // A hash of another system that takes no time at all.
    let sql = "UPDATE users SET password_hash = 'sha1$Xq3fT9aZ$bf5782f16a55b8ad8510b897621111ed35f6f8c9'
               WHERE mobile = '13900139000'";
    app.stores.execute(sql).await;
    for mobile in [MOBILE, NEWCOMER, "13700137000"] {
        let busy = Busy::on_all_cores_of(&app).await;
        let body = json!({ "mobile": mobile, "password": "a wrong secret" });
        let guess = async {
            app.post("/app/v1_0/authorizations/password", body).await.expect_error(401, "credentials_invalid");
            Instant::now()
        };
        let queue = async {
            // The half second for a wrong answer would have begun to run.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let free = Instant::now();
            drop(busy);
            free
        };
        let (answered, free) = tokio::join!(guess, queue);
        assert!(answered - free >= Duration::from_millis(500), "{mobile}: {:?}", answered - free);
    }
}

on_every_backend! {
    async fn one_network_fills_a_quarter_of_the_queue_and_others_are_served(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--verify-per-mobile-per-hour=1"]).await;
        app.register(MOBILE, PASSWORD).await.expect_errno(0);
        let fill = |network: &str| -> Vec<_> {
            iter::from_fn(|| app.app.hashing.place(Party::Network(network.to_owned())).ok()).collect()
        };
        let crowd = fill(HERE);
        for _ in 0..3 {
            expect_unavailable(&at(HERE).try_wrong_password(&app, MOBILE).await);
        }
        at(THERE).try_password(&app, MOBILE, PASSWORD).await.expect(201);
        let three_more = ["192.0.2.2", "192.0.2.3", "192.0.2.4"].map(fill);
        assert!(three_more.iter().all(|places| places.len() == crowd.len()));
        expect_unavailable(&at(THERE).try_password(&app, MOBILE, PASSWORD).await);
        drop(three_more);
        drop(crowd);
        // What was refused has cost nothing: the one guess of the network at this number is still there.
        at(HERE).try_wrong_password(&app, MOBILE).await.expect_error(401, "credentials_invalid");
        at(HERE).try_wrong_password(&app, MOBILE).await.expect_error(429, "too_many_requests");
    }
}
