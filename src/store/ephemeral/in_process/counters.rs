//! Counters and flows in memory.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::{
    super::{
        Admission, Counter, Counting, Flow, Tally,
        flow::{HOURLY_TTL, Sums},
    },
    places::{Expiring, RETRY_AFTER, Shares, rest},
};
use crate::{model::limit::LimitName, store::StoreError};

#[derive(Default)]
pub struct Counters {
    /// By the name of the counter, so that none can crowd out the others.
    counts: HashMap<LimitName, Expiring<CounterKey, VecDeque<Counted>>>,
    flows: HashMap<LimitName, Expiring<String, Sums>>,
}

/// Subject and part of a counter.
type CounterKey = (String, Option<String>);

/// When and as what an event was counted; the newest is last.
type Counted = (DateTime<Utc>, String);

/// What a survey of a tally found.
pub struct Survey {
    pub admission: Admission,
    /// The counters that refuse.
    pub refusing: Vec<LimitName>,
}

impl Counters {
    /// Removes what has expired.
    pub fn sweep(&mut self, now: DateTime<Utc>, shares: &mut Shares) {
        self.counts.values_mut().for_each(|counts| counts.sweep(now, shares));
        self.flows.values_mut().for_each(|flows| flows.sweep(now, shares));
    }

    pub fn survey(&mut self, tally: &Tally) -> Survey {
        let (mut longest, mut refused, mut suspicious) = (Duration::ZERO, None, None);
        let mut refusing = Vec::new();
        for counter in &tally.counters {
            let (limit, suspicion) = self.look(counter, tally.at);
            if limit.is_some() {
                refusing.push(counter.name);
            }
            if let Some(retry_after) = limit.filter(|rest| *rest > longest) {
                longest = retry_after;
                refused = Some(Admission::Refused { name: counter.name, retry_after });
            }
            if suspicion {
                suspicious = suspicious.or(Some(counter.name));
            }
        }
        if refused.is_none() && suspicious.is_none() {
            suspicious = tally.flows.iter().find(|flow| self.suspects(flow, tally.at)).map(|flow| flow.name);
        }
        let admission = refused.or(suspicious.map(|name| Admission::Suspicious { name }));
        Survey { admission: admission.unwrap_or(Admission::Admitted), refusing }
    }

    /// How long a counter refuses, if it does, and whether it is suspicious.
    fn look(&mut self, counter: &Counter, at: DateTime<Utc>) -> (Option<Duration>, bool) {
        let Some((counted, _)) = self.counts_of(counter).get(&key_of(counter), at) else { return (None, false) };
        // Of requests at one instant, one may be counted that read the clock later.
        let rest_of = |time: DateTime<Utc>| rest(time.min(at) + counter.window, at);
        let is_counted = |member| counted.iter().any(|(at, counted_as)| counted_as == member && rest_of(*at).is_some());
        if counter.member.as_ref().is_some_and(is_counted) {
            return (None, false);
        }
        // So long the k-th last event stays within the window, so long there are k of them.
        let fills = |k: u32| counted.iter().rev().nth((k as usize).checked_sub(1)?).and_then(|(at, _)| rest_of(*at));
        (counter.limit.and_then(fills), counter.suspicion.and_then(fills).is_some())
    }

    fn suspects(&mut self, flow: &Flow, at: DateTime<Utc>) -> bool {
        let sums = self.flows_of(flow).get(&flow.group, at);
        sums.is_some_and(|(sums, _)| sums.suspects(flow, at.timestamp_millis()))
    }

    /// How many new places of its network's share a tally needs.
    ///
    /// # Errors
    /// When no new key fits in, whatever the network.
    pub fn needs(&mut self, tally: &Tally) -> Result<usize, StoreError> {
        let mut needs = 0;
        for counter in tally.counters.iter().filter(|counter| counter.counting != Counting::Never) {
            let counts = self.counts_of(counter);
            if counts.lacks(&key_of(counter), tally.at) {
                counts.check_capacity()?;
                needs += usize::from(payer(counter, tally).is_some());
            }
        }
        for flow in &tally.flows {
            let flows = self.flows_of(flow);
            if flows.lacks(&flow.group, tally.at) {
                flows.check_capacity()?;
                needs += 1;
            }
        }
        Ok(needs)
    }

    /// Counts what is counted if it is admitted, or else what is counted always.
    pub fn count(&mut self, tally: &Tally, admitted: bool, shares: &mut Shares) {
        for counter in &tally.counters {
            let counted = match counter.counting {
                Counting::IfAdmitted => admitted,
                Counting::Always => admitted || self.look(counter, tally.at).0.is_none(),
                Counting::Never => false,
            };
            if counted {
                self.add(counter, tally, shares);
            }
        }
        if admitted {
            for flow in &tally.flows {
                self.edit(flow, tally.at, &tally.network, shares, |sums| sums.add_sent(tally.at.timestamp_millis()));
            }
        }
    }

