//! Does the service keep its contract? One binary, one file for each flow.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

mod abuse;
mod account_deletions;
mod account_passwords;
mod batches;
mod change_mobile;
mod cluster;
mod faults;
mod fuzz_corpus;
mod http;
mod idempotency;
mod ihome;
mod image_codes;
mod import;
mod key_rotation;
mod keys;
mod legacy_hashes;
mod limits;
mod limits_off;
mod logs;
mod metrics;
mod openapi;
mod overload;
mod passport;
mod passwords;
mod pooler;
mod postgresql_failover;
mod process;
mod redis_failover;
mod refresh;
mod refresh_properties;
mod reverse_proxies;
mod sessions;
mod shutdown;
mod sign_in;
mod sms_codes;
mod sms_providers;
mod sms_vendors;
mod stores;
mod tokens;
mod traces;
mod user;
mod users_commands;
