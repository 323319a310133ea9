//! The losses of a batch and the gradient of its logits: a workgroup for each image.

use crate::arguments;
use crate::record::{Recorder, Slice, number};
use crate::shader::{Access, Builder, Storage, reduction};
use regraft_nn::engine::{Loss, Target};

/// Threads of a workgroup.
const LANES: usize = 64;

/// The kind of a batch's loss. Its numbers are in the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    loss: Of,
    /// Whether targets are labels rather than numbers.
    has_labels: bool,
    has_weights: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Of {
    Softmax,
    Sigmoid,
    Squares,
}

impl Kind {
    pub fn new(loss: Loss, target: &Target<'_>, has_weights: bool) -> Self {
        let loss = match loss {
            Loss::SoftmaxCrossEntropy { .. } => Of::Softmax,
            Loss::SigmoidCrossEntropy => Of::Sigmoid,
            Loss::SquaredError => Of::Squares,
        };
        Self { loss, has_labels: matches!(target, Target::Labels(_)), has_weights }
    }
}

/// The buffers of the loss. `losses` holds `[images]`, and after them the logits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub images: usize,
    pub classes: usize,
    pub logits: Slice,
    pub targets: Slice,
    pub weights: Slice,
    pub arguments: Slice,
    pub losses: Slice,
    pub gradient: Slice,
}

/// Each image's loss, and the gradient of the weighted loss.
pub(crate) fn record(recorder: &mut Recorder, kind: Kind, work: &Work) {
    let target = if kind.has_labels {
        "fn target_of(image: u32, output: u32) -> f32 {
            return select(0.0, 1.0, output == load_targets(image));
        }"
    } else {
        "fn target_of(image: u32, output: u32) -> f32 {
            return bitcast<f32>(load_targets(image * P.classes + output));
        }"
    };
    let over = format!("for (var c = tid; c < P.classes; c += {LANES}u)");
    let of_image = match kind.loss {
        Of::Softmax => format!(
            "var greatest = load_logits(first);
            {over} {{ greatest = max(greatest, load_logits(first + c)); }}
            greatest = greatest_of(tid, greatest);
            var sum = 0.0;
            {over} {{ sum += exp(load_logits(first + c) - greatest); }}
            let log_sum = log(sum_of_all(tid, sum)) + greatest;
            let smoothing = bitcast<f32>(load_args(SMOOTHING));
            var total = 0.0;
            {over} {{
                let logit = load_logits(first + c);
                let share = (1.0 - smoothing) * target_of(image, c) + smoothing / f32(P.classes);
                // A class outside the target adds nothing, even where its logit is -inf.
                if (share > 0.0) {{ total += share * (log_sum - logit); }}
                store_gradient(first + c, weight * (exp(logit - log_sum) - share));
            }}
            total = sum_of_all(tid, total);"
        ),
        // ln(1 + exp(-|x|)) neither overflows nor loses small values: a small exponential is
        // the sum of its series.
        Of::Sigmoid => format!(
            "var total = 0.0; let part = 1.0 / f32(P.classes);
            {over} {{
                let logit = load_logits(first + c); let wanted = target_of(image, c);
                let small = exp(-abs(logit));
                let series = small * (1.0 - small * (0.5 - small * (1.0 / 3.0)));
                let rest = select(log(1.0 + small), series, small < 0.01);
                total += max(logit, 0.0) - logit * wanted + rest;
                let sigmoid = select(1.0, small, logit < 0.0) / (1.0 + small);
                store_gradient(first + c, weight * part * (sigmoid - wanted));
            }}
            total = sum_of_all(tid, total) * part;"
        ),
        Of::Squares => format!(
            "var total = 0.0; let part = 1.0 / f32(P.classes);
            {over} {{
                let error = load_logits(first + c) - target_of(image, c);
                total += error * error;
                store_gradient(first + c, weight * part * (2.0 * error));
            }}
            total = sum_of_all(tid, total) * part;"
        ),
    };
    let own_weight = if kind.has_weights { " * load_weights(image)" } else { "" };
    let body = format!(
        "let image = wg.y * nw.x + wg.x; let first = image * P.classes;
        if (image >= P.images) {{ return; }}
        let weight = bitcast<f32>(load_args(SCALE)) * bitcast<f32>(load_args(LOSS_WEIGHT))
            {own_weight};
        // The memory of the logits is another's in the backward pass.
        {over} {{ store_losses(P.images + first + c, load_logits(first + c)); }}
        {of_image}
        if (tid == 0u) {{ store_losses(image, total); }}"
    );
    let mut builder = Builder::new("loss", 1)
        .map("logits", Storage::F32, 1)
        .words("targets")
        .words("args")
        .bind("losses", Storage::F32, 1, Access::Write)
        .map("gradient", Storage::F32, 1)
        .params(&["images", "classes"])
        .code(arguments::NAMES)
        .code(&format!("var<workgroup> shared_values: array<f32, {LANES}>;"))
        .code(&reduction("sum_of_all", "a + b", LANES))
        .code(&reduction("greatest_of", "max(a, b)", LANES))
        .code(target);
    let mut slices = vec![
        ("logits", work.logits),
        ("targets", work.targets),
        ("args", work.arguments),
        ("losses", work.losses),
        ("gradient", work.gradient),
    ];
    if kind.has_weights {
        builder = builder.read("weights", 1);
        slices.push(("weights", work.weights));
    }
    recorder.dispatch(
        builder.main(LANES, &body),
        &slices,
        &[("images", number(work.images)), ("classes", number(work.classes))],
        crate::record::flat(work.images),
    );
}
