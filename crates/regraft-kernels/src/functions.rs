//! Smooth activation functions of feature maps, with their derivatives.
//!
//! [`crate::activation`] has the clamps, which other kernels apply along the way. The functions
//! here run alone: a block of values is widened to f32, normalised if the step before left that to
//! its reader, and replaced by the function's values or derivatives while it is in the cache.

use crate::activation::clamp;
use crate::element::{Element, copy, with_sums};
use crate::input::Input;
use crate::isa::{for_each_isa, multiply_add};
use crate::scratch::with_scratch;
use rayon::prelude::*;
pub use regraft_base::function::Function;

/// Number of values in a task, rounded up to whole pixels.
const PER_TASK: usize = 1 << 13;

/// `output = function(input)`, over pixels of `channels` channels.
pub fn forward<E: Element>(
    function: Function,
    input: Input<'_, E>,
    channels: usize,
    output: &mut [E],
) {
    assert_eq!(input.values.len(), output.len());
    let block = PER_TASK.div_ceil(channels) * channels;
    output.par_chunks_mut(block).zip(input.values.par_chunks(block)).for_each(
        |(output, values)| {
            with_sums(output, false, |sums| {
                load(values, &input, channels, sums);
                apply(function, sums);
            });
        },
    );
}

/// The gradient of [`forward`]'s input (after the normalisation) from that of its output. If
/// `accumulate`, it is added to `input_gradient`.
pub fn backward<E: Element>(
    function: Function,
    input: Input<'_, E>,
    channels: usize,
    output_gradient: &[E],
    input_gradient: &mut [E],
    accumulate: bool,
) {
    assert_eq!(input.values.len(), output_gradient.len());
    assert_eq!(input.values.len(), input_gradient.len());
    let block = PER_TASK.div_ceil(channels) * channels;
    let tasks = input_gradient.par_chunks_mut(block).zip(input.values.par_chunks(block));
    tasks.zip(output_gradient.par_chunks(block)).for_each(|((target, values), gradient)| {
        with_scratch(values.len(), |derivative: &mut [f32]| {
            load(values, &input, channels, derivative);
            derive(function, derivative);
            with_sums(target, accumulate, |target| {
                if accumulate {
                    add_products(target, gradient, derivative);
                } else {
                    set_products(target, gradient, derivative);
                }
            });
        });
    });
}

fn load<E: Element>(values: &[E], input: &Input<'_, E>, channels: usize, target: &mut [f32]) {
    match &input.normalization {
        None => copy(values, target),
        Some(normalization) => normalization.apply(0..channels, values, channels, target),
    }
}

for_each_isa! {
    fn set_products<E: Element>(target: &mut [f32], gradient: &[E], derivative: &[f32])
        => set_products_body
}
#[inline(always)]
fn set_products_body<const FUSED: bool, E: Element>(
    target: &mut [f32],
    gradient: &[E],
    derivative: &[f32],
) {
    for ((target, gradient), derivative) in target.iter_mut().zip(gradient).zip(derivative) {
        *target = gradient.to_f32() * derivative;
    }
}

for_each_isa! {
    fn add_products<E: Element>(target: &mut [f32], gradient: &[E], derivative: &[f32])
        => add_products_body
}
#[inline(always)]
fn add_products_body<const FUSED: bool, E: Element>(
    target: &mut [f32],
    gradient: &[E],
    derivative: &[f32],
) {
    for ((target, gradient), derivative) in target.iter_mut().zip(gradient).zip(derivative) {
        *target = multiply_add::<FUSED>(gradient.to_f32(), *derivative, *target);
    }
}

for_each_isa! {
    /// Replaces values by the function's values.
    pub fn apply(function: Function, values: &mut [f32]) => apply_body
}
#[inline(always)]
fn apply_body<const FUSED: bool>(function: Function, values: &mut [f32]) {
    match function {
        Function::Relu => each(values, |x| clamp(x, 0.0, f32::INFINITY)),
        Function::Relu6 => each(values, |x| clamp(x, 0.0, 6.0)),
        Function::Sigmoid => each(values, sigmoid::<FUSED>),
        Function::Silu => each(values, |x| x * sigmoid::<FUSED>(x)),
        Function::HardSigmoid => each(values, hard_sigmoid),
        Function::HardSwish => each(values, |x| x * hard_sigmoid(x)),
        Function::Gelu => each(values, |x| x * normal_distribution::<FUSED>(x)),
        Function::GeluTanh => {
            each(values, |x| x * sigmoid::<FUSED>(2.0 * tanh_argument::<FUSED>(x)))
        }
        Function::QuickGelu => each(values, |x| x * sigmoid::<FUSED>(QUICK * x)),
    }
}

