//! Numbers and codes as keyboards and clipboards give them.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;
use unicode_normalization::UnicodeNormalization;

/// In bytes. No one types more for a number or a code, however decorated.
pub const MAX_LENGTH: usize = 256;

/// What people and programs put around and between digits: white space, what cannot be seen (a contact copied in iOS
/// starts with U+202D), dashes with the minus sign, dots, round brackets.
static DECORATION: LazyLock<Regex> = LazyLock::new(|| {
    let class = r"[\s\p{Format}\p{Default_Ignorable_Code_Point}\p{Dash}.·•‧∙⋅・。()]";
    Regex::new(class).expect("a valid pattern")
});

/// The text in NFKC, so that full-width characters become their ASCII forms, without decoration.
///
/// Only leaves out and unifies: no digit is made up, and those of other scripts stay what they are. Text longer than
/// anything typed is returned as it is, for the check that follows to refuse.
pub fn undecorated(text: &str) -> Cow<'_, str> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain || text.len() > MAX_LENGTH {
        return text.into();
    }
    let unified: String = text.nfkc().collect();
    DECORATION.replace_all(&unified, "").into_owned().into()
}
