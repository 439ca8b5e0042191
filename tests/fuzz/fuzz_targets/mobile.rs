//! Is every text that is read as a mobile number one?
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::mobile(data));
