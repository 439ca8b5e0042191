//! Does anybody lose what they were told while something breaks under load? `./test.sh --test drills`
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use phonepass_test_support as support;

mod clock;
mod disk;
mod haproxy;
mod instances;
mod killed;
mod load;
mod partition;
mod phone;
mod stack;
