//! Sending of SMS codes.

use std::{sync::Arc, time::Duration};

use super::{ChallengeAnswer, ChallengeKind, ImageCodePolicy, SmsCodes};
use crate::{
    auth::{
        access_token::Identity,
        error::Error,
        event::Event,
        image_code::PictureAnswer,
        limits::{Ask, FraudPolicy, Sender, limited, record, record_strangers_bound},
    },
    model::{limit::LimitName, mobile::Mobile, origin::Origin, purpose::Purpose},
    store::ephemeral::{Admission, CodeSlot, PendingCode, Tally},
};

/// The code of a decoy, which is no digits, so that nothing that can be typed matches it.
const DECOY: &str = "decoy";

/// A request for a code.
pub struct CodeRequest {
    /// To whom.
    pub mobile: Mobile,
    /// What for.
    pub purpose: Purpose,
    /// Who asks, where that matters.
    pub caller: Option<Identity>,
    /// The challenge that they have solved, if they did.
    pub challenge: Option<ChallengeAnswer>,
    /// Where the request comes from.
    pub origin: Arc<Origin>,
}

/// A message on its way through the limits.
pub(super) struct Sending {
    pub slot: CodeSlot,
    pub ask: Ask,
    pub origin: Arc<Origin>,
    /// Is there anyone to send it to? If not, nothing is sent, and nothing shows it.
    has_recipient: bool,
    /// On whose terms it is counted.
    pub sender: Sender,
    /// Is suspicion no obstacle any more?
    trusted: bool,
    /// Where it was asked for.
    door: Door,
    /// Have numbers that signed in before been taken out of those that the address asks for?
    is_purged: bool,
    /// Is there an event of its suspicion?
    is_recorded: bool,
}

/// Where a message is asked for.
enum Door {
    App,
    /// A classic front end, which has read a picture; with the challenge that it has solved beside it, if it did.
    Classic(Option<ChallengeAnswer>),
}

/// What the limits are asked.
enum Step<'a> {
    Survey,
    Issue(&'a PendingCode),
}

impl SmsCodes {
    /// Sends a code to an app: blocked number → who may ask → test number → challenge, if there is one → limits →
    /// message.
    ///
    /// A repetition that comes too early is refused before any challenge is asked for, and one that is sent along is not
    /// looked at then. Each request counts before anything is told, whatever comes of it.
    pub async fn send(self: &Arc<Self>, request: CodeRequest) -> Result<(), Error> {
        let CodeRequest { mobile, purpose, caller, challenge, origin } = request;
        self.check_block(&mobile)?;
        let has_recipient = self.check_purpose(&mobile, purpose, caller).await?;
        if self.settings.test_codes.of(&mobile, &origin).is_some() {
            return Ok(());
        }
        let mut sending = self.sending(CodeSlot { mobile, purpose }, has_recipient, origin);
        let is_always_needed = self.settings.image_code == ImageCodePolicy::Always;
        let helps_suspects = self.limits.settings().fraud == FraudPolicy::Challenge;
        // What opens no way is not looked at: a vendor may take money for it.
        let challenge = challenge.filter(|_| is_always_needed || helps_suspects);
        if challenge.is_some() || is_always_needed {
            self.count_ask(&mut sending, false).await?;
            self.pass(&mut sending, Step::Survey).await?;
            let challenge = challenge.ok_or_else(|| self.challenge_required())?;
            self.challenges.check(&challenge, &sending.ask.mobile, &sending.origin).await?;
            sending.trusted = helps_suspects;
        }
        self.deliver_to_the_end(sending).await
    }

    /// Sends a code to a classic front end: blocked number → test number → asked and told too often → picture code →
    /// registered already → limits → message.
    pub async fn send_classic(
        self: &Arc<Self>,
        mobile: Mobile,
        picture: &PictureAnswer,
        challenge: Option<ChallengeAnswer>,
        origin: Arc<Origin>,
    ) -> Result<(), Error> {
        self.check_block(&mobile)?;
        let is_test = self.settings.test_codes.of(&mobile, &origin).is_some();
        let mut sending = self.sending(CodeSlot { mobile, purpose: Purpose::Login }, true, origin);
        if !is_test {
            self.count_ask(&mut sending, true).await?;
        }
        self.image_codes.check(picture).await?;
        if self.users.user_by_mobile(&sending.ask.mobile).await?.is_some() {
            if is_test {
                return Err(Error::MobileTaken);
            }
            let taken = self.limits.mobile_taken(&sending.ask, &sending.origin);
            return Err(match self.codes.count(&taken).await? {
                Admission::Refused { name, retry_after } => sending.limited(name, retry_after),
                Admission::Admitted | Admission::Suspicious { .. } => Error::MobileTaken,
            });
        }
        if is_test {
            return Ok(());
        }
        let picture_suffices = self.challenges.offers().iter().all(|offer| offer.kind() == ChallengeKind::Picture);
        sending.trusted = picture_suffices && self.limits.settings().fraud == FraudPolicy::Challenge;
        sending.door = Door::Classic(challenge);
        self.deliver_to_the_end(sending).await
    }

