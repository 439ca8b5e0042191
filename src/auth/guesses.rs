//! Guesses at codes and passwords: on whose terms they are looked at, and when a challenge is needed.

use std::{sync::Arc, time::Duration};

use super::{
    challenges::{ChallengeAnswer, Challenges},
    error::Error,
    guess_subjects::{GUESSES_IN_ALL, GuessSubjects, Guessed},
    limits::{Limits, Sender, Turn, Turns, in_all, limited, record, record_strangers_bound},
    standing::Standings,
};
use crate::{
    auth::event::Event,
    model::{limit::LimitName, mobile::Mobile, origin::Origin},
    store::{
        StoreError,
        ephemeral::{Admission, EphemeralStore, Tally},
        users::{Guess, Guesser, UserStore},
    },
};

/// Lets guesses be looked at within their budgets.
pub struct Guesses {
    /// Counts those of an hour.
    pub codes: Arc<dyn EphemeralStore>,
    /// Counts those in all.
    pub users: Arc<dyn UserStore>,
    /// What those of an hour count on.
    pub limits: Arc<Limits>,
    /// Names what those in all count on, which a right one clears.
    pub subjects: GuessSubjects,
    /// Tells owners from strangers.
    pub standings: Arc<Standings>,
    /// Checks what is needed beyond those in all.
    pub challenges: Arc<Challenges>,
    /// The passwords that are looked at.
    pub turns: Turns,
}

/// A guess that counts since the last right one.
pub struct TakenInAll {
    subject: String,
    guesser: Guesser,
}

/// A guess at a password that counts as a wrong one until it is settled.
pub struct TakenGuess {
    counted: Counted,
    _turn: Turn,
}

/// What a guess at a password counts on.
struct Counted {
    guess: Tally,
    sign_in: Option<Tally>,
    in_all: Option<TakenInAll>,
    /// The one of the hour beyond those in all.
    beyond: Option<Tally>,
}

/// Why a guess is not looked at on the terms of a sender.
pub enum Objection {
    /// Too many within an hour.
    Limit {
        /// Whose limit.
        name: LimitName,
        /// When it will admit the next one.
        retry_after: Duration,
    },
    /// Too many since the last right one.
    Exhausted,
}

impl Objection {
    /// Does it not depend on who asks?
    pub fn is_for_everyone(&self) -> bool {
        matches!(self, Self::Limit { name: LimitName::SignInsPerUser, .. })
    }
}

impl Guesses {
    /// Who asks about a number: looked up, so only once a limit objects.
    pub async fn sender(&self, mobile: &Mobile, origin: &Origin) -> Result<Sender, Error> {
        Ok(self.standings.of(mobile, origin).await?.into())
    }

    /// Counts a guess of those in all, where that budget applies to the sender.
    ///
    /// Writes to the database: call it once nothing else objects.
    pub async fn take_in_all(
        &self,
        guessed: Guessed,
        mobile: &Mobile,
        sender: &Sender,
    ) -> Result<Result<Option<TakenInAll>, Objection>, Error> {
        let guesser = match sender {
            Sender::KnownByDevice(_) => return Ok(Ok(None)),
            _ if self.limits.settings().verify_per_mobile_per_hour == 0 => return Ok(Ok(None)),
            Sender::KnownByNetwork => Guesser::KnownNetwork,
            Sender::Unknown | Sender::Newcomer | Sender::Stranger | Sender::Concealed => Guesser::Stranger,
        };
        let subject = self.subjects.of(guessed, mobile);
        Ok(match self.users.take_guess(&subject, guesser, GUESSES_IN_ALL, self.limits.now()).await? {
            Guess::Taken => Ok(Some(TakenInAll { subject, guesser })),
            Guess::Exhausted => Err(Objection::Exhausted),
        })
    }

    /// Gives a guess back that was right, or not looked at.
    pub async fn give_back(&self, taken: Option<TakenInAll>) {
        let Some(TakenInAll { subject, guesser }) = taken else { return };
        settled(self.users.return_guess(&subject, guesser).await);
    }

    /// Lets a guess be looked at beyond those in all: one an hour, with a challenge. Returns what counts it, to be taken
    /// back if it is not looked at.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`], before the challenge is used up; what [`Challenges::check`] refuses.
    pub async fn beyond(
        &self,
        guessed: Guessed,
        mobile: &Mobile,
        origin: &Origin,
        sender: &Sender,
        challenge: Option<&ChallengeAnswer>,
    ) -> Result<Tally, Error> {
        let tally = self.limits.guess_beyond(guessed, mobile, origin, sender);
        let guess = self.limits.guess(guessed, mobile, origin, sender);
        let refusal = |admission| match admission {
            Admission::Refused { name, retry_after } => Err(limited(name, retry_after, Some(mobile), origin)),
            Admission::Admitted | Admission::Suspicious { .. } => Ok(()),
        };
        refusal(self.codes.survey(&both(&tally, Some(&guess))).await?)?;
        let Some(challenge) = challenge else {
            record(Event::Limited, in_all(guessed), Some(mobile), origin);
            return Err(Error::ImageCodeRequired(self.challenges.offers()));
        };
        // Each look at a challenge costs a core's time or a vendor's call.
        refusal(self.codes.count(&self.limits.challenged(mobile, origin, sender)).await?)?;
        self.challenges.check(challenge, mobile, origin).await?;
        refusal(self.codes.count(&tally).await?)?;
        Ok(tally)
    }

    /// Gives the guess of the hour beyond those in all back: it was not looked at.
    pub async fn give_back_beyond(&self, taken: &Tally) {
        settled(self.codes.uncount(taken).await);
    }

