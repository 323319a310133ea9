#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // What is another format is another target's.
    if bytes.get(8) == Some(&b'{') {
        common::read_bytes(bytes);
    }
});
