//! Average pooling.

use super::{Needs, Padding, Rules, Window};
use crate::shape::MapShape;

/// The mean over a square window. The border around the feature map does not count, as in PyTorch
/// with `count_include_pad=False`. Reads one feature map.
#[derive(Clone, Debug, PartialEq)]
pub struct AveragePool {
    /// Side of the window.
    pub kernel: usize,
    /// Pixels between neighbouring windows.
    pub stride: usize,
    /// Border around the feature map.
    pub padding: Padding,
}

impl Rules for AveragePool {
    fn kind(&self) -> &'static str {
        "average pool"
    }

    fn output_shape(&self, inputs: &[MapShape]) -> Option<MapShape> {
        let (height, _) = self.padding.resolve(inputs[0].height, self.kernel, self.stride)?;
        let (width, _) = self.padding.resolve(inputs[0].width, self.kernel, self.stride)?;
        Some(MapShape { height, width, channels: inputs[0].channels })
    }

    fn backward_needs(&self) -> Needs {
        Needs::default()
    }

    fn window(&self) -> Option<Window> {
        Some(Window { kernel: self.kernel, stride: self.stride, groups: None })
    }
}
