//! Tallies on Redis: counted by one script, in a cluster by one for each subject.

use std::{collections::BTreeMap, time::Duration};

use fred::{
    interfaces::SortedSetsInterface,
    types::{Key, Value},
};
use futures_util::future::try_join_all;

use super::{
    super::{Admission, Asker, Counter, Counting, Flow, PendingCode, Tally},
    Redis, STORE, count_of, duration, millis, millis_of, scripts,
};
use crate::{model::limit::LimitName, store::StoreError, telemetry::traces};

/// The part of a tally that one script can reach: all of it, but in a cluster only what is of one subject.
#[derive(Default)]
pub struct Group<'a> {
    pub counters: Vec<&'a Counter>,
    pub flows: Vec<&'a Flow>,
}

/// A code that its message takes along.
pub struct Issue<'a> {
    pub mobile: &'a str,
    pub key: Key,
    pub code: &'a PendingCode,
    pub asker: &'a Asker,
}

/// What a script does about suspicion.
#[derive(Clone, Copy)]
pub enum Mode {
    /// It is an obstacle.
    Heeding,
    /// It is none.
    Trusting,
    /// Another group has found an obstacle: nothing is admitted.
    Closed,
}

/// What a script found in a group: which counter refuses (-1: none), for how long, and which counter or flow is
/// suspicious (-1: none).
type Survey = (i64, i64, i64);

/// What the counters of a group say.
struct Found {
    refused: Option<(LimitName, Duration)>,
    suspicious: Option<LimitName>,
}

