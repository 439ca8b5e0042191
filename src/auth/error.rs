//! What can be refused, and why? Every rule's refusal, without a word of HTTP.

use std::{sync::Arc, time::Duration};

use crate::{model::challenge::Offer, store::StoreError};

/// A refusal by one of the rules, or a fault of something below them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The purpose of a code does not go with this number.
    #[error("this code is not sent to this number")]
    NumberNotAllowed,
    /// The operator lets no code go to numbers that begin like this one.
    #[error("no code is sent to numbers like this one")]
    MobileBlocked,
    /// The account has this number already.
    #[error("this is the account's number already")]
    NumberUnchanged,
    /// One of two codes was refused.
    #[error("{error} ({code:?})")]
    OneOfTwoCodes {
        /// Which one.
        code: WhichCode,
        /// Why.
        error: Box<Error>,
    },
    /// A challenge is needed: one of these.
    #[error("a challenge is needed")]
    ImageCodeRequired(Arc<[Offer]>),
    /// The picture code is wrong, and used up.
    #[error("the picture code is wrong")]
    ImageCodeInvalid,
    /// There is no such picture code (any more).
    #[error("the picture code has expired")]
    ImageCodeExpired,
    /// The answer to a challenge other than a picture is wrong or was used before, or its kind is not configured.
    #[error("the challenge was not solved")]
    ChallengeInvalid,
    /// The challenge, not a picture, has expired.
    #[error("the challenge has expired")]
    ChallengeExpired,
    /// The vendor of the only kind of challenge gives no verdict.
    #[error("the challenge cannot be checked")]
    ChallengeUnavailable,
    /// The SMS code is wrong.
    #[error("the SMS code is wrong")]
    SmsCodeInvalid {
        /// How many tries are left; `None` for a code that never burns.
        attempts_left: Option<u32>,
    },
    /// There is no such SMS code (any more).
    #[error("the SMS code has expired")]
    SmsCodeExpired,
    /// The resend gap, ours or the vendor's, is not over.
    #[error("a code was sent a moment ago")]
    SmsTooFrequent {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The mobile, or everybody together, got as many messages as they may.
    #[error("no more messages for now")]
    SmsQuotaExceeded {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The address did too much, or somebody guessed too often.
    #[error("too many requests")]
    TooManyRequests {
        /// How long to wait.
        retry_after: Duration,
    },
    /// No vendor took the message.
    #[error("the SMS could not be sent")]
    SmsSendFailed,
    /// The password breaks a rule.
    #[error("the password is too weak")]
    PasswordWeak(WeakPassword),
    /// The password of now is another, or there is none.
    #[error("the old password is wrong")]
    OldPasswordWrong,
    /// There is no such session, or it is somebody else's.
    #[error("no such session")]
    NoSuchSession,
    /// Wrong mobile or password, and which of them is not told.
    #[error("wrong mobile or password")]
    CredentialsInvalid,
    /// The mobile belongs to somebody already.
    #[error("the mobile is registered already")]
    MobileTaken,
    /// An operator disabled the account.
    #[error("the account is disabled")]
    AccountDisabled,
    /// Not an access token of ours.
    #[error("the access token is invalid")]
    TokenInvalid,
    /// An access token of ours whose time is over.
    #[error("the access token has expired")]
    TokenExpired,
    /// The session behind the token is over.
    #[error("the session has ended")]
    SessionRevoked,
    /// Not a refresh token of ours, or too old.
    #[error("the refresh token is invalid")]
    RefreshTokenInvalid,
    /// A refresh token older than the previous one: stolen, or a client gone wrong (RFC 9700, 4.14.2).
    #[error("the refresh token was used before")]
    RefreshTokenReused,
    /// Something below does not answer. Nothing was spent.
    #[error(transparent)]
    Unavailable(StoreError),
    /// What a store holds makes no sense.
    #[error(transparent)]
    Unreadable(StoreError),
    /// More is asked of this instance at once than it can do. Nothing was spent.
    #[error("too much is waiting")]
    Overloaded,
    /// A bug.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } => Self::Unavailable(error),
            StoreError::Unreadable { .. } => Self::Unreadable(error),
        }
    }
}

/// Which of the two codes that move an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhichCode {
    /// The one that went to the new number.
    New,
    /// The one that went to the number of now.
    Current,
}

/// Which rule a password breaks (ASVS 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeakPassword {
    /// Shorter than so many characters.
    TooShort(usize),
    /// Longer than so many characters.
    TooLong(usize),
    /// On the list of common passwords.
    Common,
    /// The user's own mobile.
    IsMobile,
    /// Little more than the name of this service.
    IsContext,
}
