//! Strangers guess at the codes of an owner, so that none is left when the owner types it.

use serde::Serialize;

use crate::{
    on_both_stores, report,
    support::{MOBILE, TestApp, backends::Backends, other_than},
    visitor::{Outcome, PROXY, Visitor, scattered},
};

const HOME: &str = "192.0.2.1";
const OFFICE: &str = "198.51.100.1";

/// What strangers do about a code that was just sent.
#[derive(Clone, Copy)]
enum Attack {
    /// They guess.
    Guess,
    /// They ask for a code themselves, so that their tries count as those of one who asked.
    AskAndGuess,
}

/// Guesses from each of so many networks until no guess is looked at any more; returns how many were.
async fn burn(app: &TestApp, mobile: &str, networks: usize, attack: Attack) -> usize {
    let mut looked_at = 0;
    for n in 0..networks {
        let stranger = Visitor::at(app, scattered(n));
        if matches!(attack, Attack::AskAndGuess) {
            stranger.ask(mobile).await;
        }
        // No code takes more tries than ten from one network, however they are counted.
        for _ in 0..10 {
            match stranger.try_code(mobile, other_than(&app.last_code(mobile))).await {
                Outcome::Wrong => looked_at += 1,
                _ => break,
            }
        }
    }
    looked_at
}

#[derive(Debug, Default, Serialize)]
struct Siege {
    networks: usize,
    /// How often the owner tried to sign in, and did.
    tries: usize,
    signed_in: usize,
    /// Wrong codes of strangers that were compared.
    guesses: usize,
}

/// A day: every six hours the owner asks for a code at one of these places, strangers do their worst, the owner types the
/// code.
async fn siege(app: &TestApp, owner_at: [&Visitor<'_>; 4], networks: usize, attack: Attack) -> Siege {
    let mut siege = Siege { networks, ..Siege::default() };
    for owner in owner_at {
        siege.tries += 1;
        if owner.ask(MOBILE).await == Outcome::Done {
            siege.guesses += burn(app, MOBILE, networks, attack).await;
            siege.signed_in += usize::from(owner.enter_code(MOBILE).await == Outcome::Done);
        }
        app.advance(6 * 3600).await;
    }
    siege
}

on_both_stores! {
    async fn an_owner_signs_in_while_3_or_300_networks_guess(backends: Backends) {
        for networks in [3, 300] {
            let app = TestApp::start_with(backends, &[PROXY]).await;
            let owner = Visitor::at(&app, HOME).on_a_device();
            owner.sign_in(MOBILE).await;
            app.advance(61).await;
            let (at_home, away) = (owner.without_device(), owner.moved_to(OFFICE));
            let siege = siege(&app, [&at_home, &away, &away, &at_home], networks, Attack::Guess).await;
            report("burning codes, the owner at home without a device, and on the device away from home", &siege);
            assert_eq!(siege.signed_in, siege.tries, "{siege:?}");
        }
    }
}

on_both_stores! {
    async fn an_owner_signs_in_on_a_known_device_while_3_or_300_networks_ask_and_guess(backends: Backends) {
        for networks in [3, 300] {
            let app = TestApp::start_with(backends, &[PROXY]).await;
            let owner = Visitor::at(&app, HOME).on_a_device();
            owner.sign_in(MOBILE).await;
            app.advance(61).await;
            let siege = siege(&app, [&owner.moved_to(OFFICE); 4], networks, Attack::AskAndGuess).await;
            report("burning codes, strangers ask, too", &siege);
            assert_eq!(siege.signed_in, siege.tries, "{siege:?}");
        }
    }
}

/// A newcomer asks for a code, strangers do their worst, the newcomer types it.
async fn first_sign_up(backends: Backends, networks: usize, attack: Attack, title: &str) {
    let app = TestApp::start_with(backends, &[PROXY]).await;
    let newcomer = Visitor::at(&app, HOME);
    assert_eq!(newcomer.ask(MOBILE).await, Outcome::Done);
    let guesses = burn(&app, MOBILE, networks, attack).await;
    let outcome = newcomer.enter_code(MOBILE).await;
    report(title, &(guesses, outcome));
    assert_eq!(outcome, Outcome::Done);
}

on_both_stores! {
    async fn a_first_sign_up_works_while_300_networks_guess(backends: Backends) {
        first_sign_up(backends, 300, Attack::Guess, "burning codes, a first sign-up").await;
    }
}

on_both_stores! {
    async fn a_first_sign_up_works_while_3_networks_ask_and_guess(backends: Backends) {
        first_sign_up(backends, 3, Attack::AskAndGuess, "burning codes, a first sign-up, strangers ask, too").await;
    }
}

on_both_stores! {
    async fn guesses_at_codes_of_an_account_come_to_an_end(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        Visitor::at(&app, HOME).sign_in(MOBILE).await;
        // The owner is away. Strangers make the codes that they guess at, and solve every challenge on the way.
        let mut days = Vec::new();
        for day in 0..2 {
            let mut guesses = 0;
            for hour in 0..24 {
                app.advance(3600).await;
                Visitor::at(&app, scattered(1000 + 24 * day + hour)).ask_at_any_price(MOBILE).await;
                guesses += burn(&app, MOBILE, 24, Attack::AskAndGuess).await;
            }
            days.push(guesses);
        }
        report("guesses at the codes of a number, of strangers who ask for them, on two days", &days);
        // Six messages a day, five tries for each of eight askers; 100 of all others.
        assert!(days[0] <= 6 * 8 * 5 + 100, "{days:?}");
        assert!(days[1] <= 6 * 8 * 5, "{days:?}");
    }
}
