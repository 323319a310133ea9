//! Batch normalisation: statistics, normalisation, and the backward pass.

use super::columns::Blocks;
use super::input::{Normalization, STATISTICS, bound_params};
use crate::record::{Recorder, Slice, Values, number};
use crate::shader::{Access, Builder, Storage, THREADS, width_of};

/// A batch norm's tensors and saved statistics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    pub channels: usize,
    pub epsilon: f32,
    pub weight: Slice,
    pub bias: Slice,
    pub running_mean: Slice,
    pub running_variance: Slice,
    /// Mean, inverse deviation, scale and shift.
    pub statistics: Slice,
}

impl Norm {
    /// Elements of f32 that it saves.
    pub fn saved(channels: usize) -> usize {
        STATISTICS * channels
    }

    /// Elements of f32 that the blocks' sums and factors take temporarily.
    pub fn scratch(channels: usize, pixels: usize) -> usize {
        partial_length(channels, pixels) + 2 * channels
    }
}

pub(super) fn partial_length(channels: usize, pixels: usize) -> usize {
    // The factors after it begin at a whole unit.
    (2 * channels * Blocks::of(pixels).count()).next_multiple_of(64)
}

/// The end of the shaders that make statistics.
const SCALE: &str = "
fn store(c: u32, mean: f32, variance: f32) {
    let inverse = 1.0 / sqrt(variance + bitcast<f32>(P.epsilon));
    let scale = load_weight(c) * inverse;
    store_statistics(c, mean);
    store_statistics(P.channels + c, inverse);
    store_statistics(2u * P.channels + c, scale);
    store_statistics(3u * P.channels + c, load_bias(c) - mean * scale);
}";

/// Statistics from the running ones: in evaluation, and in training if the norm does not follow its
/// batches.
pub(crate) fn fold(recorder: &mut Recorder, norm: &Norm) {
    let shader = Builder::new("batch_norm_fold", 1)
        .read("weight", 1)
        .read("bias", 1)
        .read("mean", 1)
        .read("variance", 1)
        .map("statistics", Storage::F32, 1)
        .params(&["channels", "epsilon"])
        .code(SCALE)
        .each("store(i, load_mean(i), load_variance(i));");
    recorder.each(
        shader,
        &[
            ("weight", norm.weight),
            ("bias", norm.bias),
            ("mean", norm.running_mean),
            ("variance", norm.running_variance),
            ("statistics", norm.statistics),
        ],
        &[("channels", number(norm.channels)), ("epsilon", norm.epsilon.to_bits())],
        norm.channels,
    );
}

/// Puts the mean and squared deviations of two sets of values together (Chan, Golub and LeVeque
/// 1979), so that neither a large mean nor the number of values matters.
const MERGE: &str = "
struct Moments { count: f32, mean: V, squares: V }
fn merge(a: Moments, b: Moments) -> Moments {
    if (b.count == 0.0) { return a; }
    if (a.count == 0.0) { return b; }
    let count = a.count + b.count;
    let share = b.count / count;
    let d = b.mean - a.mean;
    return Moments(count, a.mean + d * share, a.squares + b.squares + d * d * (a.count * share));
}";

