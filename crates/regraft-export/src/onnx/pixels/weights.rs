//! A resize along one axis as matrices of weights, equal to Pillow's.
//!
//! Pillow rounds weights to 22 fractional bits and sums products in integers. A product of such a
//! weight and a level has 30 bits, but f32 holds only 24. So the weights are two matrices of
//! integers, `weight * 2^22 = high * 2^11 + low`, and all sums are exact in f32 in any order, up to
//! about 30 pixels under a filter. With more pixels, and with the cubic filter, whose weights are
//! themselves rounded to f32, a level may differ if a sum is close to a half.

use super::geometry::Axis;
use crate::onnx::builder::{Attribute, Builder, Value};
use regraft::data::preprocessing::{Interpolation, Preprocessing};

/// `2^11`: the value of a step of the high half in the low one. Half of Pillow's 22 fractional
/// bits.
pub(super) const HALF_PRECISION: i64 = 1 << 11;

/// The axis of the source's pixels in a matrix.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sources {
    /// `[source, square]`
    Rows,
    /// `[square, source]`
    Columns,
}

/// The weights of an axis, as integers stored in f32.
pub(super) struct Weights {
    pub high: Value,
    /// From 0 to `2^11`.
    pub low: Value,
    /// Which pixels of the square are inside the image (1) or not (0), for an axis with margins.
    pub mask: Option<Value>,
}

/// Adds the weights of an axis.
pub(super) fn weights(
    b: &mut Builder,
    preprocessing: &Preprocessing,
    axis: &Axis,
    sources: Sources,
) -> Weights {
    let side = preprocessing.image_size as usize;
    let (source_axis, along_square) = match sources {
        Sources::Rows => (0, [1, side]),
        Sources::Columns => (1, [side, 1]),
    };
    let (zero, one, two) = (b.integer(0), b.integer(1), b.integer(2));
    let places: Vec<i64> = (0..i64::from(preprocessing.image_size)).collect();
    let places = b.integers("places", &along_square, &places);
    let mut resized = b.op("Add", &[&places, &axis.offset]);
    let mut mask = None;
    if axis.has_margin {
        let last = b.op("Sub", &[&axis.target, &one]);
        let raised = b.op("Max", &[&resized, &zero]);
        let clamped = b.op("Min", &[&raised, &last]);
        let inside = b.op("Equal", &[&clamped, &resized]);
        mask = Some(b.cast_f32(&inside));
        resized = clamped;
    }
    // A source pixel's centre is at (2 * pixel + 1) / (2 * source) of the axis, and a filter's at
    // (2 * resized + 1) / (2 * target). In units of the filter's width, which is a source pixel or,
    // if the filter shrinks the image, a resized one, their distance is `numerator / denominator`
    // in integers.
    let centres = odd(b, &resized, &one, &two);
    let centres = b.op("Mul", &[&centres, &axis.source]);
    let pixels = b.op("Range", &[&zero, &axis.source, &one]);
    let square_axis = b.integers("axis", &[1], &[1 - source_axis]);
    let pixels = b.op("Unsqueeze", &[&pixels, &square_axis]);
    let pixels = odd(b, &pixels, &one, &two);
    let pixels = b.op("Mul", &[&pixels, &axis.target]);
    let numerator = b.op("Sub", &[&pixels, &centres]);
    let numerator = b.op("Abs", &[&numerator]);
    let support = b.named_op("support", "Max", &[&axis.source, &axis.target], &[]);
    let denominator = b.op("Mul", &[&support, &two]);
    let source_axis = b.integers("axis", &[1], &[source_axis]);
    let [mut high, mut low] = match preprocessing.interpolation {
        Interpolation::Bilinear => triangle(b, &numerator, &denominator, &source_axis),
        Interpolation::Bicubic => cubic_halves(b, &numerator, &denominator, &source_axis),
    };
    if let Some(mask) = &mask {
        high = b.op("Mul", &[&high, mask]);
        low = b.op("Mul", &[&low, mask]);
    }
    Weights { high, low, mask }
}

