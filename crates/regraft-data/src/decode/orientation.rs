//! An image's orientation by its metadata: the rules of Pillow's `ImageOps.exif_transpose`, for
//! every container.

use image::metadata::Orientation;

use super::directory::{Directory, Header};

/// The tag of the orientation, in EXIF data and in a TIFF itself.
const TAG: u16 = 0x0112;
/// The tag of a TIFF's XMP packet.
const XMP: u16 = 700;
/// The prefix that some containers put before EXIF data; JPEG requires it.
const PREFIX: &[u8] = b"Exif\0\0";

/// The orientation that an image's EXIF data or, failing that, its XMP packet states, as Pillow 13
/// reads them.
///
/// `exif` may begin with `Exif\0\0` or directly with the TIFF header, in either byte order. Its
/// first directory is read, and the first orientation in it counts, of any numeric type. XMP counts
/// only if the EXIF data have no orientation. If the data break the rules, the image is not
/// rotated.
#[must_use]
pub fn orientation(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let exif = exif.map(without_prefix).filter(|exif| !exif.is_empty());
    let Some(exif) = exif else { return in_xmp(xmp) };
    match Header::read(exif) {
        // Pillow does not accept a BigTIFF or any other header as EXIF data, and then does not read
        // XMP.
        None | Some(Header { is_big: true, .. }) => Orientation::NoTransforms,
        Some(header) => in_directory(&Directory::read(exif, header, header.first), xmp),
    }
}

/// The orientation that a TIFF's own directory states.
pub fn of_tiff(directory: &Directory) -> Orientation {
    in_directory(directory, directory.bytes(XMP))
}

/// EXIF data without the prefix, which some programs write twice.
fn without_prefix(exif: &[u8]) -> &[u8] {
    let once = exif.strip_prefix(PREFIX).unwrap_or(exif);
    once.strip_prefix(PREFIX).unwrap_or(once)
}

fn in_directory(directory: &Directory, xmp: Option<&[u8]>) -> Orientation {
    if !directory.contains(TAG) {
        return in_xmp(xmp);
    }
    let number = directory.numbers(TAG).and_then(|mut numbers| numbers.next());
    number
        .filter(|number| number.fract() == 0.0)
        .map_or(Orientation::NoTransforms, |number| from_number(number as u8))
}

/// The first `tiff:Orientation`, an attribute or an element.
fn in_xmp(xmp: Option<&[u8]>) -> Orientation {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut rest = xmp.unwrap_or_default();
    while let Some(place) = rest.windows(NAME.len()).position(|window| window == NAME) {
        rest = &rest[place + NAME.len()..];
        if let [b'=', b'"', digit @ b'0'..=b'9', ..] | [b'>', digit @ b'0'..=b'9', ..] = rest {
            return from_number(digit - b'0');
        }
    }
    Orientation::NoTransforms
}

