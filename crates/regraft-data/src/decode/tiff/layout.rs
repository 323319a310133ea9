//! Reads a TIFF's tags: the location of its pixels and their meaning.

use std::borrow::Cow;

use super::super::directory::{Directory, Header, Order};
use super::kinds::{
    Alpha, Colour, Compression, alpha, check_depth, colour, compression, unsupported,
};
use super::{DecodeReason, check_size, damaged};

const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const BITS: u16 = 258;
const COMPRESSION: u16 = 259;
const PHOTOMETRIC: u16 = 262;
const FILL_ORDER: u16 = 266;
const STRIP_OFFSETS: u16 = 273;
const SAMPLES: u16 = 277;
const ROWS_PER_STRIP: u16 = 278;
const STRIP_LENGTHS: u16 = 279;
const PLANAR: u16 = 284;
const T4_OPTIONS: u16 = 292;
const PREDICTOR: u16 = 317;
const COLOUR_MAP: u16 = 320;
const TILE_WIDTH: u16 = 322;
const TILE_HEIGHT: u16 = 323;
const TILE_OFFSETS: u16 = 324;
const TILE_LENGTHS: u16 = 325;
const SAMPLE_FORMAT: u16 = 339;
const JPEG_TABLES: u16 = 347;
const LUMA: u16 = 529;
const SUBSAMPLING: u16 = 530;
const REFERENCE_LEVELS: u16 = 532;

/// The most samples that a pixel may have.
const MOST_SAMPLES: u64 = 16;

pub struct Layout<'a> {
    bytes: &'a [u8],
    pub order: Order,
    pub width: usize,
    pub height: usize,
    pub compression: Compression,
    pub colour: Colour,
    pub alpha: Alpha,
    pub bits: usize,
    /// Samples of a pixel, including extra ones.
    pub samples: usize,
    /// Each sample's values are stored separately.
    pub is_planar: bool,
    /// Differences between neighbours are stored.
    pub has_predictor: bool,
    /// The first pixel is in a byte's lowest bit.
    is_reversed: bool,
    is_tiled: bool,
    /// Width and height of a strip or tile.
    chunk: [usize; 2],
    offsets: Vec<u64>,
    lengths: Option<Vec<u64>>,
    /// Red, green and blue, of `1 << bits` levels each.
    pub palette: Option<[Vec<u8>; 3]>,
    pub jpeg_tables: &'a [u8],
    /// How many luma samples share a chroma sample, across and down.
    pub subsampling: [usize; 2],
    /// The share of red, green and blue in luma.
    pub luma: [f32; 3],
    /// Black and white of luma and of both chroma samples.
    pub reference_levels: [f32; 6],
}

