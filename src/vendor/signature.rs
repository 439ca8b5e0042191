//! Signatures of requests to Alibaba Cloud (ACS3-HMAC-SHA256) and Tencent Cloud (TC3-HMAC-SHA256).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
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
    fn header_names(&self) -> String {
        let names: Vec<_> = self.headers.keys().copied().collect();
        names.join(";")
    }

    /// The digest of the canonical request, from which either scheme goes its own way.
    fn digest(&self) -> String {
        let (path, query) = (self.url.path(), self.url.query().unwrap_or_default());
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        sha256(&format!("POST\n{path}\n{query}\n{headers}\n{}\n{}", self.header_names(), sha256(self.body)))
    }
}

/// The header `Authorization` of ACS3-HMAC-SHA256.
pub fn acs3(id: &str, secret: &SecretString, signed: &Signed) -> String {
    let to_sign = format!("ACS3-HMAC-SHA256\n{}", signed.digest());
    let signature = hex(&hmac(secret.expose_secret().as_bytes(), &to_sign));
    format!("ACS3-HMAC-SHA256 Credential={id},SignedHeaders={},Signature={signature}", signed.header_names())
}

/// The header `Authorization` of TC3-HMAC-SHA256 for a service of the vendor.
pub fn tc3(id: &str, secret: &SecretString, service: &str, now: DateTime<Utc>, signed: &Signed) -> String {
    let date = now.format("%Y-%m-%d").to_string();
    let scope = format!("{date}/{service}/tc3_request");
    let to_sign = format!("TC3-HMAC-SHA256\n{}\n{scope}\n{}", now.timestamp(), signed.digest());
    let secret = format!("TC3{}", secret.expose_secret()).into_bytes();
    let key = scope.split('/').fold(secret, |key, part| hmac(&key, part).into());
    let (names, signature) = (signed.header_names(), hex(&hmac(&key, &to_sign)));
    format!("TC3-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
}

/// A query, or the body of a form, with these parameters, in the order and spelling in which it is signed.
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
fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.chain_update(text).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example_of_acs3_has_the_published_signature() {
        let query = query(
            [("RegionId", "cn-shanghai"), ("ImageId", "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd")].into(),
        );
        let url = Url::parse(&format!("https://ecs.cn-shanghai.aliyuncs.com/?{query}")).unwrap();
        let headers = [
            ("host", "ecs.cn-shanghai.aliyuncs.com"),
            ("x-acs-action", "RunInstances"),
            ("x-acs-content-sha256", &sha256("")),
            ("x-acs-date", "2023-10-26T10:22:32Z"),
            ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
            ("x-acs-version", "2014-05-26"),
        ];
        let signed = Signed { url: &url, headers: headers.into(), body: "" };
        assert_eq!(
            acs3("YourAccessKeyId", &SecretString::from("YourAccessKeySecret"), &signed),
            "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,\
             SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,\
             Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
        );
    }

    #[test]
    fn the_published_example_of_tc3_has_the_published_signature() {
        let signed = Signed {
            url: &Url::parse("https://cvm.tencentcloudapi.com").unwrap(),
            headers: [("host", "cvm.tencentcloudapi.com"), ("content-type", "application/json; charset=utf-8")].into(),
            body: r#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#,
        };
        let secret = SecretString::from("Gu5t9xGARNpq86cd98joQYCN3*******");
        let now = DateTime::from_timestamp(1_551_113_065, 0).unwrap();
        assert_eq!(
            tc3("an-id", &secret, "cvm", now, &signed),
            "TC3-HMAC-SHA256 Credential=an-id/2019-02-25/cvm/tc3_request, SignedHeaders=content-type;host, \
             Signature=2230eefd229f582d8b1b891af7107b91597240707d778ab3738f756258d7652c"
        );
    }
}
