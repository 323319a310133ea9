//! Counter-based random numbers: every draw is a pure function of its purpose and position.
//!
//! A stream is identified by (seed, purpose, epoch, sample), so an image's augmentation or a
//! layer's initial weights never depend on the number of threads, on the order of work, or on
//! earlier draws. The generator is Philox4x32-10 (Salmon et al., *Parallel random numbers: as easy
//! as 1, 2, 3*, SC 2011).

/// The purpose of a stream of random numbers. Streams with different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Values of test fixtures, which a Python script draws too.
    Fixture = 0,
    /// The order of the training images in an epoch.
    Shuffle = 1,
    /// Which images of a class are held out for validation.
    Split = 2,
    /// Crop, flip and other augmentation of one image.
    Augment = 3,
    /// Initial weights of a backbone; `sample` is the node.
    Initialize = 4,
    /// Initial weights of a new head.
    Head = 5,
    /// Dropout masks; `sample` is the position in the epoch.
    Dropout = 6,
    /// Masks of stochastic depth; `sample` is the position in the epoch.
    DropConnect = 7,
    /// Which images a report shows.
    Show = 8,
    /// The folds of cross-validation; `sample` is the class.
    Folds = 9,
    /// How a batch's images are mixed; `sample` is the position of its first image in the epoch.
    Mix = 10,
    /// The start of the search for the loss's largest curvature.
    Curvature = 11,
    /// Which images a trial trains on and holds out; `sample` is the class.
    Trial = 12,
}

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Ten rounds of Philox4x32: four random words for a counter under a key.
#[must_use]
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let first = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let second = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
    }
    counter
}

/// A stream of random numbers for one (seed, purpose, epoch, sample).
///
/// The stream's `i`-th word is word `i % 4` of Philox under the key `[seed low, seed high]` and the
/// counter `[i / 4, sample, epoch, purpose]`.
#[derive(Clone, Debug)]
pub struct Draws {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Draws {
    /// Opens the stream at its first word.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose, epoch: u32, sample: u32) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, sample, epoch, purpose as u32],
            block: [0; 4],
            used: 4,
        }
    }

    /// The stream from its `block`-th block of four words on, which can serve as a separate stream,
    /// for example for a layer.
    #[must_use]
    pub fn at_block(mut self, block: u32) -> Self {
        self.counter[0] = block;
        self.used = 4;
        self
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox4x32(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Uniform in `[0, 1)`, with 24 bits.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// Uniform in `[0, 1)`, with 53 bits.
    pub fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.next_u32());
        let low = u64::from(self.next_u32());
        ((high << 32 | low) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `low..high`.
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// Uniform in `0..bound`, without bias (Lemire's rejection). `bound` must not be zero.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "an empty range has no random number");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// Standard normal (the Box-Muller transform; the second value of each pair is not used).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform_f64()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.uniform_f64()).cos()) as f32
    }

    /// In-place Fisher-Yates shuffle.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with the Random123 library (kat_vectors).
    #[test]
    fn philox_matches_published_vectors() {
        assert_eq!(
            philox4x32([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn uniform_and_normal_have_their_moments() {
        let mut draws = Draws::new(7, Purpose::Fixture, 0, 0);
        let count = 100_000;
        let mean = (0..count).map(|_| f64::from(draws.uniform())).sum::<f64>() / f64::from(count);
        assert!((mean - 0.5).abs() < 0.005, "mean of uniform draws {mean}");
        let values: Vec<f64> = (0..count).map(|_| f64::from(draws.normal())).collect();
        let mean = values.iter().sum::<f64>() / f64::from(count);
        let variance =
            values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / f64::from(count);
        assert!(
            mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03,
            "normal draws: mean {mean}, variance {variance}"
        );
    }

    #[test]
    fn below_and_shuffle_reach_everything() {
        let mut draws = Draws::new(1, Purpose::Shuffle, 3, 0);
        let mut seen = [0; 5];
        (0..1000).for_each(|_| seen[draws.below(5) as usize] += 1);
        assert!(seen.iter().all(|&count| count > 150), "{seen:?}");
        let mut items: Vec<u32> = (0..100).collect();
        draws.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
