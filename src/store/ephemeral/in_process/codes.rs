//! An issued code in memory: who asked for it, and what tries are left.

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
    /// A code as it is issued, with the askers of the one in its place.
    pub fn new(
        code: &PendingCode,
        network: &str,
        flows: &[Flow],
        asker: &Asker,
        before: Option<&Self>,
        now: DateTime<Utc>,
    ) -> Self {
        let tries_left = code.tries_per_asker;
        let first = Place { asker: asker.key(), asked_at: now, tries_left };
        let mut others: Vec<_> = before.map_or(&[][..], |before| &before.askers).to_vec();
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
        }
    }

    /// Adds one that asked while the gap lasts.
    pub fn join(&mut self, asker: &Asker, now: DateTime<Utc>) {
        let asker = asker.key();
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
