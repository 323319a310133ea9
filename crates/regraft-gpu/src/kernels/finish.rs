//! The operations that a convolution applies to its output before it writes it.

use super::input::{Normalization, bound_params};
use crate::record::{Slice, Values};
use crate::shader::{Builder, Storage};

/// The end of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Finish {
    /// The sums as they are.
    Nothing,
    /// A value for each channel is added.
    Bias(Slice),
    /// Batch norm, the residual, and the clamp: in evaluation.
    Norm(Normalization, Option<Values>),
    /// The sums are added to the output buffer.
    Accumulate,
}

/// Adds `finish(value, channel, index)`, which stores to `y`; all in vectors of the width.
pub(crate) fn bind(builder: Builder, finish: &Finish, output: Storage, width: usize) -> Builder {
    let builder = builder.map("y", output, width);
    let store =
        |value: &str| format!("fn finish(v: O, channel: u32, i: u32) {{ store_y(i, {value}); }}");
    match finish {
        Finish::Nothing => builder.code(&store("v")),
        Finish::Accumulate => builder.code(&store("load_y(i) + v")),
        Finish::Bias(_) => builder.read("bias", width).code(&store("v + load_bias(channel)")),
        Finish::Norm(_, residual) => {
            let builder = builder.map("statistics", Storage::F32, width);
            let (builder, rest) = match residual {
                Some(residual) => {
                    (builder.map("residual", residual.storage, width), "load_residual(i)")
                }
                None => (builder, "O(0.0)"),
            };
            builder.params(&["out_vectors", "low", "high"]).code(&store(&format!(
                "bounded_out(fma(v, load_statistics(2u * P.out_vectors + channel), \
                 load_statistics(3u * P.out_vectors + channel)) + {rest}, bitcast<f32>(P.low), \
                 bitcast<f32>(P.high))"
            )))
        }
    }
}

/// The buffers and parameters of [`bind`], given the vectors of a pixel of the output.
pub(crate) fn give(
    finish: &Finish,
    output: Values,
    vectors: u32,
    slices: &mut Vec<(&str, Slice)>,
    params: &mut Vec<(&str, u32)>,
) {
    slices.push(("y", output.slice));
    match finish {
        Finish::Nothing | Finish::Accumulate => {}
        Finish::Bias(bias) => slices.push(("bias", *bias)),
        Finish::Norm(Normalization { statistics, clamp }, residual) => {
            slices.push(("statistics", *statistics));
            slices.extend(residual.map(|residual| ("residual", residual.slice)));
            params.push(("out_vectors", vectors));
            params.extend(bound_params(*clamp));
        }
    }
}
