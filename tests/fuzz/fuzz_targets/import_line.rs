//! Does an import file ever lead to a user out of bounds, or to a message that gives one away?
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::import_line(data));
