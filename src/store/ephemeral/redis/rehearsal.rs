//! A rehearsal of everything that a sign-in asks of Redis, on keys that only this instance uses.

use std::time::Duration;

use chrono::DateTime;
use fred::{
    interfaces::{ClusterInterface, LuaInterface},
    types::{Value, cluster::ClusterRouting},
};
use futures_util::future::try_join_all;

use super::{
    super::{
        As, Asker, Attempt, CodeSlot, Counter, Counting, EphemeralStore, Flow, PendingCode, Redemption, Replay, Tally,
    },
    Redis, scripts,
    tallies::Issue,
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

/// A mobile that stands nowhere.
const MOBILE: &str = "13800138000";

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
        let [open, close] = self.keys.tag();
        let name = [open, subject, close].concat();
        self.put_image_code(&name, "text", subject, TTL).await?;
        self.take_image_code(&name).await?;
        self.take_once(&name, subject, TTL).await?;

        let counter = |part: Option<&str>| Counter {
            name: LimitName::Requests,
            subject: subject.to_owned(),
            part: part.map(str::to_owned),
            member: Some(NAME.to_owned()),
            window: TTL,
            limit: Some(10),
            suspicion: Some(10),
            counting: Counting::IfAdmitted,
        };
        let group = subject.to_owned();
        let flow = Flow { name: LimitName::SmsBlock, group, sent_per_hour: Some(10), unredeemed: true };
        let tally = |counters, flows| Tally {
            id: NAME.to_owned(),
            // The scripts compare times with each other only.
            at: DateTime::UNIX_EPOCH,
            network: String::new(),
            counters,
            flows,
        };
        let message = tally(vec![counter(None), counter(Some("part"))], vec![flow]);
        let guess = tally(vec![counter(Some("here")), counter(Some("everywhere"))], Vec::new());
        let sign_in = tally(vec![counter(Some("sign-in"))], Vec::new());
        let (code, replay) = (self.keys.code_of(NAME, subject), self.keys.replay_of(subject, NAME));
        let pending = PendingCode { digest: DIGEST.to_owned(), tries_per_asker: 2, ttl: TTL };
        let asker = Asker { network: NAME.to_owned(), device: None };

        // Needed where the server does not know a script yet.
        let outcome = self.link.pool.eval("return 0", vec![code.clone()], Vec::<Value>::new()).await;
        let _: Value = outcome.map_err(|error| self.link.unavailable(&error))?;

        let issue = Issue { mobile: subject, key: code.clone(), code: &pending, asker: &asker };
        self.admit(&message, Some(issue), true).await?;
        self.survey_tally(&message).await?;
        let mut right = None;
        for (digest, presenter) in [("wrong", As::Other), (DIGEST, As::Asker)] {
            let attempt = Attempt {
                // In the keys stands the subject.
                slot: &CodeSlot { mobile: Mobile::parse(MOBILE).expect("a mobile"), purpose: Purpose::Login },
                digest,
                fixed: None,
                asker: &asker,
                presenter,
                guess: &guess,
                nothing: &|| tally(Vec::new(), Vec::new()),
                sign_in: Some(&sign_in),
                unredeemed: &counter(Some("unredeemed")),
                replay: Some(&Replay { key: NAME.to_owned(), value: NAME.to_owned(), ttl: TTL }),
                presence: &Presence::default(),
            };
            right = Some(self.redeem_at(&attempt, subject, code.clone(), replay.clone()).await?);
        }
        if let Some(Redemption::Accepted(used)) = right {
            self.restore(code.clone(), replay, &used).await?;
        }
        let _: Value = self.run(&scripts::WITHDRAW, vec![code], vec![DIGEST.into()]).await?;
        self.uncount(&message).await?;
        self.members(&message.counters[0], message.at, 1).await?;
        self.forget(&message.counters[0], &[NAME.to_owned()]).await
    }
}