impl Redis {
    /// The groups of a tally. That of a mobile comes last; it is there, to take the code along, even if nothing counts
    /// on it.
    pub fn groups<'a>(&self, tally: &'a Tally, mobile: Option<&str>) -> Vec<Group<'a>> {
        let of = |subject: &'a str| if self.clustered { subject } else { "" };
        let mut groups = BTreeMap::<&str, Group<'a>>::new();
        for counter in &tally.counters {
            groups.entry(of(&counter.subject)).or_default().counters.push(counter);
        }
        for flow in &tally.flows {
            groups.entry(of(&flow.group)).or_default().flows.push(flow);
        }
        let last = mobile.map(|mobile| if self.clustered { mobile } else { "" });
        let last = last.map(|last| groups.remove(last).unwrap_or_default());
        groups.into_values().chain(last).collect()
    }

    pub async fn survey_tally(&self, tally: &Tally) -> Result<Admission, StoreError> {
        let groups = self.groups(tally, None);
        let surveys = groups.iter().map(|group| async {
            let mut args = vec![millis_of(tally.at).into(), count_of(&group.counters)];
            args.extend(group.args());
            group.found(self.run(&scripts::SURVEY, self.group_keys(group), args).await?)
        });
        Ok(admission_of(tally, &try_join_all(surveys).await?))
    }

    /// Counts a tally: its groups side by side, that of a code last. If any finds an obstacle, the others take back
    /// what they counted: until then they may refuse too early, and never too late.
    pub async fn admit(&self, tally: &Tally, issue: Option<Issue<'_>>, trusted: bool) -> Result<Admission, StoreError> {
        let mode = if trusted { Mode::Trusting } else { Mode::Heeding };
        self.admit_groups(tally, self.groups(tally, issue.as_ref().map(|issue| issue.mobile)), issue, mode).await
    }

    /// Counts the groups of a tally that are of other subjects than the mobile.
    pub async fn admit_elsewhere(&self, tally: &Tally, mobile: &str) -> Result<Admission, StoreError> {
        self.admit_groups(tally, self.elsewhere(tally, mobile), None, Mode::Trusting).await
    }

    pub fn elsewhere<'a>(&self, tally: &'a Tally, mobile: &str) -> Vec<Group<'a>> {
        let mut groups = self.groups(tally, Some(mobile));
        groups.pop();
        groups
    }

    async fn admit_groups(
        &self,
        tally: &Tally,
        mut groups: Vec<Group<'_>>,
        issue: Option<Issue<'_>>,
        mode: Mode,
    ) -> Result<Admission, StoreError> {
        let of_code = issue.and_then(|issue| Some((groups.pop()?, issue)));
        let counts = groups.iter().map(|group| self.count_group(tally, group, mode, None));
        let mut found = try_join_all(counts).await?;
        let mut admitted = found.iter().all(|found| found.admits(mode));
        // What is only suspicious elsewhere may be too early here, and that is what counts.
        if let Some((group, issue)) = of_code
            && found.iter().all(|found| found.refused.is_none())
        {
            let mode = if admitted { mode } else { Mode::Closed };
            let last = self.count_group(tally, &group, mode, Some(issue)).await?;
            admitted = last.admits(mode);
            found.push(last);
        }
        if !admitted {
            let counted = groups.iter().zip(&found).filter(|(_, found)| found.admits(mode));
            self.uncount_groups(tally, counted.map(|(group, _)| group)).await?;
        }
        Ok(admission_of(tally, &found))
    }

    async fn count_group(
        &self,
        tally: &Tally,
        group: &Group<'_>,
        mode: Mode,
        issue: Option<Issue<'_>>,
    ) -> Result<Found, StoreError> {
        let mut keys = self.group_keys(group);
        let mut args = vec![millis_of(tally.at).into(), count_of(&group.counters), count_of(&group.flows)];
        args.extend([mode.arg(), tally.id.as_str().into()]);
        args.extend(group.args());
        if let Some(Issue { key, code, asker, .. }) = issue {
            keys.push(key);
            let flows: Vec<_> = tally.flows.iter().map(|flow| self.keys.flow(flow)).collect();
            let gap = group.counters.iter().position(|counter| counter.name == LimitName::SmsGap);
            args.extend([
                code.digest.as_str().into(),
                code.tries_per_asker.into(),
                millis(code.ttl).into(),
                asker.key().into(),
                flows.join("\n").into(),
                gap.and_then(|gap| i64::try_from(gap).ok()).unwrap_or(-1).into(),
            ]);
        }
        group.found(self.run(&scripts::ISSUE, keys, args).await?)
    }

    /// Takes back what groups of a tally counted.
    pub async fn uncount_groups<'a>(
        &self,
        tally: &Tally,
        groups: impl IntoIterator<Item = &'a Group<'a>>,
    ) -> Result<(), StoreError> {
        let counting = groups.into_iter().filter(|group| group.can_be_uncounted());
        let uncounts = counting.map(|group| async {
            let mut args = vec![millis_of(tally.at).into(), count_of(&group.counters), tally.id.as_str().into()];
            args.extend(group.args());
            let _: Value = self.run(&scripts::UNCOUNT, self.group_keys(group), args).await?;
            Ok(())
        });
        try_join_all(uncounts).await.map(drop)
    }

    /// Clears the first counter of a tally, and what it counted from the others.
    pub async fn clear_tally(&self, tally: &Tally) -> Result<(), StoreError> {
        let Some(first) = tally.counters.first() else { return Ok(()) };
        let near: Vec<_> =
            tally.counters.iter().filter(|counter| !self.clustered || counter.subject == first.subject).collect();
        let keys = near.iter().map(|counter| self.keys.counter(counter)).collect();
        let cleared: Vec<String> = self.run(&scripts::CLEAR, keys, Vec::new()).await?;
        let far = tally.counters.iter().filter(|counter| self.clustered && counter.subject != first.subject);
        self.forget_members(far, &cleared).await
    }

    /// Takes members out of counters.
    pub async fn forget_members(
        &self,
        counters: impl IntoIterator<Item = &Counter>,
        members: &[String],
    ) -> Result<(), StoreError> {
        if members.is_empty() {
            return Ok(());
        }
        let forget = counters.into_iter().map(|counter| {
            traces::call(STORE, self.link.pool.zrem::<(), _, _>(self.keys.counter(counter), members.to_vec()))
        });
        try_join_all(forget).await.map(drop).map_err(|error| self.link.unavailable(&error))
    }

    fn group_keys(&self, group: &Group<'_>) -> Vec<Key> {
        let counters = group.counters.iter().map(|counter| self.keys.counter(counter));
        counters.chain(group.flows.iter().map(|flow| self.keys.flow(flow).into())).collect()
    }
}

