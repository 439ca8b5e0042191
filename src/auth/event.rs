//! What is told to whoever watches over accounts? One line for each security event.

use uuid::Uuid;

use crate::{
    model::{mobile::Mobile, origin::Origin},
    telemetry::metrics,
};

/// Something that an investigation may want to know (ASVS 16.3). `docs/operations.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A known user signed in.
    SignedIn,
    /// A new user signed in.
    Registered,
    /// A wrong code or password, or an account that may not sign in.
    SignInFailed,
    /// A wrong code, for anything but signing in.
    CodeRefused,
    /// A wrong old password, for a new one.
    OldPasswordWrong,
    /// A user ended one session or several.
    SignedOut,
    /// A message was handed to a vendor.
    CodeSent,
    /// No vendor took a message.
    CodeNotSent,
    /// The last wrong try burnt a code.
    CodeBurnt,
    /// A refresh token was presented after its successor had been used: stolen, or a client gone wrong.
    RefreshReused,
    /// A password was set or changed.
    PasswordChanged,
    /// An account moved to another number.
    MobileChanged,
    /// A user deleted their account.
    AccountDeleted,
    /// A limit refused something.
    Limited,
}

impl Event {
    fn as_str(self) -> &'static str {
        match self {
            Self::SignedIn => "signed_in",
            Self::Registered => "registered",
            Self::SignInFailed => "sign_in_failed",
            Self::CodeRefused => "code_refused",
            Self::OldPasswordWrong => "old_password_wrong",
            Self::SignedOut => "signed_out",
            Self::CodeSent => "code_sent",
            Self::CodeNotSent => "code_not_sent",
            Self::CodeBurnt => "code_burnt",
            Self::RefreshReused => "refresh_reused",
            Self::PasswordChanged => "password_changed",
            Self::MobileChanged => "mobile_changed",
            Self::AccountDeleted => "account_deleted",
            Self::Limited => "limited",
        }
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
}

/// Counts an event and writes it to the log, in one line with the target `phonepass::event`.
pub fn record(event: Event, origin: &Origin, subject: Subject<'_>) {
    metrics::EVENTS.count([event.as_str()]);
    tracing::info!(
        target: "phonepass::event",
        event = event.as_str(),
        reason = subject.reason,
        user_id = subject.user_id.map(tracing::field::display),
        session_id = subject.session_id.map(tracing::field::display),
        mobile = subject.mobile.map(tracing::field::display),
        ip = origin.ip.map(tracing::field::display),
        user_agent = origin.user_agent,
        request_id = origin.request_id,
        "security event"
    );
}
