//! How do the fields of a request become values, and how are all wrong ones told at once?

use std::{borrow::Cow, marker::PhantomData};

use futures_util::future::Either;
use poem::http::HeaderValue;
use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::{ParseFromJSON, ParseResult, ToJSON, Type},
};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use uuid::Uuid;

use super::{
    context::Family,
    error_code::ErrorCode,
    language::Text,
    problem::{FieldError, Problem},
};
use crate::{
    auth::{
        image_code::{ImageCodeId, PictureAnswer},
        sms_code::{Code, ImageCodePolicy, SmsCodes},
    },
    model::{mobile::Mobile, purpose::Purpose, user::parse_name},
};

/// What the document says about a kind of field.
pub trait Kind: Send + Sync + 'static {
    /// Its schema, or the name of it.
    fn schema_ref() -> MetaSchemaRef;

    /// Registers the schema if it has a name.
    fn register(_registry: &mut Registry) {}
}

/// A field as it came: checked only when the handler asks for its value, so that one answer lists all wrong fields.
#[derive(Debug)]
pub struct Field<K, const REQUIRED: bool = true>(Option<Value>, PhantomData<K>);

/// A field that may be left out.
pub type OptionalField<K> = Field<K, false>;

impl<K, const REQUIRED: bool> Field<K, REQUIRED> {
    /// A value from outside the body.
    pub fn from_text(text: Option<String>) -> Self {
        Self(text.map(Value::String), PhantomData)
    }
}

impl<K: Kind, const REQUIRED: bool> Type for Field<K, REQUIRED> {
    const IS_REQUIRED: bool = REQUIRED;

    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "string".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        K::schema_ref()
    }

    fn register(registry: &mut Registry) {
        K::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl<K: Kind, const REQUIRED: bool> ParseFromJSON for Field<K, REQUIRED> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Ok(Self(value.filter(|value| !value.is_null()), PhantomData))
    }
}

impl<K: Kind, const REQUIRED: bool> ToJSON for Field<K, REQUIRED> {
    fn to_json(&self) -> Option<Value> {
        self.0.clone()
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident { $($setting:ident: $value:expr),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub struct $name;

            impl Kind for $name {
                fn schema_ref() -> MetaSchemaRef {
                    MetaSchemaRef::Inline(Box::new(MetaSchema { $($setting: $value,)* ..MetaSchema::new("string") }))
                }
            }
        )*
    };
}

kinds! {
    /// A mobile number.
    MobileKind { example: Some("13800138000".into()) }
    /// An SMS code.
    SmsCodeKind { example: Some("123456".into()), min_length: Some(4), max_length: Some(8) }
    /// A password.
    PasswordKind { example: Some("correct horse battery".into()), format: Some("password"), max_length: Some(128) }
    /// The id of a picture code.
    ImageCodeIdKind { example: Some("0190f2a6-5b7e-7c3a-9d55-2f1c7a3e9b10".into()), max_length: Some(64) }
    /// The text of a picture code.
    ImageCodeKind { example: Some("k7xw".into()), max_length: Some(8) }
    /// A name.
    NameKind { example: Some("小明".into()), min_length: Some(1), max_length: Some(32) }
    /// The URL of a picture.
    AvatarUrlKind { example: Some("https://cdn.example.com/a.png".into()), format: Some("uri"), max_length: Some(512) }
}

/// The purpose of an SMS code.
#[derive(Debug)]
pub struct PurposeKind;

impl PurposeKind {
    const NAME: &str = "SmsCodePurpose";
}

impl Kind for PurposeKind {
    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(Self::NAME.to_owned())
    }

    fn register(registry: &mut Registry) {
        registry.create_schema::<Self, _>(Self::NAME.to_owned(), |_| MetaSchema {
            description: Some(
                "What an SMS code is for; `login` unless a request says otherwise. `login` signs in or registers, \
                 `reset_password` sets a password, `change_mobile` moves an account to another number, \
                 `delete_account` deletes it; the last two need an access token. A code is worth nothing for any other \
                 purpose.",
            ),
            enum_items: Purpose::ALL.map(|purpose| purpose.as_str().into()).into(),
            ..MetaSchema::new("string")
        });
    }
}

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
        let text = self.number_or_text(name, field.0, 0)?;
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
        let text = self.number_or_text(name, field.0, length)?;
        let code = codes.parse(text.trim());
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
        self.text(name, field.0).map(SecretString::from)
    }

    /// The answer to a picture; both parts or an error.
    pub fn picture<const R: bool, const S: bool>(
        &mut self,
        id_name: &'static str,
        id: Field<ImageCodeIdKind, R>,
        text_name: &'static str,
        text: Field<ImageCodeKind, S>,
    ) -> Option<PictureAnswer> {
        let id = self.number_or_text(id_name, id.0, 0).and_then(|id| self.image_code_id(id_name, &id));
        let text = self.number_or_text(text_name, text.0, 4);
        Some(PictureAnswer { id: id?, text: text?.trim().to_owned() })
    }

    /// The answer to a picture, if there is one; not even looked at where none is ever asked for.
    pub fn optional_picture(
        &mut self,
        policy: ImageCodePolicy,
        id: OptionalField<ImageCodeIdKind>,
        text: OptionalField<ImageCodeKind>,
    ) -> Option<PictureAnswer> {
        if policy == ImageCodePolicy::Never || (id.0.is_none() && text.0.is_none()) {
            return None;
        }
        self.picture("image_code_id", id, "image_code", text)
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
    pub fn name(&mut self, name: &'static str, field: OptionalField<NameKind>) -> Option<String> {
        let parsed = parse_name(&self.text(name, Some(field.0?))?);
        if parsed.is_none() {
            self.refuse(name, Text::new("必须是 1 到 32 个字符", "must have 1 to 32 characters"));
        }
        parsed
    }

    /// The https URL of a picture.
    pub fn avatar_url(&mut self, name: &'static str, field: OptionalField<AvatarUrlKind>) -> Option<String> {
        let text = self.text(name, Some(field.0?))?;
        // The parser forgives blanks and line breaks, which whoever shows the picture may not.
        let plain = text.starts_with("https://") && !text.contains(|c: char| c.is_whitespace() || c.is_control());
        let fits = plain && text.chars().count() <= 512 && Url::parse(&text).is_ok_and(|url| url.has_host());
        if !fits {
            let message = "must be an https URL of at most 512 characters";
            self.refuse(name, Text::new("必须是不超过 512 个字符的 https 网址", message));
        }
        fits.then_some(text)
    }

    /// A client's name for what it does, to do it once.
    pub fn idempotency_key(&mut self, name: &'static str, value: Option<&HeaderValue>) -> Option<Uuid> {
        let key = value?.to_str().ok().and_then(|text| Uuid::try_parse(text).ok());
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
        match (first.0.is_some(), other.0.is_some()) {
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
        let Some(value) = field.0 else { return Some(Purpose::Login) };
        let purpose = value.as_str().and_then(Purpose::parse);
        if purpose.is_none() {
            let names = Purpose::ALL.map(Purpose::as_str).join(", ");
            self.refuse(name, Text::new(format!("必须是 {names} 之一"), format!("must be one of {names}")));
        }
        purpose
    }

    /// The password once more; must be the same if it is there.
    pub fn repeated_password(
        &mut self,
        name: &'static str,
        field: OptionalField<PasswordKind>,
        password: Option<&SecretString>,
    ) {
        if field.0.is_none() {
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
