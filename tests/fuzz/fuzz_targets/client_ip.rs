//! Can a header make a client look like another?
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::client_ip(data));
