//! How does an error become an answer, in the envelope of its family?

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use poem::{
    IntoResponse, Response,
    error::{MethodNotAllowedError, NotFoundError, ResponseError},
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    error::{ContentTypeError, ParseRequestPayloadError},
    types::ToJSON,
};

use super::{
    challenge_offer::ChallengeOffer,
    context::{Family, RequestContext},
    envelope::{ClassicOutcome, ErrorBody, FieldErrorBody},
    error_code::ErrorCode,
    language::{Language, Text},
};
use crate::{
    auth::error::{Error, WeakPassword, WhichCode},
    model::challenge::Offer,
    telemetry::sampling,
};

/// How long a client should wait for a store that does not answer.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

/// What is wrong with one field of a request.
#[derive(Clone, Debug)]
pub struct FieldError {
    /// The field's name on the wire.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: Text,
}

/// An error with everything that the client is told about it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", code.meaning().name)]
pub struct Problem {
    /// Which error.
    pub code: ErrorCode,
    /// Says more than the code's own message.
    pub message: Option<Text>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// How many tries a code has left.
    pub attempts_left: Option<u32>,
    /// Which fields are wrong.
    pub fields: Vec<FieldError>,
    /// Which challenges may be solved.
    pub challenges: Option<Arc<[Offer]>>,
}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.code.meaning().status
    }
}

impl From<ErrorCode> for Problem {
    fn from(code: ErrorCode) -> Self {
        let retry_after = (code == ErrorCode::Unavailable).then_some(UNAVAILABLE_RETRY);
        Self { code, message: None, retry_after, attempts_left: None, fields: Vec::new(), challenges: None }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        use ErrorCode as Code;
        match error {
            Error::NumberNotAllowed => FieldError {
                field: "mobile",
                message: Text::new("只能发送到账号本身的手机号", "must be the account's own number"),
            }
            .into(),
            Error::NumberUnchanged => FieldError {
                field: "mobile",
                message: Text::new("与当前手机号相同", "is the account's number already"),
            }
            .into(),
            Error::MobileBlocked => Code::MobileBlocked.into(),
            Error::OneOfTwoCodes { code, error } => Self::from(*error).about(code),
            Error::ImageCodeRequired(offers) => Self {
                message: (*offers != [Offer::Picture])
                    .then(|| Text::new("请先完成人机验证", "A challenge has to be solved first")),
                challenges: Some(offers),
                ..Code::ImageCodeRequired.into()
            },
            Error::ImageCodeInvalid => Code::ImageCodeInvalid.into(),
            Error::ImageCodeExpired => Code::ImageCodeExpired.into(),
            Error::ChallengeInvalid => {
                let message = Text::new("人机验证未通过", "The challenge was not solved");
                Self { message: Some(message), ..Code::ImageCodeInvalid.into() }
            }
            Error::ChallengeExpired => {
                let message = Text::new("人机验证已过期", "The challenge has expired");
                Self { message: Some(message), ..Code::ImageCodeExpired.into() }
            }
            // The event is in the log.
            Error::ChallengeUnavailable => Code::Unavailable.into(),
            Error::SmsCodeInvalid { attempts_left } => Self { attempts_left, ..Code::SmsCodeInvalid.into() },
            Error::SmsCodeExpired => Code::SmsCodeExpired.into(),
            Error::SmsTooFrequent { retry_after } => {
                Self { retry_after: Some(retry_after), ..Code::SmsTooFrequent.into() }
            }
            Error::SmsQuotaExceeded { retry_after } => {
                Self { retry_after: Some(retry_after), ..Code::SmsQuotaExceeded.into() }
            }
            Error::TooManyRequests { retry_after } => {
                Self { retry_after: Some(retry_after), ..Code::TooManyRequests.into() }
            }
            Error::SmsSendFailed => Code::SmsSendFailed.into(),
            Error::PasswordWeak(weakness) => {
                Self { message: Some(weakness_text(weakness)), ..Code::PasswordWeak.into() }
            }
            Error::CredentialsInvalid => Code::CredentialsInvalid.into(),
            Error::OldPasswordWrong => Code::OldPasswordWrong.into(),
            Error::NoSuchSession => Code::NotFound.into(),
            Error::MobileTaken => Code::MobileTaken.into(),
            Error::AccountDisabled => Code::AccountDisabled.into(),
            Error::TokenInvalid => Code::TokenInvalid.into(),
            Error::TokenExpired => Code::TokenExpired.into(),
            Error::SessionRevoked => Code::SessionRevoked.into(),
            Error::RefreshTokenInvalid => Code::RefreshTokenInvalid.into(),
            Error::RefreshTokenReused => Code::RefreshTokenReused.into(),
            Error::Unavailable(error) => {
                if sampling::UNSERVED.takes(Instant::now()) {
                    tracing::error!(%error, "a request could not be served");
                }
                Code::Unavailable.into()
            }
            Error::Unreadable(error) => {
                tracing::error!(%error, "a request failed");
                Code::Internal.into()
            }
            // No fault, and many at once: a metric counts them.
            Error::Overloaded => Code::Unavailable.into(),
            Error::Internal(error) => {
                tracing::error!(error, "a request failed");
                Code::Internal.into()
            }
        }
    }
}

