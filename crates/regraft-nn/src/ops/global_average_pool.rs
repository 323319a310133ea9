//! Global average pooling.

use super::{Needs, Rules};
use crate::shape::MapShape;

/// The mean over all pixels: `[N, H, W, C]` to `[N, 1, 1, C]`. Reads one feature map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalAveragePool;

impl Rules for GlobalAveragePool {
    fn kind(&self) -> &'static str {
        "global average pool"
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        Some(MapShape { height: 1, width: 1, channels: inputs[0].channels })
    }

    fn backward_needs(&self) -> Needs {
        Needs::default()
    }
}
