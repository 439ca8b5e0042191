//! Challenges: what a client solves when a request is suspicious, and which kinds there are. Pictures are in
//! `auth/image_code.rs`, proofs of work beside this file, captchas of vendors behind the seam `captcha/`.

pub mod pow;

use std::sync::Arc;

use secrecy::SecretString;

use super::{
    error::Error,
    event::{self, Event, Subject},
    image_code::{ImageCodes, PictureAnswer},
};
use crate::{
    captcha::{Captcha, Verdict},
    model::{
        challenge::{ChallengeKind, Offer},
        mobile::Mobile,
        origin::Origin,
    },
    telemetry::{metrics, traces},
};
use pow::ProofsOfWork;

/// A challenge that a client has solved, as it says.
#[derive(Clone, Debug)]
pub enum ChallengeAnswer {
    /// What was read in a picture.
    Picture(PictureAnswer),
    /// The answer to any other kind.
    Other {
        /// Which kind.
        kind: ChallengeKind,
        /// What was made of it: for `pow` the payload of ALTCHA, else what the vendor's widget handed out.
        response: SecretString,
    },
}

impl ChallengeAnswer {
    /// Which kind it answers.
    pub fn kind(&self) -> ChallengeKind {
        match self {
            Self::Picture(_) => ChallengeKind::Picture,
            Self::Other { kind, .. } => *kind,
        }
    }
}

/// What checks the answers of a kind.
pub enum Checker {
    /// Pictures that this service drew.
    Picture(Arc<ImageCodes>),
    /// Proofs of work that this service asked for.
    Pow(Arc<ProofsOfWork>),
    /// A vendor.
    Vendor(Arc<dyn Captcha>),
}

/// The challenges of `CHALLENGES`, in its order.
pub struct Challenges {
    checkers: Vec<(ChallengeKind, Checker)>,
    offers: Arc<[Offer]>,
}

impl Challenges {
    /// Offers these kinds.
    pub fn new(kinds: Vec<(Offer, Checker)>) -> Self {
        let (offers, checkers): (Vec<_>, Vec<_>) =
            kinds.into_iter().map(|(offer, checker)| (offer.clone(), (offer.kind(), checker))).unzip();
        for (kind, _) in &checkers {
            OUTCOMES.iter().for_each(|outcome| metrics::CHALLENGES.expect([kind.as_str(), outcome]));
        }
        Self { checkers, offers: offers.into() }
    }

    /// What a refusal lists.
    pub fn offers(&self) -> Arc<[Offer]> {
        self.offers.clone()
    }

    /// The proofs of work, if they are among the kinds.
    pub fn proofs_of_work(&self) -> Option<&ProofsOfWork> {
        self.checkers.iter().find_map(|(_, checker)| match checker {
            Checker::Pow(proofs) => Some(proofs.as_ref()),
            Checker::Picture(_) | Checker::Vendor(_) => None,
        })
    }

    /// Checks an answer and uses it up. No answer passes because a vendor is down.
    ///
    /// # Errors
    /// For pictures [`Error::ImageCodeInvalid`] and [`Error::ImageCodeExpired`], for the other kinds and those that are
    /// not configured [`Error::ChallengeInvalid`] and [`Error::ChallengeExpired`]. When a vendor gives no verdict,
    /// [`Error::ImageCodeRequired`] with the other kinds, or [`Error::ChallengeUnavailable`] if there are none.
    pub async fn check(&self, answer: &ChallengeAnswer, mobile: &Mobile, origin: &Origin) -> Result<(), Error> {
        let kind = answer.kind();
        let checker = self.checkers.iter().find(|(of, _)| *of == kind).map(|(_, checker)| checker);
        let checked = match (checker, answer) {
            (Some(Checker::Picture(pictures)), ChallengeAnswer::Picture(answer)) => pictures.check(answer).await,
            (Some(Checker::Pow(proofs)), ChallengeAnswer::Other { response, .. }) => {
                proofs.check(response, mobile, origin).await
            }
            (Some(Checker::Vendor(vendor)), ChallengeAnswer::Other { response, .. }) => {
                self.ask(kind, vendor.as_ref(), response, origin).await
            }
            _ => Err(Error::ChallengeInvalid),
        };
        metrics::CHALLENGES.count([kind.as_str(), outcome_of(&checked)]);
        checked
    }

    async fn ask(
        &self,
        kind: ChallengeKind,
        vendor: &dyn Captcha,
        response: &SecretString,
        origin: &Origin,
    ) -> Result<(), Error> {
        match traces::call(kind.as_str(), vendor.verify(response, origin.ip)).await {
            Ok(Verdict::Passed) => Ok(()),
            Ok(Verdict::Refused { code }) => {
                tracing::info!(kind = kind.as_str(), code, "a vendor refused a challenge");
                Err(Error::ChallengeInvalid)
            }
            Err(error) => {
                tracing::error!(%error, "a challenge was not checked");
                event::record(
                    Event::ChallengeVendorFailed,
                    origin,
                    Subject { reason: Some(kind.as_str()), ..Subject::default() },
                );
                let others: Arc<[Offer]> = self.offers.iter().filter(|offer| offer.kind() != kind).cloned().collect();
                Err(if others.is_empty() { Error::ChallengeUnavailable } else { Error::ImageCodeRequired(others) })
            }
        }
    }
}

/// What metrics call what came of a check.
const OUTCOMES: [&str; 4] = ["right", "wrong", "expired", "not_checked"];

fn outcome_of(checked: &Result<(), Error>) -> &'static str {
    let [right, wrong, expired, not_checked] = OUTCOMES;
    match checked {
        Ok(()) => right,
        Err(Error::ImageCodeInvalid | Error::ChallengeInvalid) => wrong,
        Err(Error::ImageCodeExpired | Error::ChallengeExpired) => expired,
        Err(_) => not_checked,
    }
}
