//! Strangers use up the messages that a number gets in a day, so that none is left for its owner.

use serde::Serialize;

use crate::{
    on_both_stores, report,
    support::{MOBILE, TestApp, backends::Backends},
    visitor::{Outcome, PROXY, Visitor, scattered},
};

#[derive(Debug, Serialize)]
struct Eaten {
    /// Messages that strangers caused within the day.
    by_strangers: usize,
    /// Whether the owner got one after that, on a known device on a network that is new.
    owner_got_one: Outcome,
    owner_signed_in: bool,
}

on_both_stores! {
    async fn strangers_leave_messages_for_a_known_device(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        let owner = Visitor::at(&app, "192.0.2.1").on_a_device();
        owner.sign_in(MOBILE).await;

        // 300 networks within 20 hours, each reads the picture if it is asked for one.
        let mut by_strangers = 0;
        for n in 0..300 {
            app.advance(240).await;
            let outcome = Visitor::at(&app, scattered(n)).ask_at_any_price(MOBILE).await;
            by_strangers += usize::from(outcome == Outcome::Done);
        }
        app.advance(61).await;
        let owner = owner.moved_to("198.51.100.1");
        let owner_got_one = owner.ask(MOBILE).await;
        let owner_signed_in = owner_got_one == Outcome::Done && owner.enter_code(MOBILE).await == Outcome::Done;
        let eaten = Eaten { by_strangers, owner_got_one, owner_signed_in };
        report("eating the daily messages", &eaten);

        assert!(eaten.by_strangers <= 6, "{eaten:?}");
        assert!(eaten.owner_signed_in, "{eaten:?}");
    }
}
