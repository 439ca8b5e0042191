//! The ihome family: `/api/v1.0`.

use poem::Result;
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
};
use uuid::Uuid;

use super::{
    Section,
    bearer::ClassicSignedIn,
    classic::{
        Answer, Classic, ClassicJson, ClassicPasswordSignIn, NotSignedIn, RegisterClassic, SendClassicCode,
        SessionAnswer, SignInClassic, SignedOut,
    },
    context::RequestContext,
    envelope::{ClassicEnvelope, ClassicOutcome},
    form::{Field, MobileKind, OptionalField, PasswordKind, SmsCodeKind},
    image_codes::{ClassicPicture, classic_picture},
    problem::Problem,
};
use crate::{auth::access_token::Identity, model::user::User};

/// A new user.
#[derive(Debug, Object)]
struct IhomeRegistration {
    /// A mainland China mobile number, 11 digits from 13… to 19…; `+86`, spaces, dashes,
    /// dots, brackets and full-width digits are allowed.
    mobile: Field<MobileKind>,
    /// The code from the SMS: 6 digits, unless the service is set to 4 to 8; spaces, dashes and full-width digits are
    /// allowed.
    sms_code: Field<SmsCodeKind>,
    /// The password: 8 to 128 characters (the service may ask for more than 8), not a common one. `passwd` stands for
    /// it, too.
    password: Field<PasswordKind>,
    /// The password again; must be equal if it is sent. `null` or empty is as if left out. `passwd2` stands for it,
    /// too.
    password2: OptionalField<PasswordKind>,
}

/// The signed-in user, without their picture.
#[derive(Debug, Object)]
struct IhomeSessionUser {
    /// The user's id, a UUIDv7.
    user_id: Uuid,
    /// The name, 1 to 32 characters; the mobile number until the user chooses another.
    name: String,
    /// The mobile number, eleven digits.
    mobile: String,
}

/// The signed-in user, with their picture.
#[derive(Debug, Object)]
struct IhomeUser {
    /// The user's id, a UUIDv7.
    user_id: Uuid,
    /// The name, 1 to 32 characters; the mobile number until the user chooses another.
    name: String,
    /// The mobile number, eleven digits.
    mobile: String,
    /// The https URL of a picture, at most 512 characters; empty if there is none.
    avatar: String,
}

/// The section.
pub struct Ihome(pub Classic);

#[OpenApi(prefix_path = "/api/v1.0", tag = "Section::Ihome")]
impl Ihome {
    /// Get a picture code
    ///
    /// Show it, and send an SMS code with what the user reads. Every SMS code of this family needs one.
    #[oai(path = "/imagecode/:id", method = "get", operation_id = "ihome_get_image_code_at_imagecode")]
    async fn imagecode(
        &self,
        context: &RequestContext,
        /// Any id that the client makes up: 1 to 64 letters, digits, `_` or `-`; a UUID or a time serves well.
        id: Path<String>,
    ) -> Result<ClassicPicture> {
        Ok(classic_picture(&self.0.auth, context, "id", &id.0).await?)
    }

    /// Get a picture code (other path)
    ///
    /// The same as `ihome_get_image_code_at_imagecode`.
    #[oai(path = "/image_codes/:id", method = "get", operation_id = "ihome_get_image_code")]
    async fn image_codes(
        &self,
        context: &RequestContext,
        /// Any id that the client makes up: 1 to 64 letters, digits, `_` or `-`; a UUID or a time serves well.
        id: Path<String>,
    ) -> Result<ClassicPicture> {
        Ok(classic_picture(&self.0.auth, context, "id", &id.0).await?)
    }

    /// Send an SMS code for registering
    ///
    /// Needs a picture code, which is used up even if a later check fails. A registered number gets 4003.
    #[oai(path = "/smscode/:mobile", method = "get", operation_id = "ihome_send_sms_code_at_smscode")]
    async fn smscode(
        &self,
        context: &RequestContext,
        /// A mainland China mobile number, 11 digits from 13… to 19…; `+86`, spaces, dashes,
        /// dots, brackets and full-width digits are allowed.
        mobile: Path<String>,
        /// What the picture says: 4 characters, unless the service is set to 4 to 8; upper and lower case are one.
        text: Query<Option<String>>,
        /// The id under which the picture was fetched: 1 to 64 letters, digits, `_` or `-`.
        id: Query<Option<String>>,
    ) -> Result<Answer<ClassicOutcome, SendClassicCode>> {
        let mobile = Field::<MobileKind>::from_text(Some(mobile.0));
        let (id, text) = (Field::from_text(id.0), Field::from_text(text.0));
        self.0.send_code(context, mobile, ("id", id), ("text", text)).await
    }

