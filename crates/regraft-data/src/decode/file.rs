//! Reads an image file: its first bytes decide whether the rest is read, and how much of it.

use std::io;
use std::path::Path;

use super::format::Format;
use super::{DecodeError, DecodeReason};
use crate::named_file::{self, Refusal};

/// Bytes that a file may have for each allowed pixel: as many as an uncompressed image of four
/// 16-bit channels has.
const BYTES_PER_PIXEL: u64 = 8;

/// Bytes that a file may have in addition to its pixels: colour profiles, thumbnails and other
/// metadata.
const METADATA_BYTES: u64 = 64 << 20;

/// Bytes that are read of a file to recognise its format.
const PROBE_BYTES: u64 = 64 << 10;

/// The most bytes of any image file, because it is read into memory whole.
pub const MAX_FILE_BYTES: u64 = 4 << 30;

/// The most bytes of an image file if images may have `max_pixels` pixels: 8 bytes a pixel plus 64
/// MiB, at most [`MAX_FILE_BYTES`].
#[must_use]
pub fn byte_limit(max_pixels: u64) -> u64 {
    max_pixels.saturating_mul(BYTES_PER_PIXEL).saturating_add(METADATA_BYTES).min(MAX_FILE_BYTES)
}

/// The bytes of an image file. If its first 64 KiB are not those of a supported format, the rest is
/// not read.
///
/// # Errors
///
/// If the file cannot be read, is neither a regular file nor a stream of the process, is longer
/// than [`byte_limit`], or has an unsupported format.
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
