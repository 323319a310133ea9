//! The position of a resized image in the network's square: torchvision's and Regraft's geometry in
//! integers.

use crate::onnx::builder::{Builder, Value};
use regraft::data::preprocessing::{Preprocessing, ResizeMode};

/// How an axis of the image becomes one of the square, as values in the file.
pub(super) struct Axis {
    /// Pixels of the image.
    pub source: Value,
    /// Pixels after resizing.
    pub target: Value,
    /// The resized pixel that is the square's first one; negative if the square has a margin.
    pub offset: Value,
    /// Whether there may be a margin.
    pub has_margin: bool,
}

/// How an axis of `source` pixels is resized if the other one has `other` pixels. Only numbers from
/// 0 upwards are divided, because runtimes round negative quotients in different directions.
pub(super) fn axis(
    b: &mut Builder,
    preprocessing: &Preprocessing,
    source: &Value,
    other: &Value,
) -> Axis {
    let side = i64::from(preprocessing.image_size);
    let (zero, size) = (b.integer(0), b.integer(side));
    let source = source.clone();
    match preprocessing.resize {
        ResizeMode::Squash => Axis { source, target: size, offset: zero, has_margin: false },
        // torchvision's `Resize` and `CenterCrop`.
        ResizeMode::Crop { short_side } => {
            let short_side = i64::from(short_side);
            let (wanted, two) = (b.integer(short_side), b.integer(2));
            let short = b.op("Min", &[&source, other]);
            let scaled = b.op("Mul", &[&source, &wanted]);
            let target = b.named_op("target", "Div", &[&scaled, &short], &[]);
            let rest = b.op("Sub", &[&target, &size]);
            // Half of the surplus, with an odd half rounded to even as in Python.
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
            let (one, two) = (b.integer(1), b.integer(2));
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

/// The margin before an axis that is shorter than the square: half of the difference, rounded down.
fn margin(b: &mut Builder, target: &Value, size: &Value) -> Value {
    let (zero, two) = (b.integer(0), b.integer(2));
    let rest = b.op("Sub", &[size, target]);
    let missing = b.op("Max", &[&rest, &zero]);
    b.named_op("margin", "Div", &[&missing, &two], &[])
}
