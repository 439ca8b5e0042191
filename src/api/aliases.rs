//! Which paths of old front ends stand for which of ours? Listed in `docs/classic-apis.md`.

use std::borrow::Cow;

use poem::{
    Request,
    http::{Method, Uri, uri::PathAndQuery},
};

/// Path prefixes, the first that fits.
const PREFIXES: [(&str, &str); 5] = [
    ("/v1_0/", "/app/v1_0/"),
    ("/api/v1_0/", "/api/v1.0/"),
    ("/api/v1/", "/api/v1.0/"),
    // The rest is looked up after one of the above was replaced.
    ("/api/v1.0/image_code/", "/api/v1.0/imagecode/"),
    ("/api/v1.0/sms_code/", "/api/v1.0/sms_codes/"),
];

/// Whole paths, for a method or for any.
const PATHS: [(Option<Method>, &str, &str); 2] = [
    (Some(Method::POST), "/api/v1.0/session", "/api/v1.0/sessions"),
    (None, "/passport/smscode", "/passport/sms_code"),
];

/// Gives an aliased request the path that it stands for.
pub fn rewrite(request: &mut Request) {
    let Some(path) = canonical(request.method(), request.uri().path()) else { return };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(format!("{path}{query}")).ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// The path that this one stands for, if it is an alias.
fn canonical(method: &Method, path: &str) -> Option<String> {
    let mut canonical = Cow::Borrowed(path.strip_suffix('/').filter(|stem| !stem.is_empty()).unwrap_or(path));
    for (alias, prefix) in PREFIXES {
        if let Some(rest) = canonical.strip_prefix(alias) {
            canonical = Cow::Owned(format!("{prefix}{rest}"));
        }
    }
    for (only, alias, target) in PATHS {
        if canonical == alias && only.is_none_or(|only| only == *method) {
            canonical = Cow::Borrowed(target);
        }
    }
    (canonical != path).then(|| canonical.into_owned())
}
