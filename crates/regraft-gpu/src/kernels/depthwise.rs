//! Depthwise convolution: a thread computes a pixel's vector of channels. Weights are `[kernel,
//! kernel, channels]`.

use super::columns::{self, Blocks, Into};
use super::finish::{self, Finish};
use super::input::{self, Input};
use super::window::{NAMES, Window};
use crate::record::{Recorder, Slice, Values, number};
use crate::shader::{Builder, Storage, width_of};
use std::fmt::Write;

/// Side of the largest filter whose sums over pixels a thread keeps as vectors: those of larger
/// ones would not fit its registers.
const MOST_VECTORS: usize = 5;

fn width(window: &Window) -> usize {
    width_of(window.input.channels)
}

fn vectors(window: &Window) -> usize {
    window.input.channels / width(window)
}

/// The filter's side as a constant, so that compilers unroll its loops.
fn constant(window: &Window) -> String {
    format!("const KERNEL = {};", window.kernel)
}

/// The convolution of `input`.
pub(crate) fn forward(
    recorder: &mut Recorder,
    window: &Window,
    input: &Input,
    weight: Slice,
    output: Values,
    finish: &Finish,
) {
    let (width, vectors) = (width(window), number(vectors(window)));
    let builder = Builder::new(format!("depthwise_forward_{}", window.kernel), width)
        .code(&constant(window))
        .params(&NAMES)
        .params(&["vectors"]);
    let builder = input::bind(builder, input, width).read("weight", width);
    let builder = finish::bind(builder, finish, output.storage, width);
    let body = "let c = i % P.vectors; let pixel = i / P.vectors;
        let column = i32(pixel % P.out_width * P.stride) - i32(P.left);
        let line = pixel / P.out_width;
        let row = i32(line % P.out_height * P.stride) - i32(P.top);
        let image = line / P.out_height;
        var sum = V(0.0);
        for (var y = 0; y < KERNEL; y++) {
            if (row + y < 0 || row + y >= i32(P.in_height)) { continue; }
            let line_at = (image * P.in_height + u32(row + y)) * P.in_width;
            for (var x = 0; x < KERNEL; x++) {
                if (column + x < 0 || column + x >= i32(P.in_width)) { continue; }
                let value = value_x((line_at + u32(column + x)) * P.vectors + c, c);
                sum = fma(value, load_weight(u32(y * KERNEL + x) * P.vectors + c), sum);
            }
        }
        finish(sum, c, i);";
    let (mut slices, mut params) = (vec![("weight", weight)], window.params().to_vec());
    params.push(("vectors", vectors));
    input::give(input, width, &mut slices, &mut params);
    finish::give(finish, output, vectors, &mut slices, &mut params);
    let count = window.output_pixels() * vectors as usize;
    recorder.each(builder.each(body), &slices, &params, count);
}

/// The gradient of the input, written or added to `target`.
pub(crate) fn backward_input(
    recorder: &mut Recorder,
    window: &Window,
    gradient: Values,
    weight: Slice,
    target: Values,
    accumulate: bool,
) {
    let (width, vectors) = (width(window), number(vectors(window)));
    let finish = if accumulate { Finish::Accumulate } else { Finish::Nothing };
    let builder = Builder::new(format!("depthwise_backward_input_{}", window.kernel), width)
        .code(&constant(window))
        .params(&NAMES)
        .params(&["vectors"])
        .map("g", gradient.storage, width)
        .read("weight", width);
    let builder = finish::bind(builder, &finish, target.storage, width);
    let body = "let c = i % P.vectors; let pixel = i / P.vectors; let stride = i32(P.stride);
        let column = i32(pixel % P.in_width + P.left);
        let line = pixel / P.in_width;
        let row = i32(line % P.in_height + P.top);
        let image = line / P.in_height;
        var sum = V(0.0);
        for (var y = 0; y < KERNEL; y++) {
            let from_row = (row - y) / stride;
            if (row < y || from_row >= i32(P.out_height) || from_row * stride != row - y) {
                continue;
            }
            let line_at = (image * P.out_height + u32(from_row)) * P.out_width;
            for (var x = 0; x < KERNEL; x++) {
                let from_column = (column - x) / stride;
                if (column < x || from_column >= i32(P.out_width)
                    || from_column * stride != column - x) { continue; }
                let value = load_g((line_at + u32(from_column)) * P.vectors + c);
                sum = fma(value, load_weight(u32(y * KERNEL + x) * P.vectors + c), sum);
            }
        }
        finish(sum, c, i);";
    let (mut slices, mut params) =
        (vec![("g", gradient.slice), ("weight", weight)], window.params().to_vec());
    params.push(("vectors", vectors));
    finish::give(&finish, target, vectors, &mut slices, &mut params);
    let count = window.input_pixels() * vectors as usize;
    recorder.each(builder.each(body), &slices, &params, count);
}

/// Elements of f32 that [`backward_weight`] takes meanwhile.
pub(crate) fn scratch(window: &Window) -> usize {
    Blocks::of(window.output_pixels()).count() * window.taps() * window.input.channels
}

/// The gradient of the weights.
pub(crate) fn backward_weight(
    recorder: &mut Recorder,
    window: &Window,
    input: &Input,
    gradient: Values,
    scratch: Slice,
    arguments: Slice,
    target: Slice,
) {
    let width = if window.kernel > MOST_VECTORS { 1 } else { width(window) };
    let (channels, vectors) = (window.input.channels, window.input.channels / width);
    let builder =
        Builder::new(format!("depthwise_backward_weight_{}", window.kernel), width).params(&NAMES);
    let builder = input::bind(builder, input, width).map("g", gradient.storage, width);
    let mut terms = "let g = load_g(i);
        let column = i32(p % P.out_width * P.stride) - i32(P.left);
        let line = p / P.out_width;
        let row = i32(line % P.out_height * P.stride) - i32(P.top);
        let image = line / P.out_height;\n"
        .to_owned();
    for tap in 0..window.taps() {
        let (y, x) = (tap / window.kernel, tap % window.kernel);
        writeln!(
            terms,
            "if (row + {y} >= 0 && row + {y} < i32(P.in_height) && column + {x} >= 0 \
             && column + {x} < i32(P.in_width)) {{ s{tap} = g * value_x((((image * P.in_height \
             + u32(row + {y})) * P.in_width) + u32(column + {x})) * P.vectors + c, c); }}"
        )
        .expect("a string takes all");
    }
    let taps = window.taps();
    let blocks = Blocks::of(window.output_pixels());
    let shader = columns::sums(builder, vectors, taps, Storage::F32, width, &terms, Into::Partial);
    let (mut slices, mut params) =
        (vec![("g", gradient.slice), ("y", scratch)], window.params().to_vec());
    input::give(input, width, &mut slices, &mut params);
    columns::record(recorder, shader, &slices, &params, blocks, vectors);
    columns::total(recorder, scratch, blocks.count(), [taps * channels, 0], arguments, target);
}
