//! Pumpers, who earn by each message: from one address, a /24, 1,000 scattered addresses, one /48.

use serde::Serialize;

use crate::{
    on_both_stores, report,
    support::{MOBILE, TestApp, backends::Backends},
    visitor::{Outcome, PROXY, Visitor, count, crowd, number, scattered},
};

/// What a pumper can do.
#[derive(Clone, Copy, Debug)]
struct Pumper {
    /// Of ten pictures, so many are read right.
    reads: usize,
    /// Whether codes are redeemed, which takes a hold of the numbers.
    redeems: bool,
}

const BLIND: Pumper = Pumper { reads: 0, redeems: false };
/// With OCR, which reads one picture in ten at most, see `tests/picture/`.
const OCR: Pumper = Pumper { reads: 1, redeems: false };
/// With people who are paid for reading.
const PEOPLE: Pumper = Pumper { reads: 10, redeems: false };
/// With the phones that the messages go to.
const PHONES: Pumper = Pumper { reads: 0, redeems: true };

/// So many messages that are not redeemed a block and a prefix get in a day; after one more they are suspicious.
const UNREDEEMED: usize = 20 + 1;

/// The hours of a day at which a pumper with many addresses is watched. What suspicion has not let through at one of
/// them it does not let through an hour later either.
const SOME_HOURS: [u64; 4] = [0, 1, 12, 23];

#[derive(Debug, Default, Serialize)]
struct Pumped {
    addresses: usize,
    /// Messages, each paid for, by the hour of the day.
    sent: Vec<(u64, usize)>,
    /// Pictures that had to be read.
    pictures: usize,
}

impl Pumped {
    fn total(&self) -> usize {
        self.sent.iter().map(|(_, sent)| sent).sum()
    }
}

/// Asks from one address until it gets no further; returns messages and pictures. `next` makes numbers that are fresh.
async fn pump_from(visitor: &Visitor<'_>, pumper: Pumper, mut next: impl FnMut() -> String) -> (usize, usize) {
    let (mut sent, mut pictures) = (0, 0);
    let mut suspected = false;
    // More than any limit of an address lets through within an hour.
    for _ in 0..70 {
        let mobile = next();
        let mut outcome = if suspected { Outcome::Challenged } else { visitor.ask(&mobile).await };
        if outcome == Outcome::Challenged && pumper.reads > 0 {
            suspected = true;
            pictures += 1;
            outcome = visitor.ask_with_picture(&mobile, pictures % 10 < pumper.reads).await;
        }
        match outcome {
            Outcome::Done => sent += 1,
            Outcome::Misread => {}
            Outcome::Challenged | Outcome::Limited => break,
            other => panic!("{other:?}"),
        }
        if outcome == Outcome::Done && pumper.redeems {
            assert_eq!(visitor.enter_code(&mobile).await, Outcome::Done);
        }
    }
    (sent, pictures)
}

/// Pumps at these hours of a day from all addresses, to numbers of so many prefixes.
async fn pump(app: &TestApp, addresses: &[String], prefixes: usize, pumper: Pumper, hours: &[u64]) -> Pumped {
    let mut pumped = Pumped { addresses: addresses.len(), ..Pumped::default() };
    let mut now = 0;
    for &hour in hours {
        app.advance((hour - now) * 3600).await;
        now = hour;
        let acts = addresses.iter().enumerate().map(|(n, address)| async move {
            // 70 numbers of its own for each address and hour; neighbours in time are not neighbours in numbers.
            let mut numbers = (0..).map(|k| 70 * (usize::try_from(hour).unwrap() * addresses.len() + n) + k);
            let next = || numbers.next().map(|n| number(n % prefixes, n / prefixes % 10_000)).unwrap();
            pump_from(&Visitor::at(app, address), pumper, next).await
        });
        let caught = crowd(acts).await;
        pumped.sent.push((hour, caught.iter().map(|(sent, _)| sent).sum()));
        pumped.pictures += caught.iter().map(|(_, pictures)| pictures).sum::<usize>();
    }
    pumped
}

/// A service, pumped; returns what a customer elsewhere gets in the end, too.
async fn pumped(backends: Backends, addresses: Vec<String>, prefixes: usize, pumper: Pumper, hours: &[u64]) -> Pumped {
    let app = TestApp::start_with(backends, &[PROXY]).await;
    let pumped = pump(&app, &addresses, prefixes, pumper, hours).await;
    assert_eq!(Visitor::at(&app, "192.0.2.1").ask(MOBILE).await, Outcome::Done, "a customer elsewhere");
    pumped
}

