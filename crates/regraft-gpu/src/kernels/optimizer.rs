//! Kernels that run over whole arenas of parameters: updates, the running average, and the
//! norm of gradients.

use super::decide;
use crate::record::{Buffer, Recorder, Slice, number};
use crate::shader::{Access, Builder, Storage, THREADS, reduction};
use regraft_nn::arena::ALIGNMENT;
use regraft_nn::engine::{Optimizer, Update};

/// Tensors begin at multiples of this many vectors of four.
const SEGMENT: usize = ALIGNMENT / 4;

/// The bit of a segment whose values decay whatever the update says: weights.
pub(crate) const DECAYS: u32 = 1 << 31;

/// The part of the arenas that learns, in elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// First element in the arena of tensors.
    pub start: usize,
    pub length: usize,
    /// First element in the arenas of gradients, the first and the second moment, which begin at
    /// the first layer that learns, or did when they were made.
    pub places: [usize; 3],
}

fn of(buffer: Buffer, start: usize, length: usize) -> Slice {
    Slice::words(buffer, start, length)
}

/// Moves all parameters by their gradients, as [`decide`] decided. Every segment of the arena has
/// its node, and each node a rate.
pub(crate) fn update(recorder: &mut Recorder, part: Part, update: &Update<'_>, nodes: usize) {
    let Part { start, length, places: [gradient, first, second] } = part;
    let (name, moments, code) = match update.optimizer {
        Optimizer::Sgd { momentum: 0.0 } => {
            ("sgd", 0, "store_value(i, value - rate * (g + decay * value));")
        }
        Optimizer::Sgd { .. } => (
            "momentum",
            1,
            "let v = bitcast<f32>(P.a) * load_first(i) + (g + decay * value);
            store_first(i, v);
            store_value(i, value - rate * v);",
        ),
        Optimizer::AdamW(_) => (
            "adamw",
            2,
            "var first = load_first(i);
            first += bitcast<f32>(P.a) * (g - first);
            let second = bitcast<f32>(P.b) * load_second(i) + bitcast<f32>(P.c) * g * g;
            store_first(i, first);
            store_second(i, second);
            let size = rate * bitcast<f32>(P.d);
            store_value(i, value * (1.0 - rate * decay)
                - size * first / (sqrt(second) / bitcast<f32>(P.e) + bitcast<f32>(P.epsilon)));",
        ),
    };
    let body = format!(
        "if (load_control(SKIPS) != 0u) {{ return; }}
        let segment = load_segments(i / {SEGMENT}u);
        let rate = load_rates(segment & {}u);
        let decay = select(bitcast<f32>(P.bias_decay), bitcast<f32>(P.decay), segment >= {DECAYS}u);
        let value = load_value(i); let g = load_gradient(i) * bitcast<f32>(load_control(SCALE));
        {code}",
        !DECAYS
    );
    let write = |builder: Builder, name| builder.bind(name, Storage::F32, 4, Access::Write);
    let mut builder = Builder::new(name, 4)
        .bind("value", Storage::F32, 4, Access::Write)
        .read("gradient", 4)
        .words("segments")
        .words("control")
        .code(decide::NAMES)
        .read("rates", 1)
        .params(&["decay", "bias_decay", "a", "b", "c", "d", "e", "epsilon"]);
    let mut slices = vec![
        ("value", of(Buffer::Learned, start, length)),
        ("gradient", of(Buffer::Gradients, gradient, length)),
        ("segments", of(Buffer::Segments, start / ALIGNMENT, length / ALIGNMENT)),
        ("control", decide::control()),
        ("rates", of(Buffer::Rates, 0, nodes)),
    ];
    if moments > 0 {
        builder = write(builder, "first");
        slices.push(("first", of(Buffer::First, first, length)));
    }
    if moments > 1 {
        builder = write(builder, "second");
        slices.push(("second", of(Buffer::Second, second, length)));
    }
    let [a, b, c, d, e, epsilon] = match update.optimizer {
        Optimizer::Sgd { momentum } => [momentum, 0.0, 0.0, 0.0, 0.0, 0.0],
        Optimizer::AdamW(settings) => {
            let exponent = i32::try_from(update.step).unwrap_or(i32::MAX);
            let correction = |beta: f32| 1.0 - f64::from(beta).powi(exponent);
            [
                1.0 - settings.beta1,
                settings.beta2,
                1.0 - settings.beta2,
                (1.0 / correction(settings.beta1)) as f32,
                correction(settings.beta2).sqrt() as f32,
                settings.epsilon,
            ]
        }
    };
    let bias_decay = if update.decay_bias_norm { update.weight_decay } else { 0.0 };
    let numbers = [
        ("decay", update.weight_decay),
        ("bias_decay", bias_decay),
        ("a", a),
        ("b", b),
        ("c", c),
        ("d", d),
        ("e", e),
        ("epsilon", epsilon),
    ];
    let params = numbers.map(|(name, value)| (name, value.to_bits()));
    recorder.each(builder.each(&body), &slices, &params, length / 4);
}