impl<'a> Layout<'a> {
    /// # Errors
    ///
    /// If tags are missing or contradict each other, if the image is too large, or if its kind is
    /// not supported.
    pub fn read(
        bytes: &'a [u8],
        header: Header,
        tags: &Directory<'a>,
        max_pixels: u64,
    ) -> Result<Self, DecodeReason> {
        let first = |tag| tags.integers(tag).and_then(|values| values.first().copied());
        let [width, height] =
            [(WIDTH, "width"), (HEIGHT, "height")].map(|(tag, name)| first(tag).ok_or(name));
        let (width, height) = match (width, height) {
            (Ok(width), Ok(height)) => (width, height),
            // The tags come in order, so if the first ones are missing, the directory is.
            _ if header.first >= bytes.len() as u64 => return Err(DecodeReason::Truncated("TIFF")),
            (Err(name), _) | (_, Err(name)) => {
                return Err(damaged(&format!("it does not say its {name}")));
            }
        };
        let side = |pixels: u64| {
            u32::try_from(pixels).map_err(|_| DecodeReason::TooLarge { width, height, max_pixels })
        };
        check_size("TIFF", side(width)?, side(height)?, max_pixels)?;

        let code = first(PHOTOMETRIC).unwrap_or(0);
        let compression =
            compression(first(COMPRESSION).unwrap_or(1), first(T4_OPTIONS).unwrap_or(0))?;
        let colour = colour(code)?;
        let is_jpeg = compression == Compression::Jpeg;
        let default = if is_jpeg { colour.samples() as u64 } else { 1 };
        let samples = first(SAMPLES).unwrap_or(default);
        if !(1..=MOST_SAMPLES).contains(&samples) {
            return Err(unsupported(&format!("{samples} samples a pixel")));
        }
        let samples = samples as usize;
        // Luma alone.
        let colour =
            if colour == Colour::YCbCr && samples == 1 { Colour::BlackIsZero } else { colour };
        if samples < colour.samples() {
            return Err(damaged(&format!(
                "it has {samples} samples a pixel, too few for its colours"
            )));
        }
        let bits = same(tags, BITS, 1).ok_or_else(|| unsupported("samples of different depths"))?;
        let format = same(tags, SAMPLE_FORMAT, 1)
            .ok_or_else(|| unsupported("samples of different types"))?;
        check_depth(colour, compression, bits, format)?;
        let bits = bits as usize;
        let is_planar = samples > 1 && first(PLANAR) == Some(2);
        let alpha = alpha(tags, colour, samples)?;
        if is_jpeg && !is_planar && samples != colour.samples() {
            return Err(unsupported("JPEG compression of more samples than colours"));
        }
        let is_fax = matches!(
            compression,
            Compression::FaxRows | Compression::Fax3 { .. } | Compression::Fax4
        );
        if is_fax && !is_planar && samples > 1 {
            return Err(unsupported("fax compression of several samples a pixel"));
        }

        let is_tiled = !tags.contains(STRIP_OFFSETS) && tags.contains(TILE_OFFSETS);
        let (width, height) = (width as usize, height as usize);
        let chunk = if is_tiled {
            let sides = first(TILE_WIDTH)
                .zip(first(TILE_HEIGHT))
                .filter(|&(width, height)| width > 0 && height > 0);
            let (width, height) =
                sides.ok_or_else(|| damaged("it does not say the size of its tiles"))?;
            // A tile may extend beyond the image, but not beyond the allowed number of pixels.
            if width.saturating_mul(height) > max_pixels.max(1 << 22) {
                return Err(DecodeReason::TooLarge { width, height, max_pixels });
            }
            [width as usize, height as usize]
        } else {
            let rows = first(ROWS_PER_STRIP).filter(|&rows| rows > 0).unwrap_or(u64::MAX);
            [width, usize::try_from(rows).unwrap_or(usize::MAX).min(height)]
        };
        let [offsets, lengths] =
            if is_tiled { [TILE_OFFSETS, TILE_LENGTHS] } else { [STRIP_OFFSETS, STRIP_LENGTHS] };
        let predictor = if matches!(compression, Compression::Lzw | Compression::Deflate) {
            first(PREDICTOR)
        } else {
            None
        };
        let has_predictor = match predictor {
            None | Some(1) => false,
            Some(2) if matches!(bits, 8 | 16) => true,
            Some(number) => {
                return Err(unsupported(&format!("predictor {number} on samples of {bits} bits")));
            }
        };
        let mut layout = Self {
            bytes,
            order: header.order,
            width,
            height,
            compression,
            colour,
            alpha,
            bits,
            samples,
            is_planar,
            has_predictor,
            is_reversed: first(FILL_ORDER) == Some(2),
            is_tiled,
            chunk,
            offsets: tags.integers(offsets).ok_or_else(|| {
                truncated_or(bytes, header, "it does not say where its pixels are")
            })?,
            lengths: tags.integers(lengths),
            palette: None,
            jpeg_tables: tags.bytes(JPEG_TABLES).unwrap_or_default(),
            subsampling: [1, 1],
            luma: numbers(tags, LUMA, [0.299, 0.587, 0.114]),
            reference_levels: numbers(
                tags,
                REFERENCE_LEVELS,
                [0.0, 255.0, 128.0, 255.0, 128.0, 255.0],
            ),
        };
        if colour == Colour::Palette {
            layout.palette = Some(palette(tags, bits)?);
        }
        // JPEG data state their chroma sampling themselves.
        if colour == Colour::YCbCr && !is_jpeg {
            let stated = tags.integers(SUBSAMPLING).unwrap_or(vec![2, 2]);
            let &[across @ (1 | 2 | 4), down @ (1 | 2 | 4)] = &stated[..] else {
                return Err(unsupported(&format!("chroma subsampling {stated:?}")));
            };
            layout.subsampling = [across as usize, down as usize];
            if layout.is_subsampled() && (is_planar || has_predictor || samples > 3) {
                return Err(unsupported(
                    "subsampled chroma with a predictor, in planes or with extra samples",
                ));
            }
        }
        let expected = layout.chunks_of_a_plane() * if is_planar { layout.kept() } else { 1 };
        if layout.offsets.len() < expected {
            let message =
                format!("it has {} strips or tiles and needs {expected}", layout.offsets.len());
            return Err(damaged(&message));
        }
        Ok(layout)
    }

    /// The samples of a pixel that are used: colours and alpha.
    pub fn kept(&self) -> usize {
        self.colour.samples() + usize::from(self.alpha != Alpha::None)
    }

    pub fn is_subsampled(&self) -> bool {
        self.subsampling != [1, 1]
    }

    fn chunks_across(&self) -> usize {
        self.width.div_ceil(self.chunk[0])
    }

    pub fn chunks_of_a_plane(&self) -> usize {
        self.chunks_across() * self.height.div_ceil(self.chunk[1])
    }