fn from_number(number: u8) -> Orientation {
    Orientation::from_exif(number).unwrap_or(Orientation::NoTransforms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNED: Orientation = Orientation::Rotate90;
    const STORED: Orientation = Orientation::NoTransforms;

    /// EXIF data of little-endian entries: tag, type, count, and four bytes of value or offset.
    /// `after` begins at the returned block's byte `8 + 2 + 12 * entries.len() + 4`.
    fn exif(entries: &[(u16, u16, u32, [u8; 4])], after: &[u8]) -> Vec<u8> {
        let mut block = b"II\x2a\0\x08\0\0\0".to_vec();
        block.extend((entries.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in entries {
            block.extend(
                tag.to_le_bytes()
                    .iter()
                    .chain(&kind.to_le_bytes())
                    .chain(&count.to_le_bytes())
                    .chain(value),
            );
        }
        block.extend([0; 4]);
        block.extend(after);
        block
    }

    fn of(block: &[u8]) -> Orientation {
        orientation(Some(block), None)
    }

    #[test]
    fn the_prefix_may_occur_once_twice_or_never() {
        let block = exif(&[(TAG, 3, 1, [6, 0, 0, 0])], b"");
        assert_eq!(of(&block), TURNED);
        assert_eq!(of(&[PREFIX, &block].concat()), TURNED);
        assert_eq!(of(&[PREFIX, PREFIX, &block].concat()), TURNED);
        assert_eq!(of(&[PREFIX, PREFIX, PREFIX, &block].concat()), STORED);
    }

    #[test]
    fn either_byte_order_is_read_and_the_magic_number_in_either() {
        let big = [
            &b"MM\0\x2a\0\0\0\x08\0\x01"[..],
            &[1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(of(&big), TURNED);
        let swapped = [b"MM\x2a\0", &big[4..]].concat();
        assert_eq!(of(&swapped), TURNED);
        let big_tiff = [b"MM\0\x2b", &big[4..]].concat();
        assert_eq!(of(&big_tiff), STORED);
    }

    #[test]
    fn every_numeric_type_counts_and_bytes_and_text_do_not() {
        for (kind, value, expected) in [
            (1, [6, 0, 0, 0], STORED),
            (2, [b'6', 0, 0, 0], STORED),
            (3, [6, 0, 0, 0], TURNED),
            (3, [0, 6, 0, 0], STORED),
            (4, [6, 0, 0, 0], TURNED),
            (4, [6, 0, 1, 0], STORED),
            (6, [6, 0, 0, 0], TURNED),
            (6, [250, 0, 0, 0], STORED),
            (7, [6, 0, 0, 0], STORED),
            (8, [6, 0, 0, 0], TURNED),
            (9, [6, 0, 0, 0], TURNED),
            (11, 6f32.to_le_bytes(), TURNED),
            (11, 6.5f32.to_le_bytes(), STORED),
            (13, [6, 0, 0, 0], TURNED),
            (99, [6, 0, 0, 0], STORED),
        ] {
            assert_eq!(
                of(&exif(&[(TAG, kind, 1, value)], b"")),
                expected,
                "type {kind}, {value:?}"
            );
        }
        let after = 8 + 2 + 12 + 4;
        for (kind, value, expected) in [
            (5, [12, 0, 0, 0, 2, 0, 0, 0], TURNED),
            (5, [12, 0, 0, 0, 0, 0, 0, 0], STORED),
            (10, [12, 0, 0, 0, 2, 0, 0, 0], TURNED),
            (12, 6f64.to_le_bytes(), TURNED),
            (16, 6u64.to_le_bytes(), TURNED),
            (16, (256u64 + 6).to_le_bytes(), STORED),
        ] {
            assert_eq!(
                of(&exif(&[(TAG, kind, 1, [after, 0, 0, 0])], &value)),
                expected,
                "type {kind}, {value:?}"
            );
        }
    }

    #[test]
    fn of_several_values_or_entries_the_first_with_data_counts() {
        assert_eq!(of(&exif(&[(TAG, 3, 2, [6, 0, 1, 0])], b"")), TURNED);
        assert_eq!(of(&exif(&[(TAG, 3, 1, [6, 0, 0, 0]), (TAG, 3, 1, [1, 0, 0, 0])], b"")), TURNED);
        assert_eq!(of(&exif(&[(TAG, 3, 0, [1, 0, 0, 0]), (TAG, 3, 1, [6, 0, 0, 0])], b"")), TURNED);
        assert_eq!(
            of(&exif(&[(TAG, 99, 1, [1, 0, 0, 0]), (TAG, 3, 1, [6, 0, 0, 0])], b"")),
            TURNED
        );
    }

    #[test]
    fn a_broken_directory_rotates_nothing_but_keeps_the_tags_before_the_break() {
        let whole = exif(&[(TAG, 3, 1, [6, 0, 0, 0]), (0x0110, 2, 9, [200, 0, 0, 0])], b"");
        assert_eq!(of(&whole), TURNED);
        assert_eq!(
            of(&exif(&[(0x0110, 2, 9, [200, 0, 0, 0]), (TAG, 3, 1, [6, 0, 0, 0])], b"")),
            STORED
        );
        // More data than the block has bytes: only that tag is skipped.
        assert_eq!(
            of(&exif(&[(0x0110, 2, u32::MAX, [0; 4]), (TAG, 3, 1, [6, 0, 0, 0])], b"")),
            TURNED
        );
        for length in 0..whole.len() {
            let expected = if length < 8 + 2 + 12 { STORED } else { TURNED };
            assert_eq!(of(&whole[..length]), expected, "cut to {length}");
        }
        assert_eq!(of(b"no TIFF header at all"), STORED);
        assert_eq!(of(b"II\x2a\0\xFF\xFF\xFF\xFF"), STORED);
    }

    #[test]
    fn xmp_counts_where_exif_is_silent() {
        let attribute = br#"<rdf:Description tiff:Orientation="6" xmp:Rating="3"/>"#;
        let element = b"<tiff:Orientation>6</tiff:Orientation>";
        let silent = exif(&[(0x0110, 3, 1, [1, 0, 0, 0])], b"");
        let stored = exif(&[(TAG, 3, 1, [1, 0, 0, 0])], b"");
        for xmp in [&attribute[..], element] {
            assert_eq!(orientation(None, Some(xmp)), TURNED);
            assert_eq!(orientation(Some(b""), Some(xmp)), TURNED);
            assert_eq!(orientation(Some(PREFIX), Some(xmp)), TURNED);
            assert_eq!(orientation(Some(&silent), Some(xmp)), TURNED);
            assert_eq!(orientation(Some(&stored), Some(xmp)), STORED);
            assert_eq!(orientation(Some(b"broken EXIF"), Some(xmp)), STORED);
        }
        for (xmp, expected) in [
            (&b"tiff:Orientation='6'"[..], STORED),
            (b"tiff:Orientation = \"6\"", STORED),
            (b"tiff:Orientation tiff:Orientation=\"6\"", TURNED),
            (b"tiff:Orientation=\"0\" tiff:Orientation=\"6\"", STORED),
            (b"tiff:Orientation=\"9\"", STORED),
            (b"tiff:Orientation=\"", STORED),
            (b"tiff:Orientation", STORED),
        ] {
            assert_eq!(orientation(None, Some(xmp)), expected, "{}", xmp.escape_ascii());
        }
    }

    #[test]
    fn all_eight_orientations_have_their_names() {
        let expected = [
            Orientation::NoTransforms,
            Orientation::FlipHorizontal,
            Orientation::Rotate180,
            Orientation::FlipVertical,
            Orientation::Rotate90FlipH,
            Orientation::Rotate90,
            Orientation::Rotate270FlipH,
            Orientation::Rotate270,
        ];
        for (number, expected) in (1..).zip(expected) {
            assert_eq!(of(&exif(&[(TAG, 3, 1, [number, 0, 0, 0])], b"")), expected);
        }
        assert_eq!(of(&exif(&[(TAG, 3, 1, [0; 4])], b"")), STORED);
        assert_eq!(of(&exif(&[(TAG, 3, 1, [9, 0, 0, 0])], b"")), STORED);
    }
}
