//! Phonepass: a phone-number sign-in service. `docs/architecture.md` shows the way around.

pub mod api;
pub mod app;
pub mod auth;
pub mod captcha;
pub mod clock;
pub mod config;
pub mod csv_cell;
pub mod env_file;
mod hex;
pub mod model;
mod named;
mod private_file;
pub mod random;
pub mod server;
pub mod sms;
pub mod store;
pub mod telemetry;
mod vendor;
