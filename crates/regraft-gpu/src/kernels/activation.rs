//! Activation functions and their derivatives.

use super::input::{self, Input};
use crate::record::{Recorder, Values, number};
use crate::shader::{Builder, width_of};
use regraft_nn::ops::Function;

/// Building blocks of the functions. The normal distribution is Abramowitz and Stegun's formula
/// 26.2.17: off by 7.5e-8 at most, which is f32's rounding of a value near 1.
const PARTS: &str = "
fn sigmoid(x: V) -> V { return 1.0 / (1.0 + exp(-x)); }
fn hard_sigmoid(x: V) -> V { return bounded(x + 3.0, 0.0, 6.0) * (1.0 / 6.0); }
fn tanh_argument(x: V) -> V { return 0.7978846 * fma(0.044715 * x * x, x, x); }
fn density(x: V) -> V { return 0.3989423 * exp(-0.5 * x * x); }
fn distribution(x: V) -> V {
    let t = 1.0 / fma(V(0.2316419), abs(x), V(1.0));
    var tail = fma(V(1.3302744), t, V(-1.8212559));
    tail = fma(tail, t, V(1.7814779));
    tail = fma(tail, t, V(-0.35656378));
    tail = fma(tail, t, V(0.31938153));
    tail *= t * density(x);
    return select(1.0 - tail, tail, x < V(0.0));
}
// The derivative of x * sigmoid(u(x)), given u and its derivative.
fn gated(x: V, u: V, slope: V) -> V {
    let s = sigmoid(u);
    return s * (1.0 + x * slope * (1.0 - s));
}";

fn value(function: Function) -> &'static str {
    match function {
        Function::Relu => "bounded(x, 0.0, bitcast<f32>(0x7f800000u + P.zero))",
        Function::Relu6 => "bounded(x, 0.0, 6.0)",
        Function::Sigmoid => "sigmoid(x)",
        Function::Silu => "x * sigmoid(x)",
        Function::HardSigmoid => "hard_sigmoid(x)",
        Function::HardSwish => "x * hard_sigmoid(x)",
        Function::Gelu => "x * distribution(x)",
        Function::GeluTanh => "x * sigmoid(2.0 * tanh_argument(x))",
        Function::QuickGelu => "x * sigmoid(1.702 * x)",
    }
}

fn derivative(function: Function) -> &'static str {
    match function {
        Function::Relu => "select(V(0.0), V(1.0), x > V(0.0))",
        Function::Relu6 => "select(V(0.0), V(1.0), (x > V(0.0)) & (x < V(6.0)))",
        Function::Sigmoid => "sigmoid(x) * (1.0 - sigmoid(x))",
        Function::Silu => "gated(x, x, V(1.0))",
        Function::HardSigmoid => "select(V(0.0), V(1.0 / 6.0), (x > V(-3.0)) & (x < V(3.0)))",
        Function::HardSwish => {
            "select(select(x / 3.0 + 0.5, V(1.0), x >= V(3.0)), V(0.0), x <= V(-3.0))"
        }
        Function::Gelu => "distribution(x) + x * density(x)",
        Function::GeluTanh => {
            "gated(x, 2.0 * tanh_argument(x), 1.5957691 * (1.0 + 0.134145 * x * x))"
        }
        Function::QuickGelu => "gated(x, 1.702 * x, V(1.702))",
    }
}

fn bind(name: &str, input: &Input, width: usize) -> Builder {
    let builder = Builder::new(name, width).params(&["vectors", "zero"]).code(PARTS);
    input::bind(builder, input, width)
}

/// `output = function(input)`, over `pixels` pixels.
pub(crate) fn forward(
    recorder: &mut Recorder,
    function: Function,
    input: &Input,
    pixels: usize,
    output: Values,
) {
    let width = width_of(input.channels);
    let vectors = input.channels / width;
    let builder = bind("activation_forward", input, width).map("y", output.storage, width);
    let shader = builder
        .each(&format!("let x = value_x(i, i % P.vectors);\nstore_y(i, {});", value(function)));
    let (mut slices, mut params) =
        (vec![("y", output.slice)], vec![("vectors", number(vectors)), ("zero", 0)]);
    input::give(input, width, &mut slices, &mut params);
    recorder.each(shader, &slices, &params, pixels * vectors);
}

/// The gradient of the input, as it is after its normalisation, written or added to `target`.
pub(crate) fn backward(
    recorder: &mut Recorder,
    function: Function,
    input: &Input,
    pixels: usize,
    gradient: Values,
    (target, accumulate): (Values, bool),
) {
    let width = width_of(input.channels);
    let vectors = input.channels / width;
    let builder = bind("activation_backward", input, width).map("g", gradient.storage, width).map(
        "y",
        target.storage,
        width,
    );
    let earlier = if accumulate { "load_y(i) + " } else { "" };
    let shader = builder.each(&format!(
        "let x = value_x(i, i % P.vectors);\nstore_y(i, {earlier}load_g(i) * ({}));",
        derivative(function)
    ));
    let (mut slices, mut params) = (
        vec![("g", gradient.slice), ("y", target.slice)],
        vec![("vectors", number(vectors)), ("zero", 0)],
    );
    input::give(input, width, &mut slices, &mut params);
    recorder.each(shader, &slices, &params, pixels * vectors);
}
