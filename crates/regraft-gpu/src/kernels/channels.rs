//! Products with a value for each channel: layer scale, and multiplication by a vector for each
//! image.

use super::columns::{self, Blocks, Into, Planes};
use crate::record::{Recorder, Slice, Values, number};
use crate::shader::{Builder, Storage, width_of};

/// The size of a batch of maps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub images: usize,
    /// Of one image.
    pub pixels: usize,
    pub channels: usize,
}

impl Size {
    pub fn width(self) -> usize {
        width_of(self.channels)
    }

    pub fn vectors(self) -> usize {
        self.channels / self.width()
    }

    /// Vectors of all maps.
    pub fn all(self) -> usize {
        self.images * self.pixels * self.vectors()
    }

    /// Blocks of which each is the pixels of an image.
    pub fn by_image(self) -> Blocks {
        Blocks { pixels: self.images * self.pixels, length: self.pixels }
    }
}

/// `target = map x scale` channel by channel, or added to `target`.
pub(crate) fn scale(
    recorder: &mut Recorder,
    size: Size,
    map: Values,
    scale: Slice,
    (target, accumulate): (Values, bool),
) {
    let width = size.width();
    let earlier = if accumulate { "load_y(i) + " } else { "" };
    let shader = Builder::new("layer_scale", width)
        .map("x", map.storage, width)
        .read("scale", width)
        .map("y", target.storage, width)
        .params(&["vectors"])
        .each(&format!("store_y(i, {earlier}load_x(i) * load_scale(i % P.vectors));"));
    recorder.each(
        shader,
        &[("x", map.slice), ("scale", scale), ("y", target.slice)],
        &[("vectors", number(size.vectors()))],
        size.all(),
    );
}

/// Elements of f32 that [`scale_gradient`] takes meanwhile.
pub(crate) fn scratch(size: Size) -> usize {
    Blocks::of(size.images * size.pixels).count() * size.channels
}

/// The gradient of a layer scale.
pub(crate) fn scale_gradient(
    recorder: &mut Recorder,
    size: Size,
    map: Values,
    gradient: Values,
    scratch: Slice,
    arguments: Slice,
    target: Slice,
) {
    let (width, vectors) = (size.width(), size.vectors());
    let blocks = Blocks::of(size.images * size.pixels);
    let builder = Builder::new("layer_scale_sums", width).map("x", map.storage, width).map(
        "g",
        gradient.storage,
        width,
    );
    let terms = "s0 = load_x(i) * load_g(i);";
    let shader =
        columns::sums(builder, vectors, Planes::one(1), Storage::F32, width, terms, Into::Partial);
    let slices = [("x", map.slice), ("g", gradient.slice), ("y", scratch)];
    columns::record(recorder, shader, Planes::one(1), &slices, &[], blocks, vectors);
    let stride = [size.channels, 0];
    columns::total(recorder, scratch, blocks.count(), stride, arguments, target);
}

/// `target = map x vectors`, the same vector for all pixels of an image, or added to `target`.
pub(crate) fn multiply(
    recorder: &mut Recorder,
    size: Size,
    map: Values,
    vectors: Values,
    (target, accumulate): (Values, bool),
) {
    let width = size.width();
    let earlier = if accumulate { "load_y(i) + " } else { "" };
    let shader = Builder::new("multiply", width)
        .map("x", map.storage, width)
        .map("factors", vectors.storage, width)
        .map("y", target.storage, width)
        .params(&["vectors", "image"])
        .each(&format!(
            "store_y(i, {earlier}load_x(i) * \
             load_factors(i / P.image * P.vectors + i % P.vectors));"
        ));
    recorder.each(
        shader,
        &[("x", map.slice), ("factors", vectors.slice), ("y", target.slice)],
        &[("vectors", number(size.vectors())), ("image", number(size.pixels * size.vectors()))],
        size.all(),
    );
}

/// The gradient of [`multiply`]'s vectors.
pub(crate) fn multiply_vectors(
    recorder: &mut Recorder,
    size: Size,
    map: Values,
    gradient: Values,
    (target, accumulate): (Values, bool),
) {
    let width = size.width();
    let builder = Builder::new("multiply_sums", width).map("x", map.storage, width).map(
        "g",
        gradient.storage,
        width,
    );
    let into = Into::Scaled { accumulate };
    let terms = "s0 = load_x(i) * load_g(i);";
    let vectors = size.vectors();
    let shader =
        columns::sums(builder, vectors, Planes::one(1), target.storage, width, terms, into);
    let slices = [("x", map.slice), ("g", gradient.slice), ("y", target.slice)];
    let params = [("factor", 1.0_f32.to_bits())];
    columns::record(recorder, shader, Planes::one(1), &slices, &params, size.by_image(), vectors);
}

/// The mean over an image's pixels.
pub(crate) fn mean(recorder: &mut Recorder, size: Size, map: Values, output: Values) {
    let width = size.width();
    let builder = Builder::new("mean", width).map("x", map.storage, width);
    let (vectors, into) = (size.vectors(), Into::Scaled { accumulate: false });
    let shader = columns::sums(
        builder,
        vectors,
        Planes::one(1),
        output.storage,
        width,
        "s0 = load_x(i);",
        into,
    );
    let params = [("factor", (1.0 / size.pixels as f32).to_bits())];
    let slices = [("x", map.slice), ("y", output.slice)];
    columns::record(recorder, shader, Planes::one(1), &slices, &params, size.by_image(), vectors);
}

/// The gradient of [`mean`]'s input.
pub(crate) fn mean_backward(
    recorder: &mut Recorder,
    size: Size,
    gradient: Values,
    (target, accumulate): (Values, bool),
) {
    let width = size.width();
    let earlier = if accumulate { "load_y(i) + " } else { "" };
    let shader = Builder::new("mean_backward", width)
        .map("g", gradient.storage, width)
        .map("y", target.storage, width)
        .params(&["vectors", "image", "factor"])
        .each(&format!(
            "store_y(i, {earlier}load_g(i / P.image * P.vectors + i % P.vectors) * \
             bitcast<f32>(P.factor));"
        ));
    recorder.each(
        shader,
        &[("g", gradient.slice), ("y", target.slice)],
        &[
            ("vectors", number(size.vectors())),
            ("image", number(size.pixels * size.vectors())),
            ("factor", (1.0 / size.pixels as f32).to_bits()),
        ],
        size.all(),
    );
}
