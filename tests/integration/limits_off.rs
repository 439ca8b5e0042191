//! Limits that are set to 0.

use std::time::Duration;

use phonepass::{
    model::limit::LimitName,
    store::ephemeral::{Admission, Counter, Counting, Tally},
};
use reqwest::Method;
use serde_json::json;

use crate::support::{MOBILE, PASSWORD, TestApp, on_every_backend, other_than};

const NETWORK: &str = "127.0.0.1";

/// Every limit off that can be, and no suspicion of anyone.
const OFF: [&str; 11] = [
    "--sms-resend-seconds=0",
    "--sms-per-mobile-per-day=0",
    "--sms-per-ip-per-hour=0",
    "--sms-total-per-hour=0",
    "--verify-per-mobile-per-hour=0",
    "--requests-per-ip-per-minute=0",
    "--sms-asks-per-ip-per-hour=0",
    "--guesses-per-ip-per-hour=0",
    "--sign-ins-per-user-per-hour=0",
    "--image-code=never",
    "--limit-exempt=0.0.0.0/0,::/0",
];

/// The limits that have counted anything of this test.
async fn counting(app: &TestApp) -> Vec<&'static str> {
    let subjects = [(MOBILE, None), (MOBILE, Some(NETWORK)), (NETWORK, None), ("all", None)];
    let mut counting = Vec::new();
    for name in LimitName::ALL.iter().copied() {
        for (subject, part) in subjects {
            let counter = Counter {
                name,
                subject: subject.to_owned(),
                part: part.map(str::to_owned),
                member: None,
                window: Duration::from_secs(24 * 3600),
                limit: Some(1),
                suspicion: None,
                counting: Counting::Never,
            };
            let (at, network) = (app.clock.now(), NETWORK.to_owned());
            let tally = Tally { id: "a question".to_owned(), at, network, counters: vec![counter], flows: vec![] };
            if app.app.codes.survey(&tally).await.unwrap() != Admission::Admitted {
                counting.push(name.as_str());
            }
        }
    }
    counting
}

async fn misuse(app: &TestApp) {
    app.register(MOBILE, PASSWORD).await.expect_errno(0);
    for _ in 0..6 {
        let code = app.code(MOBILE).await;
        for _ in 0..4 {
            app.sign_in_with(MOBILE, other_than(&code)).await.expect_error(400, "sms_code_invalid");
        }
    }
    let guess = json!({ "mobile": MOBILE, "password": "a wrong secret" });
    app.post("/app/v1_0/authorizations/password", guess).await.expect_error(401, "credentials_invalid");
}

on_every_backend! {
    async fn a_limit_of_zero_refuses_nothing_and_counts_nothing(backends: Backends) {
        let app = TestApp::start_with(backends, &OFF).await;
        misuse(&app).await;
        assert_eq!(counting(&app).await, [""; 0]);

        let tokens = app.sign_in(MOBILE).await;
        let change = json!({ "old_password": PASSWORD, "password": "another long secret" });
        app.send_as(Method::PUT, "/app/v1_0/user/password", &tokens.access, change).await.expect(204);
        assert_eq!(counting(&app).await, [""; 0]);
    }
}

on_every_backend! {
    async fn what_counts_is_seen_by_the_same_look(backends: Backends) {
        let app = TestApp::start_with(backends, &["--verify-per-mobile-per-hour=100", "--sms-resend-seconds=0"]).await;
        let code = app.code(MOBILE).await;
        app.sign_in_with(MOBILE, other_than(&code)).await.expect_error(400, "sms_code_invalid");
        let guess = json!({ "mobile": MOBILE, "password": "a wrong secret" });
        app.post("/app/v1_0/authorizations/password", guess).await.expect_error(401, "credentials_invalid");
        let mut counting = counting(&app).await;
        counting.dedup();
        let expected = [
            "sms_per_mobile",
            "sms_per_ip",
            "sms_asks",
            "sms_unredeemed",
            "sms_mobiles_per_ip",
            "wrong_passwords",
            "wrong_passwords_of_strangers",
            "wrong_passwords_per_ip",
        ];
        assert_eq!(counting, expected);
    }
}
