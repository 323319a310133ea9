//! Reading an image file: its first bytes decide whether the rest is read, and how much of it.

use std::io;
use std::path::Path;

use super::format::Format;
use super::{DecodeError, DecodeReason};
use crate::named_file::{self, Refusal};

/// Bytes that a file may have for each pixel that is allowed: an uncompressed image of four 16-bit
/// channels has as many.
const BYTES_PER_PIXEL: u64 = 8;

/// Bytes that a file may have beside its pixels: colour profiles, thumbnails and other metadata.
const METADATA_BYTES: u64 = 64 << 20;

/// What is read of a file to judge its format.
const PROBE_BYTES: u64 = 64 << 10;

/// The most bytes of any image file: it is read into memory whole.
pub const MAX_FILE_BYTES: u64 = 4 << 30;

/// The most bytes of an image file if images may have `max_pixels` pixels: 8 bytes a pixel and 64
/// MiB, up to [`MAX_FILE_BYTES`].
#[must_use]
pub fn byte_limit(max_pixels: u64) -> u64 {
    max_pixels.saturating_mul(BYTES_PER_PIXEL).saturating_add(METADATA_BYTES).min(MAX_FILE_BYTES)
}

/// The bytes of an image file. Unless its first 64 KiB are those of a format that is decoded, no
/// more is read.
///
/// # Errors
///
/// If the file cannot be read, is not a regular file (nor a stream of the process), is longer than
/// [`byte_limit`], or is of no format that is decoded.
pub fn read(path: &Path, max_pixels: u64) -> Result<Vec<u8>, DecodeError> {
    let is_image = |start: &[u8]| Format::of(start).map(drop);
    named_file::read_if(path, byte_limit(max_pixels), PROBE_BYTES, is_image)
        .map_err(|reason| DecodeError { path: path.to_path_buf(), reason })
}

impl From<io::Error> for DecodeReason {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(Refusal::NotRegular(kind)) => Self::NotRegular(kind),
            Some(Refusal::TooLong { limit }) => Self::TooLong { limit: *limit },
            None => Self::Unreadable(error.to_string()),
        }
    }
}
