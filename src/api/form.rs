//! How do the fields of a request become values, and how are all wrong ones told at once?

use futures_util::future::Either;
use poem::http::HeaderValue;
use poem_openapi::types::ParseFromJSON;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

pub use super::field::{
    AvatarUrlKind, ChallengeKind, DeviceKind, Field, ImageCodeIdKind, ImageCodeKind, MobileKind, NameKind,
    OptionalField, PasswordKind, PurposeKind, SmsCodeKind,
};
use super::{
    challenge_answer::{ChallengeHeader, SolvedChallenge},
    context::Family,
    error_code::ErrorCode,
    language::Text,
    problem::{FieldError, Problem},
};
use crate::{
    auth::{
        challenges::ChallengeAnswer,
        image_code::{ImageCodeId, PictureAnswer},
        sms_code::{Code, ImageCodePolicy, SmsCodes},
    },
    model::{
        device::{Device, DeviceId, Platform, parse_device_name},
        mobile::Mobile,
        purpose::Purpose,
        typed,
        user::parse_name,
    },
};

/// How many characters a URL may have, as it is typed and as it is kept.
const URL_LENGTH: usize = 512;

/// Reads the fields of one request and collects what is wrong with them.
pub struct Form {
    family: Family,
    errors: Vec<FieldError>,
    mobile_malformed: bool,
}

impl Form {
    /// A form by the rules of a family: the classic ones take numbers for codes and mobiles, as the originals did.
    pub fn new(family: Family) -> Self {
        Self { family, errors: Vec::new(), mobile_malformed: false }
    }

    /// A mobile number.
    pub fn mobile<const R: bool>(&mut self, name: &'static str, field: Field<MobileKind, R>) -> Option<Mobile> {
        let text = self.number_or_text(name, field.given(), 0)?;
        let mobile = Mobile::parse(&text);
        if mobile.is_none() {
            self.mobile_malformed = true;
            self.refuse(name, Text::new("手机号格式不正确", "not a mainland China mobile number"));
        }
        mobile
    }

    /// An SMS code.
    pub fn sms_code<const R: bool>(
        &mut self,
        name: &'static str,
        field: Field<SmsCodeKind, R>,
        codes: &SmsCodes,
    ) -> Option<Code> {
        let length = codes.settings.length;
        let text = self.number_or_text(name, field.given(), length)?;
        let code = codes.parse(&text);
        if code.is_none() {
            self.refuse(name, Text::new(format!("必须是 {length} 位数字"), format!("must be {length} digits")));
        }
        code
    }

    /// A password, exactly as typed.
    pub fn password<const R: bool>(
        &mut self,
        name: &'static str,
        field: Field<PasswordKind, R>,
    ) -> Option<SecretString> {
        self.text(name, field.given()).map(SecretString::from)
    }

    /// The answer to a picture; both parts or an error.
    pub fn picture<const R: bool, const S: bool>(
        &mut self,
        id_name: &'static str,
        id: Field<ImageCodeIdKind, R>,
        text_name: &'static str,
        text: Field<ImageCodeKind, S>,
    ) -> Option<PictureAnswer> {
        let id = match id.given() {
            // Fractions as well (`Math.random()`): the rule for ids says what is wrong with them.
            Some(Value::Number(number)) if self.family == Family::Classic => Some(number.to_string()),
            id => self.text(id_name, id),
        };
        let id = id.and_then(|id| self.image_code_id(id_name, &id));
        let text = self.number_or_text(text_name, text.given(), 4);
        Some(PictureAnswer { id: id?, text: typed::undecorated(&text?).into_owned() })
    }

    /// The answer to a picture, if there is one; not even looked at where none is ever asked for.
    pub fn optional_picture(
        &mut self,
        policy: ImageCodePolicy,
        id: OptionalField<ImageCodeIdKind>,
        text: OptionalField<ImageCodeKind>,
    ) -> Option<PictureAnswer> {
        if policy == ImageCodePolicy::Never || (id.is_blank() && text.is_blank()) {
            return None;
        }
        self.picture("image_code_id", id, "image_code", text)
    }

    /// A solved challenge in a body, if there is one.
    pub fn challenge(&mut self, name: &'static str, field: OptionalField<ChallengeKind>) -> Option<ChallengeAnswer> {
        if field.is_blank() { None } else { self.solved(name, field.given()) }
    }

