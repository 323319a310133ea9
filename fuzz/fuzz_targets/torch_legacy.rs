#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Other formats have other targets.
    if !bytes.starts_with(b"PK") {
        common::read_bytes(bytes);
    }
});
