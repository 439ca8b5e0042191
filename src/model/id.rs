//! Ids that clients make up.

/// How many characters an id has at most.
const LENGTH: usize = 64;

/// Is this an id: letters, digits, `_` and `-` of ASCII, at least so many and at most 64?
pub fn is_id(text: &str, at_least: usize) -> bool {
    (at_least..=LENGTH).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
