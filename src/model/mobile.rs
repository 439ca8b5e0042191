//! What is a mobile number, and how is it shown without giving it away?

use std::{fmt, sync::LazyLock};

use regex::Regex;

use super::typed;

static PATTERN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^1[3-9][0-9]{9}$").expect("a valid pattern"));

/// A mainland China mobile number in its national form: eleven digits, no country code.
///
/// `Debug` and `Display` mask the middle (`138****8000`), so that a number cannot reach a log by accident;
/// [`Mobile::as_str`] hands out the whole.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mobile(String);

impl Mobile {
    /// Normalises what people type and paste (see [`typed::undecorated`]; a leading `+86`, `86` or `0086`) and checks the
    /// rest.
    ///
    /// Returns `None` for anything that is not a mainland mobile number.
    pub fn parse(input: &str) -> Option<Self> {
        let typed = typed::undecorated(input);
        let national = ["+86", "0086", "86"].iter().find_map(|prefix| typed.strip_prefix(prefix)).unwrap_or(&typed);
        PATTERN.is_match(national).then(|| Self(national.to_owned()))
    }

    /// The eleven digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// With the country code, as in E.164.
    pub fn international(&self) -> String {
        format!("+86{}", self.0)
    }
}

impl fmt::Display for Mobile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}****{}", &self.0[..3], &self.0[7..])
    }
}

impl fmt::Debug for Mobile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