for_each_isa! {
    /// Replaces values by the function's derivatives.
    pub fn derive(function: Function, values: &mut [f32]) => derive_body
}
#[inline(always)]
fn derive_body<const FUSED: bool>(function: Function, values: &mut [f32]) {
    // The derivative of x * sigmoid(u(x)), given u and its derivative.
    let gated = |x: f32, u: f32, slope: f32| {
        let s = sigmoid::<FUSED>(u);
        s * (1.0 + x * slope * (1.0 - s))
    };
    match function {
        Function::Relu => each(values, |x| if x > 0.0 { 1.0 } else { 0.0 }),
        Function::Relu6 => each(values, |x| if x > 0.0 && x < 6.0 { 1.0 } else { 0.0 }),
        Function::Sigmoid => each(values, |x| {
            let s = sigmoid::<FUSED>(x);
            s * (1.0 - s)
        }),
        Function::Silu => each(values, |x| gated(x, x, 1.0)),
        Function::HardSigmoid => {
            each(values, |x| if x > -3.0 && x < 3.0 { 1.0 / 6.0 } else { 0.0 })
        }
        Function::HardSwish => each(values, |x| {
            let inside = x / 3.0 + 0.5;
            if x <= -3.0 {
                0.0
            } else if x >= 3.0 {
                1.0
            } else {
                inside
            }
        }),
        Function::Gelu => {
            each(values, |x| normal_distribution::<FUSED>(x) + x * normal_density::<FUSED>(x))
        }
        Function::GeluTanh => each(values, |x| {
            let slope = 2.0 * TANH_SCALE * (1.0 + 3.0 * TANH_CUBE * x * x);
            gated(x, 2.0 * tanh_argument::<FUSED>(x), slope)
        }),
        Function::QuickGelu => each(values, |x| gated(x, QUICK * x, QUICK)),
    }
}

#[inline(always)]
fn each(values: &mut [f32], function: impl Fn(f32) -> f32) {
    values.iter_mut().for_each(|value| *value = function(*value));
}

/// The factor in [`Function::QuickGelu`].
const QUICK: f32 = 1.702;
/// `sqrt(2 / pi)`.
const TANH_SCALE: f32 = 0.797_884_6;
/// The factor of the cube in [`Function::GeluTanh`].
const TANH_CUBE: f32 = 0.044_715;
/// `1 / sqrt(2 pi)`.
const DENSITY_SCALE: f32 = 0.398_942_3;

/// `(1 + tanh(u)) / 2` is `sigmoid(2 u)`: this is `u`.
#[inline(always)]
fn tanh_argument<const FUSED: bool>(x: f32) -> f32 {
    TANH_SCALE * multiply_add::<FUSED>(TANH_CUBE * x * x, x, x)
}

#[inline(always)]
fn hard_sigmoid(x: f32) -> f32 {
    clamp(x + 3.0, 0.0, 6.0) * (1.0 / 6.0)
}

#[inline(always)]
fn sigmoid<const FUSED: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FUSED>(-x))
}

/// `exp(-x^2 / 2) / sqrt(2 pi)`.
#[inline(always)]
fn normal_density<const FUSED: bool>(x: f32) -> f32 {
    DENSITY_SCALE * exp::<FUSED>(-0.5 * x * x)
}

/// The standard normal distribution by Abramowitz and Stegun's formula 26.2.17, with an error of at
/// most 7.5e-8, which is f32's rounding of a value near 1.
#[inline(always)]
fn normal_distribution<const FUSED: bool>(x: f32) -> f32 {
    let t = 1.0 / multiply_add::<FUSED>(0.231_641_9, x.abs(), 1.0);
    let tail = multiply_add::<FUSED>(1.330_274_4, t, -1.821_255_9);
    let tail = multiply_add::<FUSED>(tail, t, 1.781_477_9);
    let tail = multiply_add::<FUSED>(tail, t, -0.356_563_78);
    let tail = multiply_add::<FUSED>(tail, t, 0.319_381_53);
    let tail = tail * t * normal_density::<FUSED>(x);
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// The exponential function to about 2 units in the last place, without branches, so that loops
/// become vectors: `2^n exp(r)` with `|r| <= ln(2) / 2`, and `exp(r)` by its Taylor series up to
/// the seventh power. Below -87 it is about 1e-38 instead of less, and above 88 it stays at
/// `exp(88)`.
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    /// Adding and subtracting this rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    // ln(2) in two parts: the first has few enough digits for its multiples to be exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let limited = clamp(x, -87.0, 88.0);
    let shifted = multiply_add::<FUSED>(limited, std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let rest = multiply_add::<FUSED>(whole, -LN2_HIGH, limited);
    let rest = multiply_add::<FUSED>(whole, -LN2_LOW, rest);
    let series = multiply_add::<FUSED>(1.0 / 5040.0, rest, 1.0 / 720.0);
    let series = multiply_add::<FUSED>(series, rest, 1.0 / 120.0);
    let series = multiply_add::<FUSED>(series, rest, 1.0 / 24.0);
    let series = multiply_add::<FUSED>(series, rest, 1.0 / 6.0);
    let series = multiply_add::<FUSED>(series, rest, 0.5);
    let series = multiply_add::<FUSED>(series, rest, 1.0);
    let series = multiply_add::<FUSED>(series, rest, 1.0);
    // The integer's low bits are those of the shifted value; NaN propagates through `series`.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    series * power
}
