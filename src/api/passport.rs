//! The passport family: `/passport`.

use poem::{FromRequest, Request, RequestBody, Result};
use poem_openapi::{Object, OpenApi};

use super::{
    Section,
    bearer::{ClassicSignedIn, ClassicVisitor},
    challenge_answer::ChallengeHeader,
    classic::{
        Answer, Classic, ClassicPasswordSignIn, CookieAnswer, FollowSignOut, RegisterClassic, SendClassicCode,
        SessionAnswer, SignInClassic, SignedOut,
    },
    context::RequestContext,
    envelope::ClassicOutcome,
    error_code::ErrorCode,
    form::{Field, ImageCodeIdKind, ImageCodeKind, MobileKind, OptionalField, PasswordKind, SmsCodeKind},
    image_codes::{ClassicPicture, classic_picture},
    names::{ClassicJson, ClassicQuery},
    problem::Problem,
};

/// Where browsers say what they want an answer for (Fetch Metadata).
const SEC_FETCH_DEST: &str = "sec-fetch-dest";

/// A request that a user makes by a link, a script by `fetch`, or a client that is no browser; not one that a page makes
/// by showing a picture of a stranger's choice.
struct Followed;

impl<'a> FromRequest<'a> for Followed {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> Result<Self> {
        let mut wanted = request.headers().get_all(SEC_FETCH_DEST).iter();
        if wanted.all(|wanted| matches!(wanted.as_bytes(), b"document" | b"empty")) {
            Ok(Self)
        } else {
            Err(Problem::from(ErrorCode::NavigationRequired).into())
        }
    }
}

/// Who gets a code, and what the picture says.
#[derive(Debug, Object)]
struct PassportCodeRequest {
    /// A mainland China mobile number, 11 digits from 13… to 19…; `+86`, spaces, dashes,
    /// dots, brackets and full-width digits are allowed.
    mobile: Field<MobileKind>,
    /// What the picture says: 4 characters, unless the service is set to 4 to 8; upper and lower case are one.
    /// `imageCode` stands for it, too.
    image_code: Field<ImageCodeKind>,
    /// The id under which the picture was fetched: 1 to 64 letters, digits, `_` or `-`. `imageCodeId` stands for it,
    /// too.
    image_code_id: Field<ImageCodeIdKind>,
}

/// A new user.
#[derive(Debug, Object)]
struct PassportRegistration {
    /// A mainland China mobile number, 11 digits from 13… to 19…; `+86`, spaces, dashes,
    /// dots, brackets and full-width digits are allowed.
    mobile: Field<MobileKind>,
    /// The code from the SMS: 6 digits, unless the service is set to 4 to 8; spaces, dashes and full-width digits are
    /// allowed. `sms_code` stands for it, too.
    smscode: Field<SmsCodeKind>,
    /// The password: 8 to 128 characters (the service may ask for more than 8), not a common one. `passwd` stands for
    /// it, too.
    password: Field<PasswordKind>,
    /// The password again; must be equal if it is sent. `null` or empty is as if left out. `passwd2` stands for it,
    /// too.
    password2: OptionalField<PasswordKind>,
}

/// The section.
pub struct Passport(pub Classic);

#[OpenApi(prefix_path = "/passport", tag = "Section::Passport")]
impl Passport {
    /// Get a picture code
    ///
    /// Show it, and call `passport_send_sms_code` with what the user reads. Every SMS code of this family needs one.
    #[oai(path = "/image_code", method = "get", operation_id = "passport_get_image_code")]
    async fn image_code(
        &self,
        context: &RequestContext,
        /// Any id that the client makes up: 1 to 64 letters, digits, `_` or `-`. `cur_id`, `imageCodeId` and
        /// `image_code_id` stand for it, too.
        code_id: ClassicQuery,
    ) -> Result<ClassicPicture> {
        Ok(classic_picture(&self.0.auth, context, "code_id", &code_id.0.unwrap_or_default()).await?)
    }

    /// Send an SMS code for registering
    ///
    /// Needs a picture code, which is used up even if a later check fails. A registered number gets 4003.
    #[oai(path = "/sms_code", method = "post", operation_id = "passport_send_sms_code")]
    async fn sms_code(
        &self,
        context: &RequestContext,
        visitor: ClassicVisitor,
        /// A solved challenge as `kind:response`, beside the picture: under suspicion some services ask for one.
        #[oai(name = "X-Challenge-Response")]
        challenge: ChallengeHeader,
        body: ClassicJson<PassportCodeRequest>,
    ) -> Result<Answer<ClassicOutcome, SendClassicCode>> {
        let PassportCodeRequest { mobile, image_code, image_code_id } = body.0;
        let (id, text) = (("image_code_id", image_code_id), ("image_code", image_code));
        self.0.send_code(context, visitor, mobile, id, text, challenge).await
    }

    /// Register
    ///
    /// Takes the code from the SMS and a password; a taken number gets 4003. The answer signs the user in, by tokens
    /// and by cookie.
    #[oai(path = "/register", method = "post", operation_id = "passport_register")]
    async fn register(
        &self,
        context: &RequestContext,
        visitor: ClassicVisitor,
        body: ClassicJson<PassportRegistration>,
    ) -> Result<SessionAnswer<RegisterClassic>> {
        let PassportRegistration { mobile, smscode, password, password2 } = body.0;
        self.0.register(context, visitor, mobile, ("smscode", smscode), password, password2).await
    }

    /// Sign in with a password
    ///
    /// For users who have a password. A wrong number and a wrong password are both 4106. The answer signs the user in,
    /// by tokens and by cookie.
    #[oai(path = "/login", method = "post", operation_id = "passport_sign_in")]
    async fn login(
        &self,
        context: &RequestContext,
        visitor: ClassicVisitor,
        body: ClassicJson<ClassicPasswordSignIn>,
    ) -> Result<SessionAnswer<SignInClassic>> {
        self.0.sign_in(context, visitor, body.0).await
    }

    /// Sign out
    ///
    /// Ends the session, with its tokens, and clears the cookie.
    #[oai(path = "/logout", method = "post", operation_id = "passport_sign_out")]
    async fn sign_out(&self, context: &RequestContext, caller: ClassicSignedIn) -> Result<SignedOut> {
        self.0.sign_out(context, caller.0).await
    }

    /// Sign out (by a link)
    ///
    /// The same as `passport_sign_out`, for pages that sign out by a link. 4201 where a browser says that it loads a part
    /// of a page (`Sec-Fetch-Dest: image`, `script`, `style`, `iframe` and so on): the session lives on.
    #[oai(path = "/logout", method = "get", operation_id = "passport_follow_sign_out")]
    async fn follow_sign_out(
        &self,
        context: &RequestContext,
        _followed: Followed,
        caller: ClassicSignedIn,
    ) -> Result<CookieAnswer<ClassicOutcome, FollowSignOut>> {
        self.0.sign_out(context, caller.0).await
    }
}
