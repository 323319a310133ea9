//! Activation functions.

use super::{Needs, Part, Rules};
use crate::shape::MapShape;
pub use regraft_base::function::Function;

/// A function of each value. Reads one feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activation {
    /// The function.
    pub function: Function,
}

impl Rules for Activation {
    fn kind(&self) -> &'static str {
        self.function.name()
    }

    fn part(&self) -> Part {
        Part::Follows
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        Some(inputs[0])
    }

    /// A clamp's derivative also follows from its output, so an engine may keep that instead.
    fn backward_needs(&self) -> Needs {
        Needs { inputs: true, ..Needs::default() }
    }
}
