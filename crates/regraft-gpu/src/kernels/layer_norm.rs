//! Layer normalisation: rows of threads share a pixel's channels.

use super::channels::Size;
use super::columns::{self, Blocks, Into, Planes};
use crate::record::{Recorder, Slice, Values, flat, number};
use crate::shader::{Builder, Storage, THREADS};

/// Threads that share a pixel.
const LANES: usize = 32;
/// Pixels of a workgroup.
const ROWS: usize = THREADS / LANES;

/// A layer norm's tensors, and each pixel's mean and inverse deviation, which it saves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    pub size: Size,
    pub epsilon: f32,
    pub weight: Slice,
    pub bias: Slice,
    pub saved: Slice,
}

/// The sum of a value over a pixel's threads, in a fixed order.
fn lane_sum() -> String {
    format!(
        "var<workgroup> shared_sums: array<f32, {THREADS}>;
        fn lane_sum(tid: u32, value: f32) -> f32 {{
            workgroupBarrier();
            shared_sums[tid] = value;
            workgroupBarrier();
            for (var half = {}u; half > 0u; half /= 2u) {{
                if (tid % {LANES}u < half) {{ shared_sums[tid] += shared_sums[tid + half]; }}
                workgroupBarrier();
            }}
            return shared_sums[tid - tid % {LANES}u];
        }}",
        LANES / 2
    )
}

/// The pixel of a thread, and whether there is one.
fn place() -> String {
    format!(
        "let lane = tid % {LANES}u; let p = (wg.y * nw.x + wg.x) * {ROWS}u + tid / {LANES}u;\n\
         let is_in = p < P.pixels; let first = select(P.vectors, lane, is_in);\n\
         let share = 1.0 / f32(P.vectors * WIDTH);\n"
    )
}

fn params(norm: &Norm) -> Vec<(&'static str, u32)> {
    let Size { images, pixels, .. } = norm.size;
    vec![("pixels", number(images * pixels)), ("vectors", number(norm.size.vectors()))]
}

fn groups(norm: &Norm) -> [usize; 3] {
    flat((norm.size.images * norm.size.pixels).div_ceil(ROWS))
}

/// `output = weight * (input - mean) / deviation + bias`.
pub(crate) fn forward(recorder: &mut Recorder, norm: &Norm, input: Values, output: Values) {
    let width = norm.size.width();
    let body = format!(
        "{}var sum = V(0.0);
        for (var c = first; c < P.vectors; c += {LANES}u) {{ sum += load_x(p * P.vectors + c); }}
        let mean = lane_sum(tid, sum_of(sum)) * share;
        var squares = V(0.0);
        for (var c = first; c < P.vectors; c += {LANES}u) {{
            let d = load_x(p * P.vectors + c) - mean;
            squares = fma(d, d, squares);
        }}
        let variance = lane_sum(tid, sum_of(squares)) * share;
        let inverse = 1.0 / sqrt(variance + bitcast<f32>(P.epsilon));
        if (is_in && lane == 0u) {{ store_saved(2u * p, mean); store_saved(2u * p + 1u, inverse); }}
        for (var c = first; c < P.vectors; c += {LANES}u) {{
            let x = (load_x(p * P.vectors + c) - mean) * inverse;
            store_y(p * P.vectors + c, fma(x, load_weight(c), load_bias(c)));
        }}",
        place()
    );
    let shader = Builder::new("layer_norm_forward", width)
        .map("x", input.storage, width)
        .read("weight", width)
        .read("bias", width)
        .map("saved", Storage::F32, 1)
        .map("y", output.storage, width)
        .params(&["pixels", "vectors", "epsilon"])
        .code(&lane_sum())
        .main(THREADS, &body);
    let mut params = params(norm);
    params.push(("epsilon", norm.epsilon.to_bits()));
    recorder.dispatch(
        shader,
        &[
            ("x", input.slice),
            ("weight", norm.weight),
            ("bias", norm.bias),
            ("saved", norm.saved),
            ("y", output.slice),
        ],
        &params,
        groups(norm),
    );
}

/// The gradient of the input, written or added to `target`.
pub(crate) fn backward_input(
    recorder: &mut Recorder,
    norm: &Norm,
    input: Values,
    gradient: Values,
    (target, accumulate): (Values, bool),
) {
    let width = norm.size.width();
    let earlier = if accumulate { "load_y(i) + " } else { "" };
    let body = format!(
        "{}let q = select(0u, p, is_in);
        let mean = load_saved(2u * q); let inverse = load_saved(2u * q + 1u);
        var sum = V(0.0); var products = V(0.0);
        for (var c = first; c < P.vectors; c += {LANES}u) {{
            let g = load_g(p * P.vectors + c) * load_weight(c);
            sum += g;
            products = fma(g, (load_x(p * P.vectors + c) - mean) * inverse, products);
        }}
        let average = lane_sum(tid, sum_of(sum)) * share;
        let product = lane_sum(tid, sum_of(products)) * share;
        for (var c = first; c < P.vectors; c += {LANES}u) {{
            let i = p * P.vectors + c;
            let x = (load_x(i) - mean) * inverse;
            store_y(i, {earlier}inverse * (load_g(i) * load_weight(c) - average - x * product));
        }}",
        place()
    );
    let shader = Builder::new("layer_norm_backward", width)
        .map("x", input.storage, width)
        .map("g", gradient.storage, width)
        .read("weight", width)
        .map("saved", Storage::F32, 1)
        .map("y", target.storage, width)
        .params(&["pixels", "vectors"])
        .code(&lane_sum())
        .main(THREADS, &body);
    recorder.dispatch(
        shader,
        &[
            ("x", input.slice),
            ("g", gradient.slice),
            ("weight", norm.weight),
            ("saved", norm.saved),
            ("y", target.slice),
        ],
        &params(norm),
        groups(norm),
    );
}

/// Elements of f32 that [`backward_tensors`] takes meanwhile.
pub(crate) fn scratch(size: Size) -> usize {
    2 * Blocks::of(size.images * size.pixels).count() * size.channels
}

/// The gradients of weight and bias.
pub(crate) fn backward_tensors(
    recorder: &mut Recorder,
    norm: &Norm,
    input: Values,
    gradient: Values,
    scratch: Slice,
    arguments: Slice,
    [weight, bias]: [Slice; 2],
) {
    let (width, vectors) = (norm.size.width(), norm.size.vectors());
    let blocks = Blocks::of(norm.size.images * norm.size.pixels);
    let builder = Builder::new("layer_norm_sums", width)
        .map("x", input.storage, width)
        .map("g", gradient.storage, width)
        .map("saved", Storage::F32, 1);
    let terms = "let g = load_g(i);
        s0 = g * ((load_x(i) - load_saved(2u * p)) * load_saved(2u * p + 1u)); s1 = g;";
    let shader =
        columns::sums(builder, vectors, Planes::one(2), Storage::F32, width, terms, Into::Partial);
    let slices = [("x", input.slice), ("g", gradient.slice), ("saved", norm.saved), ("y", scratch)];
    columns::record(recorder, shader, Planes::one(2), &slices, &[], blocks, vectors);
    let (count, channels) = (blocks.count(), norm.size.channels);
    columns::total(recorder, scratch, count, [2 * channels, 0], arguments, weight);
    columns::total(recorder, scratch, count, [2 * channels, channels], arguments, bias);
}
