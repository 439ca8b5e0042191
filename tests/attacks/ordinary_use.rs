//! The other side: people whom no defence may stand in the way of. None is refused, none meets a challenge.

use serde::Serialize;
use serde_json::json;

use crate::{
    on_both_stores, report,
    support::{MOBILE, PASSWORD, TestApp, Tokens, backends::Backends, other_than},
    visitor::{Outcome, PROXY, SIGN_IN, Visitor, count, crowd, number, scattered},
};

const HOME: &str = "192.0.2.1";
const MOBILE_NETWORK: &str = "198.51.100.1";

/// What happened to people, by the first answer that they got.
#[derive(Debug, Serialize)]
struct People {
    served: usize,
    challenged: usize,
    refused: usize,
}

impl People {
    fn of(outcomes: &[Outcome]) -> Self {
        let [served, challenged, refused] =
            [Outcome::Done, Outcome::Challenged, Outcome::Limited].map(|outcome| count(outcomes, outcome));
        assert_eq!(served + challenged + refused, outcomes.len());
        Self { served, challenged, refused }
    }
}

on_both_stores! {
    async fn a_school_of_500_known_users_signs_in_behind_one_address(backends: Backends) {
        const USERS: usize = 500;
        let app = TestApp::start_with(backends, &[PROXY]).await;
        let mut users = Vec::new();
        for n in 0..USERS {
            let user = Visitor::at(&app, scattered(n)).on_a_device();
            user.sign_in(&number(n / 10, n)).await;
            users.push(user);
        }
        // Weeks later, within one hour.
        app.advance(30 * 86400).await;
        let mut outcomes = Vec::new();
        for (n, user) in users.iter().enumerate() {
            let at_school = user.moved_to("203.0.113.1");
            let mobile = number(n / 10, n);
            let outcome = match at_school.ask(&mobile).await {
                Outcome::Done => at_school.enter_code(&mobile).await,
                outcome => outcome,
            };
            outcomes.push(outcome);
        }
        let people = People::of(&outcomes);
        report("a school of 500 known users behind one address within an hour", &people);
        assert_eq!(people.served, USERS, "{people:?}");
    }
}

/// Signs up at one of so many addresses in 300 blocks, and redeems the code or does not.
async fn sign_up(app: &TestApp, place: usize, mobile: &str, redeems: bool) -> Outcome {
    let (block, host) = (place % 300, place / 300);
    let visitor = Visitor::at(app, format!("100.{}.{}.{}", 64 + block / 256, block % 256, host + 1));
    match visitor.ask(mobile).await {
        Outcome::Done if redeems => visitor.enter_code(mobile).await,
        outcome => outcome,
    }
}

on_both_stores! {
    async fn on_a_launch_day_at_most_2_in_100_meet_a_challenge(backends: Backends) {
        const USUAL: usize = 120; // sign-ups a day
        const ADDRESSES: usize = 2000;
        // The numbers of a city.
        const PREFIXES: usize = 40;
        let app = TestApp::start_with(backends, &[PROXY]).await;
        let mut numbers = (0..).map(|n| number(n % PREFIXES, n / PREFIXES));
        // One in five does not redeem, at any place and of any prefix.
        let mut people = (0..).map(|n| (n * 7 % ADDRESSES, !(n + n / PREFIXES).is_multiple_of(5)));
        let mut day = async |sign_ups: usize| {
            let mut outcomes = Vec::new();
            for hour in 0..12 {
                let acts = people.by_ref().zip(numbers.by_ref()).take(sign_ups / 12);
                let app = &app;
                let acts = acts.map(|((place, redeems), mobile)| async move { sign_up(app, place, &mobile, redeems).await });
                outcomes.extend(crowd(acts).await);
                app.advance(if hour < 11 { 3600 } else { 13 * 3600 }).await;
            }
            outcomes
        };
        let mut usual = Vec::new();
        for _ in 0..4 {
            usual.extend(day(USUAL).await);
        }
        let usual = People::of(&usual);
        report("4 usual days", &usual);
        let launch = People::of(&day(20 * USUAL).await);
        report("a launch day with 20 times the sign-ups", &launch);
        assert_eq!((usual.challenged, usual.refused), (0, 0), "{usual:?}");
        assert_eq!(launch.refused, 0, "{launch:?}");
        assert!(launch.challenged * 100 <= 2 * 20 * USUAL, "{launch:?}");
    }
}

on_both_stores! {
    async fn a_user_changes_from_wi_fi_to_4g_between_asking_and_signing_in(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        // First without an account, then with one, then on a device that it knows, then on a device that it does not.
        let nameless = Visitor::at(&app, HOME);
        let with_a_device = nameless.clone().on_a_device();
        for user in [&nameless, &nameless, &with_a_device, &with_a_device, &nameless.clone().on_a_device()] {
            assert_eq!(user.ask(MOBILE).await, Outcome::Done);
            assert_eq!(user.moved_to(MOBILE_NETWORK).enter_code(MOBILE).await, Outcome::Done);
            app.advance(3601).await;
        }
    }
}

on_both_stores! {
    async fn a_user_mistypes_a_code_four_times(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        let home = Visitor::at(&app, HOME);
        let on_a_device = home.clone().on_a_device();
        let asks_and_types = [
            // Signs up; signs in.
            (home.clone(), home.clone()),
            (home.clone(), home.clone()),
            (on_a_device.clone(), on_a_device.clone()),
            (on_a_device.clone(), on_a_device.clone()),
            // On the way from one network to the other.
            (on_a_device.clone(), on_a_device.moved_to(MOBILE_NETWORK)),
            (home.clone(), home.moved_to(MOBILE_NETWORK)),
        ];
        for (asks, types) in asks_and_types {
            assert_eq!(asks.ask(MOBILE).await, Outcome::Done);
            let wrong = other_than(&app.last_code(MOBILE));
            for left in (1..=4).rev() {
                let answer = types.post(SIGN_IN, json!({ "mobile": MOBILE, "code": wrong })).await;
                assert_eq!(answer.expect_error(400, "sms_code_invalid")["attempts_left"], left);
            }
            let body = json!({ "mobile": MOBILE, "code": app.last_code(MOBILE) });
            Tokens::of(&types.post(SIGN_IN, body).await.expect(201));
            app.advance(3601).await;
        }
    }
}

on_both_stores! {
    async fn a_user_mistypes_a_password_four_times(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        let user = Visitor::at(&app, HOME).on_a_device();
        user.register(MOBILE, PASSWORD).await;
        for user in [&user, &user.without_device(), &user.moved_to(MOBILE_NETWORK), &Visitor::at(&app, scattered(1))] {
            for _ in 0..4 {
                assert_eq!(user.try_password(MOBILE, "a mistyped secret").await, Outcome::Wrong);
            }
            assert_eq!(user.try_password(MOBILE, PASSWORD).await, Outcome::Done);
        }
    }
}
