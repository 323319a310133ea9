//! Resizing, cropping and normalising as ONNX operators, with Pillow's values.
//!
//! The operator `Resize` with `antialias` is refused or wrong in most runtimes, and Pillow's only in onnxruntime on the CPU.
//! A resize is linear along each axis, so here it is two matrix products, `vertical [S, H] * image [H, W] * horizontal [W, S]`,
//! whose matrices the file computes from the image's shape. A crop costs nothing: its columns alone are computed.
//!
//! What makes the values Pillow's (`src/libImaging/Resample.c`; see also `regraft_kernels::resample`): weights are rounded to
//! 22 fractional bits, and each pass rounds to whole levels from 0 to 255. Distances from a filter's centre are whole
//! multiples of `1 / (2 * max(source, target))`, so they are computed in integers and only the filter's value is rounded.
//!
//! One thing is not Pillow 13's: it goes vertically first if that shrinks the image by clearly more (tall images), where this
//! file always goes horizontally first. A choice would need `If`, which some runtimes lack. Such pixels may be one level off.

use super::builder::{Attribute, Builder, Value};
use regraft::data::preprocessing::{Interpolation, Preprocessing, ResizeMode};

/// Fractional bits of Pillow's weights.
const PRECISION: f32 = (1 << 22) as f32;

/// How an axis of the image becomes one of the square, in the file's own numbers.
struct Axis {
    /// Pixels of the image.
    source: Value,
    /// Pixels after resizing.
    target: Value,
    /// The resized pixel that the square's first one is: negative if the square has a margin.
    offset: Value,
    /// Whether there may be a margin.
    has_margin: bool,
}

/// Where the source pixels are in a matrix of weights.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sources {
    Rows,
    Columns,
}

/// Adds what turns `pixels` (`uint8 [N, H, W, 3]`) into the network's input (`float32 [N, 3, S, S]`), as
/// `regraft::data::preprocessing` does.
pub(super) fn lower(b: &mut Builder, pixels: &Value, preprocessing: &Preprocessing) -> Value {
    b.set_scope("resize");
    let shape = b.op("Shape", &[pixels]);
    let (one, two) = (b.integer(1), b.integer(2));
    let height = b.named_op("height", "Gather", &[&shape, &one], &[]);
    let width = b.named_op("width", "Gather", &[&shape, &two], &[]);
    let planes = b.op_with("Transpose", &[pixels], &[Attribute::Integers("perm", vec![0, 3, 1, 2])]);
    let planes = b.to_f32(&planes);

    b.set_scope("resize/horizontal");
    let columns = axis(b, preprocessing, &width, &height);
    let (weights, column_mask) = weights(b, preprocessing, &columns, Sources::Rows);
    let resized = b.op("MatMul", &[&planes, &weights]);
    let resized = to_levels(b, &resized);

    b.set_scope("resize/vertical");
    let rows = axis(b, preprocessing, &height, &width);
    let (weights, row_mask) = self::weights(b, preprocessing, &rows, Sources::Columns);
    let resized = b.op("MatMul", &[&weights, &resized]);
    let mut resized = to_levels(b, &resized);

    if let (ResizeMode::Letterbox, Some(column_mask), Some(row_mask)) = (preprocessing.resize, column_mask, row_mask) {
        b.set_scope("letterbox");
        // What lies outside is black so far.
        let mean = preprocessing.mean.map(|mean| (mean * 255.0).round() as u8).map(f32::from);
        let mean = b.floats("mean", &[1, 3, 1, 1], &mean);
        let inside = b.op("Mul", &[&row_mask, &column_mask]);
        let one = b.float(1.0);
        let outside = b.op("Sub", &[&one, &inside]);
        let border = b.op("Mul", &[&mean, &outside]);
        resized = b.op("Add", &[&resized, &border]);
    }

    b.set_scope("normalise");
    let scale = b.float(255.0);
    let mean = b.floats("mean", &[1, 3, 1, 1], &preprocessing.mean);
    let std = b.floats("std", &[1, 3, 1, 1], &preprocessing.std);
    let shares = b.op("Div", &[&resized, &scale]);
    let centred = b.op("Sub", &[&shares, &mean]);
    b.op("Div", &[&centred, &std])
}

