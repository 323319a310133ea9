//! Batch normalisation.

use super::{Needs, Part, Rules};
use crate::shape::MapShape;
use crate::tensor::{Role, Tensor};

/// Batch normalisation of a feature map over its images and pixels (Ioffe and Szegedy 2015). Reads
/// one feature map.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Channels of the feature map.
    pub channels: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// How far the running statistics move towards a batch's (in PyTorch's sense).
    pub momentum: f32,
    /// The statistics that it uses in training.
    pub statistics: NormStatistics,
}

/// The statistics that a batch norm uses in training. In evaluation it always uses the running
/// statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormStatistics {
    /// The batch's own mean and variance; the running statistics follow them. If several engines
    /// train together, each uses those of its own share.
    Batch,
    /// Like [`Self::Batch`], but if several engines train together, all use the statistics of the
    /// whole batch, as PyTorch's `SyncBatchNorm` does.
    WholeBatch,
    /// The running statistics, which do not change; weight and bias learn.
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
