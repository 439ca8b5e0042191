//! One address fills what all share: pictures, counters, the queue of passwords. Others are to be served throughout.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde::Serialize;

use crate::{
    on_both_stores, report,
    support::{PASSWORD, TestApp, backends::Backends},
    visitor::{Outcome, PROXY, Visitor, count, crowd, number, scattered},
};

const ATTACKER: &str = "203.0.113.1";

/// The places that one network has in the in-process store.
const SHARE: usize = 1000;

async fn draw(visitor: &Visitor<'_>, id: &str) -> bool {
    loop {
        let request = visitor.app.request(Method::GET, &format!("/app/v1_0/image_codes/{id}"));
        let answer = visitor.app.send(request.header("x-forwarded-for", &visitor.address)).await;
        match answer.status.as_u16() {
            200 => return true,
            429 => return false,
            // No core was free within a second.
            503 => {}
            status => panic!("{status}"),
        }
    }
}

/// Does a picture still live? This takes it.
async fn lives(app: &TestApp, id: &str) -> bool {
    app.app.codes.take_image_code(id).await.unwrap().is_some()
}

#[derive(Debug, Serialize)]
struct Pictures {
    drawn: usize,
    /// How many of them take memory in the end.
    kept: usize,
    /// Whether the picture lives that another address asked for before, and the one that it asked for after.
    of_others: [bool; 2],
}

on_both_stores! {
    async fn pictures_of_one_address_push_out_none_of_others(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        let (attacker, other) = (Visitor::at(&app, ATTACKER), Visitor::at(&app, "192.0.2.1"));
        draw(&other, "before").await;
        // The first thousand are put there, which takes less time than drawing them.
        for n in 0..SHARE {
            let id = format!("flood-{n}");
            app.app.codes.put_image_code(&id, "abcd", ATTACKER, Duration::from_secs(300)).await.unwrap();
        }
        let drawn = crowd((SHARE..SHARE + 200).map(|n| {
            let attacker = &attacker;
            async move { draw(attacker, &format!("flood-{n}")).await }
        }))
        .await;
        let drawn = SHARE + drawn.iter().filter(|drawn| **drawn).count();
        draw(&other, "after").await;
        let mut kept = 0;
        for n in 0..SHARE + 200 {
            kept += usize::from(lives(&app, &format!("flood-{n}")).await);
        }
        let of_others = [lives(&app, "before").await, lives(&app, "after").await];
        let pictures = Pictures { drawn, kept, of_others };
        report("1,200 pictures of one address", &pictures);
        assert_eq!(pictures.of_others, [true; 2], "{pictures:?}");
        if !backends.redis {
            assert_eq!(pictures.kept, SHARE, "{pictures:?}");
        }
    }
}

#[derive(Debug, Serialize)]
struct Counters {
    /// Numbers for which one address has caused codes and counters.
    admitted: usize,
    refused: usize,
    challenged: usize,
    busy: usize,
    others_served: usize,
}

on_both_stores! {
    async fn counters_of_one_address_leave_room_for_those_of_others(backends: Backends) {
        // Without the limits of an address, nothing but its share stops it.
        let flags = [
            PROXY,
            "--image-code=never",
            "--sms-per-ip-per-hour=0",
            "--sms-asks-per-ip-per-hour=0",
            "--guesses-per-ip-per-hour=0",
        ];
        let app = TestApp::start_with(backends, &flags).await;
        let attacker = Visitor::at(&app, ATTACKER);
        let outcomes = crowd((0..SHARE + 200).map(|n| {
            let attacker = &attacker;
            async move { attacker.ask(&number(n, 1)).await }
        }))
        .await;
        let mut others = Vec::new();
        for n in 0..20 {
            others.push(Visitor::at(&app, scattered(n)).ask(&number(n, 2)).await);
        }
        let counters = Counters {
            admitted: count(&outcomes, Outcome::Done),
            refused: count(&outcomes, Outcome::Limited),
            challenged: count(&outcomes, Outcome::Challenged),
            busy: count(&outcomes, Outcome::Busy),
            others_served: count(&others, Outcome::Done),
        };
        report("counters for 1,200 numbers of one address, its limits turned off", &counters);
        assert_eq!(counters.others_served, 20, "{counters:?}");
        if !backends.redis {
            assert!(counters.admitted <= SHARE, "{counters:?}");
            assert!(counters.refused >= 200, "{counters:?}");
        }
    }
}

#[derive(Debug, Serialize)]
struct Queue {
    guesses_of_the_attacker: usize,
    /// Guessers of the attacker that a limit stopped before the others were through.
    stopped: usize,
    others_served: usize,
    others_refused: usize,
    slowest_of_others_in_ms: u128,
}

on_both_stores! {
    async fn passwords_of_one_address_leave_the_queue_to_others(backends: Backends) {
        const OWNERS: usize = 10;
        const GUESSERS: usize = 120;
        // Without the limit of an address, nothing but the order of the queue stops it: each guess is hashed.
        let app = TestApp::start_with(backends, &[PROXY, "--guesses-per-ip-per-hour=0"]).await;
        for n in 0..OWNERS {
            Visitor::at(&app, scattered(n)).register(&number(n, 1), PASSWORD).await;
        }
        let attacker = Visitor::at(&app, ATTACKER);
        let (over, guesses, stopped) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        // Each at a number of its own, which takes 20 guesses of a network within an hour.
        let flood = (0..GUESSERS).map(|guesser| {
            let (attacker, over, guesses, stopped) = (&attacker, &over, &guesses, &stopped);
            async move {
                while !over.load(Ordering::Relaxed) {
                    if attacker.try_password(&number(100 + guesser, 1), "a wrong secret").await != Outcome::Wrong {
                        stopped.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    guesses.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let owners = async {
            let mut outcomes = Vec::new();
            let mut slowest = Duration::ZERO;
            // Each owner twice: the flood goes on between them.
            for n in (0..OWNERS).chain(0..OWNERS) {
                let began = Instant::now();
                outcomes.push(Visitor::at(&app, scattered(n)).try_password(&number(n, 1), PASSWORD).await);
                slowest = slowest.max(began.elapsed());
            }
            over.store(true, Ordering::Relaxed);
            (outcomes, slowest)
        };
        let (_, (outcomes, slowest)) = tokio::join!(futures_util::future::join_all(flood), owners);
        let queue = Queue {
            guesses_of_the_attacker: guesses.into_inner(),
            stopped: stopped.into_inner(),
            others_served: count(&outcomes, Outcome::Done),
            others_refused: count(&outcomes, Outcome::Busy),
            slowest_of_others_in_ms: slowest.as_millis(),
        };
        report("120 guesses at a time from one address, its limit turned off, 20 sign-ins of others", &queue);
        assert_eq!(queue.others_served, 2 * OWNERS, "{queue:?}");
        assert_eq!(queue.stopped, 0, "the flood went on until the others were through: {queue:?}");
    }
}
