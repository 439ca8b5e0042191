//! Does a session end for a thief, and go on for its owner, in whatever order things happen?

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::support::{Answer, MOBILE, TestApp, Tokens, backends::Backends};

/// Sends nothing and never burns: a session for every story.
const CODE: &str = "246810";

/// The defaults, in hours.
const ACCESS_TOKEN_TTL: u32 = 1;
const REFRESH_TOKEN_TTL: u32 = 14 * 24;
const SESSION_MAX_AGE: u32 = 90 * 24;

#[derive(Clone, Copy, Debug)]
enum Step {
    OwnerRefreshes,
    OwnerLosesTheAnswer,
    OwnerSignsOut,
    ThiefCopiesTheToken,
    ThiefRefreshes,
    ThiefLosesTheAnswer,
    HoursPass(u32),
}

/// What happens, and who is the last to come back in the end.
#[derive(Clone, Debug)]
struct Story {
    steps: Vec<Step>,
    thief_is_last: bool,
}

fn stories() -> impl Strategy<Value = Story> {
    let hours = prop_oneof![
        6 => Just(1),
        3 => 2..72_u32,
        1 => REFRESH_TOKEN_TTL - 2..REFRESH_TOKEN_TTL + 2,
    ];
    let alone = prop_oneof![
        3 => Just(Step::OwnerRefreshes),
        2 => Just(Step::OwnerLosesTheAnswer),
        2 => hours.prop_map(Step::HoursPass),
    ];
    let together = prop_oneof![
        12 => alone.clone(),
        1 => Just(Step::OwnerSignsOut),
        4 => Just(Step::ThiefCopiesTheToken),
        6 => Just(Step::ThiefRefreshes),
        3 => Just(Step::ThiefLosesTheAnswer),
    ];
    let steps = prop_oneof![
        1 => prop::collection::vec(alone, 1..=20),
        3 => prop::collection::vec(together, 1..=20),
    ];
    // Without this, hardly a session would grow old enough to end by its age.
    let fortnights = prop_oneof![3 => Just(0), 1 => 1..=6_usize];
    (fortnights, steps, any::<bool>()).prop_map(|(fortnights, steps, thief_is_last)| {
        let mut all = [Step::HoursPass(REFRESH_TOKEN_TTL - 1), Step::OwnerRefreshes].repeat(fortnights);
        all.extend(steps);
        Story { steps: all, thief_is_last }
    })
}

/// A session and what everybody knows of it. Refresh tokens go by their place among all that were ever handed out.
struct Session<'a> {
    app: &'a TestApp,
    refresh_tokens: Vec<String>,
    /// With the hour of each.
    access_tokens: Vec<(String, u32)>,
    last_used: Option<usize>,
    owner: usize,
    owners_access_token: usize,
    thief: Option<usize>,
    hour: u32,
    refreshed_at: u32,
    is_revoked: bool,
}

impl<'a> Session<'a> {
    async fn open(app: &'a TestApp) -> Self {
        let Tokens { access, refresh } = Tokens::of(&app.sign_in_with(MOBILE, CODE).await.expect(201));
        Self {
            app,
            refresh_tokens: vec![refresh],
            access_tokens: vec![(access, 0)],
            last_used: None,
            owner: 0,
            owners_access_token: 0,
            thief: None,
            hour: 0,
            refreshed_at: 0,
            is_revoked: false,
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::OwnerRefreshes => {
                if self.owner_refreshes().await {
                    self.owner += 1;
                    self.owners_access_token = self.access_tokens.len() - 1;
                }
            }
            Step::OwnerLosesTheAnswer => {
                self.owner_refreshes().await;
            }
            Step::OwnerSignsOut => self.sign_out().await,
            Step::ThiefCopiesTheToken => self.thief = Some(self.owner),
            Step::ThiefRefreshes => {
                if let Some(token) = self.thief
                    && self.refresh(token).await
                {
                    self.thief = Some(token + 1);
                }
            }
            Step::ThiefLosesTheAnswer => {
                if let Some(token) = self.thief {
                    self.refresh(token).await;
                }
            }
            Step::HoursPass(hours) => {
                self.app.advance(u64::from(hours) * 3600).await;
                self.hour += hours;
            }
        }
    }

    async fn owner_refreshes(&mut self) -> bool {
        let had_ended = self.is_over();
        let refreshed = self.refresh(self.owner).await;
        assert!(refreshed || had_ended || self.thief.is_some(), "signed out without a thief");
        refreshed
    }

