//! Max pooling.

use super::{Needs, Padding, Rules, Window};
use crate::shape::MapShape;

/// The maximum over a square window. Reads one feature map.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPool {
    /// Side of the window.
    pub kernel: usize,
    /// Pixels between neighbouring windows.
    pub stride: usize,
    /// Border around the feature map, whose values do not count.
    pub padding: Padding,
}

impl Rules for MaxPool {
    fn kind(&self) -> &'static str {
        "max pool"
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        let (height, _) = self.padding.resolve(inputs[0].height, self.kernel, self.stride)?;
        let (width, _) = self.padding.resolve(inputs[0].width, self.kernel, self.stride)?;
        Some(MapShape { height, width, channels: inputs[0].channels })
    }

    fn backward_needs(&self) -> Needs {
        Needs { saved: true, ..Needs::default() }
    }

    fn window(&self) -> Option<Window> {
        Some(Window { kernel: self.kernel, stride: self.stride, groups: None })
    }
}
