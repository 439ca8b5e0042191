//! Calls to Alibaba Cloud, signed.

use chrono::{DateTime, Utc};
use reqwest::{
    Client, RequestBuilder, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH},
};
use secrecy::SecretString;
use uuid::Uuid;

use super::signature::{Signed, acs3, host, sha256};

const FORM: &str = "application/x-www-form-urlencoded";

/// One operation of the vendor.
pub struct Call<'a> {
    /// Scheme, host and port, and a query made by [`query`](super::signature::query), or none.
    pub url: &'a Url,
    /// The operation.
    pub action: &'a str,
    /// The version of the API, a date.
    pub version: &'a str,
    /// A form made by [`query`](super::signature::query), or none.
    pub form: Option<String>,
}

/// A call with the `AccessKey ID` and the `AccessKey Secret` of an account, dated `now`.
pub fn request(client: &Client, id: &str, secret: &SecretString, now: DateTime<Utc>, call: Call) -> RequestBuilder {
    let Call { url, action, version, form } = call;
    let body = form.as_deref().unwrap_or_default();
    let (host, digest) = (host(url), sha256(body));
    let (date, nonce) = (now.format("%Y-%m-%dT%H:%M:%SZ").to_string(), Uuid::now_v7().simple().to_string());
    let mut headers = vec![
        ("host", host.as_str()),
        ("x-acs-action", action),
        ("x-acs-content-sha256", &digest),
        ("x-acs-date", &date),
        ("x-acs-signature-nonce", &nonce),
        ("x-acs-version", version),
    ];
    headers.extend(form.as_ref().map(|_| ("content-type", FORM)));
    let signed = Signed { url, headers: headers.iter().copied().collect(), body };
    let request = client.post(url.clone()).header(AUTHORIZATION, acs3(id, secret, &signed));
    let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    let request = request.header(ACCEPT, "application/json");
    match form {
        Some(form) => request.body(form),
        // RFC 9110 (8.6): a POST without a body says so, or gateways may refuse it.
        None => request.header(CONTENT_LENGTH, 0),
    }
}
