//! Decodes any bytes as an image.

#![no_main]

#[path = "../../crates/regraft-data/examples/fuzz/body.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // If a decoder panics, that is an error of the file; the program's own checks must hold.
    let _ = body::bytes_to_tensors(bytes);
});
