//! Strangers guess at passwords: of one owner, who is to be locked out, and one password at many numbers.

use std::time::Duration;

use serde::Serialize;

use crate::{
    on_both_stores, report,
    support::{MOBILE, PASSWORD, TestApp, backends::Backends},
    visitor::{Outcome, PROXY, Visitor, count, crowd, number, scattered},
};

const HOME: &str = "192.0.2.1";
const WRONG: &str = "a wrong secret";

/// Guesses, as often as a place in the queue takes.
async fn guess(visitor: &Visitor<'_>, mobile: &str, password: &str) -> Outcome {
    loop {
        match visitor.try_password(mobile, password).await {
            Outcome::Busy => tokio::time::sleep(Duration::from_millis(20)).await,
            outcome => return outcome,
        }
    }
}

/// The hours of a day, after the first, at which guesses at one number are watched. What all guesses in all have used up
/// does not come back by itself.
const SOME_HOURS: [u64; 3] = [1, 12, 23];

/// So many guesses of each of these networks at one number, which takes one at a time; returns how many were looked at.
async fn guesses(app: &TestApp, networks: std::ops::Range<usize>, each: usize) -> usize {
    let mut looked_at = 0;
    for n in networks.flat_map(|n| std::iter::repeat_n(n, each)) {
        looked_at += usize::from(guess(&Visitor::at(app, scattered(n)), MOBILE, WRONG).await == Outcome::Wrong);
    }
    looked_at
}

#[derive(Debug, Serialize)]
struct Siege {
    /// Wrong passwords of 300 networks that were compared in the first hour of a day, and later.
    first_hour: usize,
    later: usize,
    /// What a mistyped password gets, and then the right one: on a known device elsewhere, and without it on the known
    /// network. The mistyped ones come first: a right one clears the way for others.
    on_a_known_device: [Outcome; 2],
    on_a_known_network: [Outcome; 2],
}

on_both_stores! {
    async fn an_owner_signs_in_while_300_networks_guess_at_the_password(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        let owner = Visitor::at(&app, HOME).on_a_device();
        owner.register(MOBILE, PASSWORD).await;

        let first_hour = guesses(&app, 0..300, 1).await;
        let (mut now, mut later) = (0, 0);
        for hour in SOME_HOURS {
            app.advance((hour - now) * 3600).await;
            now = hour;
            later += guesses(&app, 0..30, 4).await;
        }
        let (device, network) = (owner.moved_to("198.51.100.1"), owner.without_device());
        let mistyped = [device.try_password(MOBILE, WRONG).await, network.try_password(MOBILE, WRONG).await];
        let right = [device.try_password(MOBILE, PASSWORD).await, network.try_password(MOBILE, PASSWORD).await];
        let siege = Siege {
            first_hour,
            later,
            on_a_known_device: [mistyped[0], right[0]],
            on_a_known_network: [mistyped[1], right[1]],
        };
        report("locking the password from 300 networks", &siege);

        assert!(siege.first_hour <= 100, "{siege:?}");
        assert!(siege.first_hour + siege.later <= 100, "no challenge was solved: {siege:?}");
        for owner in [siege.on_a_known_device, siege.on_a_known_network] {
            assert_eq!(owner, [Outcome::Wrong, Outcome::Done], "{siege:?}");
        }
    }
}

#[derive(Debug, Serialize)]
struct Spray {
    looked_at: usize,
    refused: usize,
    found: usize,
}

on_both_stores! {
    async fn one_password_at_10_000_numbers_is_looked_at_100_times(backends: Backends) {
        const NUMBERS: usize = 10_000;
        const WEAK: &str = "a secret of many";
        let app = TestApp::start_with(backends, &[PROXY]).await;
        // One in 500 has it, from the 250th number on.
        for n in (250..NUMBERS).step_by(500) {
            Visitor::at(&app, scattered(n)).register(&number(n % 1000, n / 1000), WEAK).await;
        }
        let attacker = Visitor::at(&app, "203.0.113.1");
        let guesses = (0..NUMBERS).map(|n| {
            let attacker = &attacker;
            async move { guess(attacker, &number(n % 1000, n / 1000), WEAK).await }
        });
        let outcomes = crowd(guesses).await;
        let [wrong, refused, found] =
            [Outcome::Wrong, Outcome::Limited, Outcome::Done].map(|outcome| count(&outcomes, outcome));
        let spray = Spray { looked_at: wrong + found, refused, found };
        report("one password at 10,000 numbers from one address", &spray);

        assert_eq!(spray.looked_at, 100, "{spray:?}");
        assert_eq!(spray.refused, NUMBERS - 100, "{spray:?}");
        // Others sign in with theirs.
        let owner = Visitor::at(&app, scattered(250));
        assert_eq!(owner.try_password(&number(250, 0), WEAK).await, Outcome::Done);
    }
}
