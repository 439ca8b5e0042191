//! Which errors do clients see? Every code with its status, its `errno` and its message: the one place.

use poem::http::StatusCode;

use super::language::Language;

/// A machine-readable error, stable for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    RequestInvalid,
    MobileInvalid,
    MobileBlocked,
    ImageCodeInvalid,
    ImageCodeExpired,
    SmsCodeInvalid,
    SmsCodeExpired,
    PasswordWeak,
    TokenInvalid,
    TokenExpired,
    SessionRevoked,
    RefreshTokenInvalid,
    RefreshTokenReused,
    CredentialsInvalid,
    OldPasswordWrong,
    ImageCodeRequired,
    AccountDisabled,
    NavigationRequired,
    NotFound,
    MethodNotAllowed,
    MobileTaken,
    BodyTooLarge,
    MediaTypeUnsupported,
    SmsTooFrequent,
    SmsQuotaExceeded,
    TooManyRequests,
    SmsSendFailed,
    Unavailable,
    Internal,
}

/// What an error code means to the two kinds of clients.
pub struct Meaning {
    /// `code` of the app family.
    pub name: &'static str,
    /// HTTP status of the app family.
    pub status: StatusCode,
    /// `errno` of the classic families.
    pub errno: i32,
    zh: &'static str,
    en: &'static str,
}

impl Meaning {
    /// The message in a language.
    pub fn message(&self, language: Language) -> &'static str {
        language.choose(self.zh, self.en)
    }
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 29] = [
        Self::RequestInvalid,
        Self::MobileInvalid,
        Self::MobileBlocked,
        Self::ImageCodeInvalid,
        Self::ImageCodeExpired,
        Self::SmsCodeInvalid,
        Self::SmsCodeExpired,
        Self::PasswordWeak,
        Self::TokenInvalid,
        Self::TokenExpired,
        Self::SessionRevoked,
        Self::RefreshTokenInvalid,
        Self::RefreshTokenReused,
        Self::CredentialsInvalid,
        Self::OldPasswordWrong,
        Self::ImageCodeRequired,
        Self::AccountDisabled,
        Self::NavigationRequired,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::MobileTaken,
        Self::BodyTooLarge,
        Self::MediaTypeUnsupported,
        Self::SmsTooFrequent,
        Self::SmsQuotaExceeded,
        Self::TooManyRequests,
        Self::SmsSendFailed,
        Self::Unavailable,
        Self::Internal,
    ];

    /// What this code means.
    pub fn meaning(self) -> Meaning {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        const WHO: StatusCode = StatusCode::UNAUTHORIZED;
        const NO: StatusCode = StatusCode::FORBIDDEN;
        const SLOW: StatusCode = StatusCode::TOO_MANY_REQUESTS;
        let (name, status, errno, zh, en) = match self {
            Self::RequestInvalid => ("request_invalid", BAD, 4103, "请求参数错误", "The request is invalid"),
            Self::MobileInvalid => ("mobile_invalid", BAD, 4103, "手机号格式不正确", "The mobile number is invalid"),
            Self::MobileBlocked => {
                ("mobile_blocked", BAD, 4103, "该号段不支持接收验证码", "No codes are sent to this number")
            }
            Self::ImageCodeInvalid => ("image_code_invalid", BAD, 4004, "图形验证码错误", "The picture code is wrong"),
            Self::ImageCodeExpired => {
                ("image_code_expired", BAD, 4002, "图形验证码已过期", "The picture code has expired")
            }
            Self::SmsCodeInvalid => ("sms_code_invalid", BAD, 4004, "短信验证码错误", "The SMS code is wrong"),
            Self::SmsCodeExpired => ("sms_code_expired", BAD, 4002, "短信验证码已过期", "The SMS code has expired"),
            Self::PasswordWeak => ("password_weak", BAD, 4103, "密码强度不足", "The password is too weak"),
            Self::TokenInvalid => ("token_invalid", WHO, 4101, "用户未登录", "Not signed in"),
            Self::TokenExpired => ("token_expired", WHO, 4101, "登录已过期", "The access token has expired"),
            Self::SessionRevoked => ("session_revoked", WHO, 4101, "登录已失效", "The session has ended"),
            Self::RefreshTokenInvalid => {
                ("refresh_token_invalid", WHO, 4101, "刷新令牌无效", "The refresh token is invalid")
            }
            Self::RefreshTokenReused => {
                ("refresh_token_reused", WHO, 4101, "刷新令牌已被使用", "The refresh token was used before")
            }
            Self::CredentialsInvalid => {
                ("credentials_invalid", WHO, 4106, "手机号或密码错误", "Wrong mobile number or password")
            }
            Self::OldPasswordWrong => ("old_password_wrong", BAD, 4106, "原密码错误", "The old password is wrong"),
            Self::ImageCodeRequired => {
                ("image_code_required", NO, 4201, "请输入图形验证码", "A picture code is needed")
            }
            Self::AccountDisabled => ("account_disabled", NO, 4500, "账号已停用", "The account is disabled"),
            Self::NavigationRequired => {
                ("navigation_required", NO, 4201, "只有打开链接才能退出登录", "Only a link that is followed signs out")
            }
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND, 4201, "请求的资源不存在", "Not found"),
            Self::MethodNotAllowed => {
                ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, 4201, "请求方法不允许", "Method not allowed")
            }
            Self::MobileTaken => {
                ("mobile_taken", StatusCode::CONFLICT, 4003, "手机号已注册", "The mobile number is registered already")
            }
            Self::BodyTooLarge => {
                ("body_too_large", StatusCode::PAYLOAD_TOO_LARGE, 4103, "请求体过大", "The request body is too large")
            }
            Self::MediaTypeUnsupported => (
                "media_type_unsupported",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                4103,
                "请求体必须是 JSON",
                "The request body must be JSON",
            ),
            Self::SmsTooFrequent => ("sms_too_frequent", SLOW, 4201, "发送过于频繁", "A code was sent a moment ago"),
            Self::SmsQuotaExceeded => {
                ("sms_quota_exceeded", SLOW, 4201, "短信发送次数已达上限", "No more SMS codes for now")
            }
            Self::TooManyRequests => ("too_many_requests", SLOW, 4201, "请求过于频繁", "Too many requests"),
            Self::SmsSendFailed => {
                ("sms_send_failed", StatusCode::BAD_GATEWAY, 4301, "短信发送失败", "The SMS could not be sent")
            }
            Self::Unavailable => (
                "unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                4001,
                "服务暂时不可用，请稍后重试",
                "The service is unavailable for the moment",
            ),
            Self::Internal => {
                ("internal", StatusCode::INTERNAL_SERVER_ERROR, 4500, "服务器内部错误", "Internal server error")
            }
        };
        Meaning { name, status, errno, zh, en }
    }

    /// The code with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.meaning().name == name)
    }
}
