//! Whether an update is made, which the device decides, so that the host need not wait for a step.

use super::optimizer::norm_blocks;
use crate::record::{Buffer, Recorder, Slice, number};
use crate::shader::{Access, Builder, Storage, THREADS, reduction};

/// Words of [`Buffer::Control`].
pub(crate) const COUNT: usize = 4;

/// The words, by their place.
pub(crate) const NAMES: &str = "
const REFUSED = 0u;
const APPLIED = 1u;
const SCALE = 2u;
const SKIPS = 3u;
";

/// The place of the word that says whether updates are refused, until the host clears it.
pub(crate) const REFUSED: usize = 0;
/// The place of the number of updates that were made.
pub(crate) const APPLIED: usize = 1;
/// The place of the word that says whether the last update was skipped.
pub(crate) const SKIPS: usize = 3;

/// The words, whole.
pub(crate) fn control() -> Slice {
    Slice::words(Buffer::Control, 0, COUNT)
}

/// An update to decide on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Elements of the gradients, whose norm's blocks are known.
    pub gradients: usize,
    /// The losses, which have to be finite.
    pub losses: Option<(Slice, usize)>,
    /// The norm to which longer gradients are scaled down.
    pub clip: Option<f32>,
}

/// Decides whether an update is made, and by which factor its gradients are scaled. Without losses
/// it is made in any case; with them, it is skipped if a loss or the norm of the gradient is not
/// finite, or updates are refused since an earlier step.
pub(crate) fn record(recorder: &mut Recorder, work: &Work) {
    let blocks = norm_blocks(work.gradients);
    let (losses, images) = work.losses.unwrap_or((Slice::words(Buffer::Losses, 0, 1), 0));
    let body = format!(
        "var bad = false; var greatest = 0.0;
        for (var i = tid; i < P.images; i += {THREADS}u) {{ bad = bad || is_bad(load_losses(i)); }}
        for (var b = tid; b < P.blocks; b += {THREADS}u) {{
            bad = bad || is_bad(load_norms(2u * b)) || is_bad(load_norms(2u * b + 1u));
            greatest = max(greatest, load_norms(2u * b));
        }}
        greatest = greatest_of(tid, greatest);
        let inverse = select(1.0 / greatest, 0.0, greatest == 0.0);
        var sum = 0.0;
        for (var b = tid; b < P.blocks; b += {THREADS}u) {{
            let share = load_norms(2u * b) * inverse;
            sum = fma(share * share, load_norms(2u * b + 1u), sum);
        }}
        sum = sum_of_all(tid, sum);
        let any_bad = greatest_of(tid, select(0.0, 1.0, bad)) > 0.0;
        if (tid == 0u) {{
            let norm = greatest * sqrt(sum);
            let refused = load_control(REFUSED) != 0u || any_bad || is_bad(norm);
            let skips = P.decides != 0u && refused;
            if (P.decides != 0u) {{ store_control(REFUSED, u32(refused)); }}
            if (!skips) {{ store_control(APPLIED, load_control(APPLIED) + 1u); }}
            let scale = min(bitcast<f32>(P.clip) / (norm + 1e-6), 1.0);
            store_control(SCALE, bitcast<u32>(select(1.0, scale, P.clips != 0u)));
            store_control(SKIPS, u32(skips));
        }}"
    );
    let shader = Builder::new("decide", 1)
        .bind("norms", Storage::F32, 1, Access::Write)
        .bind("losses", Storage::F32, 1, Access::Write)
        .bind("control", Storage::U32, 1, Access::Write)
        .params(&["blocks", "images", "decides", "clips", "clip"])
        .code(NAMES)
        .code(
            "fn is_bad(v: f32) -> bool {
                return (bitcast<u32>(v) & 0x7fffffffu) >= 0x7f800000u;
            }",
        )
        .code(&format!("var<workgroup> shared_values: array<f32, {THREADS}>;"))
        .code(&reduction("sum_of_all", "a + b", THREADS))
        .code(&reduction("greatest_of", "max(a, b)", THREADS))
        .main(THREADS, &body);
    let norms = Slice::words(Buffer::Norms, 0, 2 * blocks.max(1));
    recorder.dispatch(
        shader,
        &[("norms", norms), ("losses", losses), ("control", control())],
        &[
            ("blocks", number(blocks)),
            ("images", number(images)),
            ("decides", u32::from(work.losses.is_some())),
            ("clips", u32::from(work.clip.is_some())),
            ("clip", work.clip.unwrap_or(0.0).to_bits()),
        ],
        [1, 1, 1],
    );
}
