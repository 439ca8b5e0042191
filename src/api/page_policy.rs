//! What the service's own pages may load and run (Content Security Policy Level 3).

use base64::{Engine, engine::general_purpose::STANDARD};
use poem::http::HeaderValue;
use sha2::{Digest, Sha256};

/// No frame, no form, no base, and nothing from anywhere but what the page itself brings along.
const NOTHING: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The policy of HTML that has none of its own.
pub const STRICTEST: HeaderValue = HeaderValue::from_static(NOTHING);

/// The policy of a page: its inline scripts and styles by their hashes, and what else it needs as further directives.
pub fn policy(page: &str, further: &str) -> HeaderValue {
    let mut policy = NOTHING.to_owned();
    for (element, directive) in [("script", "script-src"), ("style", "style-src")] {
        let hashes: Vec<_> = contents(page, element).map(hash).collect();
        if !hashes.is_empty() {
            policy += &format!("; {directive} {}", hashes.join(" "));
        }
    }
    policy += further;
    HeaderValue::from_str(&policy).expect("hashes and origins are ASCII")
}

fn hash(inline: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inline)))
}

/// What stands in each of the elements of a kind, as a browser finds it: the first end tag ends it.
fn contents<'a>(page: &'a str, element: &str) -> impl Iterator<Item = &'a str> {
    let (begin, end) = (format!("<{element}"), format!("</{element}>"));
    let mut rest = page;
    std::iter::from_fn(move || {
        let (_, tag) = rest.split_once(&begin)?;
        let (_, inside) = tag.split_once('>')?;
        let (content, after) = inside.split_once(&end)?;
        rest = after;
        Some(content)
    })
}
