//! Resizing, cropping and normalising as ONNX operators, with Pillow's values.
//!
//! Most runtimes refuse the operator `Resize` with `antialias` or compute it wrongly, and only
//! onnxruntime on the CPU gives Pillow's values. A resize is linear along each axis, so here it is
//! matrix products, `vertical [S, H] * image [H, W] * horizontal [W, S]`, whose matrices the file
//! computes from the image's shape. A crop costs nothing, because only its columns are computed.
//!
//! The file follows Pillow's arithmetic (`src/libImaging/Resample.c`; see also
//! `regraft_base::resample`): each pass rounds to levels from 0 to 255, and the vertical pass comes
//! first if that shrinks the image by clearly more. The operators for that choice, `If` and empty
//! tensors, are missing or wrong in some runtimes. So both orders are in the file, and the unused
//! one gets a single row or column of the image.

mod geometry;
mod weights;

use super::builder::{Attribute, Builder, Value};
use geometry::{Axis, axis};
use regraft::data::preprocessing::{Preprocessing, ResizeMode};
use weights::{HALF_PRECISION, Sources, Weights, weights};

/// Axes of `[N, 3, H, W]`.
const ROWS: i64 = 2;
const COLUMNS: i64 = 3;

/// Adds the operators that turn `pixels` (`uint8 [N, H, W, 3]`) into the network's input (`float32
/// [N, 3, S, S]`), as in `regraft::data::preprocessing`.
pub(super) fn lower(b: &mut Builder, pixels: &Value, preprocessing: &Preprocessing) -> Value {
    b.set_scope("image");
    let shape = b.op("Shape", &[pixels]);
    let (one, two) = (b.integer(1), b.integer(2));
    let height = b.named_op("height", "Gather", &[&shape, &one], &[]);
    let width = b.named_op("width", "Gather", &[&shape, &two], &[]);
    let planes =
        b.op_with("Transpose", &[pixels], &[Attribute::Integers("perm", vec![0, 3, 1, 2])]);

    b.set_scope("horizontal");
    let columns = axis(b, preprocessing, &width, &height);
    let horizontal = weights(b, preprocessing, &columns, Sources::Rows);
    b.set_scope("vertical");
    let rows = axis(b, preprocessing, &height, &width);
    let vertical = weights(b, preprocessing, &rows, Sources::Columns);

    b.set_scope("order");
    let vertical_first = is_vertical_first(b, &columns, &rows);
    let to_integer = [Attribute::Integer("to", super::builder::Element::I64 as i64)];
    let flag = b.op_with("Cast", &[&vertical_first], &to_integer);
    let one = b.integer(1);
    let other = b.op("Sub", &[&one, &flag]);

    b.set_scope("horizontal_first");
    let part = first_of(b, &planes, ROWS, &rows.source, &other);
    let weights = [&vertical.high, &vertical.low]
        .map(|weights| first_of(b, weights, 1, &rows.source, &other));
    let between = horizontal_pass(b, &part, [&horizontal.high, &horizontal.low]);
    let first = vertical_pass(b, &between, [&weights[0], &weights[1]]);

    b.set_scope("vertical_first");
    let part = first_of(b, &planes, COLUMNS, &columns.source, &flag);
    let weights = [&horizontal.high, &horizontal.low]
        .map(|weights| first_of(b, weights, 0, &columns.source, &flag));
    let between = vertical_pass(b, &part, [&vertical.high, &vertical.low]);
    let second = horizontal_pass(b, &between, [&weights[0], &weights[1]]);

    b.set_scope("resized");
    let resized = b.op("Where", &[&vertical_first, &second, &first]);
    let resized = with_border(b, resized, preprocessing, &horizontal, &vertical);
    normalised(b, &resized, preprocessing)
}

