//! The passport family: `/passport`.

use poem::Result;
use poem_openapi::{Object, OpenApi, param::Query, payload::Json};

use super::{
    Section,
    bearer::ClassicSignedIn,
    classic::{Classic, ClassicJson, ClassicPasswordSignIn, SignedOut, WithCookie},
    context::RequestContext,
    envelope::{ClassicEnvelope, Nothing},
    form::{Field, ImageCodeIdKind, ImageCodeKind, MobileKind, OptionalField, PasswordKind, SmsCodeKind},
    image_codes::{Picture, picture},
};

/// Who gets a code.
#[derive(Debug, Object)]
struct PassportCodeRequest {
    /// A mainland China mobile number.
    mobile: Field<MobileKind>,
    /// What the picture says.
    image_code: OptionalField<ImageCodeKind>,
    /// The id of the picture.
    image_code_id: OptionalField<ImageCodeIdKind>,
    /// Stands for `image_code`.
    #[oai(rename = "imageCode")]
    image_code_alias: OptionalField<ImageCodeKind>,
    /// Stands for `image_code_id`.
    #[oai(rename = "imageCodeId")]
    image_code_id_alias: OptionalField<ImageCodeIdKind>,
}

/// A new user.
#[derive(Debug, Object)]
struct PassportRegistration {
    /// A mainland China mobile number.
    mobile: Field<MobileKind>,
    /// The code from the SMS.
    smscode: OptionalField<SmsCodeKind>,
    /// Stands for `smscode`.
    sms_code: OptionalField<SmsCodeKind>,
    /// At least 8 characters. `passwd` stands for it, too.
    password: Field<PasswordKind>,
}

/// The section.
pub struct Passport(pub Classic);

#[OpenApi(prefix_path = "/passport", tag = "Section::Passport")]
impl Passport {
    /// Get a picture code
    ///
    /// Needed for every SMS code of this family. One of the parameters names the picture.
    #[oai(path = "/image_code", method = "get", operation_id = "passport_get_image_code")]
    async fn image_code(
        &self,
        context: &RequestContext,
        /// Any id that the client makes up.
        code_id: Query<Option<String>>,
        /// Stands for `code_id`.
        cur_id: Query<Option<String>>,
        /// Stands for `code_id`.
        #[oai(name = "imageCodeId")]
        camel_case_id: Query<Option<String>>,
        /// Stands for `code_id`.
        image_code_id: Query<Option<String>>,
    ) -> Result<Picture> {
        let id = code_id.0.or(cur_id.0).or(camel_case_id.0).or(image_code_id.0).unwrap_or_default();
        Ok(picture(&self.0.auth, context, "code_id", &id).await?)
    }

    /// Send an SMS code for registering
    ///
    /// The picture code is used up whatever the outcome. A registered number gets 4003.
    #[oai(path = "/sms_code", method = "post", operation_id = "passport_send_sms_code")]
    async fn sms_code(
        &self,
        context: &RequestContext,
        body: ClassicJson<PassportCodeRequest>,
    ) -> Result<Json<ClassicEnvelope<Nothing>>> {
        let body = body.0;
        let id = body.image_code_id.or(body.image_code_id_alias);
        let text = body.image_code.or(body.image_code_alias);
        self.0.send_code(context, body.mobile, ("image_code_id", id), ("image_code", text)).await
    }

    /// Register
    ///
    /// With the code from the SMS and a password. A taken number gets 4003. The answer signs the user in.
    #[oai(path = "/register", method = "post", operation_id = "passport_register")]
    async fn register(&self, context: &RequestContext, body: ClassicJson<PassportRegistration>) -> Result<WithCookie> {
        let PassportRegistration { mobile, smscode, sms_code, password } = body.0;
        self.0.register(context, mobile, ("smscode", smscode.or(sms_code)), password, None).await
    }

    /// Sign in with a password
    ///
    /// A wrong number and a wrong password are both 4106.
    #[oai(path = "/login", method = "post", operation_id = "passport_sign_in")]
    async fn login(&self, context: &RequestContext, body: ClassicJson<ClassicPasswordSignIn>) -> Result<WithCookie> {
        self.0.sign_in(context, body.0).await
    }

    /// Sign out
    ///
    /// Ends the session and clears the cookie.
    #[oai(path = "/logout", method = "post", operation_id = "passport_sign_out")]
    async fn sign_out(&self, context: &RequestContext, caller: ClassicSignedIn) -> Result<SignedOut> {
        self.0.sign_out(context, caller.0).await
    }

    /// Sign out (by a link)
    ///
    /// The same as `passport_sign_out`.
    #[oai(path = "/logout", method = "get", operation_id = "passport_follow_sign_out")]
    async fn follow_sign_out(&self, context: &RequestContext, caller: ClassicSignedIn) -> Result<SignedOut> {
        self.0.sign_out(context, caller.0).await
    }
}