on_both_stores! {
    async fn one_address_pumps_what_suspicion_lets_through(backends: Backends) {
        let day: Vec<_> = (0..24).collect();
        // The most messages in a day. Without pictures: 21 that are not redeemed, or 30 an hour that are. One picture
        // in ten lets 6 of the 60 asks of an hour through.
        let pumpers = [(BLIND, UNREDEEMED), (OCR, UNREDEEMED + 6 * 24), (PEOPLE, 30 * 24), (PHONES, 30 * 24)];
        for (pumper, most) in pumpers {
            let address = vec!["203.0.113.1".to_owned()];
            let pumped = pumped(backends, address, 140, pumper, &day).await;
            report(&format!("pumping from one address, a day, {pumper:?}"), &(pumped.total(), pumped.pictures));
            assert!(pumped.total() <= most, "{pumper:?} {pumped:?}");
        }
    }
}

on_both_stores! {
    async fn a_slash_24_pumps_no_more_than_one_address_until_it_reads_pictures(backends: Backends) {
        let addresses = (0..256).map(|n| format!("203.0.113.{n}")).collect();
        let pumped = pumped(backends, addresses, 1000, BLIND, &SOME_HOURS).await;
        report("pumping from a /24, a day, no picture read", &pumped);
        assert!(pumped.total() <= UNREDEEMED, "{pumped:?}");
    }
}

on_both_stores! {
    async fn a_slash_48_pumps_no_more_than_one_address_until_it_reads_pictures(backends: Backends) {
        // Each in a /56 of its own.
        let addresses = (0..256).map(|n| format!("2001:db8:7:{:x}::1", n << 8)).collect();
        let pumped = pumped(backends, addresses, 1000, BLIND, &SOME_HOURS).await;
        report("pumping from a /48, a day, no picture read", &pumped);
        assert!(pumped.total() <= UNREDEEMED, "{pumped:?}");
    }
}

on_both_stores! {
    async fn a_thousand_scattered_addresses_pump_21_messages_to_each_prefix(backends: Backends) {
        const PREFIXES: usize = 50;
        let addresses = (0..1000).map(scattered).collect();
        let pumped = pumped(backends, addresses, PREFIXES, BLIND, &[0, 1, 23]).await;
        report("pumping from 1,000 scattered addresses to numbers of 50 prefixes, a day, no picture read", &pumped);
        assert!(pumped.total() <= UNREDEEMED * PREFIXES, "{pumped:?}");
    }
}

on_both_stores! {
    async fn scattered_addresses_and_numbers_pump_21_messages_from_each_block(backends: Backends) {
        const BLOCKS: usize = 50;
        let addresses = (0..BLOCKS).map(scattered).collect();
        let pumped = pumped(backends, addresses, 5000, BLIND, &SOME_HOURS).await;
        report("pumping from 50 scattered addresses to scattered numbers, a day, no picture read", &pumped);
        assert!(pumped.total() <= UNREDEEMED * BLOCKS, "{pumped:?}");
    }
}

on_both_stores! {
    async fn pumpers_who_read_every_picture_leave_a_share_of_the_total_to_known_devices(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--sms-total-per-hour=100"]).await;
        let owner = Visitor::at(&app, "192.0.2.1").on_a_device();
        owner.sign_in(MOBILE).await;
        app.advance(3600).await;
        let addresses: Vec<_> = (0..200).map(scattered).collect();
        let pumped = pump(&app, &addresses, 1000, PEOPLE, &[0]).await;
        report("pumping with SMS_TOTAL_PER_HOUR=100, every picture read, an hour", &pumped);
        let (device, stranger) = (owner.moved_to("198.51.100.1"), Visitor::at(&app, HOME_OF_A_STRANGER));
        let outcomes = [device.ask(MOBILE).await, stranger.ask_at_any_price(&number(5, 5)).await];
        report("then the owner on a known device, and a stranger", &outcomes);
        assert!(pumped.total() <= 80, "{pumped:?}");
        assert_eq!(count(&outcomes[..1], Outcome::Done), 1, "{outcomes:?}");
        assert_eq!(outcomes[1], Outcome::Limited);
    }
}

const HOME_OF_A_STRANGER: &str = "192.0.2.77";
