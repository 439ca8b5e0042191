//! The fields of requests: what they hold when they are left out or blank, and what the document says about them.

use std::{borrow::Cow, marker::PhantomData};

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::{ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde_json::Value;

use super::challenge_answer::SolvedChallenge;
use crate::model::{device::Platform, purpose::Purpose, typed};

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

    /// The value; `null` is none.
    pub fn given(self) -> Option<Value> {
        self.0.filter(|value| !value.is_null())
    }

    /// Is there a value?
    pub fn is_given(&self) -> bool {
        self.0.as_ref().is_some_and(|value| !value.is_null())
    }

    /// Is there nothing in it: no value, or an empty text, as forms send what was not filled in?
    pub fn is_blank(&self) -> bool {
        self.0.as_ref().is_none_or(|value| value.is_null() || value == "")
    }

    /// Is it not there at all, not even as `null`?
    pub fn is_left_out(&self) -> bool {
        self.0.is_none()
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
        match K::schema_ref() {
            MetaSchemaRef::Inline(schema) if !REQUIRED => {
                MetaSchemaRef::Inline(Box::new(MetaSchema { nullable: true, ..*schema }))
            }
            // A reference that may be null would become `allOf`, which generators drop: the schema itself says so.
            schema => schema,
        }
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
        Ok(Self(value, PhantomData))
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

/// Characters of a code with all that may stand between its digits.
const DECORATED: usize = typed::MAX_LENGTH;

kinds! {
    /// A mobile number.
    MobileKind { example: Some("13800138000".into()) }
    /// An SMS code.
    SmsCodeKind { example: Some("123456".into()), min_length: Some(4), max_length: Some(DECORATED) }
    /// A password.
    PasswordKind { example: Some("correct horse battery".into()), format: Some("password"), max_length: Some(128) }
    /// The id of a picture code.
    ImageCodeIdKind { example: Some("0190f2a6-5b7e-7c3a-9d55-2f1c7a3e9b10".into()), max_length: Some(64) }
    /// The text of a picture code.
    ImageCodeKind { example: Some("jx3r".into()), max_length: Some(DECORATED) }
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
                "What an SMS code is for; `login` unless a request says otherwise, with `null` and an empty text, too. \
                 `login` signs in or registers, `reset_password` sets a password, `change_mobile` moves an account to \
                 another number, `delete_account` deletes it; the last two need an access token. A code is worth \
                 nothing for any other purpose.",
            ),
            enum_items: Purpose::ALL.map(|purpose| purpose.as_str().into()).into(),
            ..MetaSchema::new("string")
        });
    }
}

/// A solved challenge.
#[derive(Debug)]
pub struct ChallengeKind;

impl Kind for ChallengeKind {
    fn schema_ref() -> MetaSchemaRef {
        SolvedChallenge::schema_ref()
    }

    fn register(registry: &mut Registry) {
        SolvedChallenge::register(registry);
    }
}

/// A device, as its client describes it.
#[derive(Debug)]
pub struct DeviceKind;

impl DeviceKind {
    const NAME: &str = "Device";
    const PLATFORM: &str = "DevicePlatform";
}

impl Kind for DeviceKind {
    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(Self::NAME.to_owned())
    }

    fn register(registry: &mut Registry) {
        registry.create_schema::<Platform, _>(Self::PLATFORM.to_owned(), |_| MetaSchema {
            description: Some("What a device runs; `null` is as if left out."),
            enum_items: Platform::ALL.iter().map(|platform| platform.as_str().into()).collect(),
            ..MetaSchema::new("string")
        });
        registry.create_schema::<Self, _>(Self::NAME.to_owned(), |_| {
            let member = |description, schema| {
                MetaSchemaRef::Inline(Box::new(MetaSchema { description: Some(description), ..schema }))
            };
            let text = || MetaSchema { nullable: true, ..MetaSchema::new("string") };
            let id = MetaSchema {
                min_length: Some(16),
                max_length: Some(64),
                ..text()
            };
            MetaSchema {
                description: Some(
                    "The device that a request comes from. By its id, users are known where strangers have used up the \
                     limits of a number: send it with every call that takes it. `null` is as if left out.",
                ),
                properties: vec![
                    (
                        "id",
                        member(
                            "A secret that the app makes up once and keeps for as long as it is installed, such as a \
                             random UUID: 16 to 64 letters, digits, `_` and `-`. The service keeps a keyed hash of it. `null` \
                             is as if left out.",
                            id,
                        ),
                    ),
                    (
                        "name",
                        member(
                            "What users see in their list of sessions, at most 64 characters; `null` or empty is as if left \
                             out.",
                            MetaSchema { max_length: Some(64), ..text() },
                        ),
                    ),
                    ("platform", MetaSchemaRef::Reference(Self::PLATFORM.to_owned())),
                ],
                ..MetaSchema::new("object")
            }
        });
    }
}
