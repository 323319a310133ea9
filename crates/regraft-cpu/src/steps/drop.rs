//! Random factors in training: which images keep a branch, and which values pass dropout.

use regraft_base::random::{Draws, Purpose};
use regraft_nn::engine::TrainBatch;

/// Blocks of random numbers between the streams of two dropouts: 2^22 values for an image.
const DROPOUT_BLOCKS: u32 = 1 << 20;

fn factor(draws: &mut Draws, rate: f32) -> f32 {
    if draws.uniform() < rate { 0.0 } else { 1.0 / (1.0 - rate) }
}

/// The factor of each image's branch: zero, or above one so that the mean stays the same. Empty if
/// the rate is zero.
pub(super) fn branch_factors(
    rate: f32,
    stream: u32,
    batch: usize,
    training: &TrainBatch<'_>,
    factors: &mut Vec<f32>,
) {
    factors.clear();
    if rate > 0.0 {
        factors.extend((0..batch as u32).map(|place| {
            let draws = Draws::new(
                training.seed,
                Purpose::DropConnect,
                training.epoch,
                training.position + place,
            );
            factor(&mut draws.at_block(stream), rate)
        }));
    }
}

/// The factor of each of the `length` values of each image. Empty if the rate is zero.
pub(super) fn value_factors(
    rate: f32,
    stream: u32,
    batch: usize,
    length: usize,
    training: &TrainBatch<'_>,
    factors: &mut Vec<f32>,
) {
    factors.clear();
    if rate > 0.0 {
        for place in 0..batch as u32 {
            let draws = Draws::new(
                training.seed,
                Purpose::Dropout,
                training.epoch,
                training.position + place,
            );
            let mut draws = draws.at_block(stream.wrapping_mul(DROPOUT_BLOCKS));
            factors.extend((0..length).map(|_| factor(&mut draws, rate)));
        }
    }
}
