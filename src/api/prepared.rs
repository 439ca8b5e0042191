//! Answers that never change while the process runs: made and compressed when they are first asked for, and named by an
//! ETag.

use std::{
    io::Write,
    sync::{Arc, OnceLock},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
};
use sha2::{Digest, Sha256};

use super::problem::Problem;
use crate::auth::error::Error;

/// How many bytes of the hash an ETag has.
const TAG_BYTES: usize = 16;

/// What is sent, before it is compressed.
pub struct Content {
    /// The text.
    pub text: String,
    /// Its `Content-Type`.
    pub media_type: &'static str,
    /// Its `Content-Security-Policy`, if it is a page.
    pub policy: Option<HeaderValue>,
}

/// One answer, as it is and compressed (RFC 9110, 8.4).
struct Prepared {
    plain: Representation,
    gzip: Representation,
    media_type: &'static str,
    policy: Option<HeaderValue>,
}

struct Representation {
    bytes: Bytes,
    /// Strong: another one for the same text compressed (RFC 9110, 8.8.3.3).
    tag: HeaderValue,
}

impl Representation {
    fn of(bytes: Vec<u8>) -> Self {
        let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(&bytes)[..TAG_BYTES]));
        let tag = HeaderValue::from_str(&tag).expect("base64 is ASCII");
        Self { bytes: bytes.into(), tag }
    }
}

impl Prepared {
    fn of(content: Content) -> Self {
        let Content { text, media_type, policy } = content;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let gzip = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
        let gzip = Representation::of(gzip.expect("a vector takes every byte"));
        Self { plain: Representation::of(text.into_bytes()), gzip, media_type, policy }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let compressed = takes_gzip(asked);
        let Representation { bytes, tag } = if compressed { &self.gzip } else { &self.plain };
        let known = is_known(tag, asked);
        let mut response = if known { StatusCode::NOT_MODIFIED.into() } else { bytes.clone().into_response() };
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: HeaderValue| headers.insert(name, value);
        set(header::ETAG, tag.clone());
        set(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        // Kept, and asked for again: the next version may say something else.
        set(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Some(policy) = &self.policy {
            set(header::CONTENT_SECURITY_POLICY, policy.clone());
        }
        if known {
            return response;
        }
        set(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        // For HEAD, too, where there is no body to count.
        set(header::CONTENT_LENGTH, bytes.len().into());
        if compressed {
            set(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// Answers with one of several contents.
pub struct PreparedPages<const N: usize>(Arc<Pages<N>>);

struct Pages<const N: usize> {
    choose: fn(&Request) -> usize,
    make: Box<dyn Fn(usize) -> Content + Send + Sync>,
    made: [OnceLock<Prepared>; N],
}

impl<const N: usize> PreparedPages<N> {
    /// Makes a content by its place when a request chooses it for the first time.
    pub fn new(choose: fn(&Request) -> usize, make: impl Fn(usize) -> Content + Send + Sync + 'static) -> Self {
        Self(Arc::new(Pages { choose, make: Box::new(make), made: [const { OnceLock::new() }; N] }))
    }
}

impl<const N: usize> Endpoint for PreparedPages<N> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let place = (self.0.choose)(&request);
        let asked = request.headers();
        if let Some(prepared) = self.0.made[place].get() {
            return Ok(prepared.answer(asked));
        }
        // It takes a core for a moment: not one that answers requests.
        let pages = self.0.clone();
        let made = tokio::task::spawn_blocking(move || {
            pages.made[place].get_or_init(|| Prepared::of((pages.make)(place)));
        });
        made.await.map_err(|error| Problem::from(Error::Internal(error.to_string())))?;
        let prepared = self.0.made[place].get().expect("it has just been made");
        Ok(prepared.answer(asked))
    }
}

/// Does the client take gzip, and not rather the plain text (RFC 9110, 12.5.3)?
fn takes_gzip(asked: &HeaderMap) -> bool {
    let lines = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let (mut gzip, mut plain, mut others) = (None, None, None);
    for coding in lines.flat_map(|line| line.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let weighed = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => &mut gzip,
            "identity" => &mut plain,
            "*" => &mut others,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        *weighed = Some(weight.map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(0.0)));
    }
    let gzip = gzip.or(others).unwrap_or(0.0);
    gzip > 0.0 && gzip >= plain.unwrap_or(0.0)
}

/// Does the client have this representation (RFC 9110, 13.1.2)?
fn is_known(tag: &HeaderValue, asked: &HeaderMap) -> bool {
    let lines = asked.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    tags.any(|known| known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == tag.as_bytes())
}
