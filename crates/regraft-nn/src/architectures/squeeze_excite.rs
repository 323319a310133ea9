//! Squeeze-and-excitation (Hu et al. 2018).

use super::builder::{Builder, Geometry};
use crate::graph::Source;
use crate::ops::{Function, Padding};

/// Multiplies each channel of the last node's output by a factor, which two small layers compute
/// from the channels' means. timm's names: `NAME.conv_reduce` and `NAME.conv_expand`.
pub(super) fn squeeze_excite(
    builder: &mut Builder,
    name: &str,
    channels: usize,
    reduced: usize,
    activation: Function,
    gate: Function,
) -> Source {
    let map = builder.last();
    let pointwise = |channels| Geometry {
        channels,
        kernel: 1,
        stride: 1,
        padding: Padding::Each(0),
        groups: 1,
    };
    let pooled = builder.global_average_pool(format!("{name}.pool"));
    builder.biased_convolution(
        format!("{name}.conv_reduce"),
        pooled,
        pointwise([channels, reduced]),
    );
    let squeezed = builder.activation(format!("{name}.act1"), activation);
    builder.biased_convolution(
        format!("{name}.conv_expand"),
        squeezed,
        pointwise([reduced, channels]),
    );
    builder.activation(format!("{name}.gate"), gate);
    builder.multiply(format!("{name}.multiply"), map)
}