    fn add(&mut self, counter: &Counter, tally: &Tally, shares: &mut Shares) {
        let (key, member) = (key_of(counter), member_of(counter, tally));
        let counts = self.counts_of(counter);
        let new = (tally.at, member.to_owned());
        let Some(counted) = counts.get_mut(&key, tally.at) else {
            let network = payer(counter, tally);
            return counts.insert(key, VecDeque::from([new]), network, tally.at, counter.window, shares);
        };
        counted.drain(..counted.partition_point(|(at, _)| *at + counter.window <= tally.at));
        if counter.member.is_some() {
            counted.retain(|(_, counted_as)| counted_as != member);
        }
        // The instances of one clock may come out of turn by the time that a lock takes.
        let place = counted.partition_point(|(at, _)| *at <= tally.at);
        counted.insert(place, new);
        counts.extend(&key, tally.at + counter.window);
    }

    pub fn uncount(&mut self, tally: &Tally, shares: &mut Shares) {
        for counter in tally.counters.iter().filter(|counter| counter.counting == Counting::IfAdmitted) {
            let member = member_of(counter, tally);
            self.remove(counter, tally.at, shares, |counted| {
                let place = counted.iter().rposition(|(at, counted_as)| *at == tally.at && counted_as == member);
                place.map(|place| counted.remove(place));
            });
        }
        let at = tally.at.timestamp_millis();
        for flow in &tally.flows {
            self.edit(flow, tally.at, &tally.network, shares, |sums| sums.take_sent(at));
        }
    }

    pub fn clear(&mut self, tally: &Tally, shares: &mut Shares) {
        let Some((first, others)) = tally.counters.split_first() else { return };
        let cleared = self.counts_of(first).take(&key_of(first), tally.at, shares).unwrap_or_default();
        for counter in others {
            self.remove(counter, tally.at, shares, |counted| counted.retain(|entry| !cleared.contains(entry)));
        }
    }

    /// Forgets a counter altogether.
    pub fn delete(&mut self, counter: &Counter, at: DateTime<Utc>, shares: &mut Shares) {
        self.counts_of(counter).take(&key_of(counter), at, shares);
    }

    pub fn members(&mut self, counter: &Counter, at: DateTime<Utc>, at_most: usize) -> Vec<String> {
        let Some((counted, _)) = self.counts_of(counter).get(&key_of(counter), at) else { return Vec::new() };
        let within = counted.iter().filter(|(time, _)| rest(*time + counter.window, at).is_some());
        within.take(at_most).map(|(_, member)| member.clone()).collect()
    }

    pub fn forget(&mut self, counter: &Counter, members: &[String], now: DateTime<Utc>, shares: &mut Shares) {
        self.remove(counter, now, shares, |counted| counted.retain(|(_, member)| !members.contains(member)));
    }

    /// Counts a code that was redeemed.
    pub fn add_redeemed(&mut self, flow: &Flow, at: DateTime<Utc>, network: &str, shares: &mut Shares) {
        self.edit(flow, at, network, shares, |sums| sums.add_redeemed(at.timestamp_millis()));
    }

    /// Takes back a code that was redeemed at this time.
    pub fn take_redeemed(&mut self, flow: &Flow, at: DateTime<Utc>, network: &str, shares: &mut Shares) {
        self.edit(flow, at, network, shares, |sums| sums.take_redeemed(at.timestamp_millis()));
    }

    /// Changes the sums of a flow; none are kept where nothing is left.
    fn edit(
        &mut self,
        flow: &Flow,
        at: DateTime<Utc>,
        network: &str,
        shares: &mut Shares,
        edit: impl FnOnce(&mut Sums),
    ) {
        let flows = self.flows_of(flow);
        if flows.lacks(&flow.group, at) {
            flows.insert(flow.group.clone(), Sums::default(), Some(network), at, HOURLY_TTL, shares);
        }
        let Some(sums) = flows.get_mut(&flow.group, at) else { return };
        edit(sums);
        let (is_empty, ttl) = (sums.is_empty(), sums.ttl());
        if is_empty {
            flows.take(&flow.group, at, shares);
        } else {
            flows.extend(&flow.group, at + ttl);
        }
    }

    /// Removes events; none are kept where nothing is left.
    fn remove(
        &mut self,
        counter: &Counter,
        at: DateTime<Utc>,
        shares: &mut Shares,
        remove: impl FnOnce(&mut VecDeque<Counted>),
    ) {
        let (counts, key) = (self.counts_of(counter), key_of(counter));
        let Some(counted) = counts.get_mut(&key, at) else { return };
        remove(counted);
        if counted.is_empty() {
            counts.take(&key, at, shares);
        }
    }

    fn counts_of(&mut self, counter: &Counter) -> &mut Expiring<CounterKey, VecDeque<Counted>> {
        self.counts.entry(counter.name).or_default()
    }

    fn flows_of(&mut self, flow: &Flow) -> &mut Expiring<String, Sums> {
        self.flows.entry(flow.name).or_default()
    }
}

/// The refusal of a network whose share is used up.
pub fn no_place() -> Admission {
    Admission::Refused { name: LimitName::Places, retry_after: RETRY_AFTER }
}

fn key_of(counter: &Counter) -> CounterKey {
    (counter.subject.clone(), counter.part.clone())
}

fn member_of<'a>(counter: &'a Counter, tally: &'a Tally) -> &'a str {
    counter.member.as_ref().unwrap_or(&tally.id)
}

/// Whose share the key of a counter uses. There are only a few of a network's own: were they refused, none of its
/// requests would be served.
fn payer<'a>(counter: &Counter, tally: &'a Tally) -> Option<&'a str> {
    Some(tally.network.as_str()).filter(|network| *network != counter.subject)
}
