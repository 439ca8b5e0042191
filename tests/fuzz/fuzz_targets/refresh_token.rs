//! Is only that read as a refresh token which was issued as one?
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::refresh_token(data));
