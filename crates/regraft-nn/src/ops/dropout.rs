//! Dropout.

use super::{Needs, Part, Rules};
use crate::shape::MapShape;

/// In training, sets values to zero and scales the others up, so that their mean stays the same
/// (Srivastava et al. 2014). Reads one feature map.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    /// The probability that a value is set to zero.
    pub rate: f32,
    /// Number of the random stream that decides which values are set to zero; 0 in the head.
    pub stream: u32,
}

impl Rules for Dropout {
    fn kind(&self) -> &'static str {
        "dropout"
    }

    fn part(&self) -> Part {
        Part::Precedes
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        Some(inputs[0])
    }

    fn backward_needs(&self) -> Needs {
        Needs { saved: self.rate > 0.0, ..Needs::default() }
    }
}
