//! The values of the domain, each with the invariant that it keeps.

pub mod challenge;
pub mod device;
pub mod id;
pub mod limit;
pub mod mobile;
pub mod origin;
pub mod purpose;
pub mod session;
pub mod typed;
pub mod user;
