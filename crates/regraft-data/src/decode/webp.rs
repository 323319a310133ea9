//! The container of a WebP: whether it is complete, and its image's orientation.

use image::metadata::Orientation;

use super::orientation::orientation as stated_orientation;

/// Bits of the header that announce the metadata.
const HAS_XMP: u8 = 1 << 2;
const HAS_EXIF: u8 = 1 << 3;

/// Whether the file ends before its container does. Missing pixels would be decoded to something
/// else.
pub fn is_cut(bytes: &[u8]) -> bool {
    let length = bytes
        .get(4..)
        .and_then(|rest| rest.first_chunk())
        .map_or(u32::MAX, |&length| u32::from_le_bytes(length));
    u64::from(length) + 8 > bytes.len() as u64
}

/// The image's orientation. As in libwebp, metadata that the header does not announce are ignored,
/// and the first chunk of a kind counts.
pub fn orientation(bytes: &[u8]) -> Orientation {
    let mut chunks = Chunks(bytes.get(12..).unwrap_or_default());
    // Only the extended header has flags, and it comes first.
    let Some((b"VP8X", &[flags, ..])) = chunks.next() else { return Orientation::NoTransforms };
    let (mut exif, mut xmp) = (None, None);
    for (name, content) in chunks {
        match name {
            b"EXIF" if flags & HAS_EXIF != 0 => exif = exif.or(Some(content)),
            b"XMP " if flags & HAS_XMP != 0 => xmp = xmp.or(Some(content)),
            _ => {}
        }
    }
    stated_orientation(exif, xmp)
}

/// The chunks of a RIFF file with their names: a name, a length, the content and a byte more if the
/// length is odd.
struct Chunks<'a>(&'a [u8]);

impl<'a> Iterator for Chunks<'a> {
    type Item = (&'a [u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        let content = rest.get(..length)?;
        self.0 = rest.get(length + length % 2..).unwrap_or_default();
        Some((name, content))
    }
}