/// Pillow's order of the passes since version 13; `regraft_base::resample` has the same formula.
fn is_vertical_first(b: &mut Builder, columns: &Axis, rows: &Axis) -> Value {
    let two = b.integer(2);
    let shrinks = b.op("Less", &[&rows.target, &rows.source]);
    let mut cost = |axis_once: &Value, axis_twice: &Value| {
        let twice = b.op("Mul", &[axis_twice, &two]);
        b.op("Add", &[axis_once, &twice])
    };
    let horizontal = cost(&rows.target, &columns.source);
    let vertical = cost(&rows.source, &columns.target);
    let by_more = b.op("Less", &[&horizontal, &vertical]);
    b.op("And", &[&shrinks, &by_more])
}

/// All of an axis of `length` if `flag` is 1, and only its first element if it is 0.
fn first_of(b: &mut Builder, value: &Value, axis: i64, length: &Value, flag: &Value) -> Value {
    let one = b.integer(1);
    let wanted = b.op("Mul", &[length, flag]);
    let end = b.op("Max", &[&wanted, &one]);
    let (start, axes, first) = (
        b.integers("start", &[1], &[0]),
        b.integers("axes", &[1], &[axis]),
        b.integers("axis", &[1], &[0]),
    );
    let end = b.op("Unsqueeze", &[&end, &first]);
    b.op("Slice", &[value, &start, &end, &axes])
}

/// `levels [.., W] * weights [W, S]`, in levels.
fn horizontal_pass(b: &mut Builder, levels: &Value, weights: [&Value; 2]) -> Value {
    let levels = b.cast_f32(levels);
    let [high, low] = weights.map(|weights| b.op("MatMul", &[&levels, weights]));
    to_levels(b, &high, &low)
}

/// `weights [S, H] * levels [.., H, W]`, in levels.
fn vertical_pass(b: &mut Builder, levels: &Value, weights: [&Value; 2]) -> Value {
    let levels = b.cast_f32(levels);
    let [high, low] = weights.map(|weights| b.op("MatMul", &[weights, &levels]));
    to_levels(b, &high, &low)
}

/// `(high * 2^11 + low) / 2^22`, rounded to an integer from 0 to 255, halves up. f32 holds all
/// integers exactly: digits of the low half below `2^11` cannot change the result.
fn to_levels(b: &mut Builder, high: &Value, low: &Value) -> Value {
    let (base, half) = (b.float(HALF_PRECISION as f32), b.float((HALF_PRECISION / 2) as f32));
    let carry = b.op("Div", &[low, &base]);
    let carry = b.op("Floor", &[&carry]);
    let sum = b.op("Add", &[high, &carry]);
    let sum = b.op("Add", &[&sum, &half]);
    let level = b.op("Div", &[&sum, &base]);
    let level = b.op("Floor", &[&level]);
    let (black, white) = (b.float(0.0), b.float(255.0));
    b.op("Clip", &[&level, &black, &white])
}

/// The square with the mean colour around a letterboxed image; the pixels outside of the image are
/// black before.
fn with_border(
    b: &mut Builder,
    square: Value,
    preprocessing: &Preprocessing,
    horizontal: &Weights,
    vertical: &Weights,
) -> Value {
    let (ResizeMode::Letterbox, Some(columns), Some(rows)) =
        (preprocessing.resize, &horizontal.mask, &vertical.mask)
    else {
        return square;
    };
    let mean = preprocessing.mean.map(|mean| f32::from((mean * 255.0).round() as u8));
    let mean = b.floats("mean", &[1, 3, 1, 1], &mean);
    let inside = b.op("Mul", &[rows, columns]);
    let one = b.float(1.0);
    let outside = b.op("Sub", &[&one, &inside]);
    let border = b.op("Mul", &[&mean, &outside]);
    b.op("Add", &[&square, &border])
}

/// `(level / 255 - mean) / std`
fn normalised(b: &mut Builder, levels: &Value, preprocessing: &Preprocessing) -> Value {
    b.set_scope("normalise");
    let scale = b.float(255.0);
    let mean = b.floats("mean", &[1, 3, 1, 1], &preprocessing.mean);
    let std = b.floats("std", &[1, 3, 1, 1], &preprocessing.std);
    let shares = b.op("Div", &[levels, &scale]);
    let centred = b.op("Sub", &[&shares, &mean]);
    b.op("Div", &[&centred, &std])
}