    fn sending(&self, slot: CodeSlot, has_recipient: bool, origin: Arc<Origin>) -> Sending {
        let ask = self.limits.ask(slot.mobile.clone());
        Sending {
            slot,
            ask,
            origin,
            has_recipient,
            sender: Sender::Unknown,
            trusted: false,
            door: Door::App,
            is_purged: false,
            is_recorded: false,
        }
    }

    /// Is this a number that gets no code, not even of a user or a test? It depends on the digits alone, so it comes
    /// first: nothing is looked up, counted or used up.
    fn check_block(&self, mobile: &Mobile) -> Result<(), Error> {
        let mut prefixes = self.settings.mobile_block.iter();
        let blocked = prefixes.any(|prefix| mobile.as_str().starts_with(prefix));
        if blocked { Err(Error::MobileBlocked) } else { Ok(()) }
    }

    /// May this number get a code for this purpose? Answers whether there is anyone to send it to.
    async fn check_purpose(&self, mobile: &Mobile, purpose: Purpose, caller: Option<Identity>) -> Result<bool, Error> {
        match purpose {
            Purpose::Login => Ok(true),
            Purpose::ResetPassword => Ok(self.users.user_by_mobile(mobile).await?.is_some()),
            Purpose::ChangeMobile => caller.map(|_| true).ok_or(Error::TokenInvalid),
            Purpose::DeleteAccount => {
                let caller = caller.ok_or(Error::TokenInvalid)?;
                let user = self.users.user(caller.user_id).await?.ok_or(Error::SessionRevoked)?;
                if user.mobile == *mobile { Ok(true) } else { Err(Error::NumberNotAllowed) }
            }
        }
    }

    fn challenge_required(&self) -> Error {
        Error::ImageCodeRequired(self.challenges.offers())
    }

    /// Counts a request by itself, before a challenge or a picture is looked at.
    async fn count_ask(&self, sending: &mut Sending, is_classic: bool) -> Result<(), Error> {
        loop {
            let (ask, origin, sender) = (&sending.ask, &sending.origin, &sending.sender);
            let asked = if is_classic {
                self.limits.asked_classic(ask, origin, sender)
            } else {
                self.limits.asked(ask, origin, sender)
            };
            let Admission::Refused { name, retry_after } = self.codes.count(&asked).await? else { return Ok(()) };
            // What an address may learn of numbers, it may learn of known ones, too.
            if sending.sender != Sender::Unknown || name == LimitName::MobileTaken {
                return Err(sending.limited(name, retry_after));
            }
            self.look_up(sending, name).await?;
        }
    }

    /// Passes the limits, or issues a code if they let it. All count as strangers until a limit objects; then it is looked
    /// up who asks, and the limits are asked once more on the terms of that sender.
    async fn pass(&self, sending: &mut Sending, step: Step<'_>) -> Result<Tally, Error> {
        loop {
            let message = self.limits.message(&sending.ask, &sending.origin, &sending.sender);
            let admission = match step {
                Step::Survey => self.codes.survey(&message).await?,
                Step::Issue(code) => {
                    let asker = self.keys.asker(&sending.ask.mobile, &sending.origin);
                    self.codes.issue_code(&sending.slot, code, &message, &asker, sending.trusted).await?
                }
            };
            let name = match admission {
                Admission::Admitted => return Ok(message),
                Admission::Suspicious { .. } if matches!(step, Step::Survey) => return Ok(message),
                Admission::Suspicious { name } if sending.trusted => {
                    if !sending.is_recorded {
                        record(Event::Suspicion, name, Some(&sending.ask.mobile), &sending.origin);
                    }
                    return Ok(message);
                }
                Admission::Refused { name: LimitName::SmsGap, retry_after } => {
                    return Err(sending.limited(LimitName::SmsGap, retry_after));
                }
                Admission::Refused { name, retry_after } if sending.sender != Sender::Unknown => {
                    return Err(sending.limited(name, retry_after));
                }
                Admission::Refused { name, .. } | Admission::Suspicious { name } => name,
            };
            if sending.sender == Sender::Unknown {
                self.look_up(sending, name).await?;
            } else if name == LimitName::SmsMobilesPerIp && !sending.is_purged {
                self.purge(sending).await?;
            } else {
                self.suspect(sending, name).await?;
            }
        }
    }

