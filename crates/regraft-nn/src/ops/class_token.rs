//! The class token as the image's features.

use super::{Needs, Rules};
use crate::shape::MapShape;

/// The first token, a vector for each image. Reads one feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassToken;

impl Rules for ClassToken {
    fn kind(&self) -> &'static str {
        "class token"
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        Some(MapShape { height: 1, width: 1, ..inputs[0] })
    }

    fn backward_needs(&self) -> Needs {
        Needs::default()
    }
}