/// `2 * value + 1`
fn odd(b: &mut Builder, value: &Value, one: &Value, two: &Value) -> Value {
    let twice = b.op("Mul", &[value, two]);
    b.op("Add", &[&twice, one])
}

fn sums(b: &mut Builder, value: &Value, axis: &Value) -> Value {
    b.op_with("ReduceSum", &[value, axis], &[Attribute::Integer("keepdims", 1)])
}

/// The halves of the triangle filter's weights. The filter, `max(1 - x, 0)`, times the denominator
/// is an integer, and so is the sum of all weights of an output; their quotient is computed by long
/// division, in digits of 11 bits.
fn triangle(b: &mut Builder, numerator: &Value, denominator: &Value, axis: &Value) -> [Value; 2] {
    let (zero, two, base) = (b.integer(0), b.integer(2), b.integer(HALF_PRECISION));
    let height = b.op("Sub", &[denominator, numerator]);
    let height = b.op("Max", &[&height, &zero]);
    let sum = sums(b, &height, axis);
    let dividend = b.op("Mul", &[&height, &base]);
    let high = b.op("Div", &[&dividend, &sum]);
    let taken = b.op("Mul", &[&high, &sum]);
    let rest = b.op("Sub", &[&dividend, &taken]);
    let dividend = b.op("Mul", &[&rest, &base]);
    // Rounded to the nearest.
    let half = b.op("Div", &[&sum, &two]);
    let dividend = b.op("Add", &[&dividend, &half]);
    let low = b.op("Div", &[&dividend, &sum]);
    [high, low].map(|digits| b.cast_f32(&digits))
}

/// The halves of the cubic filter's weights, which may be negative; the low halves are not.
fn cubic_halves(
    b: &mut Builder,
    numerator: &Value,
    denominator: &Value,
    axis: &Value,
) -> [Value; 2] {
    let (numerator, denominator) = (b.cast_f32(numerator), b.cast_f32(denominator));
    let distance = b.op("Div", &[&numerator, &denominator]);
    let raw = cubic(b, &distance);
    let sum = sums(b, &raw, axis);
    let share = b.op("Div", &[&raw, &sum]);
    let (base, precision, half) = (
        b.float(HALF_PRECISION as f32),
        b.float((HALF_PRECISION * HALF_PRECISION) as f32),
        b.float(0.5),
    );
    let scaled = b.op("Mul", &[&share, &precision]);
    let raised = b.op("Add", &[&scaled, &half]);
    let whole = b.op("Floor", &[&raised]);
    let quotient = b.op("Div", &[&whole, &base]);
    let high = b.op("Floor", &[&quotient]);
    let taken = b.op("Mul", &[&high, &base]);
    let low = b.op("Sub", &[&whole, &taken]);
    [high, low]
}

/// The cubic filter with a = -0.5: `1 - x^2 * (2.5 - 1.5 * x)` below 1, `-0.5 * (x - 1) * (x -
/// 2)^2` below 2, factored so that no digits cancel near 2.
fn cubic(b: &mut Builder, x: &Value) -> Value {
    let [one, two, slope, base, half] = [1.0, 2.0, 1.5, 2.5, -0.5].map(|value| b.float(value));
    let square = b.op("Mul", &[x, x]);
    let linear = b.op("Mul", &[x, &slope]);
    let factor = b.op("Sub", &[&base, &linear]);
    let product = b.op("Mul", &[&square, &factor]);
    let near = b.op("Sub", &[&one, &product]);
    let first = b.op("Sub", &[x, &one]);
    let second = b.op("Sub", &[x, &two]);
    let second = b.op("Mul", &[&second, &second]);
    let product = b.op("Mul", &[&first, &second]);
    let far = b.op("Mul", &[&product, &half]);
    let zero = b.float(0.0);
    let is_far = b.op("Less", &[x, &two]);
    let outer = b.op("Where", &[&is_far, &far, &zero]);
    let is_near = b.op("Less", &[x, &one]);
    b.op("Where", &[&is_near, &near, &outer])
}