    /// Presents a refresh token, and holds the answer against the contract.
    async fn refresh(&mut self, token: usize) -> bool {
        let answer = self.app.refresh(&self.refresh_tokens[token]).await;
        if self.is_over() {
            self.expect_refused(&answer);
            return false;
        }
        // "Allowed as long as its successor has never been used."
        if self.last_used > Some(token) {
            answer.expect_error(401, "refresh_token_reused");
            self.is_revoked = true;
            self.expect_everything_refused().await;
            return false;
        }
        let Tokens { access, refresh } = Tokens::of(&answer.expect(201));
        match self.refresh_tokens.get(token + 1) {
            Some(successor) => assert_eq!(&refresh, successor, "a second successor"),
            None => {
                assert!(!self.refresh_tokens.contains(&refresh), "a successor from the past");
                self.refresh_tokens.push(refresh);
            }
        }
        self.app.user(&access).await.expect(200);
        self.access_tokens.push((access, self.hour));
        self.last_used = Some(token);
        self.refreshed_at = self.hour;
        true
    }

    async fn sign_out(&mut self) {
        let (token, issued_at) = &self.access_tokens[self.owners_access_token];
        let answer = self.app.sign_out(token).await;
        if self.hour - issued_at >= ACCESS_TOKEN_TTL {
            answer.expect_error(401, "token_expired");
        } else if self.is_revoked {
            answer.expect_error(401, "session_revoked");
        } else {
            answer.expect(204);
            self.is_revoked = true;
            self.expect_everything_refused().await;
        }
    }

    fn is_expired(&self) -> bool {
        self.hour - self.refreshed_at >= REFRESH_TOKEN_TTL || self.hour >= SESSION_MAX_AGE
    }

    fn is_over(&self) -> bool {
        self.is_revoked || self.is_expired()
    }

    #[track_caller]
    fn expect_refused(&self, answer: &Answer) {
        // Sessions that have expired are deleted after a while, and why they ended is forgotten with them.
        let code = match (self.is_revoked, self.is_expired()) {
            (true, true) if answer.json()["code"] == "session_revoked" => "session_revoked",
            (_, true) => "refresh_token_invalid",
            (_, false) => "session_revoked",
        };
        answer.expect_error(401, code);
    }

    /// Nobody has a token that is good for anything, answers that never arrived included.
    async fn expect_everything_refused(&self) {
        for token in &self.refresh_tokens {
            self.expect_refused(&self.app.refresh(token).await);
        }
        for (token, issued_at) in &self.access_tokens {
            let is_expired = self.hour - issued_at >= ACCESS_TOKEN_TTL;
            let code = if is_expired { "token_expired" } else { "session_revoked" };
            self.app.user(token).await.expect_error(401, code);
        }
    }

    /// However it came so far: once one of the two has gone ahead and the other comes back, it is over for both.
    async fn end(&mut self, thief_is_last: bool) {
        let (ahead, last) = match thief_is_last {
            true => (Step::OwnerRefreshes, Step::ThiefRefreshes),
            false => (Step::ThiefRefreshes, Step::OwnerRefreshes),
        };
        for step in [ahead, ahead, ahead, last] {
            self.take(step).await;
        }
        assert!(self.is_over() || self.thief.is_none(), "the thief is still in");
        if self.is_over() {
            self.expect_everything_refused().await;
        }
    }
}

fn holds_for_every_story(backends: Backends, cases: u32) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _context = runtime.enter();
    let app = runtime.block_on(TestApp::start_with(backends, &[&format!("--sms-test-codes={MOBILE}={CODE}")]));
    // A seed tells a reader nothing: a story that went wrong is better told in a test of its own.
    let config = Config { cases, max_shrink_iters: 1000, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&stories(), |story| {
        runtime.block_on(async {
            let mut session = Session::open(&app).await;
            for step in story.steps {
                session.take(step).await;
            }
            session.end(story.thief_is_last).await;
        });
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_session_survives_lost_answers_but_no_thief_on_sqlite_and_in_process() {
    holds_for_every_story(Backends::SQLITE_AND_IN_PROCESS, 96);
}

#[test]
fn a_session_survives_lost_answers_but_no_thief_on_postgresql_and_redis() {
    holds_for_every_story(Backends::POSTGRESQL_AND_REDIS, 24);
}