/// Moves a running average by `share` of its distance to the values. An element that equals its
/// value stays to the bit.
pub(crate) fn average(
    recorder: &mut Recorder,
    average: Buffer,
    values: Buffer,
    length: usize,
    share: f32,
) {
    let shader = Builder::new("average", 4)
        .bind("average", Storage::F32, 4, Access::Write)
        .read("values", 4)
        .params(&["share"])
        .each(
            "let kept = load_average(i); let value = load_values(i);
            let moved = kept + bitcast<f32>(P.share) * (value - kept);
            store_average(i, select(moved, kept, kept == value));",
        );
    recorder.each(
        shader,
        &[("average", of(average, 0, length)), ("values", of(values, 0, length))],
        &[("share", share.to_bits())],
        length / 4,
    );
}

/// Elements whose squares one workgroup sums up.
const NORM_BLOCK: usize = 1 << 14;

/// Blocks of [`norm`], each of which gives a scale and a sum.
pub(crate) fn norm_blocks(length: usize) -> usize {
    length.div_ceil(NORM_BLOCK)
}

/// For each block of gradients, the greatest absolute value and the sum of the squares of the
/// values divided by it, so that no square overflows.
pub(crate) fn norm(recorder: &mut Recorder, start: usize, length: usize) {
    let body = format!(
        "let block = wg.y * nw.x + wg.x; let first = block * {}u;
        let end = min(first + {}u, P.count);
        var greatest = 0.0;
        var is_nan = false;
        for (var i = first + tid; i < end; i += {THREADS}u) {{
            let v = abs(load_gradient(i));
            let bits = bitcast<vec4<u32>>(v);
            is_nan = is_nan || any(bits > vec4<u32>(0x7f800000u));
            greatest = max(greatest, max(max(v.x, v.y), max(v.z, v.w)));
        }}
        greatest = greatest_of(tid, select(greatest, bitcast<f32>(0x7f800000u + P.zero), is_nan));
        let inverse = select(1.0 / greatest, 0.0, greatest == 0.0);
        var sum = V(0.0);
        for (var i = first + tid; i < end; i += {THREADS}u) {{
            let v = load_gradient(i) * inverse;
            sum = fma(v, v, sum);
        }}
        let total = sum_of_all(tid, sum_of(sum));
        if (tid == 0u && first < P.count) {{
            store_norms(2u * block, greatest);
            store_norms(2u * block + 1u, total);
        }}",
        NORM_BLOCK / 4,
        NORM_BLOCK / 4
    );
    let shader = Builder::new("gradient_norm", 4)
        .read("gradient", 4)
        .bind("norms", Storage::F32, 1, Access::Write)
        .params(&["count", "zero"])
        .code(&format!("var<workgroup> shared_values: array<f32, {THREADS}>;"))
        .code(&reduction("sum_of_all", "a + b", THREADS))
        .code(&reduction("greatest_of", "max(a, b)", THREADS))
        .main(THREADS, &body);
    let blocks = norm_blocks(length);
    recorder.dispatch(
        shader,
        &[
            ("gradient", of(Buffer::Gradients, start, length)),
            ("norms", of(Buffer::Norms, 0, 2 * blocks)),
        ],
        &[("count", number(length / 4)), ("zero", 0)],
        crate::record::flat(blocks),
    );
}