    /// The left and upper edge of each strip or tile of a plane.
    pub fn chunk_places(&self) -> impl Iterator<Item = [usize; 2]> + use<'a> {
        let ([width, height], across) = (self.chunk, self.chunks_across());
        (0..self.chunks_of_a_plane())
            .map(move |number| [number % across * width, number / across * height])
    }

    /// Width and height of the strip or tile with the upper edge `top`. The last strip has the
    /// remaining height.
    pub fn chunk_size(&self, top: usize) -> [usize; 2] {
        let [width, height] = self.chunk;
        [width, if self.is_tiled { height } else { height.min(self.height - top) }]
    }

    /// The stored bytes of a strip or tile, with the first pixel in a byte's highest bit. They may
    /// continue beyond its end.
    pub fn chunk(&self, number: usize) -> Result<Cow<'a, [u8]>, DecodeReason> {
        let start = usize::try_from(self.offsets[number]).unwrap_or(usize::MAX);
        let stored = self.bytes.get(start..).ok_or(DecodeReason::Truncated("TIFF"))?;
        // Without compression the length follows from the size, and Pillow ignores the tag.
        let length = match (&self.lengths, self.compression) {
            (Some(lengths), compression) if compression != Compression::None => {
                lengths.get(number).copied().filter(|&length| length > 0)
            }
            _ => None,
        };
        let length = length.map_or(stored.len(), |length| {
            usize::try_from(length).unwrap_or(usize::MAX).min(stored.len())
        });
        let stored = &stored[..length.min(self.most_stored())];
        // libtiff does not reverse the bits of JPEG data.
        if self.is_reversed && self.compression != Compression::Jpeg {
            return Ok(stored.iter().map(|byte| byte.reverse_bits()).collect());
        }
        Ok(Cow::Borrowed(stored))
    }

    /// The most bytes that a strip or tile can need: twice its samples, and 64 KiB for headers and
    /// tables. Without a limit, thousands of strips could each claim the whole file as their data.
    fn most_stored(&self) -> usize {
        let [width, height] = self.chunk;
        let samples =
            width.saturating_mul(height).saturating_mul(self.samples * self.bits.div_ceil(8));
        samples.saturating_mul(2).saturating_add(1 << 16)
    }

    /// Pixels of a strip or tile, with some beyond its edges that JPEG may pad.
    pub fn most_pixels(&self) -> u64 {
        self.chunk.map(|side| side as u64 + 64).into_iter().product()
    }

    /// Whether data that are too short ended with the file.
    pub fn reaches_the_end(&self, number: usize) -> bool {
        let end = self
            .lengths
            .as_ref()
            .and_then(|lengths| lengths.get(number))
            .map_or(u64::MAX, |&length| length);
        self.offsets[number].saturating_add(end) > self.bytes.len() as u64
    }
}

fn truncated_or(bytes: &[u8], header: Header, message: &str) -> DecodeReason {
    // If a file is truncated, a directory at its end is the first thing that is missing.
    let start = usize::try_from(header.first).unwrap_or(usize::MAX);
    let entries = bytes
        .get(start..)
        .and_then(|entries| header.order.u16(entries))
        .map_or(usize::MAX, usize::from);
    let end = start.saturating_add(entries.saturating_mul(12));
    if !header.is_big && end > bytes.len() {
        DecodeReason::Truncated("TIFF")
    } else {
        damaged(message)
    }
}

/// The value that all samples share.
fn same(tags: &Directory, tag: u16, default: u64) -> Option<u64> {
    let values = tags.integers(tag).unwrap_or(vec![default]);
    let first = *values.first()?;
    values.iter().all(|&value| value == first).then_some(first)
}

fn numbers<const N: usize>(tags: &Directory, tag: u16, default: [f32; N]) -> [f32; N] {
    let found: Option<Vec<f32>> =
        tags.numbers(tag).map(|numbers| numbers.map(|number| number as f32).collect());
    found
        .and_then(|numbers| numbers.try_into().ok())
        .filter(|numbers: &[f32; N]| numbers.iter().all(|n| n.is_finite()))
        .unwrap_or(default)
}

fn palette(tags: &Directory, bits: usize) -> Result<[Vec<u8>; 3], DecodeReason> {
    let levels = tags.integers(COLOUR_MAP).ok_or_else(|| damaged("it has no palette"))?;
    let colours = 1 << bits;
    if levels.len() < 3 * colours {
        return Err(damaged(&format!(
            "its palette has {} levels and needs {}",
            levels.len(),
            3 * colours
        )));
    }
    let channel = |number: usize| {
        levels[number * colours..][..colours].iter().map(|&level| (level >> 8) as u8).collect()
    };
    Ok([channel(0), channel(1), channel(2)])
}
