//! The suspicion of a group of clients or numbers: the arithmetic of its sums, the same in every back end.
//!
//! Messages sent and codes redeemed are summed by the hour, codes redeemed by the day as well, counted from 1970 (UTC).

use std::{collections::BTreeMap, time::Duration};

use super::Flow;

/// The milliseconds of an hour.
pub const HOUR: i64 = 60 * 60 * 1000;

/// The milliseconds of a day.
pub const DAY: i64 = 24 * HOUR;

/// So many hours are looked at, the current one included.
pub const HOURS: i64 = 24;

/// So many days are looked at, the current one included.
pub const DAYS: i64 = 15;

/// So many codes may be unredeemed in any group.
pub const UNREDEEMED: i64 = 20;

/// And so many tenths of those that are redeemed.
pub const UNREDEEMED_TENTHS: i64 = 3;

/// An hour's sums are not looked at after this time.
pub const HOURLY_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// A day's sums are not looked at after this time.
pub const DAILY_TTL: Duration = Duration::from_secs(15 * 24 * 60 * 60);

/// The sums of one group, in memory.
#[derive(Debug, Default)]
pub struct Sums {
    hours: BTreeMap<i64, Hour>,
    /// Codes redeemed.
    days: BTreeMap<i64, u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Hour {
    sent: u32,
    redeemed: u32,
}

impl Sums {
    /// Adds a message sent at this time, in milliseconds.
    pub fn add_sent(&mut self, at: i64) {
        self.hour(at).sent += 1;
    }

    /// Takes a message back that was sent at this time.
    pub fn take_sent(&mut self, at: i64) {
        if let Some(hour) = self.hours.get_mut(&(at / HOUR)) {
            hour.sent = hour.sent.saturating_sub(1);
        }
        self.drop_empty();
    }

    /// Adds a code redeemed at this time.
    pub fn add_redeemed(&mut self, at: i64) {
        self.hour(at).redeemed += 1;
        self.days.retain(|day, _| *day > at / DAY - DAYS);
        *self.days.entry(at / DAY).or_default() += 1;
    }

    /// Takes back a code redeemed at this time.
    pub fn take_redeemed(&mut self, at: i64) {
        if let Some(hour) = self.hours.get_mut(&(at / HOUR)) {
            hour.redeemed = hour.redeemed.saturating_sub(1);
        }
        if let Some(day) = self.days.get_mut(&(at / DAY)) {
            *day = day.saturating_sub(1);
        }
        self.drop_empty();
    }

    /// Whether nothing is left that could be looked at.
    pub fn is_empty(&self) -> bool {
        self.hours.is_empty() && self.days.is_empty()
    }

    /// How long after `at` there is something to look at.
    pub fn ttl(&self) -> Duration {
        if self.days.is_empty() { HOURLY_TTL } else { DAILY_TTL }
    }

    /// Whether another message at this time is suspicious.
    pub fn suspects(&self, flow: &Flow, at: i64) -> bool {
        let hour = at / HOUR;
        let sent_in = |hour| self.hours.get(&hour).map_or(0, |hour| i64::from(hour.sent));
        let (mut sent, mut redeemed) = (0, 0);
        for (_, sums) in self.hours.range(hour - HOURS + 1..=hour) {
            sent += i64::from(sums.sent);
            redeemed += i64::from(sums.redeemed);
        }
        // The last hour began in the previous one, of which it has the rest.
        let last_hour = sent_in(hour) + ceiled(sent_in(hour - 1) * (HOUR - at % HOUR), HOUR);
        if flow.sent_per_hour.is_some_and(|bound| last_hour >= i64::from(bound).max(redeemed)) {
            return true;
        }
        let days = self.days.range(at / DAY - DAYS + 1..=at / DAY);
        let busiest = days.map(|(_, redeemed)| i64::from(*redeemed)).max().unwrap_or_default();
        let unredeemed = sent - redeemed;
        flow.unredeemed
            && unredeemed > UNREDEEMED
            && 10 * unredeemed > UNREDEEMED_TENTHS * redeemed
            && 10 * unredeemed > UNREDEEMED_TENTHS * busiest
    }

    fn hour(&mut self, at: i64) -> &mut Hour {
        self.hours.retain(|hour, _| *hour > at / HOUR - HOURS);
        self.hours.entry(at / HOUR).or_default()
    }

    fn drop_empty(&mut self) {
        self.hours.retain(|_, hour| hour.sent > 0 || hour.redeemed > 0);
        self.days.retain(|_, redeemed| *redeemed > 0);
    }
}

/// A quotient of numbers that are not negative, rounded up.
fn ceiled(dividend: i64, divisor: i64) -> i64 {
    (dividend + divisor - 1) / divisor
}
