//! What the service's own pages may load and run (Content Security Policy Level 3).

use base64::{Engine, engine::general_purpose::STANDARD};
use poem::http::HeaderValue;
use sha2::{Digest, Sha256};

/// No frame, no form, no base, and nothing from anywhere but what the page itself brings along.
const NOTHING: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "script";
const STYLE: &str = "style";

/// The policy of HTML without one.
pub const STRICTEST: HeaderValue = HeaderValue::from_static(NOTHING);

/// The policy of a page: its inline scripts and styles by their hashes, and what else it needs as further directives.
pub fn policy(page: &str, further: &str) -> HeaderValue {
    let (mut scripts, mut styles) = (String::new(), String::new());
    for (element, content) in inline(page) {
        let hashes = if element == SCRIPT { &mut scripts } else { &mut styles };
        *hashes += &format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(content)));
    }
    let mut policy = NOTHING.to_owned();
    for (directive, hashes) in [("script-src", scripts), ("style-src", styles)] {
        if !hashes.is_empty() {
            policy += &format!("; {directive}{hashes}");
        }
    }
    policy += further;
    HeaderValue::from_str(&policy).expect("hashes and origins are ASCII")
}

/// The inline scripts and styles of a page with what stands in them, as a browser finds it: whatever that is, up to
/// the first end tag.
fn inline(page: &str) -> impl Iterator<Item = (&'static str, &str)> {
    let mut rest = page;
    std::iter::from_fn(move || {
        let begins =
            [SCRIPT, STYLE].into_iter().filter_map(|element| Some((rest.find(&format!("<{element}"))?, element)));
        let (at, element) = begins.min()?;
        let (_, inside) = rest[at..].split_once('>')?;
        let (content, after) = inside.split_once(&format!("</{element}>"))?;
        rest = after;
        Some((element, content))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_quotes_is_no_element() {
        let page = "<style a='b'>p{}</style><script>'<style><script>'</script><p><style>q{}</style>";
        let found: Vec<_> = inline(page).collect();
        assert_eq!(found, [(STYLE, "p{}"), (SCRIPT, "'<style><script>'"), (STYLE, "q{}")]);
        // The example of the standard's section 2.3.2.
        let policy = policy("<script>alert('Hello, world.');</script>", "; img-src data:");
        let hash = "script-src 'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='; img-src data:";
        assert!(policy.to_str().unwrap().ends_with(hash), "{policy:?}");
    }
}
