//! A rehearsal of everything that a sign-in asks of Redis, on keys that only this instance uses.

use std::time::Duration;

use chrono::DateTime;
use fred::{
    interfaces::{ClusterInterface, LuaInterface},
    types::{Value, cluster::ClusterRouting},
};
use futures_util::future::try_join_all;

use super::{
    super::{CodeSlot, Counter, Counting, EphemeralStore, PendingCode, Tally, UsedCode},
    Redis, code_args, count_of, counter_args, millis, millis_of,
    redemptions::{Presented, Redemptions},
    scripts,
};
use crate::{
    model::{limit::LimitName, mobile::Mobile, origin::Presence, purpose::Purpose},
    store::StoreError,
};

/// How long the keys live if nothing deletes them.
const TTL: Duration = Duration::from_secs(10);

/// What keys call it, where others have a purpose.
const NAME: &str = "readiness";

const DIGEST: &str = "right";

/// How many names are tried until each primary of a cluster has one: enough for a hundred primaries.
const NAMES: u32 = 2000;

impl Redis {
    /// Rehearses a sign-in, in a cluster on each primary.
    ///
    /// # Errors
    /// When any command is refused: by access control, a full memory, or a replica. `PING` would still be answered.
    pub(super) async fn rehearse(&self) -> Result<(), StoreError> {
        let subjects = self.subjects();
        try_join_all(subjects.iter().map(|subject| self.rehearse_for(subject))).await.map(drop)
    }

    /// What stands in keys in the place of a mobile.
    fn subjects(&self) -> Vec<String> {
        let routing = if self.clustered { self.link.pool.next().cached_cluster_state() } else { None };
        let Some(routing) = routing.filter(|routing| routing.len() > 0) else { return vec![self.instance.clone()] };
        let names: Vec<_> = (0..NAMES).map(|n| format!("{}-{n}", self.instance)).collect();
        let at = |name: &str| routing.get_server(ClusterRouting::hash_key(name.as_bytes()));
        let primaries = routing.unique_primary_nodes();
        primaries.iter().filter_map(|primary| names.iter().find(|name| at(name) == Some(primary)).cloned()).collect()
    }

    /// A picture, a code, a wrong guess, the right one, and what follows if the database fails: every command of every
    /// script.
    async fn rehearse_for(&self, subject: &str) -> Result<(), StoreError> {
        let [open, close] = self.tag();
        let picture = [open, subject, close].concat();
        self.put_image_code(&picture, "text", subject, TTL).await?;
        self.take_image_code(&picture).await?;

        let counter = |part: Option<&str>| Counter {
            name: LimitName::Requests,
            subject: subject.to_owned(),
            part: part.map(str::to_owned),
            member: None,
            window: TTL,
            limit: Some(10),
            suspicion: Some(10),
            counting: Counting::IfAdmitted,
        };
        // The scripts compare times with each other only.
        let tally = Tally {
            id: NAME.to_owned(),
            at: DateTime::UNIX_EPOCH,
            network: String::new(),
            flows: Vec::new(),
            counters: vec![counter(None), counter(Some("part"))],
        };
        let counters: Vec<_> = tally.counters.iter().collect();
        let counted: Vec<Value> = counter_args(&tally, &counters).collect();
        let now: Value = millis_of(tally.at).into();
        let code = self.key(&["sms_code:", NAME, ":", open, subject, close]);
        let replay = self.key(&["idempotency:", open, subject, close, ":", NAME]);
        let pending = PendingCode { digest: DIGEST.to_owned(), tries_per_asker: 2, ttl: TTL };

        // Needed where the server does not know a script yet.
        let outcome = self.link.pool.eval("return 0", vec![code.clone()], Vec::<Value>::new()).await;
        let _: Value = outcome.map_err(|error| self.link.unavailable(&error))?;

        let mut keys = self.counter_keys(&counters);
        keys.push(code.clone());
        let mut args = vec![now.clone(), count_of(&counters), 1.into()];
        args.extend(counted.iter().cloned().chain(code_args(&pending)));
        let _: Value = self.run(&scripts::COUNT, keys, args).await?;

        for digest in ["wrong", DIGEST] {
            let mut keys = vec![code.clone(), self.counter_key(&counter(Some("unredeemed"))), replay.clone()];
            keys.extend(self.counter_keys(&counters));
            let mut args = vec![count_of(&counters), now.clone(), digest.into(), "".into(), NAME.into()];
            args.push(millis(TTL).into());
            args.extend(counted.iter().cloned());
            let presented = Presented {
                keys,
                args,
                digest: Some(digest.to_owned()),
                names: counters.iter().map(|counter| counter.name).collect(),
                presence: Presence::default(),
                used: UsedCode {
                    slot: CodeSlot {
                        mobile: Mobile::parse("13800138000").ok_or_else(|| StoreError::new("redis", "x"))?,
                        purpose: Purpose::Login,
                    },
                    code: None,
                    ttl: TTL,
                    at: tally.at,
                    replay: None,
                    sign_in: None,
                },
            };
            Redemptions(self.link.clone()).one(&presented).await?;
        }

        let keys = vec![code.clone(), replay];
        let _: Value = self.run(&scripts::RESTORE, keys, code_args(&pending).into()).await?;
        self.run(&scripts::WITHDRAW, vec![code], vec![DIGEST.into()]).await
    }
}