    /// Send an SMS code for registering (other path and parameters)
    ///
    /// The same as `ihome_send_sms_code_at_smscode`.
    #[oai(path = "/sms_codes/:mobile", method = "get", operation_id = "ihome_send_sms_code")]
    async fn sms_codes(
        &self,
        context: &RequestContext,
        /// A mainland China mobile number, 11 digits from 13… to 19…; `+86`, spaces, dashes,
        /// dots, brackets and full-width digits are allowed.
        mobile: Path<String>,
        /// What the picture says: 4 characters, unless the service is set to 4 to 8; upper and lower case are one.
        image_code: Query<Option<String>>,
        /// The id under which the picture was fetched: 1 to 64 letters, digits, `_` or `-`.
        image_code_id: Query<Option<String>>,
    ) -> Result<Answer<ClassicOutcome, SendClassicCode>> {
        let mobile = Field::<MobileKind>::from_text(Some(mobile.0));
        let (id, text) = (Field::from_text(image_code_id.0), Field::from_text(image_code.0));
        self.0.send_code(context, mobile, ("image_code_id", id), ("image_code", text)).await
    }

    /// Register
    ///
    /// Takes the code from the SMS and a password; a taken number gets 4003. The answer signs the user in, by tokens
    /// and by cookie.
    #[oai(path = "/users", method = "post", operation_id = "ihome_register")]
    async fn register(
        &self,
        context: &RequestContext,
        body: ClassicJson<IhomeRegistration>,
    ) -> Result<SessionAnswer<RegisterClassic>> {
        let IhomeRegistration { mobile, sms_code, password, password2 } = body.0;
        self.0.register(context, mobile, ("sms_code", sms_code), password, Some(password2)).await
    }

    /// Sign in with a password
    ///
    /// For users who have a password. A wrong number and a wrong password are both 4106. The answer signs the user in,
    /// by tokens and by cookie.
    #[oai(path = "/sessions", method = "post", operation_id = "ihome_sign_in")]
    async fn sign_in(
        &self,
        context: &RequestContext,
        body: ClassicJson<ClassicPasswordSignIn>,
    ) -> Result<SessionAnswer<SignInClassic>> {
        self.0.sign_in(context, body.0).await
    }

    /// Who is signed in?
    ///
    /// Call it when a page loads, to show a name or a sign-in button; 4101 if nobody is signed in.
    #[oai(path = "/session", method = "get", operation_id = "ihome_get_session")]
    async fn session(&self, caller: ClassicSignedIn) -> Result<Answer<ClassicEnvelope<IhomeSessionUser>, NotSignedIn>> {
        self.session_user(caller.0).await
    }

    /// Who is signed in? (other path)
    ///
    /// The same as `ihome_get_session`.
    #[oai(path = "/sessions", method = "get", operation_id = "ihome_get_session_at_sessions")]
    async fn sessions(
        &self,
        caller: ClassicSignedIn,
    ) -> Result<Answer<ClassicEnvelope<IhomeSessionUser>, NotSignedIn>> {
        self.session_user(caller.0).await
    }

    /// Get the signed-in user
    ///
    /// The user with their picture; 4101 if nobody is signed in.
    #[oai(path = "/user", method = "get", operation_id = "ihome_get_user")]
    async fn user(&self, caller: ClassicSignedIn) -> Result<Answer<ClassicEnvelope<IhomeUser>, NotSignedIn>> {
        let user = self.current_user(caller.0).await?;
        let user = IhomeUser {
            user_id: user.id,
            name: user.name,
            mobile: user.mobile.as_str().to_owned(),
            avatar: user.avatar_url.unwrap_or_default(),
        };
        Ok(ClassicEnvelope::ok("OK", user).into())
    }

    /// Sign out
    ///
    /// Ends the session, with its tokens, and clears the cookie.
    #[oai(path = "/session", method = "delete", operation_id = "ihome_sign_out")]
    async fn sign_out(&self, context: &RequestContext, caller: ClassicSignedIn) -> Result<SignedOut> {
        self.0.sign_out(context, caller.0).await
    }

    /// Sign out (other path)
    ///
    /// The same as `ihome_sign_out`.
    #[oai(path = "/sessions", method = "delete", operation_id = "ihome_sign_out_at_sessions")]
    async fn delete_sessions(&self, context: &RequestContext, caller: ClassicSignedIn) -> Result<SignedOut> {
        self.0.sign_out(context, caller.0).await
    }
}

impl Ihome {
    async fn session_user(&self, caller: Identity) -> Result<Answer<ClassicEnvelope<IhomeSessionUser>, NotSignedIn>> {
        let user = self.current_user(caller).await?;
        let user = IhomeSessionUser { user_id: user.id, name: user.name, mobile: user.mobile.as_str().to_owned() };
        Ok(ClassicEnvelope::ok("OK", user).into())
    }

    async fn current_user(&self, caller: Identity) -> Result<User, Problem> {
        Ok(self.0.auth.sessions.user(caller).await?)
    }
}
