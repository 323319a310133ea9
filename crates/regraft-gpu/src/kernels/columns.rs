//! Sums over pixels, channel by channel, in blocks of pixels that are added in order afterwards.
//!
//! The order of every sum depends on the shape alone.

use crate::arguments;
use crate::record::{Recorder, Slice, Values, number};
use crate::shader::{Access, Builder, Shader, Storage, THREADS};
use std::fmt::Write;
use std::sync::Arc;

/// Blocks that the pixels of a map are cut into at most.
const MOST_BLOCKS: usize = 512;
/// Pixels of a block at least.
const LEAST_PIXELS: usize = 64;

/// How many pixels are summed up together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// Pixels of all.
    pub pixels: usize,
    /// Pixels of each but the last.
    pub length: usize,
}

impl Blocks {
    /// Blocks of a map of `pixels` pixels.
    pub fn of(pixels: usize) -> Self {
        Self { pixels, length: pixels.div_ceil(MOST_BLOCKS).max(LEAST_PIXELS) }
    }

    pub fn count(self) -> usize {
        self.pixels.div_ceil(self.length)
    }
}

/// Threads side by side that take neighbouring vectors of channels.
fn lanes(vectors: usize) -> usize {
    vectors.next_power_of_two().min(16)
}

/// The sums of a channel: `sums` in each of `count` workgroups, which know themselves by `plane`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planes {
    pub count: usize,
    pub sums: usize,
}

impl Planes {
    /// All sums in one workgroup.
    pub fn one(sums: usize) -> Self {
        Self { count: 1, sums }
    }
}

/// The destination of each block's sums in [`sums`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Into {
    /// Writes them to `[blocks, sums, channels]`.
    Partial,
    /// Multiplies the only one by the parameter `factor`, and writes or adds it to `[blocks,
    /// channels]`.
    Scaled { accumulate: bool },
}

/// A shader that computes sums of each block and channel. `terms` assigns `s0`, `s1`, ...
/// for the pixel `p`, its vector `c` of channels, and the vector's place `i` in the map.
pub(crate) fn sums(
    builder: Builder,
    vectors: usize,
    planes: Planes,
    output: Storage,
    width: usize,
    terms: &str,
    into: Into,
) -> Arc<Shader> {
    let columns = lanes(vectors);
    let rows = THREADS / columns;
    let (count, all) = (planes.sums, planes.count * planes.sums);
    let mut body = format!(
        "let column = tid % {columns}u; let row = tid / {columns}u;\n\
         let block = wg.y; let plane = wg.z;\n\
         let c = wg.x * {columns}u + column;\nlet end = min((block + 1u) * P.length, P.pixels);\n"
    );
    for sum in 0..count {
        writeln!(body, "var sum{sum} = V(0.0);").expect("a string takes all");
    }
    write!(
        body,
        "if (c < P.vectors) {{\nfor (var p = block * P.length + row; p < end; p += {rows}u) {{\n\
         let i = p * P.vectors + c;\n"
    )
    .expect("a string takes all");
    for sum in 0..count {
        writeln!(body, "var s{sum} = V(0.0);").expect("a string takes all");
    }
    body.push_str(terms);
    for sum in 0..count {
        writeln!(body, "\nsum{sum} += s{sum};").expect("a string takes all");
    }
    body.push_str("}\n}\n");
    for sum in 0..count {
        let store = match into {
            Into::Partial => {
                let own = format!("block * {all}u + plane * {count}u + {sum}u");
                format!("store_y(({own}) * P.vectors + c, shared_sums[tid]);")
            }
            Into::Scaled { accumulate } => {
                let earlier = if accumulate { "load_y(block * P.vectors + c) + " } else { "" };
                format!(
                    "store_y(block * P.vectors + c, {earlier}shared_sums[tid] * \
                     bitcast<f32>(P.factor));"
                )
            }
        };
        write!(
            body,
            "shared_sums[tid] = sum{sum};\nworkgroupBarrier();\n\
             for (var half = {}u; half > 0u; half /= 2u) {{\n\
             if (row < half) {{ shared_sums[tid] += shared_sums[tid + half * {columns}u]; }}\n\
             workgroupBarrier();\n}}\n\
             if (row == 0u && c < P.vectors) {{ {store} }}\nworkgroupBarrier();\n",
            rows / 2
        )
        .expect("a string takes all");
    }
    let factor: &[&str] = if into == Into::Partial { &[] } else { &["factor"] };
    builder
        .map("y", output, width)
        .params(&["length", "pixels", "vectors"])
        .params(factor)
        .code(&format!("var<workgroup> shared_sums: array<V, {THREADS}>;"))
        .main(THREADS, &body)
}

