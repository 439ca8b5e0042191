//! What a user of the generated client writes.

use crate::{
    Client, Error,
    types::{ErrorBody, TokenSet},
};

/// Has a code sent to the mobile and trades it for a token set.
pub async fn sign_in(
    client: &Client,
    mobile: &str,
    read_code: impl AsyncFnOnce() -> String,
) -> Result<TokenSet, Error<ErrorBody>> {
    client.send_sms_code().body_map(|body| body.mobile(mobile)).send().await?;
    let code = read_code().await;
    let signed_in = client.sign_in_with_sms_code().body_map(|body| body.mobile(mobile).code(code));
    Ok(signed_in.send().await?.into_inner().data)
}
