//! What time is it? Passed in, so that tests move the clock instead of sleeping.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, Duration, SubsecRound, Utc};

/// The wall clock, or one that a test moves by hand. Clones share the same time.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<Mutex<Duration>>>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// The machine's clock plus an offset that [`Clock::advance`] grows.
    pub fn movable() -> Self {
        Self(Some(Arc::default()))
    }

    /// Now, in UTC, to the microsecond: what every database keeps.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn now(&self) -> DateTime<Utc> {
        let offset = match &self.0 {
            Some(offset) => *offset.lock().expect("no panic while the clock is held"),
            None => Duration::zero(),
        };
        (Utc::now() + offset).trunc_subsecs(6)
    }

    /// Moves a movable clock.
    ///
    /// # Panics
    /// On the system clock: only tests move time.
    pub fn advance(&self, by: Duration) {
        let offset = self.0.as_ref().expect("only a movable clock moves");
        *offset.lock().expect("no panic while the clock is held") += by;
    }
}
