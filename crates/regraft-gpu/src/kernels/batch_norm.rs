//! Batch normalisation: statistics, normalisation, and the way back.

use super::columns::{self, Blocks, Into};
use super::input::{Normalization, STATISTICS, bound_params};
use crate::arguments;
use crate::record::{Recorder, Slice, Values, number};
use crate::shader::{Access, Builder, Storage, THREADS, width_of};
use regraft_nn::ops::Function;

/// A batch norm's tensors and what it saves.
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

    /// Elements of f32 that statistics, and sums of the way back with its factors, take meanwhile.
    pub fn scratch(channels: usize, pixels: usize) -> usize {
        partial_length(channels, pixels) + 2 * channels
    }
}

fn partial_length(channels: usize, pixels: usize) -> usize {
    // The factors after it begin at a whole unit.
    (2 * channels * Blocks::of(pixels).count()).next_multiple_of(64)
}

/// What the shaders have in common that make statistics.
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
    let body = "let column = tid % 32u; let row = tid / 32u; let c = wg.x * 32u + column;
        var all = Moments(0.0, 0.0, 0.0);
        if (c < P.channels) {
            for (var b = row; b < P.blocks; b += 8u) {
                let count = f32(min(P.length, P.pixels - b * P.length));
                let mean = load_partial(b * 2u * P.channels + c);
                all = merge(all, Moments(count, mean, load_partial((b * 2u + 1u) * P.channels + c)));
            }
        }
        shared_moments[tid] = all;
        workgroupBarrier();
        if (row == 0u && c < P.channels) {
            for (var r = 1u; r < 8u; r++) { all = merge(all, shared_moments[r * 32u + column]); }
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
        [channels.div_ceil(32), 1, 1],
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
    fn width(self) -> usize {
        width_of(self.channels)
    }

    fn vectors(self) -> usize {
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

/// What the way back through a batch norm reads and writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backward {
    pub map: Map,
    /// The batch norm's input.
    pub input: Values,
    /// The gradient of the output, which becomes that of the input in place.
    pub gradient: Values,
    /// The output, if it tells where the clamp was constant, because something was added.
    pub output: Option<Values>,
    pub clamp: Option<Function>,
    pub keep: Option<Slice>,
    /// The gradient of the residual, and whether it is added to what is there.
    pub residual: Option<(Values, bool)>,
    /// Whether the statistics were the batch's.
    pub is_batch: bool,
    pub weight_gradient: Slice,
    pub bias_gradient: Slice,
    pub scratch: Slice,
    pub arguments: Slice,
}

impl Backward {
    /// The buffers that both kernels read, and the code that makes `passed`, the gradient behind
    /// the clamp, and `kept`, that of the branch.
    fn bind(
        &self,
        name: &str,
        norm: &Norm,
        slices: &mut Vec<(&'static str, Slice)>,
        params: &mut Vec<(&'static str, u32)>,
    ) -> (Builder, String) {
        let width = self.map.width();
        let mut builder = Builder::new(name, width)
            .map("x", self.input.storage, width)
            .map("g", self.gradient.storage, width)
            .map("statistics", Storage::F32, width);
        slices.extend([
            ("x", self.input.slice),
            ("g", self.gradient.slice),
            ("statistics", norm.statistics),
        ]);
        let mut code = "let x = load_x(i); var passed = load_g(i);\n".to_owned();
        if self.clamp.is_some() {
            let output = match self.output {
                Some(output) => {
                    builder = builder.map("output", output.storage, width);
                    slices.push(("output", output.slice));
                    "load_output(i)"
                }
                None => {
                    "fma(x, load_statistics(2u * P.vectors + c), \
                     load_statistics(3u * P.vectors + c))"
                }
            };
            builder = builder.params(&["low", "high"]);
            params.extend(bound_params(self.clamp));
            code.push_str(&format!(
                "let value = {output};\n\
                 passed = select(V(0.0), passed, (value > V(bitcast<f32>(P.low))) & \
                 (value < V(bitcast<f32>(P.high))));\n"
            ));
        }
        code.push_str("var kept = passed;\n");
        if let Some(keep) = self.keep {
            builder = builder.read("keep", 1).params(&["image"]);
            slices.push(("keep", keep));
            params.push(("image", number(self.map.pixels * self.map.vectors())));
            code.push_str("kept *= load_keep(i / P.image);\n");
        }
        (builder, code)
    }
}

/// The gradients of weight and bias, the residual's, and the input's.
pub(crate) fn backward(recorder: &mut Recorder, norm: &Norm, work: &Backward) {
    let Map { images, pixels, channels } = work.map;
    let (width, vectors) = (work.map.width(), work.map.vectors());
    let all = images * pixels;
    let blocks = Blocks::of(all);
    let (mut slices, mut params) = (Vec::new(), Vec::new());
    let (builder, mut terms) = work.bind("batch_norm_sums", norm, &mut slices, &mut params);
    terms.push_str("s0 = kept; s1 = kept * (x - load_statistics(c));");
    let shader = columns::sums(builder, vectors, 2, Storage::F32, width, &terms, Into::Partial);
    slices.push(("y", work.scratch));
    columns::record(recorder, shader, &slices, &params, blocks, vectors);
    let factors = Slice {
        start: work.scratch.start + 4 * partial_length(channels, all) as u64,
        bytes: 8 * channels as u64,
        ..work.scratch
    };
    totals(recorder, norm, work, all, blocks, factors);
    apply(recorder, norm, work, factors);
}

/// Adds the blocks' sums to the gradients of weight and bias, and makes of them what the input's
/// gradient takes: `scale * (g - mean(g) - normalised * mean(g * normalised))` is `scale * g +
/// slope * (x - mean) + constant`.
fn totals(
    recorder: &mut Recorder,
    norm: &Norm,
    work: &Backward,
    pixels: usize,
    blocks: Blocks,
    factors: Slice,
) {
    let body = "let column = tid % 32u; let row = tid / 32u; let c = wg.x * 32u + column;
        var sum = vec2<f32>();
        if (c < P.channels) {
            for (var b = row; b < P.blocks; b += 8u) {
                let at = b * 2u * P.channels + c;
                sum += vec2<f32>(load_partial(at), load_partial(at + P.channels));
            }
        }
        shared_sums[tid] = sum;
        workgroupBarrier();
        if (row == 0u && c < P.channels) {
            for (var r = 1u; r < 8u; r++) { sum += shared_sums[r * 32u + column]; }
            let inverse = load_statistics(P.channels + c);
            let scale = load_statistics(2u * P.channels + c);
            let product = sum.y * inverse;
            let share = bitcast<f32>(P.share);
            store_factors(c, -scale * product * share * inverse);
            store_factors(P.channels + c, -scale * sum.x * share);
            var weight = product; var bias = sum.x;
            if (load_args(ACCUMULATE) != 0u) {
                weight += load_weight_gradient(c); bias += load_bias_gradient(c);
            }
            store_weight_gradient(c, weight);
            store_bias_gradient(c, bias);
        }";
    let shader = Builder::new("batch_norm_totals", 1)
        .map("partial", Storage::F32, 1)
        .map("statistics", Storage::F32, 1)
        .map("factors", Storage::F32, 1)
        .bind("weight_gradient", Storage::F32, 1, Access::Write)
        .bind("bias_gradient", Storage::F32, 1, Access::Write)
        .words("args")
        .params(&["channels", "blocks", "share"])
        .code(arguments::NAMES)
        .code(&format!("var<workgroup> shared_sums: array<vec2<f32>, {THREADS}>;"))
        .main(THREADS, body);
    // Statistics that do not depend on the input give no slope.
    let share = if work.is_batch { 1.0 / pixels as f32 } else { 0.0 };
    recorder.dispatch(
        shader,
        &[
            ("partial", work.scratch),
            ("statistics", norm.statistics),
            ("factors", factors),
            ("weight_gradient", work.weight_gradient),
            ("bias_gradient", work.bias_gradient),
            ("args", work.arguments),
        ],
        &[
            ("channels", number(norm.channels)),
            ("blocks", number(blocks.count())),
            ("share", share.to_bits()),
        ],
        [norm.channels.div_ceil(32), 1, 1],
    );
}

/// Turns the output's gradient into the input's, and gives the residual's.
fn apply(recorder: &mut Recorder, norm: &Norm, work: &Backward, factors: Slice) {
    let (width, vectors) = (work.map.width(), work.map.vectors());
    let (mut slices, mut params) = (Vec::new(), Vec::new());
    let (builder, code) = work.bind("batch_norm_backward", norm, &mut slices, &mut params);
    let mut builder = builder.params(&["vectors"]);
    params.push(("vectors", number(vectors)));
    let mut body = format!("let c = i % P.vectors;\n{code}");
    let mut value = "kept * load_statistics(2u * P.vectors + c)".to_owned();
    if work.is_batch {
        builder = builder.map("factors", Storage::F32, width);
        slices.push(("factors", factors));
        value = format!(
            "fma(kept, load_statistics(2u * P.vectors + c), fma(x - load_statistics(c), \
             load_factors(c), load_factors(P.vectors + c)))"
        );
    }
    if let Some((residual, accumulate)) = work.residual {
        builder = builder.map("residual", residual.storage, width);
        slices.push(("residual", residual.slice));
        let earlier = if accumulate { "load_residual(i) + " } else { "" };
        body.push_str(&format!("store_residual(i, {earlier}passed);\n"));
    }
    body.push_str(&format!("store_g(i, {value});"));
    let count = work.map.images * work.map.pixels * vectors;
    recorder.each(builder.each(&body), &slices, &params, count);
}
