//! Enumeration: an attacker with one address asks which of many numbers are registered, by every call that could tell.

use serde::Serialize;
use serde_json::json;

use crate::{
    on_both_stores, report,
    support::{Answer, PASSWORD, TestApp, backends::Backends},
    visitor::{Outcome, PROXY, SEND, SIGN_IN_WITH_PASSWORD, Visitor, count, number, scattered},
};

const ATTACKER: &str = "203.0.113.1";

/// What one address has learnt.
#[derive(Debug, Serialize)]
struct Learnt {
    /// Registered numbers, by `mobile_taken`: free of charge, and their owners notice nothing.
    told: usize,
    /// Numbers that are not registered: each got a message, which is paid for and counted.
    messages: usize,
    refused: usize,
}

/// Registers numbers of so many owners, each at home.
async fn register(app: &TestApp, owners: usize) -> Vec<String> {
    let mut mobiles = Vec::new();
    for n in 0..owners {
        let mobile = number(n, 1);
        Visitor::at(app, scattered(n)).sign_in(&mobile).await;
        mobiles.push(mobile);
    }
    mobiles
}

/// Asks for a classic code for every number, with every picture read.
async fn list(attacker: &Visitor<'_>, mobiles: &[String]) -> Learnt {
    let mut outcomes = Vec::new();
    for mobile in mobiles {
        outcomes.push(attacker.ask_classic(mobile).await);
    }
    let [told, messages, refused] =
        [Outcome::Taken, Outcome::Done, Outcome::Limited].map(|outcome| count(&outcomes, outcome));
    Learnt { told, messages, refused }
}

on_both_stores! {
    async fn one_address_is_told_of_ten_registered_numbers_an_hour(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        let known = register(&app, 100).await;
        // Of the 200 numbers, every other one is registered.
        let both: Vec<_> =
            known.iter().enumerate().flat_map(|(n, known)| [known.clone(), number(n, 2)]).collect();
        let attacker = Visitor::at(&app, ATTACKER);

        let within_an_hour = list(&attacker, &both).await;
        report("enumeration, 200 numbers within an hour, half of them registered", &within_an_hour);
        app.advance(3600).await;
        // In the next hour the attacker knows better than to pay for messages.
        let in_the_next = list(&attacker, &known).await;
        report("enumeration, 100 registered numbers in the next hour", &in_the_next);

        for learnt in [&within_an_hour, &in_the_next] {
            assert!(learnt.told <= 10, "{learnt:?}");
            assert!(learnt.refused >= 80, "{learnt:?}");
        }
        // Another address pays for none of it.
        assert_eq!(Visitor::at(&app, "192.0.2.9").ask_classic(&number(0, 3)).await, Outcome::Done);
    }
}

/// What can be told apart: status and body without what is of one request alone.
fn told(answer: &Answer) -> String {
    let mut body = answer.json();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("request_id");
    }
    format!("{} {body}", answer.status)
}

on_both_stores! {
    async fn resets_and_passwords_tell_nothing(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        let known = register(&app, 5).await;
        let mut told_apart = 0;
        for (n, known) in known.iter().enumerate() {
            let attacker = Visitor::at(&app, format!("203.0.113.{n}"));
            let mut answers = [Vec::new(), Vec::new()];
            for (mobile, answers) in [known, &number(n, 2)].into_iter().zip(&mut answers) {
                // A gap and a window apart, so that nothing but the number differs.
                app.advance(3600).await;
                let body = json!({ "mobile": mobile, "purpose": "reset_password" });
                answers.push(told(&attacker.post(SEND, body).await));
                for _ in 0..7 {
                    let body = json!({ "mobile": mobile, "code": "000000", "password": PASSWORD });
                    answers.push(told(&attacker.post("/app/v1_0/password_resets", body).await));
                }
                let body = json!({ "mobile": mobile, "password": "a wrong secret" });
                answers.push(told(&attacker.post(SIGN_IN_WITH_PASSWORD, body).await));
            }
            told_apart += usize::from(answers[0] != answers[1]);
        }
        report("enumeration, known numbers of 5 told from unknown ones by resets and passwords", &told_apart);
        assert_eq!(told_apart, 0);
    }
}
