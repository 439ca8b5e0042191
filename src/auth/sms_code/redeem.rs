//! Checking of SMS codes.

use std::time::Duration;

use secrecy::ExposeSecret;
use uuid::Uuid;

use super::{ChallengeAnswer, Code, SmsCodes};
use crate::{
    auth::{
        error::Error,
        event::{self, Event, Subject},
        guess_subjects::Guessed,
        guesses::Objection,
        limits::{Sender, limited},
    },
    model::{limit::LimitName, mobile::Mobile, origin::Origin, purpose::Purpose},
    store::ephemeral::{As, Asker, Attempt, CodeSlot, Counter, Redemption, Replay, Tally, UsedCode},
    telemetry::metrics,
};

/// How long the answer to a right code can be had again.
const REPEATABLE_FOR: Duration = Duration::from_secs(60);

/// A code that is presented.
#[derive(Clone, Copy)]
pub struct Presentation<'a> {
    /// Whose code it is.
    pub mobile: &'a Mobile,
    /// What for.
    pub purpose: Purpose,
    /// What was typed.
    pub code: &'a Code,
    /// Where it comes from.
    pub origin: &'a Origin,
    /// A challenge that was solved, if any.
    pub challenge: Option<&'a ChallengeAnswer>,
}

impl<'a> Presentation<'a> {
    /// A code for this purpose.
    pub fn of(
        purpose: Purpose,
        mobile: &'a Mobile,
        code: &'a Code,
        origin: &'a Origin,
        challenge: Option<&'a ChallengeAnswer>,
    ) -> Self {
        Self { mobile, purpose, code, origin, challenge }
    }
}

/// A code that was right and is used up, and how to undo that.
pub struct Redeemed(Box<UsedCode>);

/// A code that may be presented again after an answer that got lost.
pub struct Repeatable {
    /// The caller's own name for what they are doing.
    pub key: Uuid,
    /// What to remember of it.
    pub value: String,
}

/// What came of presenting a code that may be repeated.
pub enum Presented {
    /// It was right.
    Redeemed(Redeemed),
    /// It was right before: what was remembered then.
    Repeated(String),
}

/// A comparison to be, whoever turns out to ask for it.
struct Comparison<'a> {
    presentation: Presentation<'a>,
    slot: CodeSlot,
    digest: String,
    asker: Asker,
    replay: Option<Replay>,
    signs_in: bool,
}

impl SmsCodes {
    /// Checks a code and uses it up.
    pub async fn redeem(&self, presentation: Presentation<'_>) -> Result<Redeemed, Error> {
        match self.redeem_or_repeat(presentation, None).await? {
            Presented::Redeemed(redeemed) => Ok(redeemed),
            Presented::Repeated(_) => Err(Error::Internal("a replay without a key".to_owned())),
        }
    }

