//! An issued code in memory: who asked for it, and what tries are left.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    super::{ASKERS, As, Asker, Flow, PendingCode},
    places::rest,
};

/// A code that waits to be redeemed.
#[derive(Clone, Debug)]
pub struct StoredCode {
    pub digest: String,
    /// Whose share it uses.
    pub network: String,
    /// The flows of its message.
    pub flows: Vec<Flow>,
    tries_per_asker: u32,
    /// The first is the one whose message was sent.
    askers: Vec<Place>,
    known: Vec<(String, u32)>,
    /// The tries of all others together.
    others: u32,
    /// The code that was in its place.
    former: Option<Box<Former>>,
    /// Is that one right, too?
    pub falls_back: bool,
}

/// A code as it was when another took its place.
#[derive(Clone, Debug)]
struct Former {
    code: StoredCode,
    expires_at: DateTime<Utc>,
}

#[derive(Clone, Debug)]
struct Place {
    asker: String,
    asked_at: DateTime<Utc>,
    tries_left: u32,
}

/// What a presenter may try.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tries {
    NotAsker,
    Left(u32),
}

impl StoredCode {
    /// A code as it is issued, with the askers of the one in its place, which had this life left.
    pub fn new(
        code: &PendingCode,
        network: &str,
        flows: &[Flow],
        asker: &Asker,
        before: Option<(Self, Duration)>,
        now: DateTime<Utc>,
    ) -> Self {
        let tries_left = code.tries_per_asker;
        let first = Place { asker: asker.key(), asked_at: now, tries_left };
        let mut others: Vec<_> = before.as_ref().map_or(&[][..], |(before, _)| &before.askers).to_vec();
        others.retain(|place| place.asker != first.asker && rest(place.asked_at + code.ttl, now).is_some());
        others.sort_by_key(|place| std::cmp::Reverse(place.asked_at));
        others.truncate(ASKERS - 1);
        others.iter_mut().for_each(|place| place.tries_left = tries_left);
        Self {
            digest: code.digest.clone(),
            network: network.to_owned(),
            flows: flows.to_vec(),
            tries_per_asker: tries_left,
            askers: [first].into_iter().chain(others).collect(),
            known: Vec::new(),
            others: tries_left,
            former: before.and_then(|(before, life)| before.kept_until(now + life)),
            falls_back: false,
        }
    }

    /// What is kept of it when another takes its place.
    fn kept_until(mut self, expires_at: DateTime<Utc>) -> Option<Box<Former>> {
        let former = self.former.take();
        // It was not delivered.
        if self.falls_back {
            return former;
        }
        Some(Box::new(Former { code: self, expires_at }))
    }

    /// The digest to compare one with.
    pub fn right(&self, presented: &str, now: DateTime<Utc>) -> String {
        let former = self.former.as_ref().filter(|former| self.falls_back && former.expires_at > now);
        let former = former.map(|former| &former.code.digest).filter(|digest| *digest == presented);
        former.unwrap_or(&self.digest).clone()
    }

    /// Undoes the issue: the code that was in its place, with those that have asked since, and the life that it has left.
    pub fn withdrawn(self, now: DateTime<Utc>) -> Option<(Self, Duration)> {
        let Former { mut code, expires_at } = *self.former?;
        let life = rest(expires_at, now)?;
        let mut askers = self.askers;
        askers.sort_by_key(|place| place.asked_at);
        askers.into_iter().for_each(|Place { asker, asked_at, .. }| code.join(asker, asked_at));
        Some((code, life))
    }

    /// Forgets the code that was in its place if it is this one.
    pub fn forget_former(&mut self, digest: &str) {
        self.former.take_if(|former| former.code.digest == digest);
    }

    /// Adds one that asked later.
    pub fn join(&mut self, asker: String, now: DateTime<Utc>) {
        if let Some(place) = self.askers.iter_mut().find(|place| place.asker == asker) {
            place.asked_at = now;
        } else if self.askers.len() < ASKERS {
            self.askers.push(Place { asker, asked_at: now, tries_left: self.tries_per_asker });
        } else {
            // A fresh set of tries for each would let a crowd try without end.
            let open = self.askers.iter_mut().skip(1).filter(|place| place.tries_left > 0);
            if let Some(place) = open.min_by_key(|place| place.asked_at) {
                (place.asker, place.asked_at) = (asker, now);
            }
        }
    }

    /// How many tries a presenter has left.
    pub fn tries(&self, presenter: &As, asker: &Asker) -> Tries {
        match presenter {
            As::Asker => self.place(asker).map_or(Tries::NotAsker, |place| Tries::Left(self.askers[place].tries_left)),
            As::Other => Tries::Left(self.others),
            As::KnownDevice(device) => {
                let known = self.known.iter().find(|(known, _)| known == device);
                Tries::Left(known.map_or(self.tries_per_asker, |(_, tries)| *tries))
            }
        }
    }

    /// Uses up a try. Returns whether that burns the code.
    pub fn use_try(&mut self, presenter: &As, asker: &Asker) -> bool {
        let tries = match presenter {
            As::Asker => match self.place(asker) {
                Some(place) => &mut self.askers[place].tries_left,
                None => return false,
            },
            As::Other => &mut self.others,
            As::KnownDevice(device) => {
                let place = self.known.iter().position(|(known, _)| known == device).unwrap_or_else(|| {
                    self.known.push((device.clone(), self.tries_per_asker));
                    self.known.len() - 1
                });
                &mut self.known[place].1
            }
        };
        *tries = tries.saturating_sub(1);
        *presenter == As::Asker && self.askers.iter().all(|place| place.tries_left == 0)
    }

    fn place(&self, asker: &Asker) -> Option<usize> {
        asker.keys().find_map(|key| self.askers.iter().position(|place| place.asker == key))
    }
}
