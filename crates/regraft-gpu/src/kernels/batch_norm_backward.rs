//! The backward pass of batch normalisation.

use super::batch_norm::{Map, Norm, partial_length};
use super::columns::{self, Blocks, Into, Planes};
use super::input::bound_params;
use crate::arguments;
use crate::record::{Recorder, Slice, Values, number};
use crate::shader::{Access, Builder, Storage, THREADS};
use regraft_nn::ops::Function;

/// The buffers of a batch norm's backward pass.
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
    /// The gradient of the residual, and whether it is added to the buffer.
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
    let shader =
        columns::sums(builder, vectors, Planes::one(2), Storage::F32, width, &terms, Into::Partial);
    slices.push(("y", work.scratch));
    columns::record(recorder, shader, Planes::one(2), &slices, &params, blocks, vectors);
    let factors = Slice {
        start: work.scratch.start + 4 * partial_length(channels, all) as u64,
        bytes: 8 * channels as u64,
        ..work.scratch
    };
    totals(recorder, norm, work, all, blocks, factors);
    apply(recorder, norm, work, factors);
}

/// Adds the blocks' sums to the gradients of weight and bias, and computes from them the factors of
/// the input's gradient: `scale * (g - mean(g) - normalised * mean(g * normalised))` is
/// `scale * g + slope * (x - mean) + constant`.
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
            let unscaled = bitcast<f32>(load_args(INVERSE_SCALE));
            var weight = product * unscaled; var bias = sum.x * unscaled;
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
        value = "fma(kept, load_statistics(2u * P.vectors + c), fma(x - load_statistics(c), \
                 load_factors(c), load_factors(P.vectors + c)))"
            .to_owned();
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
