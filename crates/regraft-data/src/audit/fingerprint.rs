//! A perceptual hash of an image and of all its slight crops.
//!
//! The hash is the signs of the 64 lowest frequencies of a discrete cosine transform (called pHash
//! by Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"). A crop
//! changes it, so an image is looked up by the hashes of 25 windows of it: for every crop of up to
//! a tenth at each edge, one window is within a fortieth at each edge. A mirrored image needs no
//! hash of its own, because mirroring only changes the sign of the odd horizontal frequencies.

use std::f32::consts::PI;
use std::sync::LazyLock;

/// Side of the grey copy in pixels.
pub const SIDE: usize = 64;
/// Margins of the windows at the two ends of an axis, as fractions of its length. The first is the
/// whole axis.
pub const MARGINS: [(f32, f32); 5] =
    [(0.0, 0.0), (0.025, 0.025), (0.025, 0.075), (0.075, 0.025), (0.075, 0.075)];
/// Chunks of a hash, of 16 bits each; there is one table for each.
pub const CHUNKS: usize = 4;
/// The number of least certain bits of a chunk, which a look-up tries both ways.
pub const UNCERTAIN: usize = 6;

/// Number of frequencies along an axis that the hash may use: 0 to 9.
const FREQUENCIES: usize = 10;

/// A grey copy `[SIDE, SIDE]` of an image, whatever its aspect ratio.
#[derive(Clone, Debug)]
pub struct Thumbnail {
    pub grey: Vec<u8>,
}

/// The hash of one window of an image.
#[derive(Clone, Debug)]
pub struct WindowHash {
    pub hash: u64,
    /// The least certain bits of each chunk: those with the weakest frequencies.
    pub uncertain: [[u8; UNCERTAIN]; CHUNKS],
}

/// A chunk of 16 bits of a hash.
pub fn chunk(hash: u64, chunk: usize) -> usize {
    (hash >> (16 * chunk)) as usize & 0xFFFF
}

/// The hash of the same image mirrored left to right.
pub fn mirrored(hash: u64) -> u64 {
    hash ^ TRANSFORM.odd
}

impl Thumbnail {
    /// Standard deviation, in levels.
    pub fn deviation(&self) -> f32 {
        let count = self.grey.len() as f32;
        let mean = self.grey.iter().map(|&level| f32::from(level)).sum::<f32>() / count;
        (self.grey.iter().map(|&level| (f32::from(level) - mean).powi(2)).sum::<f32>() / count)
            .sqrt()
    }

    /// The hash of the whole image.
    pub fn hash(&self) -> u64 {
        let transform = &*TRANSFORM;
        transform.hash(&transform.rows(&self.centred(), 0), (0, 0)).hash
    }

    /// The hashes of all windows; the first is that of the whole image.
    pub fn window_hashes(&self) -> Vec<WindowHash> {
        let transform = &*TRANSFORM;
        let centred = self.centred();
        (0..MARGINS.len())
            .flat_map(|vertical| {
                let rows = transform.rows(&centred, vertical);
                (0..MARGINS.len())
                    .map(move |horizontal| transform.hash(&rows, (horizontal, vertical)))
            })
            .collect()
    }

    fn centred(&self) -> Vec<f32> {
        let mean =
            self.grey.iter().map(|&level| f32::from(level)).sum::<f32>() / self.grey.len() as f32;
        self.grey.iter().map(|&level| f32::from(level) - mean).collect()
    }
}

/// Tables that the hashes of all images share.
struct Transform {
    /// For each of [`MARGINS`] `[FREQUENCIES, SIDE]`: cosines over the window, zero outside, with
    /// mean 0.
    cosines: Vec<Vec<f32>>,
    /// Horizontal and vertical frequency of each bit.
    frequencies: Vec<(usize, usize)>,
    /// Bits of odd horizontal frequencies.
    odd: u64,
}

static TRANSFORM: LazyLock<Transform> = LazyLock::new(|| {
    let mut frequencies: Vec<(usize, usize)> = (0..FREQUENCIES * FREQUENCIES)
        .skip(1)
        .map(|place| (place % FREQUENCIES, place / FREQUENCIES))
        .collect();
    frequencies.sort_by_key(|&(x, y)| (x * x + y * y, x));
    frequencies.truncate(64);
    // Every chunk gets low and high frequencies.
    let frequencies: Vec<(usize, usize)> =
        (0..64).map(|bit| frequencies[bit % 16 * CHUNKS + bit / 16]).collect();
    let odd = frequencies
        .iter()
        .enumerate()
        .filter(|(_, (x, _))| x % 2 == 1)
        .map(|(bit, _)| 1 << bit)
        .sum();
    Transform {
        cosines: MARGINS.iter().map(|&margins| cosines(margins)).collect(),
        frequencies,
        odd,
    }
});

