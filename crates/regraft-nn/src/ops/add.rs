//! Addition of a branch to its residual.

use super::{Needs, Part, Rules};
use crate::shape::MapShape;

/// `branch + residual`, feature maps of the same shape. Reads the branch, then the residual.
#[derive(Clone, Debug, PartialEq)]
pub struct Add {
    /// The probability that training drops an image's branch, so that only the residual remains;
    /// the other branches are scaled up accordingly ("drop-connect" in the EfficientNet papers,
    /// stochastic depth elsewhere: Huang et al. 2016).
    pub drop_rate: f32,
    /// Number of the random stream that decides which branches are dropped.
    pub stream: u32,
}

impl Rules for Add {
    fn kind(&self) -> &'static str {
        "add"
    }

    fn part(&self) -> Part {
        Part::Follows
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        (inputs[0] == inputs[1]).then_some(inputs[0])
    }

    fn residual(&self) -> Option<usize> {
        Some(1)
    }

    fn backward_needs(&self) -> Needs {
        Needs { saved: self.drop_rate > 0.0, ..Needs::default() }
    }
}
