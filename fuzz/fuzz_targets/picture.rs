//! Any bytes, taken for a picture.

#![no_main]

#[path = "../../crates/regraft-data/examples/fuzz/body.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // A decoder's panic is that file's error; what the program itself does must hold.
    let _ = body::bytes_to_tensors(bytes);
});
