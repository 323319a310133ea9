#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // What is another format is another target's.
    if bytes.starts_with(b"PK\x03\x04") {
        common::read_bytes(bytes);
    }
});