/// How an axis of `source` pixels is resized if the other has `other`. Only numbers from 0 on are divided: runtimes round
/// negative quotients in different directions.
fn axis(b: &mut Builder, preprocessing: &Preprocessing, source: &Value, other: &Value) -> Axis {
    let side = i64::from(preprocessing.image_size);
    let (zero, two, size) = (b.integer(0), b.integer(2), b.integer(side));
    let source = source.clone();
    match preprocessing.resize {
        ResizeMode::Squash => Axis { source, target: size, offset: zero, has_margin: false },
        // torchvision's `Resize` and `CenterCrop`.
        ResizeMode::Crop { short_side } => {
            let short_side = i64::from(short_side);
            let wanted = b.integer(short_side);
            let short = b.op("Min", &[&source, other]);
            let scaled = b.op("Mul", &[&source, &wanted]);
            let target = b.named_op("target", "Div", &[&scaled, &short], &[]);
            let rest = b.op("Sub", &[&target, &size]);
            // Half of what is too much, an odd half rounded to even as Python does.
            let surplus = b.op("Max", &[&rest, &zero]);
            let half = b.op("Div", &[&surplus, &two]);
            let odd = b.op("Mod", &[&half, &two]);
            let even = b.op("Add", &[&surplus, &odd]);
            let start = b.op("Div", &[&even, &two]);
            let has_margin = short_side < side;
            let offset = if has_margin {
                let margin = margin(b, &target, &size);
                b.op("Sub", &[&start, &margin])
            } else {
                start
            };
            Axis { source, target, offset, has_margin }
        }
        ResizeMode::Letterbox => {
            let one = b.integer(1);
            let long = b.op("Max", &[&source, other]);
            // source * size / long, rounded, in integers: (2 * source * size + long) / (2 * long).
            let scaled = b.op("Mul", &[&source, &size]);
            let twice = b.op("Mul", &[&scaled, &two]);
            let raised = b.op("Add", &[&twice, &long]);
            let divisor = b.op("Mul", &[&long, &two]);
            let rounded = b.op("Div", &[&raised, &divisor]);
            let target = b.named_op("target", "Max", &[&rounded, &one], &[]);
            let margin = margin(b, &target, &size);
            let offset = b.op("Sub", &[&zero, &margin]);
            Axis { source, target, offset, has_margin: true }
        }
    }
}

/// The margin before an axis that is shorter than the square: half of what is missing, rounded down.
fn margin(b: &mut Builder, target: &Value, size: &Value) -> Value {
    let (zero, two) = (b.integer(0), b.integer(2));
    let rest = b.op("Sub", &[size, target]);
    let missing = b.op("Max", &[&rest, &zero]);
    b.named_op("margin", "Div", &[&missing, &two], &[])
}

/// The matrix of weights, and for an axis with margins which pixels of the square are inside of them (1) or not (0).
fn weights(b: &mut Builder, preprocessing: &Preprocessing, axis: &Axis, sources: Sources) -> (Value, Option<Value>) {
    let side = preprocessing.image_size as usize;
    // Of a matrix, the axis of the source's pixels and the shape of a vector along the other.
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
        mask = Some(b.to_f32(&inside));
        resized = clamped;
    }
    // A source pixel's centre is at (2 * pixel + 1) / (2 * source) of the axis, a filter's at (2 * resized + 1) / (2 * target).
    // Their distance in source pixels is `numerators / (2 * target)`; a filter that shrinks is `source / target` wide.
    let centres = odd(b, &resized, &one, &two);
    let centres = b.op("Mul", &[&centres, &axis.source]);
    let pixels = b.op("Range", &[&zero, &axis.source, &one]);
    let square_axis = b.integers("axis", &[1], &[1 - source_axis]);
    let pixels = b.op("Unsqueeze", &[&pixels, &square_axis]);
    let pixels = odd(b, &pixels, &one, &two);
    let pixels = b.op("Mul", &[&pixels, &axis.target]);
    let numerators = b.op("Sub", &[&pixels, &centres]);
    let numerators = b.to_f32(&numerators);
    let numerators = b.op("Abs", &[&numerators]);
    let support = b.named_op("support", "Max", &[&axis.source, &axis.target], &[]);
    let denominator = b.op("Mul", &[&support, &two]);
    let denominator = b.to_f32(&denominator);

    let raw = match preprocessing.interpolation {
        Interpolation::Bilinear => triangle(b, &numerators, &denominator),
        Interpolation::Bicubic => {
            let distances = b.op("Div", &[&numerators, &denominator]);
            cubic(b, &distances)
        }
    };
    let source_axis = b.integers("axis", &[1], &[source_axis]);
    let sums = b.op_with("ReduceSum", &[&raw, &source_axis], &[Attribute::Integer("keepdims", 1)]);
    let shares = b.op("Div", &[&raw, &sums]);
    let precision = b.float(PRECISION);
    let scaled = b.op("Mul", &[&shares, &precision]);
    let rounded = round(b, &scaled);
    let mut weights = b.op("Div", &[&rounded, &precision]);
    if let Some(mask) = &mask {
        weights = b.op("Mul", &[&weights, mask]);
    }
    (weights, mask)
}

/// `2 * value + 1`
fn odd(b: &mut Builder, value: &Value, one: &Value, two: &Value) -> Value {
    let twice = b.op("Mul", &[value, two]);
    b.op("Add", &[&twice, one])
}

/// The triangle filter, `max(1 - x, 0)` for `x = numerator / denominator`, times the denominator: whole numbers, whose sums are
/// exact.
fn triangle(b: &mut Builder, numerators: &Value, denominator: &Value) -> Value {
    let height = b.op("Sub", &[denominator, numerators]);
    b.op("Relu", &[&height])
}

/// The cubic filter with a = -0.5: `1 - x^2 * (2.5 - 1.5 * x)` below 1, `-0.5 * (x - 1) * (x - 2)^2` below 2, factored so that
/// no digits cancel near 2.
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

/// To the nearest whole number, halves up.
fn round(b: &mut Builder, value: &Value) -> Value {
    let half = b.float(0.5);
    let raised = b.op("Add", &[value, &half]);
    b.op("Floor", &[&raised])
}

/// To the nearest of 0, 1, ..., 255.
fn to_levels(b: &mut Builder, value: &Value) -> Value {
    let rounded = round(b, value);
    let (black, white) = (b.float(0.0), b.float(255.0));
    b.op("Clip", &[&rounded, &black, &white])
}