/// Statistics of the batch; the running ones move towards them by `momentum`.
pub(crate) fn statistics(
    recorder: &mut Recorder,
    map: Values,
    pixels: usize,
    norm: &Norm,
    momentum: f32,
    scratch: Slice,
) {
    let (channels, width) = (norm.channels, width_of(norm.channels));
    let (vectors, blocks) = (channels / width, Blocks::of(pixels));
    let columns = vectors.next_power_of_two().min(16);
    let rows = THREADS / columns;
    // A thread's values are taken relative to its first, so that their squares stay small.
    let body = format!(
        "let column = tid % {columns}u; let row = tid / {columns}u; let block = wg.y;\n\
         let c = wg.x * {columns}u + column;\nlet start = block * P.length + row;\n\
         let end = min((block + 1u) * P.length, P.pixels);\n\
         var own = Moments(0.0, V(0.0), V(0.0));\n\
         if (c < P.vectors && start < end) {{\n\
         let first = load_x(start * P.vectors + c);\nvar sum = V(0.0); var squares = V(0.0);\n\
         for (var p = start; p < end; p += {rows}u) {{\n\
         let d = load_x(p * P.vectors + c) - first;\nsum += d; squares = fma(d, d, squares);\n}}\n\
         let count = f32((end - start + {rows}u - 1u) / {rows}u);\n\
         own = Moments(count, first + sum / count, squares - sum * (sum / count));\n}}\n\
         shared_moments[tid] = own;\nworkgroupBarrier();\n\
         for (var half = {half}u; half > 0u; half /= 2u) {{\n\
         if (row < half) {{ shared_moments[tid] = \
         merge(shared_moments[tid], shared_moments[tid + half * {columns}u]); }}\n\
         workgroupBarrier();\n}}\n\
         if (row == 0u && c < P.vectors) {{\n\
         store_y(block * 2u * P.vectors + c, shared_moments[tid].mean);\n\
         store_y((block * 2u + 1u) * P.vectors + c, shared_moments[tid].squares);\n}}",
        half = rows / 2
    );
    let shader = Builder::new(format!("batch_norm_blocks_{columns}"), width)
        .map("x", map.storage, width)
        .map("y", Storage::F32, width)
        .params(&["length", "pixels", "vectors"])
        .code(MERGE)
        .code(&format!("var<workgroup> shared_moments: array<Moments, {THREADS}>;"))
        .main(THREADS, &body);
    recorder.dispatch(
        shader,
        &[("x", map.slice), ("y", scratch)],
        &[
            ("length", number(blocks.length)),
            ("pixels", number(pixels)),
            ("vectors", number(vectors)),
        ],
        [vectors.div_ceil(columns), blocks.count(), 1],
    );
    // Few channels share a workgroup, because a thread's merges follow one another.
    let body = "let column = tid % 8u; let row = tid / 8u; let c = wg.x * 8u + column;
        var all = Moments(0.0, 0.0, 0.0);
        if (c < P.channels) {
            for (var b = row; b < P.blocks; b += 32u) {
                let count = f32(min(P.length, P.pixels - b * P.length));
                let mean = load_partial(b * 2u * P.channels + c);
                let squares = load_partial((b * 2u + 1u) * P.channels + c);
                all = merge(all, Moments(count, mean, squares));
            }
        }
        shared_moments[tid] = all;
        workgroupBarrier();
        for (var half = 16u; half > 0u; half /= 2u) {
            if (row < half) {
                shared_moments[tid] = merge(shared_moments[tid], shared_moments[tid + half * 8u]);
            }
            workgroupBarrier();
        }
        if (row == 0u && c < P.channels) {
            all = shared_moments[tid];
            let count = f32(P.pixels);
            let variance = max(all.squares / count, 0.0);
            store(c, all.mean, select(variance, all.squares, all.squares != all.squares));
            let momentum = bitcast<f32>(P.momentum);
            let mean = load_mean(c);
            store_mean(c, mean + momentum * (all.mean - mean));
            let unbiased = all.squares / max(count - 1.0, 1.0);
            let running = load_variance(c);
            store_variance(c, running + momentum * (unbiased - running));
        }";
    let shader = Builder::new("batch_norm_statistics", 1)
        .map("partial", Storage::F32, 1)
        .read("weight", 1)
        .read("bias", 1)
        .bind("mean", Storage::F32, 1, Access::Write)
        .bind("variance", Storage::F32, 1, Access::Write)
        .map("statistics", Storage::F32, 1)
        .params(&["channels", "epsilon", "momentum", "blocks", "length", "pixels"])
        .code(SCALE)
        .code(MERGE)
        .code(&format!("var<workgroup> shared_moments: array<Moments, {THREADS}>;"))
        .main(THREADS, body);
    recorder.dispatch(
        shader,
        &[
            ("partial", scratch),
            ("weight", norm.weight),
            ("bias", norm.bias),
            ("mean", norm.running_mean),
            ("variance", norm.running_variance),
            ("statistics", norm.statistics),
        ],
        &[
            ("channels", number(channels)),
            ("epsilon", norm.epsilon.to_bits()),
            ("momentum", momentum.to_bits()),
            ("blocks", number(blocks.count())),
            ("length", number(blocks.length)),
            ("pixels", number(pixels)),
        ],
        [channels.div_ceil(8), 1, 1],
    );
}

/// A map of a batch norm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    pub images: usize,
    /// Of one image.
    pub pixels: usize,
    pub channels: usize,
}

impl Map {
    pub(super) fn width(self) -> usize {
        width_of(self.channels)
    }

    pub(super) fn vectors(self) -> usize {
        self.channels / self.width()
    }
}

/// `output = clamp(keep * (scale * input + shift) + residual)`.
pub(crate) fn normalize(
    recorder: &mut Recorder,
    map: Map,
    input: Values,
    normalization: Normalization,
    residual: Option<Values>,
    keep: Option<Slice>,
    output: Values,
) {
    let width = map.width();
    let mut builder = Builder::new("normalize", width)
        .map("x", input.storage, width)
        .map("statistics", Storage::F32, width)
        .map("y", output.storage, width)
        .params(&["vectors", "low", "high"]);
    let mut slices =
        vec![("x", input.slice), ("statistics", normalization.statistics), ("y", output.slice)];
    let mut params = vec![("vectors", number(map.vectors()))];
    params.extend(bound_params(normalization.clamp));
    let mut body = "let c = i % P.vectors;
        var v = fma(load_x(i), load_statistics(2u * P.vectors + c), \
        load_statistics(3u * P.vectors + c));"
        .to_owned();
    if let Some(keep) = keep {
        builder = builder.read("keep", 1).params(&["image"]);
        slices.push(("keep", keep));
        params.push(("image", number(map.pixels * map.vectors())));
        body.push_str("v *= load_keep(i / P.image);");
    }
    if let Some(residual) = residual {
        builder = builder.map("residual", residual.storage, width);
        slices.push(("residual", residual.slice));
        body.push_str("v += load_residual(i);");
    }
    let end = if normalization.clamp.is_some() {
        "store_y(i, bounded(v, bitcast<f32>(P.low), bitcast<f32>(P.high)));"
    } else {
        "store_y(i, v);"
    };
    body.push_str(end);
    let count = map.images * map.pixels * map.vectors();
    recorder.each(builder.each(&body), &slices, &params, count);
}
