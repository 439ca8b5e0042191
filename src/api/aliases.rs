//! Which paths of old front ends stand for which of ours? Listed in `docs/classic-apis.md`.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use poem::{
    Request,
    http::{Method, Uri, uri::PathAndQuery},
};

/// Beginnings of paths. They are tried in this order, each on what the ones before it have made.
const PREFIXES: [(&str, &str); 6] = [
    ("/v1_0/", "/app/v1_0/"),
    ("/api/v1_0/", "/api/v1.0/"),
    ("/api/v1/", "/api/v1.0/"),
    ("/api/1.0/", "/api/v1.0/"),
    ("/api/v1.0/image_code/", "/api/v1.0/imagecode/"),
    ("/api/v1.0/sms_code/", "/api/v1.0/sms_codes/"),
];

/// Whole paths, for one method or for any. `GET` includes `HEAD`.
const PATHS: [(Option<Method>, &str, &str); 16] = [
    (None, "/app/v1_0/user/profile", "/app/v1_0/user"),
    // The passport family reads ids from the query and sends on a body, with the same answers.
    (None, "/api/v1.0/image_code", "/passport/image_code"),
    (None, "/api/v1.0/image_codes", "/passport/image_code"),
    (None, "/api/v1.0/imagecode", "/passport/image_code"),
    (None, "/api/v1.0/sms", "/passport/sms_code"),
    (None, "/api/v1.0/sms_code", "/passport/sms_code"),
    (None, "/api/v1.0/sms_codes", "/passport/sms_code"),
    (None, "/api/v1.0/smscode", "/passport/sms_code"),
    (Some(Method::POST), "/api/v1.0/session", "/api/v1.0/sessions"),
    (Some(Method::GET), "/api/v1.0/users", "/api/v1.0/user"),
    (None, "/api/v1.0/users/profile", "/api/v1.0/user"),
    (None, "/api/v1.0/user/info", "/api/v1.0/user"),
    (None, "/api/v1.0/user/profile", "/api/v1.0/user"),
    (None, "/api/v1.0/users/name", "/api/v1.0/user/name"),
    (None, "/passport/smscode", "/passport/sms_code"),
    (None, "/passport/send_sms", "/passport/sms_code"),
];

/// Gives an aliased request the path that it stands for.
pub fn rewrite(request: &mut Request) {
    let readable = readable(request.uri().path());
    let path = canonical(request.method(), &readable);
    if path == request.uri().path() {
        return;
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let path_and_query = PathAndQuery::try_from(format!("{path}{query}")).ok();
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = path_and_query;
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// The path that this one stands for, with this method.
pub fn canonical<'a>(method: &Method, path: &'a str) -> Cow<'a, str> {
    let mut canonical = with_single_slashes(path);
    for (alias, prefix) in PREFIXES {
        if let Some(rest) = canonical.strip_prefix(alias) {
            canonical = Cow::Owned(format!("{prefix}{rest}"));
        } else if alias.strip_suffix('/') == Some(&canonical) {
            canonical = Cow::Borrowed(prefix.trim_end_matches('/'));
        }
    }
    let method = if method == Method::HEAD { &Method::GET } else { method };
    for (only, alias, target) in PATHS {
        if canonical == alias && only.is_none_or(|only| only == *method) {
            return Cow::Borrowed(target);
        }
    }
    canonical
}

/// With the replacement character for what is not UTF-8: the router would refuse it, and could not say which value is
/// wrong.
fn readable(path: &str) -> Cow<'_, str> {
    if percent_decode_str(path).decode_utf8().is_ok() {
        return path.into();
    }
    let segments = path.split('/').map(|segment| match percent_decode_str(segment).decode_utf8_lossy() {
        Cow::Owned(text) if text.contains(char::REPLACEMENT_CHARACTER) => {
            utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string()
        }
        _ => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/").into()
}

/// Without a slash at the end, and without repeated ones.
fn with_single_slashes(path: &str) -> Cow<'_, str> {
    if !path.contains("//") && (path == "/" || !path.ends_with('/')) {
        return Cow::Borrowed(path);
    }
    let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    Cow::Owned(format!("/{}", segments.join("/")))
}
