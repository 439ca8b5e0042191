//! Numbers with a fixed code, and for which requests it counts.

use std::collections::HashMap;

use crate::model::{mobile::Mobile, origin::Origin};

/// Numbers whose code is always the same.
#[derive(Clone, Debug)]
pub struct TestCodes {
    /// The code of each.
    pub codes: HashMap<Mobile, String>,
    /// Everybody knows those of the examples: they count only for requests from this machine.
    pub local_only: bool,
}

impl TestCodes {
    /// The fixed code of a number; `None` for one that gets codes like any other.
    pub fn of(&self, mobile: &Mobile, origin: &Origin) -> Option<&str> {
        self.codes.get(mobile).filter(|_| !self.local_only || origin.is_local).map(String::as_str)
    }
}