    /// A solved challenge in a header, if there is one.
    pub fn challenge_header(&mut self, header: ChallengeHeader) -> Option<ChallengeAnswer> {
        let header = header.0?;
        let parts = str::from_utf8(header.as_bytes()).ok().and_then(|text| text.split_once(':'));
        self.solved(ChallengeHeader::NAME, parts.map(|(kind, response)| json!({ "kind": kind, "response": response })))
    }

    fn solved(&mut self, name: &'static str, value: Option<Value>) -> Option<ChallengeAnswer> {
        // The framework would take a number for text.
        let value = value.filter(|value| value["response"].is_string());
        let answer = SolvedChallenge::parse_from_json(value).ok().and_then(SolvedChallenge::answer);
        if answer.is_none() {
            self.refuse(
                name,
                Text::new("必须有 kind 和与之相符的 response", "must have a kind and a response that fits it"),
            );
        }
        answer
    }

    /// The id of a picture.
    pub fn image_code_id(&mut self, name: &'static str, id: &str) -> Option<ImageCodeId> {
        let parsed = ImageCodeId::parse(id);
        if parsed.is_none() {
            self.refuse(
                name,
                Text::new("必须是 1 到 64 个字母、数字、_ 或 -", "must be 1 to 64 letters, digits, _ or -"),
            );
        }
        parsed
    }

    /// A name, without the blanks around it.
    pub fn name<const R: bool>(&mut self, name: &'static str, field: Field<NameKind, R>) -> Option<String> {
        if !R && !field.is_given() {
            return None;
        }
        let parsed = parse_name(&self.text(name, field.given())?);
        if parsed.is_none() {
            self.refuse(name, Text::new("必须是 1 到 32 个字符", "must have 1 to 32 characters"));
        }
        parsed
    }

    /// The https URL of a picture, as the parser writes it: every reader takes that for the same URL. `Some(None)` for
    /// none, where the field is there and blank.
    pub fn avatar_url(&mut self, name: &'static str, field: OptionalField<AvatarUrlKind>) -> Option<Option<String>> {
        if field.is_left_out() {
            return None;
        }
        if field.is_blank() {
            return Some(None);
        }
        let text = self.text(name, field.given())?;
        // The parser forgives blanks and line breaks, which whoever shows the picture may not.
        let plain = text.starts_with("https://") && !text.contains(|c: char| c.is_whitespace() || c.is_control());
        let url = Url::parse(&text).ok().filter(|url| plain && shows_its_host(url)).map(String::from);
        let url = url.filter(|url| text.chars().count() <= URL_LENGTH && url.len() <= URL_LENGTH);
        if url.is_none() {
            let message =
                format!("must be an https URL of at most {URL_LENGTH} characters, without user name and password");
            self.refuse(
                name,
                Text::new(format!("必须是不超过 {URL_LENGTH} 个字符的 https 网址，不含用户名和密码"), message),
            );
        }
        url.map(Some)
    }

    /// A client's name for what it does, to do it once.
    pub fn idempotency_key(&mut self, name: &'static str, value: Option<&HeaderValue>) -> Option<Uuid> {
        let key = Uuid::try_parse_ascii(value?.as_bytes()).ok();
        if key.is_none() {
            self.refuse(name, Text::new("必须是 UUID", "must be a UUID"));
        }
        key
    }

