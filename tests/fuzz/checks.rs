//! What must hold whatever the input is? The fuzz targets try it on anything, the tests on the corpus.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, LazyLock},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use csv::{ByteRecord, ReaderBuilder, Terminator};
use ipnet::IpNet;
use jsonwebtoken::{Algorithm as JwtAlgorithm, DecodingKey, EncodingKey};
use phonepass::{
    api::client_ip::TrustedProxies,
    auth::{
        access_token::{AccessTokens, Verified},
        algorithm::Algorithm,
        import::{Columns, parse_time},
        keys::Keys,
        master_key::MasterKey,
        password_hash::StoredHash,
        refresh_token::RefreshTokens,
        revocation::Revocations,
    },
    clock::Clock,
    model::{
        mobile::Mobile,
        origin::Origin,
        session::{NewSession, Session, SignInMethod},
    },
    store::users::{self, Statements, Timeouts},
};
use poem::http::{HeaderMap, HeaderValue};
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

/// Some files of the corpus are signed with it.
const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER_SECRET: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// Some files of the corpus speak for it.
const REVOKED_SESSION: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_dead_dead);

/// For documentation (RFC 5737): no other address is meant by accident.
const SEEN: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
const FORGED: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 66));

fn master(secret: &str) -> MasterKey {
    MasterKey::from_base64(secret).unwrap()
}

