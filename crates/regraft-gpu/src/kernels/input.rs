//! A map as a kernel reads it: as it is, or normalised on the way.

use crate::record::{Slice, Values, number};
use crate::shader::{Builder, Storage};
use regraft_nn::ops::Function;

/// The number of vectors of one f32 per channel that a batch norm saves.
pub(crate) const STATISTICS: usize = 4;

/// The function from a convolution's values before batch norm to its output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Normalization {
    /// Mean, inverse deviation, scale and shift, each of every channel.
    pub statistics: Slice,
    pub clamp: Option<Function>,
}

/// A feature map that a kernel reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input {
    pub values: Values,
    pub normalization: Option<Normalization>,
    pub channels: usize,
}

/// The least and greatest value that passes a clamp.
pub(crate) fn bounds(clamp: Option<Function>) -> (f32, f32) {
    match clamp {
        Some(Function::Relu) => (0.0, f32::INFINITY),
        Some(Function::Relu6) => (0.0, 6.0),
        _ => (f32::NEG_INFINITY, f32::INFINITY),
    }
}

/// The parameters `low` and `high` of a clamp.
pub(crate) fn bound_params(clamp: Option<Function>) -> [(&'static str, u32); 2] {
    let (low, high) = bounds(clamp);
    [("low", low.to_bits()), ("high", high.to_bits())]
}

/// Adds the map `x` with `normal_x(v, channel)`, the value of a vector `v` of it, and
/// `value_x(index, channel)`, both in vectors of the width.
pub(crate) fn bind(builder: Builder, input: &Input, width: usize) -> Builder {
    let builder = builder.map("x", input.values.storage, width);
    let builder = if input.normalization.is_none() {
        builder.code("fn normal_x(v: V, channel: u32) -> V { return v; }")
    } else {
        builder
            .map("x_statistics", Storage::F32, width)
            .params(&["x_vectors", "x_low", "x_high"])
            .code(
                "fn normal_x(v: V, channel: u32) -> V {\n\
                 let scale = load_x_statistics(2u * P.x_vectors + channel);\n\
                 let shift = load_x_statistics(3u * P.x_vectors + channel);\n\
                 return bounded(fma(v, scale, shift), bitcast<f32>(P.x_low), \
                 bitcast<f32>(P.x_high));\n}",
            )
    };
    builder.code("fn value_x(i: u32, channel: u32) -> V { return normal_x(load_x(i), channel); }")
}

/// As [`bind`] for a map of halves in vectors of eight.
pub(crate) fn bind_halves(builder: Builder, input: &Input) -> Builder {
    let builder = builder.map("x", input.values.storage, 8);
    let Some(normalization) = &input.normalization else {
        return builder.code("fn normal_x(v: Eight, channel: u32) -> Eight { return v; }");
    };
    // As `bounded`: NaN is neither below nor above.
    let clamp = match normalization.clamp {
        Some(Function::Relu) => "select(v, vec4<f32>(), v < vec4<f32>())",
        Some(Function::Relu6) => {
            "select(select(v, vec4<f32>(), v < vec4<f32>()), vec4<f32>(6.0), v > vec4<f32>(6.0))"
        }
        _ => "v",
    };
    builder.map("x_statistics", Storage::F32, 4).params(&["x_vectors"]).code(&format!(
        "fn four_of(x: vec4<f16>, scale: vec4<f32>, shift: vec4<f32>) -> vec4<f16> {{\n\
         let v = fma(vec4<f32>(x), scale, shift);\nreturn vec4<f16>({clamp});\n}}\n\
         fn normal_x(v: Eight, channel: u32) -> Eight {{\n\
         let at = 2u * (P.x_vectors + channel); let next = at + P.x_vectors;\n\
         return Eight(four_of(v.lo, load_x_statistics(at), load_x_statistics(next)),\n\
         four_of(v.hi, load_x_statistics(at + 1u), load_x_statistics(next + 1u)));\n}}"
    ))
}

/// The buffers and parameters of [`bind`] and, with a width of 8, of [`bind_halves`].
pub(crate) fn give(
    input: &Input,
    width: usize,
    slices: &mut Vec<(&str, Slice)>,
    params: &mut Vec<(&str, u32)>,
) {
    slices.push(("x", input.values.slice));
    if let Some(Normalization { statistics, clamp }) = input.normalization {
        let (low, high) = bounds(clamp);
        slices.push(("x_statistics", statistics));
        params.push(("x_vectors", number(input.channels / width.min(4))));
        if width == 8 {
            return;
        }
        params.push(("x_low", low.to_bits()));
        params.push(("x_high", high.to_bits()));
    }
}