    /// One of two fields, and only one.
    pub fn one_of<A, B>(
        &mut self,
        (name, first): (&'static str, OptionalField<A>),
        (other_name, other): (&'static str, OptionalField<B>),
    ) -> Option<Either<OptionalField<A>, OptionalField<B>>> {
        match (first.is_given(), other.is_given()) {
            (true, false) => return Some(Either::Left(first)),
            (false, true) => return Some(Either::Right(other)),
            _ => {}
        }
        for (name, other) in [(name, other_name), (other_name, name)] {
            let message = Text::new(format!("与 {other} 二选一"), format!("either this or {other} is required"));
            self.refuse(name, message);
        }
        None
    }

    /// The purpose of a code; signing in unless the field says otherwise.
    pub fn purpose(&mut self, name: &'static str, field: OptionalField<PurposeKind>) -> Option<Purpose> {
        if field.is_blank() {
            return Some(Purpose::Login);
        }
        let purpose = field.given()?.as_str().and_then(Purpose::parse);
        if purpose.is_none() {
            let names = Purpose::ALL.map(Purpose::as_str).join(", ");
            self.refuse(name, Text::new(format!("必须是 {names} 之一"), format!("must be one of {names}")));
        }
        purpose
    }

    /// The device that a request comes from; one that tells nothing if the field is not there. Members that this version
    /// does not know are ignored.
    pub fn device(&mut self, name: &'static str, field: OptionalField<DeviceKind>) -> Device {
        let Some(value) = field.given() else { return Device::default() };
        let Value::Object(mut members) = value else {
            self.refuse(name, Text::new("必须是对象", "must be an object"));
            return Device::default();
        };
        let mut member = |name| members.remove(name).filter(|value| !value.is_null());
        let [id, label, platform] = ["id", "name", "platform"].map(&mut member);
        let label = label.filter(|label| label.as_str().is_none_or(|label| !label.trim().is_empty()));
        let platforms = Platform::ALL.iter().map(|platform| platform.as_str()).collect::<Vec<_>>().join(", ");
        let shapes = [
            Text::new("id 必须是 16 到 64 个字母、数字、_ 或 -", "id must be 16 to 64 letters, digits, _ or -"),
            Text::new("name 必须是不超过 64 个字符的字符串", "name must be a string of at most 64 characters"),
            Text::new(format!("platform 必须是 {platforms} 之一"), format!("platform must be one of {platforms}")),
        ];
        let [id_shape, name_shape, platform_shape] = shapes;
        Device {
            id: self.member(name, id, DeviceId::parse, id_shape),
            name: self.member(name, label, parse_device_name, name_shape),
            platform: self.member(name, platform, Platform::parse, platform_shape),
        }
    }

    /// A member of an object; one that is wrong is told as a fault of the field.
    fn member<T>(
        &mut self,
        field: &'static str,
        value: Option<Value>,
        parse: impl FnOnce(&str) -> Option<T>,
        shape: Text,
    ) -> Option<T> {
        let value = value?;
        let parsed = value.as_str().and_then(parse);
        if parsed.is_none() && !self.errors.iter().any(|error| error.field == field) {
            self.refuse(field, shape);
        }
        parsed
    }

    /// The password once more; must be the same if it is there.
    pub fn repeated_password(
        &mut self,
        name: &'static str,
        field: OptionalField<PasswordKind>,
        password: Option<&SecretString>,
    ) {
        if field.is_blank() {
            return;
        }
        let repeated = self.password(name, field);
        if let (Some(repeated), Some(password)) = (repeated, password)
            && repeated.expose_secret() != password.expose_secret()
        {
            self.refuse(name, Text::new("两次密码不一致", "the passwords differ"));
        }
    }

    /// What is wrong, if anything is.
    pub fn problem(self) -> Problem {
        if self.mobile_malformed && self.errors.len() == 1 {
            return ErrorCode::MobileInvalid.into();
        }
        self.errors.into()
    }

    /// Is everything right so far?
    pub fn is_right(&self) -> bool {
        self.errors.is_empty()
    }

    fn refuse(&mut self, field: &'static str, message: Text) {
        self.errors.push(FieldError { field, message });
    }

    fn text(&mut self, name: &'static str, value: Option<Value>) -> Option<String> {
        match value {
            Some(Value::String(text)) if !text.is_empty() => return Some(text),
            Some(Value::String(_)) | None => self.refuse(name, Text::new("必填", "is required")),
            Some(_) => self.refuse(name, Text::new("必须是字符串", "must be a string")),
        }
        None
    }

    /// Text, or in the classic families a number, which lost its leading zeros when it was taken for one.
    fn number_or_text(&mut self, name: &'static str, value: Option<Value>, digits: usize) -> Option<String> {
        match value {
            Some(Value::Number(number)) if self.family == Family::Classic && number.is_u64() => {
                Some(format!("{:0>digits$}", number.to_string()))
            }
            value => self.text(name, value),
        }
    }
}

/// Is there a host, and nothing before it that could be taken for one?
fn shows_its_host(url: &Url) -> bool {
    url.has_host() && url.username().is_empty() && url.password().is_none()
}
