//! The manifest, an index and the end mark of the log. What it asserts is said at the function.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| anabranch::store::fuzz::files(data));
