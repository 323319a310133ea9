//! A batch of images as the first layer reads it: normalised and mixed in pairs.

use crate::arguments;
use crate::record::{Recorder, Slice, Values, number};
use crate::shader::Builder;
use regraft_nn::graph::MapShape;

/// Writes `images` to `output`. The upload begins with the image before the first, and has levels,
/// a byte each, which `table` maps to numbers, or numbers.
pub(crate) fn load(
    recorder: &mut Recorder,
    has_levels: bool,
    images: usize,
    shape: MapShape,
    [upload, table, arguments]: [Slice; 3],
    output: Values,
) {
    let value = if has_levels {
        "fn value(at: u32, channel: u32) -> f32 {
            let level = (load_upload(at / 4u) >> (8u * (at % 4u))) & 255u;
            return load_table(channel * 256u + level);
        }"
    } else {
        "fn value(at: u32, channel: u32) -> f32 { return bitcast<f32>(load_upload(at)); }"
    };
    // Compilers may fuse a product and a sum into one rounding; a product that passes through an
    // unknown zero is rounded first, as on the host.
    let body = "let at = i + P.length; let channel = i % P.channels;
        let pixel = i / P.channels; let column = pixel % P.width;
        let row = pixel / P.width % P.height;
        var v = value(at, channel);
        let mix = load_args(MIX);
        if (mix == 1u) {
            let kept = bitcast<f32>(load_args(KEPT));
            v = rounded(kept * v) + rounded((1.0 - kept) * value(i, channel));
        }
        if (mix == 2u && row >= load_args(TOP) && row < load_args(BOTTOM)
            && column >= load_args(LEFT) && column < load_args(RIGHT)) {
            v = value(i, channel);
        }
        store_y(i, v);";
    let mut builder = Builder::new("load_images", 1).words("upload");
    let mut slices = vec![("upload", upload), ("args", arguments), ("y", output.slice)];
    if has_levels {
        builder = builder.read("table", 1);
        slices.push(("table", table));
    }
    let shader = builder
        .words("args")
        .map("y", output.storage, 1)
        .params(&["length", "channels", "width", "height"])
        .code(arguments::NAMES)
        .code(
            "fn rounded(v: f32) -> f32 { \
             return bitcast<f32>(bitcast<u32>(v) ^ load_args(ZERO)); }",
        )
        .code(value)
        .each(body);
    recorder.each(
        shader,
        &slices,
        &[
            ("length", number(shape.length())),
            ("channels", number(shape.channels)),
            ("width", number(shape.width)),
            ("height", number(shape.height)),
        ],
        images * shape.length(),
    );
}
