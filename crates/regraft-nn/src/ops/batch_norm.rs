//! Batch normalisation.

use super::{Needs, Part, Rules};
use crate::shape::MapShape;
use crate::tensor::{Role, Tensor};

/// Batch normalisation of a map over its images and pixels (Ioffe and Szegedy 2015). Reads one map.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Channels of the map.
    pub channels: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// How far the running statistics move towards a batch's (PyTorch's sense).
    pub momentum: f32,
    /// What it normalises with in training.
    pub statistics: NormStatistics,
}

/// What a batch norm normalises with in training. In evaluation it is always the running
/// statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormStatistics {
    /// The batch's own mean and variance; the running statistics follow them.
    Batch,
    /// The running statistics, which stay as they are; weight and bias learn.
    Running,
}

impl Rules for BatchNorm {
    fn kind(&self) -> &'static str {
        "batch norm"
    }

    fn part(&self) -> Part {
        Part::Follows
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        Some(inputs[0])
    }

    fn tensors(&self, node: &str, _image_size: usize) -> Vec<Tensor> {
        let tensors = [
            ("weight", Role::NormWeight),
            ("bias", Role::NormBias),
            ("running_mean", Role::RunningMean),
            ("running_var", Role::RunningVariance),
        ];
        tensors
            .map(|(suffix, role)| {
                Tensor::new(format!("{node}.{suffix}"), role, vec![self.channels])
            })
            .into()
    }

    fn backward_needs(&self) -> Needs {
        Needs { inputs: true, saved: true, ..Needs::default() }
    }
}
