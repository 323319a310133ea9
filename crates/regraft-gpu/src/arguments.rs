//! Numbers that change from run to run of a pass: a few words that shaders read.

use regraft_nn::engine::{Mix, TrainBatch};

/// Words of the arguments.
pub(crate) const COUNT: usize = 16;

/// The words, by their place. Shaders name them `args[PLACE]`.
pub(crate) const NAMES: &str = "
const SEED_LOW = 0u;
const SEED_HIGH = 1u;
const EPOCH = 2u;
const POSITION = 3u;
const ACCUMULATE = 4u;
const LOSS_WEIGHT = 5u;
const SMOOTHING = 6u;
const ZERO = 7u;
const MIX = 8u;
const KEPT = 9u;
const TOP = 10u;
const LEFT = 11u;
const BOTTOM = 12u;
const RIGHT = 13u;
const SCALE = 14u;
const INVERSE_SCALE = 15u;
";

/// The arguments of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arguments {
    pub seed: u64,
    pub epoch: u32,
    pub position: u32,
    /// Whether gradients are added to those that are there.
    pub accumulate: bool,
    /// The weight of each image's loss in the batch's.
    pub loss_weight: f32,
    pub smoothing: f32,
    /// The factor of gradients of feature maps, a power of two.
    pub scale: f32,
    pub mix: Option<Mix>,
}

impl Arguments {
    pub fn of_batch(batch: &TrainBatch<'_>) -> Self {
        Self {
            seed: batch.seed,
            epoch: batch.epoch,
            position: batch.position,
            mix: batch.input.mix,
            ..Self::default()
        }
    }

    pub fn words(&self) -> [u32; COUNT] {
        let mix = match self.mix {
            None => [0; 6],
            Some(Mix::Blend(kept)) => [1, kept.to_bits(), 0, 0, 0, 0],
            Some(Mix::Paste { top, left, bottom, right }) => {
                [2, 0, top as u32, left as u32, bottom as u32, right as u32]
            }
        };
        let mut words = [0; COUNT];
        words[..8].copy_from_slice(&[
            self.seed as u32,
            (self.seed >> 32) as u32,
            self.epoch,
            self.position,
            u32::from(self.accumulate),
            self.loss_weight.to_bits(),
            self.smoothing.to_bits(),
            0,
        ]);
        words[8..14].copy_from_slice(&mix);
        words[14..].copy_from_slice(&[self.scale.to_bits(), (1.0 / self.scale).to_bits()]);
        words
    }
}
