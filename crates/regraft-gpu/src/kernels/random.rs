//! Random factors of training: which images keep a branch, which values pass dropout. The draws are
//! those of [`regraft_base::random`], to the bit.

use crate::arguments;
use crate::record::{Recorder, Slice, Values, number};
use crate::shader::{Access, Builder, Storage, width_of};
use regraft_base::random::Purpose;
use regraft_nn::ops::Dropout;

/// Blocks of random numbers between the streams of two dropouts, as the CPU engine has it.
const DROPOUT_BLOCKS: u32 = 1 << 20;

/// Philox4x32-10 (Salmon et al. 2011).
const PHILOX: &str = "
fn high_product(a: u32, b: u32) -> u32 {
    let a0 = a & 0xffffu; let a1 = a >> 16u;
    let b0 = b & 0xffffu; let b1 = b >> 16u;
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 16u);
    let other = a0 * b1 + (middle & 0xffffu);
    return a1 * b1 + (middle >> 16u) + (other >> 16u);
}
fn philox(first: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
    var counter = first;
    var key = seed;
    for (var round = 0u; round < 10u; round++) {
        if (round > 0u) { key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u); }
        counter = vec4<u32>(
            high_product(0xcd9e8d57u, counter.z) ^ counter.y ^ key.x, 0xcd9e8d57u * counter.z,
            high_product(0xd2511f53u, counter.x) ^ counter.w ^ key.y, 0xd2511f53u * counter.x);
    }
    return counter;
}
fn words(block: u32, image: u32, purpose: u32) -> vec4<u32> {
    let counter = vec4<u32>(block, load_args(POSITION) + image, load_args(EPOCH), purpose);
    return philox(counter, vec2<u32>(load_args(SEED_LOW), load_args(SEED_HIGH)));
}
// Nothing, or so much more that the mean stays.
fn factor(word: u32, rate: f32, kept: f32) -> f32 {
    return select(kept, 0.0, f32(word >> 8u) * (1.0 / 16777216.0) < rate);
}";

fn kept(rate: f32) -> f32 {
    1.0 / (1.0 - rate)
}

/// The factors `[branches, images]` of branches, each with a stream, a rate, and a factor
/// for branches that are kept.
pub(crate) fn branches(
    recorder: &mut Recorder,
    streams: Slice,
    count: usize,
    images: usize,
    arguments: Slice,
    keep: Slice,
) {
    let body = format!(
        "let branch = i / P.images; let image = i % P.images;\n\
         let word = words(load_streams(3u * branch), image, {}u).x;\n\
         store_keep(i, factor(word, bitcast<f32>(load_streams(3u * branch + 1u)),\n\
         bitcast<f32>(load_streams(3u * branch + 2u))));",
        Purpose::DropConnect as u32
    );
    let shader = Builder::new("branches", 1)
        .words("streams")
        .words("args")
        .bind("keep", Storage::F32, 1, Access::Write)
        .params(&["images"])
        .code(arguments::NAMES)
        .code(PHILOX)
        .each(&body);
    recorder.each(
        shader,
        &[("streams", streams), ("args", arguments), ("keep", keep)],
        &[("images", number(images))],
        count * images,
    );
}

/// A branch's words in the buffer that [`branches`] reads.
pub(crate) fn stream(stream: u32, rate: f32) -> [u32; 3] {
    [stream, rate.to_bits(), kept(rate).to_bits()]
}

/// `target = source x dropout's factors`, or added to `target`, for `images` of `length`
/// values.
pub(crate) fn dropout(
    recorder: &mut Recorder,
    dropout: &Dropout,
    source: Values,
    [images, length]: [usize; 2],
    arguments: Slice,
    (target, accumulate): (Values, bool),
) {
    // A vector of four is a block of the generator.
    let width = width_of(length);
    let factors = if width == 4 {
        "let w = words(P.stream + at, image, PURPOSE);
         let factors = V(factor(w.x, rate, kept), factor(w.y, rate, kept), factor(w.z, rate, kept),
         factor(w.w, rate, kept));"
    } else {
        "let factors = factor(words(P.stream + at / 4u, image, PURPOSE)[at % 4u], rate, kept);"
    };
    let earlier = if accumulate { "load_y(i) + " } else { "" };
    let body = format!(
        "let image = i / P.vectors; let at = i % P.vectors;\n\
         let rate = bitcast<f32>(P.rate); let kept = bitcast<f32>(P.kept);\n{factors}\n\
         store_y(i, {earlier}load_x(i) * factors);"
    );
    let shader = Builder::new("dropout", width)
        .map("x", source.storage, width)
        .map("y", target.storage, width)
        .words("args")
        .params(&["vectors", "stream", "rate", "kept"])
        .code(arguments::NAMES)
        .code(&format!("const PURPOSE = {}u;", Purpose::Dropout as u32))
        .code(PHILOX)
        .each(&body);
    recorder.each(
        shader,
        &[("x", source.slice), ("y", target.slice), ("args", arguments)],
        &[
            ("vectors", number(length / width)),
            ("stream", dropout.stream.wrapping_mul(DROPOUT_BLOCKS)),
            ("rate", dropout.rate.to_bits()),
            ("kept", kept(dropout.rate).to_bits()),
        ],
        images * length / width,
    );
}
