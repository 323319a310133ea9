#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Other formats have other targets.
    if bytes.get(8) == Some(&b'{') {
        common::read_bytes(bytes);
    }
});
