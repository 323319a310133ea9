//! Multiplication of a feature map by a vector for each image.

use super::{Needs, Part, Rules};
use crate::shape::MapShape;

/// `map * vector`, with the same factor for all pixels of a channel: the end of
/// squeeze-and-excitation (Hu et al. 2018). Reads the feature map, then the vector, `[N, 1, 1, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiply;

impl Rules for Multiply {
    fn kind(&self) -> &'static str {
        "multiply"
    }

    fn part(&self) -> Part {
        Part::Follows
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        let fits = inputs[1].pixels() == 1 && inputs[1].channels == inputs[0].channels;
        fits.then_some(inputs[0])
    }

    fn backward_needs(&self) -> Needs {
        Needs { inputs: true, ..Needs::default() }
    }
}
