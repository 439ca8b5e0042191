//! Does the service keep its contract? One binary, one file for each flow.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

mod faults;
mod http;
mod ihome;
mod image_codes;
mod keys;
mod logs;
mod openapi;
mod passport;
mod passwords;
mod process;
mod refresh;
mod sign_in;
mod sms_codes;
mod sms_providers;
mod stores;
mod tokens;
