//! Calls to Tencent Cloud, signed.

use chrono::{DateTime, Utc};
use reqwest::{
    Client, RequestBuilder, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use secrecy::SecretString;

use super::signature::{Signed, host, tc3};

const JSON: &str = "application/json; charset=utf-8";

/// One operation of the vendor.
pub struct Call<'a> {
    /// Scheme, host and port.
    pub url: &'a Url,
    /// What the operation belongs to, as in the names of the vendor's hosts.
    pub service: &'a str,
    /// The operation.
    pub action: &'a str,
    /// The version of the service's API, a date.
    pub version: &'a str,
    /// JSON.
    pub body: String,
}

/// A call with the `SecretId` and the `SecretKey` of an account, dated `now`.
pub fn request(client: &Client, id: &str, secret: &SecretString, now: DateTime<Utc>, call: Call) -> RequestBuilder {
    let Call { url, service, action, version, body } = call;
    let host = host(url);
    let signed = Signed { url, headers: [("content-type", JSON), ("host", &host)].into(), body: &body };
    client
        .post(url.clone())
        .header(AUTHORIZATION, tc3(id, secret, service, now, &signed))
        .header(CONTENT_TYPE, JSON)
        .header(HOST, &host)
        .header("X-TC-Action", action)
        .header("X-TC-Version", version)
        .header("X-TC-Timestamp", now.timestamp())
        .body(body)
}