impl From<FieldError> for Problem {
    fn from(field: FieldError) -> Self {
        vec![field].into()
    }
}

impl From<Vec<FieldError>> for Problem {
    fn from(fields: Vec<FieldError>) -> Self {
        Self { fields, ..ErrorCode::RequestInvalid.into() }
    }
}

impl Problem {
    /// Turns whatever the framework refused into one of ours.
    pub fn from_framework(error: &poem::Error) -> Self {
        if let Some(problem) = error.downcast_ref::<Self>() {
            return problem.clone();
        }
        if error.is::<NotFoundError>() {
            ErrorCode::NotFound.into()
        } else if error.is::<MethodNotAllowedError>() {
            ErrorCode::MethodNotAllowed.into()
        } else if error.is::<ContentTypeError>() {
            ErrorCode::MediaTypeUnsupported.into()
        } else if error.is::<ParseRequestPayloadError>() {
            let message = Text::new("请求体不是有效的 JSON 对象", "The request body is not a valid JSON object");
            Self { message: Some(message), ..ErrorCode::RequestInvalid.into() }
        } else if error.status().is_client_error() {
            ErrorCode::RequestInvalid.into()
        } else {
            tracing::error!(%error, "a request failed");
            ErrorCode::Internal.into()
        }
    }

    /// Tells which of two codes it was.
    fn about(self, code: WhichCode) -> Self {
        if !matches!(self.code, ErrorCode::SmsCodeInvalid | ErrorCode::SmsCodeExpired) {
            return self;
        }
        let meaning = self.code.meaning();
        let field = match code {
            WhichCode::New => "code",
            WhichCode::Current => "current_code",
        };
        let message = Text::new(meaning.message(Language::Zh), meaning.message(Language::En));
        Self { fields: vec![FieldError { field, message }], ..self }
    }

    /// The answer to the client.
    pub fn into_response(self, context: &RequestContext) -> Response {
        let meaning = self.code.meaning();
        let retry_after = self.retry_after.map(whole_seconds);
        let (status, body) = match context.family {
            Family::App => (meaning.status, self.app_body(context, retry_after).to_json()),
            Family::Classic => {
                // What never reaches a handler keeps its status: no front end of these families gets there.
                let unreached =
                    matches!(self.code, ErrorCode::NotFound | ErrorCode::MethodNotAllowed | ErrorCode::BodyTooLarge);
                let body = ClassicOutcome { errno: meaning.errno, errmsg: self.classic_message(context.language) };
                (if unreached { meaning.status } else { StatusCode::OK }, body.to_json())
            }
        };
        let mut response = poem::web::Json(body).with_status(status).into_response();
        response.set_data(self.code);
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let (Some(seconds), true) = (retry_after, status.is_client_error() || status.is_server_error()) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn message(&self, language: Language) -> String {
        match &self.message {
            Some(message) => message.in_language(language).to_owned(),
            None => self.code.meaning().message(language).to_owned(),
        }
    }

    fn app_body(&self, context: &RequestContext, retry_after: Option<u64>) -> ErrorBody {
        let language = context.language;
        let fields = self.fields.iter().map(|error| FieldErrorBody {
            field: error.field.to_owned(),
            message: error.message.in_language(language).to_owned(),
        });
        ErrorBody {
            message: self.message(language),
            code: self.code.meaning().name.to_owned(),
            request_id: context.id().to_owned(),
            retry_after,
            attempts_left: self.attempts_left,
            fields: (!self.fields.is_empty()).then(|| fields.collect()),
            challenges: self.challenges.as_ref().map(|offers| offers.iter().map(ChallengeOffer::from).collect()),
        }
    }

    /// Classic pages show this in an alert: it has to name the rule by itself.
    fn classic_message(&self, language: Language) -> String {
        let message = self.message(language);
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|error| format!("{} {}", error.field, error.message.in_language(language)))
            .collect();
        match (fields.is_empty(), language) {
            (true, _) => message,
            (false, Language::Zh) => format!("{message}：{}", fields.join("；")),
            (false, Language::En) => format!("{message}: {}", fields.join("; ")),
        }
    }
}

/// Rounded up: a client that waits so long is not too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1)
}

fn weakness_text(weakness: WeakPassword) -> Text {
    match weakness {
        WeakPassword::TooShort(min) => {
            Text::new(format!("密码至少 {min} 位"), format!("The password must have at least {min} characters"))
        }
        WeakPassword::TooLong(max) => {
            Text::new(format!("密码最多 {max} 位"), format!("The password must have at most {max} characters"))
        }
        WeakPassword::Common => Text::new("密码过于常见，请更换", "The password is too common"),
        WeakPassword::IsContext => {
            Text::new("密码不能是本服务的名称", "The password must not be the name of this service")
        }
        WeakPassword::IsMobile => Text::new("密码不能与手机号相同", "The password must not be the mobile number"),
    }
}