    /// Finds out who asks, after a limit of this name has objected.
    async fn look_up(&self, sending: &mut Sending, name: LimitName) -> Result<(), Error> {
        let sender = self.guesses.sender(&sending.ask.mobile, &sending.origin).await?;
        sending.sender = if sending.conceals() && !sender.is_known() { Sender::Concealed } else { sender };
        record_strangers_bound(name, &sending.sender, &sending.ask.mobile, &sending.origin);
        if sending.sender.is_known() {
            self.limits.forget_ask(&sending.ask, &sending.origin).await?;
        }
        Ok(())
    }

    /// Takes numbers that have signed in before out of those that the address asks for: they are not suspicious. Once a
    /// request, and only so many of them.
    async fn purge(&self, sending: &mut Sending) -> Result<(), Error> {
        let (ask, origin) = (&sending.ask, &sending.origin);
        let mobiles = self.limits.mobiles_asked_for(ask, origin).await?;
        let known = self.users.registered(&mobiles).await?;
        if !known.is_empty() {
            self.limits.forget_mobiles(ask, origin, &known).await?;
        }
        sending.is_purged = true;
        Ok(())
    }

    /// Does what `FRAUD` says about a suspicious message.
    async fn suspect(&self, sending: &mut Sending, name: LimitName) -> Result<(), Error> {
        let (ask, origin) = (&sending.ask, &sending.origin);
        record(Event::Suspicion, name, Some(&ask.mobile), origin);
        match self.limits.settings().fraud {
            FraudPolicy::Record => {}
            FraudPolicy::Deny => return Err(self.limits.deny(name, ask, origin)),
            FraudPolicy::Challenge => match &sending.door {
                Door::App => return Err(self.challenge_required()),
                // A second picture shows no more than the first.
                Door::Classic(Some(challenge)) if challenge.kind() != ChallengeKind::Picture => {
                    self.challenges.check(challenge, &ask.mobile, origin).await?;
                }
                Door::Classic(_) => self.limits.picture_under_suspicion(ask, origin).await?,
            },
        }
        (sending.trusted, sending.is_recorded) = (true, true);
        Ok(())
    }

    async fn deliver_to_the_end(self: &Arc<Self>, sending: Sending) -> Result<(), Error> {
        let this = self.clone();
        self.detached.to_the_end(async move { this.deliver(sending).await }).await
    }

    /// Issues a code and hands it to the vendor. A number without a recipient gets a decoy, which answers as a code does.
    async fn deliver(self: Arc<Self>, mut sending: Sending) -> Result<(), Error> {
        let code = self.random.text(b"0123456789", self.settings.length);
        let kept = if sending.has_recipient { code.as_str() } else { DECOY };
        let digest = self.keys.digest(&sending.slot, kept);
        let pending = PendingCode { digest, tries_per_asker: self.settings.max_attempts, ttl: self.settings.ttl };
        let message = self.pass(&mut sending, Step::Issue(&pending)).await?;
        // Whether a number is known must not show in how long a vendor takes, nor in whether it takes the message.
        let in_silence = sending.conceals();
        let has_recipient = sending.has_recipient;
        let detached = self.detached.clone();
        let hand_over = async move { self.hand_over(&sending, code, &pending.digest, &message).await };
        match (has_recipient, in_silence) {
            (false, _) => Ok(()),
            (true, false) => hand_over.await,
            (true, true) => {
                detached.spawn(hand_over);
                Ok(())
            }
        }
    }
}

impl Sending {
    /// Must nothing tell whether the number is registered?
    pub fn conceals(&self) -> bool {
        self.slot.purpose == Purpose::ResetPassword
    }

    fn limited(&self, name: LimitName, retry_after: Duration) -> Error {
        limited(name, retry_after, Some(&self.ask.mobile), &self.origin)
    }
}