    /// Puts it on record if strangers together have met a bound, whether or not this request passes it.
    pub fn record_bound(&self, objection: &Objection, guessed: Guessed, mobile: &Mobile, origin: &Origin) {
        let name = match objection {
            Objection::Limit { name, .. } => *name,
            Objection::Exhausted => in_all(guessed),
        };
        record_strangers_bound(name, &Sender::Unknown, mobile, origin);
    }

    /// Counts a guess at a password as a wrong one for now, so that guesses at the same instant cannot all slip through.
    /// All count as strangers until a limit objects.
    ///
    /// # Errors
    /// [`Error::Overloaded`] while another guess is looked at; nothing is counted then. [`Error::TooManyRequests`] when a
    /// budget is used up, [`Error::ImageCodeRequired`] when the one in all is.
    pub async fn take_password(
        &self,
        mobile: &Mobile,
        origin: &Origin,
        signs_in: bool,
        challenge: Option<&ChallengeAnswer>,
    ) -> Result<TakenGuess, Error> {
        let guessed = Guessed::Password;
        let (mut turn, mut sender) = match self.turns.take(mobile, false) {
            Ok(turn) => (turn, Sender::Unknown),
            Err(taken) => {
                let sender = self.sender(mobile, origin).await?;
                (if sender.is_known() { self.turns.take(mobile, true)? } else { return Err(taken) }, sender)
            }
        };
        let objection = loop {
            let objection = match self.count_password(&sender, mobile, origin, signs_in).await? {
                Ok(counted) => return Ok(TakenGuess { counted, _turn: turn }),
                Err(objection) => objection,
            };
            if sender != Sender::Unknown || objection.is_for_everyone() {
                break objection;
            }
            self.record_bound(&objection, guessed, mobile, origin);
            sender = self.sender(mobile, origin).await?;
            if !sender.is_known() {
                break objection;
            }
            turn = self.turns.take(mobile, true)?;
        };
        match objection {
            Objection::Limit { name, retry_after } => Err(limited(name, retry_after, Some(mobile), origin)),
            Objection::Exhausted => {
                // Turn and place stay taken meanwhile: were they taken after it, the challenge would be used up, and
                // counted, also for a guess that finds neither.
                let beyond = self.beyond(guessed, mobile, origin, &sender, challenge).await?;
                let counted = self.count_hour(&sender, mobile, origin, signs_in).await;
                if !matches!(counted, Ok(Ok(_))) {
                    self.give_back_beyond(&beyond).await;
                }
                match counted? {
                    Ok(counted) => Ok(TakenGuess { counted: Counted { beyond: Some(beyond), ..counted }, _turn: turn }),
                    Err((name, retry_after)) => Err(limited(name, retry_after, Some(mobile), origin)),
                }
            }
        }
    }

    async fn count_password(
        &self,
        sender: &Sender,
        mobile: &Mobile,
        origin: &Origin,
        signs_in: bool,
    ) -> Result<Result<Counted, Objection>, Error> {
        let counted = match self.count_hour(sender, mobile, origin, signs_in).await? {
            Ok(counted) => counted,
            Err((name, retry_after)) => return Ok(Err(Objection::Limit { name, retry_after })),
        };
        let objection = match self.take_in_all(Guessed::Password, mobile, sender).await {
            Ok(Ok(in_all)) => return Ok(Ok(Counted { in_all, ..counted })),
            Ok(Err(objection)) => Ok(Err(objection)),
            Err(error) => Err(error),
        };
        self.uncount(counted).await;
        objection
    }

    async fn count_hour(
        &self,
        sender: &Sender,
        mobile: &Mobile,
        origin: &Origin,
        signs_in: bool,
    ) -> Result<Result<Counted, (LimitName, Duration)>, Error> {
        let guess = self.limits.guess(Guessed::Password, mobile, origin, sender);
        let sign_in =
            signs_in.then(|| self.limits.sign_in(mobile, origin, sender)).map(|tally| Tally { at: guess.at, ..tally });
        Ok(match self.codes.count(&both(&guess, sign_in.as_ref())).await? {
            Admission::Refused { name, retry_after } => Err((name, retry_after)),
            Admission::Admitted | Admission::Suspicious { .. } => {
                Ok(Counted { guess, sign_in, in_all: None, beyond: None })
            }
        })
    }

    /// What became of a guess: a right one clears the budget of its network, one that was not looked at is taken back.
    pub async fn settle(&self, taken: TakenGuess, right: Option<bool>) {
        let counted = taken.counted;
        match right {
            Some(true) => {
                settled(self.codes.clear(&counted.guess).await);
                self.give_back(counted.in_all).await;
            }
            Some(false) => {
                if let Some(sign_in) = &counted.sign_in {
                    settled(self.codes.uncount(sign_in).await);
                }
            }
            None => self.uncount(counted).await,
        }
    }

    async fn uncount(&self, Counted { guess, sign_in, in_all, beyond }: Counted) {
        settled(self.codes.uncount(&both(&guess, sign_in.as_ref())).await);
        if let Some(beyond) = &beyond {
            self.give_back_beyond(beyond).await;
        }
        self.give_back(in_all).await;
    }
}

/// A guess at a password and the sign-in that it may become, counted in one step. The sign-in keeps a name of its own: a
/// right guess clears what it counted as one.
fn both(guess: &Tally, sign_in: Option<&Tally>) -> Tally {
    let sign_ins = sign_in.into_iter().flat_map(|tally| &tally.counters);
    Tally { counters: guess.counters.iter().chain(sign_ins).cloned().collect(), ..guess.clone() }
}

fn settled(outcome: Result<(), StoreError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "failed to settle the attempt; it still counts as failed");
    }
}
