//! Which sessions have ended.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The sessions of one user that ended together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Whose.
    pub user_id: Uuid,
    /// All that began before this, a whole millisecond, have ended. It is later than the beginning of each session that the
    /// user had then, and than the ending before; sessions that are opened afterwards begin at this time or later. Both
    /// hold whatever the clocks of instances say.
    pub valid_from: DateTime<Utc>,
    /// Except this one.
    pub kept: Option<Uuid>,
}

/// Which sessions have been ended.
pub struct Endings {
    /// When this was true, by the clock of the database.
    pub at: DateTime<Utc>,
    /// All that began before this; 1970 if they never were all ended.
    pub valid_from: DateTime<Utc>,
    /// Those that were ended by themselves lately.
    pub ended: Vec<Uuid>,
    /// Of users whose sessions ended together lately, the last such ending.
    pub of_users: Vec<Ending>,
}
