//! How is a request signed for aliyun (ACS3-HMAC-SHA256) and tencent (TC3-HMAC-SHA256)? What both schemes share.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use sha2::{Digest, Sha256};

use crate::hex::hex;

/// All but what RFC 3986 (2.3) calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a signature covers of a POST request.
pub struct Signed<'a> {
    /// With a query made by [`query`], or none.
    pub url: &'a Url,
    /// By their names, in lower case.
    pub headers: BTreeMap<&'static str, &'a str>,
    /// Byte for byte.
    pub body: &'a str,
}

impl Signed<'_> {
    /// The names of the headers, as the signature goes along with them.
    pub fn header_names(&self) -> String {
        let names: Vec<_> = self.headers.keys().copied().collect();
        names.join(";")
    }

    /// The digest of the canonical request, from which either scheme goes its own way.
    pub fn digest(&self) -> String {
        let (path, query) = (self.url.path(), self.url.query().unwrap_or_default());
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        sha256(&format!("POST\n{path}\n{query}\n{headers}\n{}\n{}", self.header_names(), sha256(self.body)))
    }
}

/// The query with these parameters, in the order and spelling in which it is signed.
pub fn query(parameters: BTreeMap<&str, &str>) -> String {
    let encode = |text| utf8_percent_encode(text, RESERVED);
    let pairs: Vec<_> =
        parameters.into_iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// What the header `Host` of a request to this URL says.
pub fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// SHA-256, in hex.
pub fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// HMAC-SHA256.
pub fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.chain_update(text).finalize().into_bytes().into()
}