impl Group<'_> {
    fn args(&self) -> impl Iterator<Item = Value> + '_ {
        let counters = self.counters.iter().map(|counter| counter_arg(counter));
        counters.chain(self.flows.iter().map(|flow| flow_arg(flow)))
    }

    fn can_be_uncounted(&self) -> bool {
        !self.flows.is_empty() || self.counters.iter().any(|counter| counter.counting == Counting::IfAdmitted)
    }

    fn found(&self, (refusing, wait, suspicious): Survey) -> Result<Found, StoreError> {
        let names = self.counters.iter().map(|counter| counter.name).chain(self.flows.iter().map(|flow| flow.name));
        let names: Vec<_> = names.collect();
        let name = |place: i64| match usize::try_from(place) {
            Err(_) => Ok(None),
            Ok(place) => names.get(place).copied().map(Some).ok_or_else(unasked),
        };
        Ok(Found { refused: name(refusing)?.map(|name| (name, duration(wait))), suspicious: name(suspicious)? })
    }
}

impl Found {
    fn admits(&self, mode: Mode) -> bool {
        match mode {
            Mode::Heeding => self.refused.is_none() && self.suspicious.is_none(),
            Mode::Trusting => self.refused.is_none(),
            Mode::Closed => false,
        }
    }
}

impl Mode {
    fn arg(self) -> Value {
        let arg: i64 = match self {
            Self::Heeding => 0,
            Self::Trusting => 1,
            Self::Closed => 2,
        };
        arg.into()
    }
}

/// The longest refusal of all groups; else the suspicion that comes first in the tally.
fn admission_of(tally: &Tally, found: &[Found]) -> Admission {
    if let Some((name, retry_after)) = found.iter().filter_map(|found| found.refused).max_by_key(|(_, wait)| *wait) {
        return Admission::Refused { name, retry_after };
    }
    let names = tally.counters.iter().map(|counter| counter.name).chain(tally.flows.iter().map(|flow| flow.name));
    let is_suspicious = |name: &LimitName| found.iter().any(|found| found.suspicious == Some(*name));
    let suspicious = names.into_iter().find(is_suspicious);
    suspicious.map_or(Admission::Admitted, |name| Admission::Suspicious { name })
}

/// A script refused by what it was not given.
pub fn unasked() -> StoreError {
    StoreError::new(STORE, "a counter that was not asked for refused")
}

/// A counter as the scripts take it: window in milliseconds, limit, suspicion, counting, member.
pub fn counter_arg(counter: &Counter) -> Value {
    counter_text(counter).into()
}

/// The same, as text.
pub fn counter_text(counter: &Counter) -> String {
    let counting = match counter.counting {
        Counting::IfAdmitted => 0,
        Counting::Always => 1,
        Counting::Never => 2,
    };
    let (limit, suspicion) = (counter.limit.unwrap_or(0), counter.suspicion.unwrap_or(0));
    let member = counter.member.as_deref().unwrap_or_default();
    format!("{} {limit} {suspicion} {counting} {member}", millis(counter.window))
}

/// A flow as the scripts take it: messages an hour, whether codes that are not redeemed matter.
fn flow_arg(flow: &Flow) -> Value {
    format!("{} {}", flow.sent_per_hour.map_or(-1, i64::from), u8::from(flow.unredeemed)).into()
}
