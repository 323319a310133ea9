//! The inverted residual block of EfficientNet and MobileNet (Sandler et al. 2018), with timm's
//! names.

use super::builder::{Builder, Geometry};
use super::squeeze_excite::{Names, squeeze_excite};
use crate::ops::{Function, Padding};

/// Settings of a block's squeeze-and-excitation.
pub(super) struct Squeeze {
    /// Channels between the two small layers.
    pub channels: usize,
    /// The function between them.
    pub activation: Function,
    /// The function that gives the factors.
    pub gate: Function,
}

/// An inverted residual block.
pub(super) struct InvertedResidual {
    /// Channels of the input, inside, and of the output.
    pub channels: [usize; 3],
    /// Side of the kernel that filters each channel.
    pub kernel: usize,
    /// Its stride.
    pub stride: usize,
    /// The padding for a kernel of this side.
    pub padding: fn(usize) -> Padding,
    /// The activation.
    pub activation: Function,
    /// Squeeze-and-excitation, if the block has it.
    pub squeeze: Option<Squeeze>,
    /// The probability that the branch is dropped in training.
    pub drop_rate: f32,
}

impl InvertedResidual {
    /// Adds the block: expand, filter each channel, weight the channels, project. If the block is
    /// as wide inside as its input, it has no expansion and is a depthwise-separable convolution.
    pub fn add_to(self, builder: &mut Builder, name: &str) {
        let Self {
            channels: [ins, width, outs],
            kernel,
            stride,
            padding,
            activation,
            squeeze,
            drop_rate,
        } = self;
        let pointwise =
            |channels| Geometry { channels, kernel: 1, stride: 1, padding: padding(1), groups: 1 };
        let start = builder.last();
        let mut input = start;
        let mut number = 1;
        let mut projection = "conv_pw";
        if width != ins {
            builder.convolution_norm(
                format!("{name}.conv_pw"),
                format!("{name}.bn1"),
                input,
                pointwise([ins, width]),
            );
            input = builder.activation(format!("{name}.act1"), activation);
            (number, projection) = (2, "conv_pwl");
        }
        let [filter_norm, last_norm] =
            [number, number + 1].map(|number| format!("{name}.bn{number}"));
        let filter = Geometry {
            channels: [width, width],
            kernel,
            stride,
            padding: padding(kernel),
            groups: width,
        };
        builder.convolution_norm(format!("{name}.conv_dw"), filter_norm, input, filter);
        let mut filtered = builder.activation(format!("{name}.act{number}"), activation);
        if let Some(Squeeze { channels, activation, gate }) = squeeze {
            let names = Names { reduce: "conv_reduce", expand: "conv_expand" };
            let (channels, functions) = ([width, channels], [activation, gate]);
            filtered = squeeze_excite(builder, &format!("{name}.se"), names, channels, functions);
        }
        builder.convolution_norm(
            format!("{name}.{projection}"),
            last_norm,
            filtered,
            pointwise([width, outs]),
        );
        if stride == 1 && ins == outs {
            builder.add(format!("{name}.add"), start, drop_rate);
        }
    }
}

/// The multiple of eight that is nearest to a number of channels, or the next one if rounding down
/// would lose more than a tenth (the rule of the MobileNet papers). The number is in tenths.
pub(super) fn multiple_of_eight(tenths: usize) -> usize {
    let nearest = ((tenths + 40) / 80 * 8).max(8);
    if nearest * 100 < tenths * 9 { nearest + 8 } else { nearest }
}