    /// Checks a code and uses it up, unless the same caller has done so before.
    pub async fn redeem_or_repeat(
        &self,
        presentation: Presentation<'_>,
        repeatable: Option<Repeatable>,
    ) -> Result<Presented, Error> {
        let Presentation { mobile, purpose, code, origin, .. } = presentation;
        let slot = CodeSlot { mobile: mobile.clone(), purpose };
        let digest = self.keys.digest(&slot, code.0.expose_secret());
        let replay = repeatable.map(|Repeatable { key, value }| Replay {
            key: format!("{key}:{digest}"),
            value,
            ttl: REPEATABLE_FOR,
        });
        let fixed = self.settings.test_codes.of(mobile, origin).map(|fixed| self.keys.digest(&slot, fixed));
        let signs_in = purpose == Purpose::Login && fixed.is_none();
        let asker = self.keys.asker(mobile, origin);
        let comparison = Comparison { presentation, slot, digest, asker, replay, signs_in };

        let compared = match fixed {
            Some(fixed) => self.compare_fixed(&comparison, &fixed).await,
            None => self.compare(&comparison).await,
        };
        let outcome = match &compared {
            Ok(redemption) => outcome_of(redemption),
            Err(_) => "over_budget",
        };
        metrics::SMS_CODES.count([purpose.as_str(), outcome]);
        let refused = match compared? {
            Redemption::Accepted(used) => return Ok(Presented::Redeemed(Redeemed(used))),
            Redemption::Repeated(value) => return Ok(Presented::Repeated(value)),
            Redemption::Wrong { tries_left } => Error::SmsCodeInvalid { attempts_left: tries_left },
            Redemption::Missing | Redemption::NotAsker => Error::SmsCodeExpired,
            Redemption::Refused { name, retry_after } => return Err(limited(name, retry_after, Some(mobile), origin)),
        };
        let subject = Subject { mobile: Some(mobile), reason: Some(purpose.as_str()), ..Subject::default() };
        let refusal = if purpose == Purpose::Login { Event::SignInFailed } else { Event::CodeRefused };
        event::record(refusal, origin, subject);
        if matches!(refused, Error::SmsCodeInvalid { attempts_left: Some(0) }) {
            event::record(Event::CodeBurnt, origin, subject);
        }
        Err(refused)
    }

    /// Compares with the fixed code of a test number.
    async fn compare_fixed(&self, comparison: &Comparison<'_>, fixed: &str) -> Result<Redemption, Error> {
        let Presentation { mobile, origin, .. } = comparison.presentation;
        let guess = self.limits.guess_at_test_code(mobile, origin);
        let nothing = || Tally { counters: vec![], ..guess.clone() };
        let unredeemed = self.limits.unredeemed(mobile);
        let attempt = comparison.attempt(As::Other, &guess, &nothing, None, &unredeemed);
        Ok(self.codes.redeem_code(&Attempt { fixed: Some(fixed), ..attempt }).await?)
    }

    /// Compares on the terms of who asks. An asker has tries at the code that are counted nowhere else. All others count
    /// as strangers until a limit objects.
    ///
    /// What few codes need is boxed: every sign-in moves this future.
    async fn compare(&self, comparison: &Comparison<'_>) -> Result<Redemption, Error> {
        let Presentation { mobile, origin, challenge, .. } = comparison.presentation;
        let guessed = Guessed::Codes;
        let mut sender = Sender::Unknown;
        let mut may_be_asker = true;
        let objection = loop {
            let compared = match &sender {
                // Under the name that shows the owner: a client makes up as many ids as it likes.
                Sender::KnownByDevice(device) => {
                    self.compare_as(comparison, As::KnownDevice(device.clone()), &sender).await?
                }
                _ if may_be_asker => self.compare_as(comparison, As::Asker, &sender).await?,
                _ => Box::pin(self.compare_as_other(comparison, &sender)).await?,
            };
            let objection = match compared {
                Ok(Redemption::NotAsker) => {
                    may_be_asker = false;
                    continue;
                }
                Ok(redemption) => return Ok(redemption),
                Err(objection) => objection,
            };
            if sender != Sender::Unknown || objection.is_for_everyone() {
                break objection;
            }
            self.guesses.record_bound(&objection, guessed, mobile, origin);
            sender = Box::pin(self.guesses.sender(mobile, origin)).await?;
            if !sender.is_known() {
                break objection;
            }
        };
        let (name, retry_after) = match objection {
            Objection::Limit { name, retry_after } => (name, retry_after),
            Objection::Exhausted => {
                let beyond = Box::pin(self.guesses.beyond(guessed, mobile, origin, &sender, challenge)).await?;
                let compared = Box::pin(self.compare_as(comparison, As::Other, &sender)).await;
                if !matches!(compared, Ok(Ok(Redemption::Accepted(_) | Redemption::Wrong { .. }))) {
                    Box::pin(self.guesses.give_back_beyond(&beyond)).await;
                }
                match compared? {
                    Ok(redemption) => return Ok(redemption),
                    Err(Objection::Limit { name, retry_after }) => (name, retry_after),
                    Err(Objection::Exhausted) => (LimitName::GuessesBeyond, Duration::ZERO),
                }
            }
        };
        Err(limited(name, retry_after, Some(mobile), origin))
    }

