//! Is only that believed which an access token may say?
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::access_token(data));
