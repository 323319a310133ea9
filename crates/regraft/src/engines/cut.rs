//! A rank's share of a batch.

use regraft_nn::engine::{EngineError, Input, Target, TrainBatch};
use std::ops::Range;

/// Refuses a batch of `count` images whose weights or targets are of another length.
pub(super) fn check_lists(
    batch: &TrainBatch<'_>,
    count: usize,
    outputs: usize,
) -> Result<(), EngineError> {
    if let Some(weights) = batch.weights {
        EngineError::check_length("the list of weights", weights.len(), count)?;
    }
    if let Target::Values(values) = batch.target {
        EngineError::check_length("the list of targets", values.len(), count * outputs)?;
    }
    Ok(())
}

/// The images `share` of a checked batch. Its input holds them in `part`; random draws are keyed by
/// the place in the whole batch.
pub(super) fn cut<'a>(
    batch: &TrainBatch<'a>,
    share: &Range<usize>,
    part: [usize; 2],
    outputs: usize,
) -> TrainBatch<'a> {
    TrainBatch {
        input: Input { part: Some(part), ..batch.input },
        target: match batch.target {
            Target::Labels(labels) => Target::Labels(&labels[share.clone()]),
            Target::Values(values) => {
                Target::Values(&values[share.start * outputs..share.end * outputs])
            }
        },
        weights: batch.weights.map(|weights| &weights[share.clone()]),
        position: batch.position + share.start as u32,
        ..*batch
    }
}