/// Adds a dispatch of [`sums`]; `params` are those of the terms, and the factor.
pub(crate) fn record(
    recorder: &mut Recorder,
    shader: Arc<Shader>,
    planes: Planes,
    slices: &[(&str, Slice)],
    params: &[(&str, u32)],
    blocks: Blocks,
    vectors: usize,
) {
    let mut params = params.to_vec();
    params.push(("length", number(blocks.length)));
    params.push(("pixels", number(blocks.pixels)));
    params.push(("vectors", number(vectors)));
    let groups = [vectors.div_ceil(lanes(vectors)), blocks.count(), planes.count];
    recorder.dispatch(shader, slices, &params, groups);
}

/// Columns that a workgroup of [`total`] takes, and threads that share the blocks of each.
fn shares(blocks: usize) -> (usize, usize) {
    if blocks >= 16 { (32, 8) } else { (THREADS, 1) }
}

/// Adds the sums of blocks `[blocks, stride]` from `offset` on into a gradient, which is added to
/// the earlier one if the arguments say so.
pub(crate) fn total(
    recorder: &mut Recorder,
    partial: Slice,
    blocks: usize,
    places: [usize; 2],
    arguments: Slice,
    gradient: Slice,
) {
    total_of(recorder, partial, blocks, places, false, arguments, gradient);
}

/// As [`total`]. If the sums are padded, every fourth is left out.
pub(crate) fn total_of(
    recorder: &mut Recorder,
    partial: Slice,
    blocks: usize,
    [stride, offset]: [usize; 2],
    is_padded: bool,
    arguments: Slice,
    gradient: Slice,
) {
    let place = if is_padded { "c / 3u * 4u + c % 3u" } else { "c" };
    let (columns, rows) = shares(blocks);
    let body = format!(
        "let column = tid % {columns}u; let row = tid / {columns}u;\n\
         let c = wg.x * {columns}u + column;\nvar sum = 0.0;\n\
         if (c < P.count) {{\nfor (var b = row; b < P.blocks; b += {rows}u) {{\n\
         sum += load_partial(b * P.stride + P.offset + {place});\n}}\n}}\n\
         shared_sums[tid] = sum;\nworkgroupBarrier();\n\
         if (row == 0u && c < P.count) {{\n\
         for (var r = 1u; r < {rows}u; r++) {{ sum += shared_sums[r * {columns}u + column]; }}\n\
         sum *= bitcast<f32>(load_args(INVERSE_SCALE));\n\
         if (load_args(ACCUMULATE) != 0u) {{ sum += load_gradient(c); }}\n\
         store_gradient(c, sum);\n}}"
    );
    let shader = Builder::new(format!("total_{rows}"), 1)
        .map("partial", Storage::F32, 1)
        .bind("gradient", Storage::F32, 1, Access::Write)
        .words("args")
        .params(&["count", "blocks", "stride", "offset"])
        .code(arguments::NAMES)
        .code(&format!("var<workgroup> shared_sums: array<f32, {THREADS}>;"))
        .main(THREADS, &body);
    let count = (gradient.bytes / 4) as usize;
    recorder.dispatch(
        shader,
        &[("partial", partial), ("gradient", gradient), ("args", arguments)],
        &[
            ("count", number(count)),
            ("blocks", number(blocks)),
            ("stride", number(stride)),
            ("offset", number(offset)),
        ],
        [count.div_ceil(columns), 1, 1],
    );
}

/// The gradient of a bias: the sums of a map's gradient.
pub(crate) fn bias(
    recorder: &mut Recorder,
    gradient: Values,
    [pixels, channels]: [usize; 2],
    partial: Slice,
    arguments: Slice,
    target: Slice,
) {
    let width = crate::shader::width_of(channels);
    let blocks = Blocks::of(pixels);
    let builder = Builder::new("bias_sums", width).map("g", gradient.storage, width);
    let vectors = channels / width;
    let shader = sums(
        builder,
        vectors,
        Planes::one(1),
        Storage::F32,
        width,
        "s0 = load_g(i);",
        Into::Partial,
    );
    record(
        recorder,
        shader,
        Planes::one(1),
        &[("g", gradient.slice), ("y", partial)],
        &[],
        blocks,
        vectors,
    );
    total(recorder, partial, blocks.count(), [channels, 0], arguments, target);
}
