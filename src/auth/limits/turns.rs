//! Turns of password guesses at a number, in this instance.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use crate::{auth::error::Error, model::mobile::Mobile, telemetry::metrics};

/// The numbers whose passwords are guessed at just now: by a stranger (`false`), by a known request (`true`).
///
/// Each guess counts as a wrong one until it is known: without an order, many right ones at once would use up the budget
/// for wrong ones, and many wrong ones would keep others waiting for a core.
#[derive(Clone, Default)]
pub struct Turns(Arc<Mutex<HashSet<(Mobile, bool)>>>);

/// A turn, taken until it is dropped.
pub struct Turn {
    turns: Turns,
    key: (Mobile, bool),
}

impl Turns {
    /// # Errors
    /// [`Error::Overloaded`] when the turn is taken.
    pub fn take(&self, mobile: &Mobile, known: bool) -> Result<Turn, Error> {
        let key = (mobile.clone(), known);
        let is_free = self.0.lock().expect("lock poisoned").insert(key.clone());
        if is_free {
            Ok(Turn { turns: self.clone(), key })
        } else {
            metrics::QUEUE_FULL.count(["password_turns"]);
            Err(Error::Overloaded)
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.0.lock().expect("lock poisoned").remove(&self.key);
    }
}
