//! What is told to whoever watches over accounts? One line for each security event.

use std::time::Instant;

use uuid::Uuid;

use super::operator;
use crate::{
    model::{mobile::Mobile, origin::Origin},
    named::named,
    telemetry::{metrics, sampling::LIMITED},
};

named! {
    /// Something that an investigation may want to know (ASVS 16.3). `docs/operations.md` lists them.
    pub enum Event {
        /// A known user signed in.
        SignedIn = "signed_in",
        /// A new user signed in.
        Registered = "registered",
        /// A wrong code or password, or an account that may not sign in.
        SignInFailed = "sign_in_failed",
        /// A wrong code, for anything but signing in.
        CodeRefused = "code_refused",
        /// A wrong old password, for a new one.
        OldPasswordWrong = "old_password_wrong",
        /// A user ended one session or several, or an operator did.
        SignedOut = "signed_out",
        /// A message was handed to a vendor.
        CodeSent = "code_sent",
        /// No vendor took a message.
        CodeNotSent = "code_not_sent",
        /// The last wrong try of one who asked for a code, or of all others together.
        CodeBurnt = "code_burnt",
        /// A refresh token was presented after its successor had been used: stolen, or a client gone wrong.
        RefreshReused = "refresh_reused",
        /// A refresh token was presented a second time, before its successor was used: an answer got lost, or two hold it.
        RefreshRepeated = "refresh_repeated",
        /// A session was refreshed from a network, or by a `User-Agent`, that is neither that of its sign-in nor that of the
        /// refresh before.
        RefreshFromNewNetwork = "refresh_from_new_network",
        /// A password was set or changed.
        PasswordChanged = "password_changed",
        /// An account moved to another number.
        MobileChanged = "mobile_changed",
        /// A user deleted their account, or an operator did.
        AccountDeleted = "account_deleted",
        /// A limit refused something.
        Limited = "limited",
        /// A message was suspicious, whatever came of it.
        Suspicion = "suspicion",
        /// Strangers together met a bound at a number, or of all messages.
        StrangersBound = "strangers_bound",
        /// The vendor of a captcha gave no verdict.
        ChallengeVendorFailed = "challenge_vendor_failed",
        /// An operator disabled an account.
        UserDisabled = "user_disabled",
        /// An operator enabled an account.
        UserEnabled = "user_enabled",
        /// An operator cleared the counts of wrong guesses at an account.
        UserUnlocked = "user_unlocked",
        /// An operator imported users.
        UsersImported = "users_imported",
        /// An operator made a signing key.
        KeyGenerated = "key_generated",
        /// An operator had the service take another `SECRET_KEY`.
        SecretChanged = "secret_changed",
    }
}

/// Whom an event is about, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The user.
    pub user_id: Option<Uuid>,
    /// The session.
    pub session_id: Option<Uuid>,
    /// The mobile; it is written masked.
    pub mobile: Option<&'a Mobile>,
    /// Why, where an event can have several causes: the purpose of a code, the name of a limit, …
    pub reason: Option<&'a str>,
    /// How much of it there was: sessions that ended, users that came.
    pub count: Option<usize>,
}

/// Counts an event and writes it to the log, in one line with the target `phonepass::event`.
pub fn record(event: Event, origin: &Origin, subject: Subject<'_>) {
    write(event, None, origin, subject);
}

/// The same of something that no request asked for, but an operator: the line says who.
pub fn record_by_operator(event: Event, subject: Subject<'_>) {
    write(event, Some(&operator::actor()), &Origin::default(), subject);
}

fn write(event: Event, actor: Option<&str>, origin: &Origin, subject: Subject<'_>) {
    metrics::EVENTS.count([event.as_str()]);
    // As many of them as anyone sends requests.
    let of_requests = matches!(event, Event::Limited | Event::Suspicion | Event::StrangersBound);
    if of_requests && !LIMITED.takes(Instant::now()) {
        return;
    }
    tracing::info!(
        target: "phonepass::event",
        event = event.as_str(),
        actor,
        reason = subject.reason,
        count = subject.count,
        user_id = subject.user_id.map(tracing::field::display),
        session_id = subject.session_id.map(tracing::field::display),
        mobile = subject.mobile.map(tracing::field::display),
        ip = origin.ip.map(tracing::field::display),
        user_agent = origin.user_agent,
        request_id = Some(origin.request_id.as_str()).filter(|id| !id.is_empty()),
        "security event"
    );
}