/// The text with some bytes replaced, and perhaps cut off: each three bytes say where and by what, two at the end say
/// after how many.
fn edited(text: &str, edits: &[u8]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let place = |high: u8, low: u8| usize::from(u16::from_be_bytes([high, low])) % text.len();
    for edit in edits.chunks(3) {
        match *edit {
            [high, low, byte] => bytes[place(high, low)] = byte & 0x7f,
            [high, low] => bytes.truncate(place(high, low)),
            _ => {}
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// `data` is what somebody types.
pub fn mobile(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mobile = Mobile::parse(text);
    if text.is_ascii() {
        let compact = text.replace(|c: char| c.is_whitespace() || "-.()".contains(c), "");
        let expected = ["", "+86", "0086", "86"]
            .iter()
            .filter_map(|prefix| compact.strip_prefix(prefix))
            .find(|number| is_mobile(number) && text.len() <= 256);
        assert_eq!(mobile.as_ref().map(Mobile::as_str), expected);
    }
    let Some(mobile) = mobile else { return };
    let number = mobile.as_str();
    assert!(is_mobile(number));
    // Whatever is left out, the digits stay.
    let digits: String = text.nfkc().filter(char::is_ascii_digit).collect();
    assert!(matches!(digits.strip_suffix(number), Some("" | "86" | "0086")), "{number} of {digits}");
    assert_eq!(Mobile::parse(number).as_ref(), Some(&mobile));
    let masked = format!("{}****{}", &number[..3], &number[7..]);
    assert_eq!(format!("{mobile} {mobile:?}"), format!("{masked} {masked}"));
}

fn is_mobile(text: &str) -> bool {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits && text.len() == 11 && text.starts_with('1') && text.as_bytes()[1] >= b'3'
}

/// `data` is a token, or the session id, the counter and the edits of one.
pub fn refresh_token(data: &[u8]) {
    static TOKENS: LazyLock<[RefreshTokens; 2]> =
        LazyLock::new(|| [SECRET, OTHER_SECRET].map(|secret| RefreshTokens::new(&master(secret))));
    let [tokens, others] = &*TOKENS;
    if let Ok(text) = str::from_utf8(data)
        && let Some((id, counter)) = tokens.read(text)
    {
        assert_eq!(tokens.issue(id, counter), text);
        assert_eq!(others.read(text), None);
    }
    let Some((id, rest)) = data.split_first_chunk() else { return };
    let Some((counter, edits)) = rest.split_first_chunk() else { return };
    let issued = (Uuid::from_bytes(*id), u32::from_be_bytes(*counter));
    let token = tokens.issue(issued.0, issued.1);
    assert_eq!(tokens.read(&token), Some(issued));
    assert_eq!(others.read(&token), None);
    let edited = edited(&token, edits);
    assert_eq!(tokens.read(&edited), (edited == token).then_some(issued), "{edited}");
}

struct Issuer {
    tokens: AccessTokens,
    kid: String,
    signing: EncodingKey,
    verifying: DecodingKey,
}

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| {
    let master = master(SECRET);
    let clock = Clock::system();
    // Tokens of the corpus never get too old.
    let ttl = Duration::days(36_500);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Nothing is ever asked of it: verifying does no I/O.
    let users = runtime
        .block_on(users::connect(&"sqlite::memory:".parse().unwrap(), Statements::Named, 1, Timeouts::default()))
        .unwrap();
    let revocations = Arc::new(Revocations::new(users, clock.clone(), ttl));
    revocations.add(REVOKED_SESSION);
    let keys = Arc::new(Keys::load(Algorithm::Hs256, "no-such-folder".as_ref(), &master, clock.clone()).unwrap());
    let kid = keys.current().signing().kid.clone();
    let secret = master.derive("jwt-hs256");
    Issuer {
        tokens: AccessTokens {
            keys,
            issuer: "https://id.example".to_owned(),
            audience: "phonepass".to_owned(),
            ttl,
            clock,
            revocations,
            verified: Verified::default(),
        },
        kid,
        signing: EncodingKey::from_secret(&secret),
        verifying: DecodingKey::from_secret(&secret),
    }
});

/// `data` is a token, or a header and claims to be signed with a line break between, or the ids and the edits of one.
pub fn access_token(data: &[u8]) {
    if let Ok(token) = str::from_utf8(data) {
        believed_only_with_reason(token);
    }
    if let Some(line_break) = data.iter().position(|byte| *byte == b'\n') {
        let (header, claims) = (&data[..line_break], &data[line_break + 1..]);
        if believed_only_with_reason(&signed(header, claims)) {
            let kid = &ISSUER.kid;
            for more in [r#""crit":[]"#, &format!(r#""kid":"{kid}""#)] {
                assert!(ISSUER.tokens.verify(&signed(&with_member(header, more), claims)).is_err(), "{more}");
            }
            let repeated = with_member(claims, r#""client_id":"phonepass""#);
            assert!(ISSUER.tokens.verify(&signed(header, &repeated)).is_err());
        }
    }
    let Some((user_id, rest)) = data.split_first_chunk() else { return };
    let Some((session_id, edits)) = rest.split_first_chunk() else { return };
    let session = session(Uuid::from_bytes(*user_id), Uuid::from_bytes(*session_id));
    let token = ISSUER.tokens.issue(&session).unwrap().jwt;
    assert_eq!(believed_only_with_reason(&token), session.id != REVOKED_SESSION);
    let edited = edited(&token, edits);
    assert!(edited == token || ISSUER.tokens.verify(&edited).is_err(), "{edited} instead of {token}");
}

fn session(user_id: Uuid, id: Uuid) -> Session {
    let now = ISSUER.tokens.clock.now();
    let origin = Arc::new(Origin::default());
    let expires_at = now + Duration::hours(1);
    NewSession { id, method: SignInMethod::Sms, created_at: now, expires_at, origin, device_key: None }
        .opened_for(user_id)
}

fn signed(header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &ISSUER.signing, JwtAlgorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

/// A JSON object with one more member.
fn with_member(object: &[u8], member: &str) -> Vec<u8> {
    let end = object.iter().rposition(|byte| *byte == b'}').unwrap();
    [&object[..end], b",", member.as_bytes(), b"}"].concat()
}

/// Verifies a token; if it is believed, looks for the reasons, of which not one may be missing.
fn believed_only_with_reason(token: &str) -> bool {
    let now = ISSUER.tokens.clock.now();
    let Ok(identity) = ISSUER.tokens.verify(token) else { return false };
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let message = format!("{header}.{claims}");
    let verified = jsonwebtoken::crypto::verify(signature, message.as_bytes(), &ISSUER.verifying, JwtAlgorithm::HS256);
    assert!(verified.unwrap());
    let [header, claims] =
        [header, claims].map(|part| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap());
    let (header, claims): (Value, Value) = (header, claims);

    assert!(["at+jwt", "application/at+jwt"].contains(&header["typ"].as_str().unwrap().to_lowercase().as_str()));
    assert_eq!((header["alg"].as_str(), header["kid"].as_str()), (Some("HS256"), Some(ISSUER.kid.as_str())));
    assert!(header.get("crit").is_none());

    let id = |name: &str| Uuid::parse_str(claims[name].as_str().unwrap()).unwrap();
    assert_eq!((id("sub"), id("user_id"), id("sid")), (identity.user_id, identity.user_id, identity.session_id));
    assert_ne!(identity.session_id, REVOKED_SESSION);
    id("jti");
    for (claim, value) in [("iss", "https://id.example"), ("aud", "phonepass"), ("client_id", "phonepass")] {
        assert_eq!(claims[claim], value);
    }
    assert!(!claims["amr"].as_array().unwrap().is_empty());
    assert!(claims["exp"].as_i64().unwrap() > now.timestamp());
    // A second more than the skew that is allowed: time goes on.
    let latest = now.timestamp() + 61;
    assert!(claims["iat"].as_i64().unwrap() <= latest);
    assert!(claims.get("nbf").is_none_or(|not_before| not_before.as_i64().unwrap() <= latest));
    true
}

/// `data` is the peer's address, then the trusted networks with commas between, then the lines of `X-Forwarded-For`.
pub fn client_ip(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut text = || str::from_utf8(lines.next()?).ok();
    let Some(Ok(peer)) = text().map(|peer| peer.parse::<IpAddr>().map(|peer| peer.to_canonical())) else { return };
    let Some(Ok(networks)) = text().map(networks) else { return };
    let lines: Vec<_> = lines.filter(|line| HeaderValue::from_bytes(line).is_ok()).map(<[u8]>::to_vec).collect();

    assert_eq!(TrustedProxies(Vec::new()).client_ip(peer, &headers(&lines)), peer);
    let proxies = TrustedProxies(networks.clone());
    let trusted = |address: IpAddr| networks.iter().any(|network| network.contains(&address));
    let client = proxies.client_ip(peer, &headers(&lines));
    if !trusted(peer) {
        assert_eq!(client, peer);
        return;
    }
    assert!(client == peer || lines.iter().any(|line| names(line, client)), "{client} stands nowhere");

    // What the client wrote ends where the proxy, in this line or in one of its own, adds who it was.
    let mut appended = lines.clone();
    appended.push(SEEN.to_string().into_bytes());
    let mut joined = lines.clone();
    if let Some(last) = joined.last_mut() {
        last.extend_from_slice(format!(", {SEEN}").as_bytes());
    }
    for lines in [appended, joined] {
        if !trusted(SEEN) && !lines.is_empty() {
            assert_eq!(proxies.client_ip(peer, &headers(&lines)), SEEN);
        }
    }

    let forged = [vec![FORGED.to_string().into_bytes()], lines].concat();
    let with_forged = proxies.client_ip(peer, &headers(&forged));
    assert!(with_forged == client || trusted(client) && with_forged == FORGED, "{with_forged} instead of {client}");
}

fn networks(line: &str) -> Result<Vec<IpNet>, ipnet::AddrParseError> {
    line.split(',').filter(|network| !network.is_empty()).map(str::parse).collect()
}

fn headers(lines: &[Vec<u8>]) -> HeaderMap {
    lines.iter().map(|line| ("x-forwarded-for".parse().unwrap(), HeaderValue::from_bytes(line).unwrap())).collect()
}

/// Does an address stand in a line, with or without brackets, zone and port?
fn names(line: &[u8], address: IpAddr) -> bool {
    let text = String::from_utf8_lossy(line);
    text.split(',').any(|entry| {
        let without_port = entry.rsplit_once(':').map_or(entry, |(host, _)| host);
        let bare = |text: &str| {
            let text = text.trim().trim_matches(['[', ']']);
            let without_zone = text.split('%').next().unwrap_or(text);
            without_zone.parse().map(|found: IpAddr| found.to_canonical())
        };
        [entry, without_port].into_iter().any(|text| bare(text) == Ok(address))
    })
}

/// `data` is an import file.
pub fn import_line(data: &[u8]) {
    static NOW: LazyLock<DateTime<Utc>> = LazyLock::new(|| parse_time("2026-06-01T12:00:00Z").unwrap());
    let mut reader = ReaderBuilder::new().flexible(true).terminator(Terminator::Any(b'\n')).from_reader(data);
    let header = reader.byte_headers().unwrap().clone();
    let columns = match Columns::from_header(&header) {
        Ok(columns) => columns,
        Err(error) => return tells_nothing_of(&header, &error.to_string()),
    };
    for line in reader.byte_records().map(Result::unwrap) {
        let user = match columns.user(&line, *NOW) {
            Ok(user) => user,
            Err(error) => {
                tells_nothing_of(&line, &error.to_string());
                continue;
            }
        };
        assert!(is_mobile(user.mobile.as_str()));
        assert!((1..=32).contains(&user.name.chars().count()));
        assert!(!user.name.chars().any(char::is_control) && user.name.trim() == user.name);
        assert!((DateTime::UNIX_EPOCH..=*NOW).contains(&user.created_at));
        let hash = user.password_hash.as_deref().unwrap_or_default();
        assert!(user.password_hash.is_none() || StoredHash::parse(hash).is_ok() && hash.len() <= 512);

        let created_at = user.created_at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let again = ByteRecord::from([user.mobile.as_str(), &user.name, hash, &created_at].as_slice());
        let header = ByteRecord::from(["mobile", "name", "password_hash", "created_at"].as_slice());
        assert_eq!(Columns::from_header(&header).unwrap().user(&again, *NOW), Ok(user));
    }
}

/// A message goes to a terminal or a log: no hash and no whole number may come with it.
fn tells_nothing_of(line: &ByteRecord, message: &str) {
    let message = message.replace("2026-01-31T12:00:00Z", "a time");
    assert!(!message.contains('$'), "{message}");
    assert!(message.split(|c: char| !c.is_ascii_digit()).all(|digits| digits.len() < 5), "{message}");
    // No word of our own is as long as this.
    let long_words = line.iter().filter_map(|field| str::from_utf8(field).ok()).filter(|text| text.len() >= 16);
    for word in long_words.filter(|text| !text.contains(' ')) {
        assert!(!message.contains(word), "{message}");
    }
}
