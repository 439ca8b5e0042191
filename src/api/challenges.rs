//! Proofs of work to do: `/app/v1_0/challenges`.

use poem_openapi::{ApiResponse, Object, OpenApi, param::Query, payload::Json};

use super::{
    Section,
    context::RequestContext,
    error_code::ErrorCode,
    failure::{Failure, failures},
    form::{Field, Form, MobileKind},
    problem::Problem,
};
use crate::auth::{Auth, challenges::pow};

failures! {
    GetPow: RequestInvalid, MobileInvalid, NotFound;
}

/// A proof of work to do, in the format of ALTCHA v2.
#[derive(Debug, Object)]
struct PowChallenge {
    parameters: PowParameters,
    /// Send it back as it is.
    signature: String,
}

/// What to do: find a counter for which the key derived by PBKDF2 from the nonce and the counter (four bytes, big-endian)
/// begins with `keyPrefix`. Send all of it back as it is.
#[derive(Debug, Object)]
struct PowParameters {
    /// Always `PBKDF2/SHA-256`.
    algorithm: String,
    /// Rounds of PBKDF2.
    cost: u32,
    data: PowData,
    /// When the challenge can be solved no more, in Unix seconds: after 300 seconds.
    #[oai(rename = "expiresAt")]
    expires_at: i64,
    /// The length of the derived key, in bytes.
    #[oai(rename = "keyLength")]
    key_length: u32,
    /// What the derived key begins with, in hex.
    #[oai(rename = "keyPrefix")]
    key_prefix: String,
    /// What each password begins with, in hex.
    nonce: String,
    /// The salt, in hex.
    salt: String,
}

/// What the challenge is bound to.
#[derive(Debug, Object)]
struct PowData {
    /// Stands for the number.
    m: String,
}

impl From<pow::Challenge> for PowChallenge {
    fn from(challenge: pow::Challenge) -> Self {
        let pow::Challenge { parameters, signature } = challenge;
        Self {
            parameters: PowParameters {
                algorithm: parameters.algorithm,
                cost: parameters.cost,
                data: PowData { m: parameters.data.m },
                expires_at: parameters.expires_at,
                key_length: parameters.key_length,
                key_prefix: parameters.key_prefix,
                nonce: parameters.nonce,
                salt: parameters.salt,
            },
            signature,
        }
    }
}

#[derive(ApiResponse)]
enum Asked {
    /// The challenge, without an envelope: as ALTCHA's widget takes it.
    #[oai(status = 200)]
    Ok(Json<PowChallenge>),
}

/// The section.
pub struct Challenges(pub Auth);

#[OpenApi(prefix_path = "/app/v1_0/challenges", tag = "Section::Challenges")]
impl Challenges {
    /// Get a proof of work
    ///
    /// Call it when a refusal lists `pow`. The challenge is for one number, can be solved for 300 seconds, and once. Solve
    /// it away from the thread that draws, and send the refused request again with the payload as `challenge`. Where
    /// the service does not offer `pow`, the answer is 404.
    #[oai(path = "/pow", method = "get", operation_id = "get_pow_challenge")]
    async fn get_pow_challenge(
        &self,
        context: &RequestContext,
        /// The number that the refused request was about: 11 digits from 13… to 19…; `+86`, spaces, dashes, dots,
        /// brackets and full-width digits are allowed.
        mobile: Query<Option<String>>,
    ) -> Result<Asked, Failure<GetPow>> {
        let Some(proofs) = self.0.challenges.proofs_of_work() else {
            return Err(Problem::from(ErrorCode::NotFound).into());
        };
        let mut form = Form::new(context.family);
        let mobile = form.mobile("mobile", Field::<MobileKind>::from_text(mobile.0));
        let Some(mobile) = mobile else { return Err(form.problem().into()) };
        Ok(Asked::Ok(Json(proofs.challenge(&mobile).into())))
    }
}
