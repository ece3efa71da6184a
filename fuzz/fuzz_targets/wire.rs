//! Packets and batches of the wire. What it asserts is said at the function.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| anabranch::store::fuzz::wire(data));