fn cosines((before, after): (f32, f32)) -> Vec<f32> {
    let (start, length) = (before * SIDE as f32, (1.0 - before - after) * SIDE as f32);
    let end = start + length;
    // The fraction of each pixel that lies in the window.
    let covered: Vec<f32> = (0..SIDE)
        .map(|pixel| ((pixel as f32 + 1.0).min(end) - (pixel as f32).max(start)).clamp(0.0, 1.0))
        .collect();
    let mut rows = Vec::with_capacity(FREQUENCIES * SIDE);
    for frequency in 0..FREQUENCIES {
        let wave =
            |pixel: usize| (PI * frequency as f32 * (pixel as f32 + 0.5 - start) / length).cos();
        let mean = if frequency == 0 {
            0.0
        } else {
            (0..SIDE).map(|pixel| covered[pixel] * wave(pixel)).sum::<f32>() / length
        };
        rows.extend((0..SIDE).map(|pixel| covered[pixel] * (wave(pixel) - mean)));
    }
    rows
}

impl Transform {
    /// `[FREQUENCIES, SIDE]`: the vertical transform of each column.
    fn rows(&self, centred: &[f32], vertical: usize) -> Vec<f32> {
        let mut rows = vec![0.0; FREQUENCIES * SIDE];
        for (row, cosines) in
            rows.chunks_exact_mut(SIDE).zip(self.cosines[vertical].chunks_exact(SIDE))
        {
            for (pixels, &weight) in centred.chunks_exact(SIDE).zip(cosines) {
                for (sum, &pixel) in row.iter_mut().zip(pixels) {
                    *sum += weight * pixel;
                }
            }
        }
        rows
    }

    fn hash(&self, rows: &[f32], window: (usize, usize)) -> WindowHash {
        let cosines = &self.cosines[window.0];
        let mut strengths = [0.0f32; 64];
        let mut hash = 0;
        for (bit, &(x, y)) in self.frequencies.iter().enumerate() {
            let products = rows[y * SIDE..][..SIDE].iter().zip(&cosines[x * SIDE..][..SIDE]);
            let value: f32 = products.map(|(value, weight)| value * weight).sum();
            strengths[bit] = value.abs();
            hash |= u64::from(value > 0.0) << bit;
        }
        let uncertain = std::array::from_fn(|chunk| {
            let mut bits: [u8; 16] = std::array::from_fn(|bit| bit as u8);
            bits.sort_by(|&left, &right| {
                strengths[chunk * 16 + usize::from(left)]
                    .total_cmp(&strengths[chunk * 16 + usize::from(right)])
            });
            std::array::from_fn(|place| bits[place])
        });
        WindowHash { hash, uncertain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A smooth image without symmetry.
    fn thumbnail(value: impl Fn(f32, f32) -> f32) -> Thumbnail {
        let at = |place: usize| (place % SIDE) as f32 / SIDE as f32;
        let grey = (0..SIDE * SIDE)
            .map(|place| value(at(place), (place / SIDE) as f32 / SIDE as f32) as u8)
            .collect();
        Thumbnail { grey }
    }

    fn waves(x: f32, y: f32) -> f32 {
        128.0
            + 40.0 * (7.0 * x + 3.0 * y).sin()
            + 30.0 * (11.0 * y - 5.0 * x * x).cos()
            + 25.0 * (17.0 * x * y).sin()
    }

    #[test]
    fn a_mirrored_image_has_the_mirrored_hash() {
        let picture = thumbnail(waves);
        let mut turned = picture.clone();
        turned.grey.chunks_exact_mut(SIDE).for_each(<[u8]>::reverse);
        assert!((mirrored(picture.hash()) ^ turned.hash()).count_ones() <= 2);
        assert!((picture.hash() ^ turned.hash()).count_ones() > 15);
    }

    #[test]
    fn a_window_of_the_whole_has_the_hash_of_the_crop() {
        let picture = thumbnail(waves);
        for (left, right, top, bottom) in
            [(0.0, 0.0, 0.0, 0.0), (0.1, 0.0, 0.05, 0.1), (0.03, 0.08, 0.0, 0.1)]
        {
            let crop = thumbnail(|x, y| {
                waves(left + x * (1.0 - left - right), top + y * (1.0 - top - bottom))
            });
            let nearest = picture
                .window_hashes()
                .iter()
                .map(|window| (window.hash ^ crop.hash()).count_ones())
                .min();
            assert!(nearest.is_some_and(|bits| bits <= 10), "{nearest:?}");
        }
    }
}
