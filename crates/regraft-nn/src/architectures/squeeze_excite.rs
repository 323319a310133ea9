//! Squeeze-and-excitation (Hu et al. 2018).

use super::builder::{Builder, Geometry};
use crate::graph::Source;
use crate::ops::{Function, Padding};

/// The names of the two small layers.
#[derive(Clone, Copy)]
pub(super) struct Names {
    /// The first, which has fewer channels.
    pub reduce: &'static str,
    /// The second.
    pub expand: &'static str,
}

/// Multiplies each channel of the last node's output by a factor, which two small layers compute
/// from the channels' means: `channels` are the map's and those between the layers, `functions`
/// those after each layer. timm's names: `NAME.REDUCE` and `NAME.EXPAND`.
pub(super) fn squeeze_excite(
    builder: &mut Builder,
    name: &str,
    names: Names,
    [channels, reduced]: [usize; 2],
    [activation, gate]: [Function; 2],
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
    let reduce = format!("{name}.{}", names.reduce);
    builder.biased_convolution(reduce, pooled, pointwise([channels, reduced]));
    let squeezed = builder.activation(format!("{name}.act1"), activation);
    let expand = format!("{name}.{}", names.expand);
    builder.biased_convolution(expand, squeezed, pointwise([reduced, channels]));
    builder.activation(format!("{name}.gate"), gate);
    builder.multiply(format!("{name}.multiply"), map)
}
