//! Any bytes, taken for EXIF data and for XMP. A byte 0xFE ends the one and begins the other.

#![no_main]

use regraft_data::decode::orientation::orientation;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |&byte| byte == 0xFE);
    let _ = orientation(parts.next(), parts.next());
    let _ = orientation(None, Some(bytes));
});