    /// Compares for a stranger or a known network, within the guesses in all.
    async fn compare_as_other(
        &self,
        comparison: &Comparison<'_>,
        sender: &Sender,
    ) -> Result<Result<Redemption, Objection>, Error> {
        let in_all = match self.guesses.take_in_all(Guessed::Codes, comparison.presentation.mobile, sender).await? {
            Ok(in_all) => in_all,
            Err(objection) => return Ok(Err(objection)),
        };
        let compared = self.compare_as(comparison, As::Other, sender).await;
        // Only a wrong code is a guess.
        if !matches!(compared, Ok(Ok(Redemption::Wrong { .. }))) {
            self.guesses.give_back(in_all).await;
        }
        compared
    }

    async fn compare_as(
        &self,
        comparison: &Comparison<'_>,
        who: As,
        sender: &Sender,
    ) -> Result<Result<Redemption, Objection>, Error> {
        let Presentation { mobile, origin, .. } = comparison.presentation;
        let guess = self.limits.guess(Guessed::Codes, mobile, origin, sender);
        let nothing = || self.limits.guess_at_nothing(mobile, origin, sender);
        let unredeemed = self.limits.unredeemed(mobile);
        let sign_in = comparison.signs_in.then(|| self.limits.sign_in(mobile, origin, sender));
        let attempt = comparison.attempt(who, &guess, &nothing, sign_in.as_ref(), &unredeemed);
        Ok(match self.codes.redeem_code(&attempt).await? {
            Redemption::Refused { name, retry_after } => Err(Objection::Limit { name, retry_after }),
            redemption => Ok(redemption),
        })
    }

    /// Changes what is remembered of a redemption that may be repeated: the store gave what it was for another name.
    pub async fn repeat_as(&self, Redeemed(used): &Redeemed, value: String) {
        if let Err(error) = self.codes.replace_replay(used, &value).await {
            tracing::warn!(%error, "failed to remember a session that began later; a repetition may open another one");
        }
    }

    /// Gives a code back when what it was redeemed for did not happen.
    pub async fn restore_unless<T>(&self, done: Result<T, Error>, redeemed: Option<Redeemed>) -> Result<T, Error> {
        if let (Err(_), Some(redeemed)) = (&done, redeemed) {
            self.restore(redeemed).await;
        }
        done
    }

    /// Makes a used code usable again.
    pub async fn restore(&self, Redeemed(used): Redeemed) {
        if let Err(error) = self.codes.restore_code(&used).await {
            tracing::error!(%error, "a code could not be given back");
        }
    }
}

impl Comparison<'_> {
    fn attempt<'a>(
        &'a self,
        presenter: As,
        guess: &'a Tally,
        nothing: &'a (dyn Fn() -> Tally + Sync),
        sign_in: Option<&'a Tally>,
        unredeemed: &'a Counter,
    ) -> Attempt<'a> {
        Attempt {
            slot: &self.slot,
            digest: &self.digest,
            fixed: None,
            asker: &self.asker,
            presenter,
            guess,
            nothing,
            sign_in,
            unredeemed,
            replay: self.replay.as_ref(),
            presence: &self.presentation.origin.presence,
        }
    }
}

/// What metrics call it.
fn outcome_of(redemption: &Redemption) -> &'static str {
    match redemption {
        Redemption::Accepted(_) => "right",
        Redemption::Repeated(_) => "repeated",
        Redemption::Wrong { .. } => "wrong",
        Redemption::Missing | Redemption::NotAsker => "expired",
        Redemption::Refused { .. } => "over_budget",
    }
}
