//! The ihome family: `/api/v1.0`.

use poem::Result;
use poem_openapi::{Object, OpenApi, param::Path};

use super::{
    Section,
    bearer::{ClassicSignedIn, ClassicVisitor},
    challenge_answer::ChallengeHeader,
    classic::{
        Answer, ChangeName, Classic, ClassicPasswordSignIn, RegisterClassic, SendClassicCode, SessionAnswer,
        SignInClassic, SignedOut, UserAnswer,
    },
    context::RequestContext,
    envelope::{ClassicEnvelope, ClassicOutcome},
    form::{Field, Form, MobileKind, NameKind, OptionalField, PasswordKind, SmsCodeKind},
    image_codes::{ClassicPicture, classic_picture},
    names::{ClassicJson, ClassicQuery},
    problem::Problem,
};
use crate::auth::access_token::Identity;

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

/// What the user wants to be called.
#[derive(Debug, Object)]
struct IhomeNameChange {
    /// 1 to 32 characters, without the blanks around them. `username` stands for it, too.
    name: Field<NameKind>,
}

/// What the user is called from now on.
#[derive(Debug, Object)]
struct IhomeName {
    /// The name, 1 to 32 characters.
    name: String,
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
        visitor: ClassicVisitor,
        /// A mainland China mobile number, 11 digits from 13… to 19…; `+86`, spaces, dashes,
        /// dots, brackets and full-width digits are allowed.
        mobile: Path<String>,
        /// What the picture says: 4 characters, unless the service is set to 4 to 8; upper and lower case are one.
        text: ClassicQuery,
        /// The id under which the picture was fetched: 1 to 64 letters, digits, `_` or `-`.
        id: ClassicQuery,
        /// A solved challenge as `kind:response`, beside the picture: under suspicion some services ask for one.
        #[oai(name = "X-Challenge-Response")]
        challenge: ChallengeHeader,
    ) -> Result<Answer<ClassicOutcome, SendClassicCode>> {
        let mobile = Field::<MobileKind>::from_text(Some(mobile.0));
        let (id, text) = (Field::from_text(id.0), Field::from_text(text.0));
        self.0.send_code(context, visitor, mobile, ("id", id), ("text", text), challenge).await
    }

    /// Send an SMS code for registering (other path and parameters)
    ///
    /// The same as `ihome_send_sms_code_at_smscode`.
    #[oai(path = "/sms_codes/:mobile", method = "get", operation_id = "ihome_send_sms_code")]
    async fn sms_codes(
        &self,
        context: &RequestContext,
        visitor: ClassicVisitor,
        /// A mainland China mobile number, 11 digits from 13… to 19…; `+86`, spaces, dashes,
        /// dots, brackets and full-width digits are allowed.
        mobile: Path<String>,
        /// What the picture says: 4 characters, unless the service is set to 4 to 8; upper and lower case are one.
        image_code: ClassicQuery,
        /// The id under which the picture was fetched: 1 to 64 letters, digits, `_` or `-`.
        image_code_id: ClassicQuery,
        /// A solved challenge as `kind:response`, beside the picture: under suspicion some services ask for one.
        #[oai(name = "X-Challenge-Response")]
        challenge: ChallengeHeader,
    ) -> Result<Answer<ClassicOutcome, SendClassicCode>> {
        let mobile = Field::<MobileKind>::from_text(Some(mobile.0));
        let (id, text) = (Field::from_text(image_code_id.0), Field::from_text(image_code.0));
        self.0.send_code(context, visitor, mobile, ("image_code_id", id), ("image_code", text), challenge).await
    }

    /// Register
    ///
    /// Takes the code from the SMS and a password; a taken number gets 4003. The answer signs the user in, by tokens
    /// and by cookie.
    #[oai(path = "/users", method = "post", operation_id = "ihome_register")]
    async fn register(
        &self,
        context: &RequestContext,
        visitor: ClassicVisitor,
        body: ClassicJson<IhomeRegistration>,
    ) -> Result<SessionAnswer<RegisterClassic>> {
        let IhomeRegistration { mobile, sms_code, password, password2 } = body.0;
        self.0.register(context, visitor, mobile, ("sms_code", sms_code), password, password2).await
    }

    /// Sign in with a password
    ///
    /// For users who have a password. A wrong number and a wrong password are both 4106. The answer signs the user in,
    /// by tokens and by cookie.
    #[oai(path = "/sessions", method = "post", operation_id = "ihome_sign_in")]
    async fn sign_in(
        &self,
        context: &RequestContext,
        visitor: ClassicVisitor,
        body: ClassicJson<ClassicPasswordSignIn>,
    ) -> Result<SessionAnswer<SignInClassic>> {
        self.0.sign_in(context, visitor, body.0).await
    }

    /// Who is signed in?
    ///
    /// Call it when a page loads, to show a name or a sign-in button; 4101 if nobody is signed in.
    #[oai(path = "/session", method = "get", operation_id = "ihome_get_session")]
    async fn session(&self, caller: ClassicSignedIn) -> Result<UserAnswer> {
        self.current_user(caller.0).await
    }

    /// Who is signed in? (other path)
    ///
    /// The same as `ihome_get_session`.
    #[oai(path = "/sessions", method = "get", operation_id = "ihome_get_session_at_sessions")]
    async fn sessions(&self, caller: ClassicSignedIn) -> Result<UserAnswer> {
        self.current_user(caller.0).await
    }

    /// Get the signed-in user
    ///
    /// The user with their picture; 4101 if nobody is signed in.
    #[oai(path = "/user", method = "get", operation_id = "ihome_get_user")]
    async fn user(&self, caller: ClassicSignedIn) -> Result<UserAnswer> {
        self.current_user(caller.0).await
    }

    /// Change the name
    ///
    /// Call it when the user edits their profile.
    #[oai(path = "/user/name", method = "put", operation_id = "ihome_change_name")]
    async fn change_name(
        &self,
        context: &RequestContext,
        caller: ClassicSignedIn,
        body: ClassicJson<IhomeNameChange>,
    ) -> Result<Answer<ClassicEnvelope<IhomeName>, ChangeName>> {
        self.set_name(context, caller.0, body.0).await
    }

    /// Change the name (other method)
    ///
    /// The same as `ihome_change_name`.
    #[oai(path = "/user/name", method = "post", operation_id = "ihome_change_name_by_post")]
    async fn post_name(
        &self,
        context: &RequestContext,
        caller: ClassicSignedIn,
        body: ClassicJson<IhomeNameChange>,
    ) -> Result<Answer<ClassicEnvelope<IhomeName>, ChangeName>> {
        self.set_name(context, caller.0, body.0).await
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
    async fn current_user(&self, caller: Identity) -> Result<UserAnswer> {
        let user = self.0.auth.sessions.user(caller).await.map_err(Problem::from)?;
        Ok(ClassicEnvelope::ok("OK", user.into()).into())
    }

    async fn set_name(
        &self,
        context: &RequestContext,
        caller: Identity,
        body: IhomeNameChange,
    ) -> Result<Answer<ClassicEnvelope<IhomeName>, ChangeName>> {
        let mut form = Form::new(context.family);
        let Some(name) = form.name("name", body.name) else { return Err(form.problem().into()) };
        let user = self.0.auth.account.update_profile(caller, Some(name), None).await.map_err(Problem::from)?;
        Ok(ClassicEnvelope::ok("OK", IhomeName { name: user.name }).into())
    }
}
