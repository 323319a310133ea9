//! Initial weights of convolutions and linear layers.

use regraft_base::random::{Draws, Purpose};

/// How weights are initialised if a network is trained from scratch. Biases start at zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InitialWeights {
    /// Normal with variance `2 / (outputs x taps)` (He et al. 2015, fan-out), as in torchvision's
    /// ResNet and EfficientNet.
    FanOut,
    /// Normal with this standard deviation: 0.02 in timm's ConvNeXt and vision transformers.
    /// (timm's `trunc_normal_` truncates at an absolute value of 2, which never happens at 0.02.)
    Normal(f32),
}

impl InitialWeights {
    /// Draws weights with PyTorch's shape `[outputs, ...]` from the stream with this number.
    #[must_use]
    pub fn draw(self, shape: &[usize], seed: u64, stream: u32) -> Vec<f32> {
        let deviation = match self {
            Self::FanOut => {
                let fan_out = shape[0] * shape.iter().skip(2).product::<usize>();
                (2.0 / fan_out as f32).sqrt()
            }
            Self::Normal(deviation) => deviation,
        };
        let mut draws = Draws::new(seed, Purpose::Initialize, 0, stream);
        (0..shape.iter().product::<usize>()).map(|_| deviation * draws.normal()).collect()
    }
}
