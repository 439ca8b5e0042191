//! What bytes go out? Each request is built once; only what differs is written into it before it is sent.

use std::ops::Range;

/// The eleven digits of a mobile number.
pub type Mobile = [u8; 11];

/// What every user of the population has for a password who has one.
pub const PASSWORD: &str = "four green teapots";

/// A common browser.
pub const USER_AGENT: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 \
    (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1";

/// Stands for the client's address, as a proxy would name it.
const ADDRESS: &str = "10.0.1aa.1bb";

/// A request without a body.
pub fn plain(method: &str, path: &str, bearer: Option<&str>) -> Vec<u8> {
    let bearer = bearer.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!("{}{bearer}\r\n", head(method, path)).into_bytes()
}

/// The lines that all requests begin with.
fn head(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: {USER_AGENT}\r\nAccept: application/json\r\n")
}

/// A request with a part of fixed length that differs each time.
pub struct WithPart {
    bytes: Vec<u8>,
    part: Range<usize>,
}

impl WithPart {
    /// `part` stands in `bytes` for what is written there later.
    pub fn new(bytes: Vec<u8>, part: &str) -> Self {
        let part = place(&bytes, part);
        Self { bytes, part }
    }

    /// The request with this part, which is as long as the one it was made with.
    pub fn with(&mut self, part: &[u8]) -> &[u8] {
        self.bytes[self.part.clone()].copy_from_slice(part);
        &self.bytes
    }
}

/// A request whose body names a mobile, from one of 10,000 addresses: what is counted by address would else be counted
/// for 127.0.0.1 alone, more than any real client comes to.
pub struct WithMobile {
    bytes: Vec<u8>,
    address: Range<usize>,
    mobile: Range<usize>,
    code: Option<Range<usize>>,
}

impl WithMobile {
    /// Asks for a code.
    pub fn send() -> Self {
        Self::post("/app/v1_0/sms/codes", r#"{"mobile":"MMMMMMMMMMM"}"#)
    }

    /// Signs in or registers with a code.
    pub fn code_sign_in() -> Self {
        Self::post("/app/v1_0/authorizations", r#"{"mobile":"MMMMMMMMMMM","code":"CCCCCC"}"#)
    }

    /// Signs in with the password.
    pub fn password_sign_in() -> Self {
        let body = format!(r#"{{"mobile":"MMMMMMMMMMM","password":"{PASSWORD}"}}"#);
        Self::post("/app/v1_0/authorizations/password", &body)
    }

    fn post(path: &str, body: &str) -> Self {
        let length = body.len();
        let bytes = format!(
            "{}X-Forwarded-For: {ADDRESS}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}",
            head("POST", path)
        )
        .into_bytes();
        let code = body.contains("CCCCCC").then(|| place(&bytes, "CCCCCC"));
        Self { address: place(&bytes, ADDRESS), mobile: place(&bytes, "MMMMMMMMMMM"), code, bytes }
    }

    /// The request for this mobile.
    pub fn with(&mut self, mobile: Mobile) -> &[u8] {
        self.bytes[self.mobile.clone()].copy_from_slice(&mobile);
        let digits = self.address.start + ADDRESS.find('a').expect("it is there");
        for (part, pair) in mobile[7..].chunks(2).enumerate() {
            self.bytes[digits + 4 * part..][..2].copy_from_slice(pair);
        }
        &self.bytes
    }

    /// The request for this mobile with this code.
    pub fn with_code(&mut self, mobile: Mobile, code: [u8; 6]) -> &[u8] {
        let place = self.code.clone().expect("a request that has a code");
        self.bytes[place].copy_from_slice(&code);
        self.with(mobile)
    }
}

fn place(bytes: &[u8], part: &str) -> Range<usize> {
    let start = bytes.windows(part.len()).position(|window| window == part.as_bytes()).expect("the part is there");
    start..start + part.len()
}
