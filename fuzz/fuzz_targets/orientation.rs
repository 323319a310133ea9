//! Reads any bytes as EXIF data and XMP, separated by the byte 0xFE.

#![no_main]

use regraft_data::decode::orientation::orientation;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |&byte| byte == 0xFE);
    let _ = orientation(parts.next(), parts.next());
    let _ = orientation(None, Some(bytes));
});
