//! Wrong guesses at codes and passwords within an hour, and sign-ins.

use super::{Counter, DAY, HOUR, LimitName, Limits, Mobile, Origin, Sender, Tally, limit, objects};
use uuid::Uuid;

use crate::auth::guess_subjects::Guessed;

/// How many times the budget of one network is that of all strangers together, and that of all known networks.
const NETWORKS: u32 = 5;

/// How many wrong guesses a day there are at the code of a test number.
const TEST_CODES_PER_DAY: u32 = 20;

/// How many guesses an hour there are with a challenge, once those in all are used up.
const BEYOND_PER_HOUR: u32 = 1;

/// The names of the budgets of what is guessed.
struct Names {
    here: LimitName,
    of_strangers: LimitName,
    of_known_networks: LimitName,
    of_device: LimitName,
    per_ip: LimitName,
}

fn names(guessed: Guessed) -> Names {
    match guessed {
        Guessed::Codes => Names {
            here: LimitName::WrongCodes,
            of_strangers: LimitName::WrongCodesOfStrangers,
            of_known_networks: LimitName::WrongCodesOfKnownNetworks,
            of_device: LimitName::WrongCodesOfDevice,
            per_ip: LimitName::WrongCodesPerIp,
        },
        Guessed::Password => Names {
            here: LimitName::WrongPasswords,
            of_strangers: LimitName::WrongPasswordsOfStrangers,
            of_known_networks: LimitName::WrongPasswordsOfKnownNetworks,
            of_device: LimitName::WrongPasswordsOfDevice,
            per_ip: LimitName::WrongPasswordsPerIp,
        },
    }
}

/// The name of the budget since the last right guess.
pub fn in_all(guessed: Guessed) -> LimitName {
    match guessed {
        Guessed::Codes => LimitName::WrongCodesInAll,
        Guessed::Password => LimitName::WrongPasswordsInAll,
    }
}

impl Limits {
    /// A guess that may turn out wrong. A right one clears the first counter, which is its network's or its device's, and
    /// what that counted from the others.
    pub fn guess(&self, guessed: Guessed, mobile: &Mobile, origin: &Origin, sender: &Sender) -> Tally {
        let together = self.settings.verify_per_mobile_per_hour.saturating_mul(NETWORKS);
        let names = names(guessed);
        let others = match sender {
            Sender::KnownByDevice(_) => vec![],
            Sender::KnownByNetwork => vec![limit(names.of_known_networks, mobile.as_str(), HOUR, together)],
            Sender::Unknown | Sender::Newcomer | Sender::Stranger => {
                let of_strangers = limit(names.of_strangers, mobile.as_str(), HOUR, together);
                [of_strangers].into_iter().chain(self.guesses_per_ip(guessed, origin)).collect()
            }
        };
        self.guess_tally(guessed, mobile, origin, sender, others)
    }

    /// A guess where no code is. It says nothing about the number, so it counts for its network alone.
    pub fn guess_at_nothing(&self, mobile: &Mobile, origin: &Origin, sender: &Sender) -> Tally {
        let others = if sender.is_known() { None } else { self.guesses_per_ip(Guessed::Codes, origin) };
        self.guess_tally(Guessed::Codes, mobile, origin, sender, others.into_iter().collect())
    }

    /// A guess at the code of a test number: its own bound alone.
    pub fn guess_at_test_code(&self, mobile: &Mobile, origin: &Origin) -> Tally {
        let counter = limit(LimitName::TestCodeGuesses, mobile.as_str(), DAY, TEST_CODES_PER_DAY);
        self.tally(mobile, origin, &Sender::Unknown, vec![counter])
    }

    /// A guess with a challenge, beyond those in all.
    pub fn guess_beyond(&self, guessed: Guessed, mobile: &Mobile, origin: &Origin, sender: &Sender) -> Tally {
        let Names { of_strangers, of_known_networks, .. } = names(guessed);
        let name = if sender.is_known() { of_known_networks } else { of_strangers };
        let part = Some(name.as_str().to_owned());
        let counter = Counter { part, ..limit(LimitName::GuessesBeyond, mobile.as_str(), HOUR, BEYOND_PER_HOUR) };
        self.tally(mobile, origin, sender, vec![counter])
    }

    /// A sign-in, under a name of its own wherever it is counted.
    pub fn sign_in(&self, mobile: &Mobile, origin: &Origin, sender: &Sender) -> Tally {
        let per_hour = self.settings.sign_ins_per_user_per_hour;
        let member = Some(Uuid::now_v7().to_string());
        let counter = Counter { member, ..limit(LimitName::SignInsPerUser, mobile.as_str(), HOUR, per_hour) };
        let counters = Some(counter).into_iter().filter(objects).collect();
        self.tally(mobile, origin, sender, counters)
    }

    fn guess_tally(
        &self,
        guessed: Guessed,
        mobile: &Mobile,
        origin: &Origin,
        sender: &Sender,
        mut others: Vec<Counter>,
    ) -> Tally {
        let (Names { here, of_device, .. }, budget) = (names(guessed), self.settings.verify_per_mobile_per_hour);
        let (name, part, budget) = match sender {
            Sender::KnownByDevice(device) => (of_device, device.clone(), budget),
            _ => (here, origin.network(), if self.is_exempt(origin) { 0 } else { budget }),
        };
        let own = Counter { part: Some(part), ..limit(name, mobile.as_str(), HOUR, budget) };
        others.retain(objects);
        // Without a limit it refuses nothing, but knows what to clear from the others.
        let is_kept = objects(&own) || !others.is_empty();
        self.tally(mobile, origin, sender, is_kept.then_some(own).into_iter().chain(others).collect())
    }

    fn guesses_per_ip(&self, guessed: Guessed, origin: &Origin) -> Option<Counter> {
        let per_hour = self.settings.guesses_per_ip_per_hour;
        (!self.is_exempt(origin)).then(|| limit(names(guessed).per_ip, &origin.network(), HOUR, per_hour))
    }
}
