//! Sums and copies of whole maps.

use crate::record::{Buffer, Recorder, Slice, Values, number};
use crate::shader::{Access, Builder, width_of};

/// A factor for each image of `length` elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    pub factors: Slice,
    pub length: usize,
}

/// `output = keep * branch + residual`.
pub(crate) fn sum(
    recorder: &mut Recorder,
    branch: Values,
    residual: Values,
    keep: Option<Keep>,
    elements: usize,
    output: Values,
) {
    let width = keep.map_or(width_of(elements), |keep| width_of(keep.length));
    let mut builder = Builder::new("sum", width)
        .map("branch", branch.storage, width)
        .map("residual", residual.storage, width)
        .map("y", output.storage, width);
    let mut slices =
        vec![("branch", branch.slice), ("residual", residual.slice), ("y", output.slice)];
    let mut params = Vec::new();
    let mut value = "load_branch(i)".to_owned();
    if let Some(keep) = keep {
        builder = builder.read("keep", 1).params(&["image"]);
        slices.push(("keep", keep.factors));
        params.push(("image", number(keep.length / width)));
        value.push_str(" * load_keep(i / P.image)");
    }
    let shader = builder.each(&format!("store_y(i, {value} + load_residual(i));"));
    recorder.each(shader, &slices, &params, elements / width);
}

/// `target = keep * source`, or added to `target`.
pub(crate) fn give(
    recorder: &mut Recorder,
    source: Values,
    keep: Option<Keep>,
    elements: usize,
    (target, accumulate): (Values, bool),
) {
    let width = keep.map_or(width_of(elements), |keep| width_of(keep.length));
    let mut builder =
        Builder::new("give", width).map("x", source.storage, width).map("y", target.storage, width);
    let (mut slices, mut params) = (vec![("x", source.slice), ("y", target.slice)], Vec::new());
    let mut value =
        if accumulate { "load_y(i) + load_x(i)".to_owned() } else { "load_x(i)".to_owned() };
    if let Some(keep) = keep {
        builder = builder.read("keep", 1).params(&["image"]);
        slices.push(("keep", keep.factors));
        params.push(("image", number(keep.length / width)));
        value.push_str(" * load_keep(i / P.image)");
    }
    let shader = builder.each(&format!("store_y(i, {value});"));
    recorder.each(shader, &slices, &params, elements / width);
}

/// Copies `count` vectors of three elements as four, the last one zero.
pub(crate) fn pad(recorder: &mut Recorder, source: Values, count: usize, target: Values) {
    let is_pass = matches!(source.slice.buffer, Buffer::Pass(_));
    let access = if is_pass { Access::Write } else { Access::Read };
    let shader = Builder::new("pad", 1)
        .bind("x", source.storage, 1, access)
        .map("y", target.storage, 4)
        .each(
            "store_y(i, vec4<f32>(load_x(3u * i), load_x(3u * i + 1u), load_x(3u * i + 2u), 0.0));",
        );
    recorder.each(shader, &[("x", source.slice), ("y", target.slice)], &[], count);
}
