//! HTTP calls to vendors: the client, answers in JSON, and the signed calls of Alibaba Cloud and Tencent Cloud.

pub mod aliyun;
pub mod signature;
pub mod tencent;

use std::{error::Error, time::Duration};

use reqwest::{RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How many bytes of an answer are read: vendors say what they have to say in a few hundred.
const MAX_ANSWER: usize = 64 * 1024;

/// A client for calls that take no longer than `timeout`. It reuses connections and follows no redirects.
pub fn http_client(timeout: Duration) -> reqwest::Client {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("the HTTP client needs no more than its TLS roots")
}

/// A call that brought no answer, or none that makes sense.
#[derive(Debug)]
pub struct NoAnswer {
    /// The status of an answer that makes no sense.
    pub status: Option<StatusCode>,
    /// What went wrong, without the URL.
    pub reason: String,
}

impl From<reqwest::Error> for NoAnswer {
    /// Keeps the root cause alone: the URL may hold a signature or a password.
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut cause: &dyn Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Self { status: None, reason: cause.to_string() }
    }
}

/// Sends a request and reads the JSON that the vendor answers with.
///
/// # Errors
/// When there is no answer, one with a status of 500 or more, one of more than 64 KiB, or one that is not the JSON of `T`.
pub async fn call<T: DeserializeOwned>(request: RequestBuilder) -> Result<(StatusCode, T), NoAnswer> {
    let mut response = request.send().await?;
    let status = response.status();
    let no_answer = |reason| NoAnswer { status: Some(status), reason };
    if status.is_server_error() {
        return Err(no_answer(format!("HTTP {}", status.as_u16())));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(no_answer(format!("an answer of more than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    // The parser's own words may quote the answer, and the answer may quote the number.
    let answer = serde_json::from_slice(&body)
        .map_err(|_| no_answer(format!("HTTP {}, and nothing that makes sense", status.as_u16())))?;
    Ok((status, answer))
}
