//! Smooth activations and their derivatives on every instruction set, against plain functions in
//! f64; the latter against finite differences and PyTorch's values.

mod common;

use common::{assert_close, bits, draw_as, nan, on_every_instruction_set, plus, rounded, to, wide};
use regraft_kernels::activation::Activation;
use regraft_kernels::element::{Bf16, Element};
use regraft_kernels::functions::{Function, backward, forward};
use regraft_kernels::input::{Input, Normalization};

/// The error function: by its series near zero, by a continued fraction farther out.
fn erf(x: f64) -> f64 {
    let root = std::f64::consts::PI.sqrt();
    if x.abs() > 2.5 {
        let fraction =
            (1..=80).rev().fold(x.abs(), |below, k| x.abs() + f64::from(k) / 2.0 / below);
        return (1.0 - (-x * x).exp() / root / fraction).copysign(x);
    }
    let mut term = x;
    let mut sum = x;
    for n in 1..60 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    2.0 / root * sum
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn value(function: Function, x: f64) -> f64 {
    match function {
        Function::Relu => x.max(0.0),
        Function::Relu6 => x.clamp(0.0, 6.0),
        Function::Sigmoid => sigmoid(x),
        Function::Silu => x * sigmoid(x),
        Function::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Function::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Function::Gelu => 0.5 * x * (1.0 + erf(x / 2.0f64.sqrt())),
        Function::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Function::QuickGelu => x * sigmoid(1.702 * x),
    }
}

/// The derivative by central differences, accurate to about 1e-9 except at kinks.
fn slope(function: Function, x: f64) -> f64 {
    let step = 1e-5;
    (value(function, x + step) - value(function, x - step)) / (2.0 * step)
}

/// Moves a value away from the kinks of the clamps, where differences mean nothing.
fn away_from_kinks(x: f32) -> f32 {
    let kinks = [-3.0f32, 0.0, 3.0, 6.0];
    if kinks.iter().any(|kink| (x - kink).abs() < 1e-3) { x + 0.01 } else { x }
}

fn tolerance<E: Element>() -> f64 {
    if E::NAME == Bf16::NAME { 4e-3 } else { 1e-6 }
}

/// Pixels of 5, 16 and 33 channels, more than one task, with values up to where the functions are
/// flat.
fn check<E: Element>() {
    for function in Function::ALL {
        for (pixels, channels) in [(1, 5), (2500, 5), (700, 16), (13, 33)] {
            let what =
                format!("{function:?} of {pixels} pixels of {channels} channels in {}", E::NAME);
            let count = pixels * channels;
            let drawn: Vec<f32> = draw_as(1, count, |u| away_from_kinks(16.0 * u - 8.0));
            let input: Vec<E> = to(&drawn);
            let exact = wide(&input);
            let mut output = vec![nan::<E>(); count];
            forward(function, Input::from(&input), channels, &mut output);
            let expected: Vec<f64> = exact.iter().map(|&x| value(function, x)).collect();
            assert_close(&what, &output, &expected, tolerance::<E>());

            let gradient: Vec<E> = to(&draw_as(2, count, |u| 2.0 * u - 1.0));
            let slopes = exact.iter().map(|&x| slope(function, x));
            let expected: Vec<f64> = wide(&gradient)
                .iter()
                .zip(slopes)
                .map(|(gradient, slope)| gradient * slope)
                .collect();
            let mut found = vec![nan::<E>(); count];
            backward(function, Input::from(&input), channels, &gradient, &mut found, false);
            // bf16 may round a value onto a kink.
            let allowed = if E::NAME == Bf16::NAME { 1e-2 } else { 2e-6 };
            let kinks = |x: f64| [-3.0, 0.0, 3.0, 6.0].contains(&x);
            let smooth: Vec<usize> = (0..count).filter(|&at| !kinks(exact[at])).collect();
            let pick = |values: &[f64]| smooth.iter().map(|&at| values[at]).collect::<Vec<_>>();
            let picked = |values: &[E]| smooth.iter().map(|&at| values[at]).collect::<Vec<_>>();
            assert_close(&format!("{what}: gradient"), &picked(&found), &pick(&expected), allowed);
            let start: Vec<E> = to(&draw_as(3, count, |u| u));
            let mut found = start.clone();
            backward(function, Input::from(&input), channels, &gradient, &mut found, true);
            let sum = plus(&expected, &start);
            assert_close(&format!("{what}: added gradient"), &picked(&found), &pick(&sum), allowed);
        }
    }
}

#[test]
fn functions_and_derivatives_are_those_of_plain_loops() {
    on_every_instruction_set("functions_and_derivatives_are_those_of_plain_loops", || {
        check::<f32>();
        check::<Bf16>();
    });
}

/// An activation gives the same, to the bit, whether it normalises as it reads or reads normalised
/// values.
#[test]
fn normalising_on_the_way_changes_no_bit() {
    fn check<E: Element>() {
        let (pixels, channels) = (900, 17);
        let input: Vec<E> = to(&draw_as(4, pixels * channels, |u| 4.0 * u - 2.0));
        let (scale, shift) = (draw_as(5, channels, |u| u + 0.5), draw_as(6, channels, |u| u - 0.5));
        let activation = Activation::Identity;
        let mut normalized = vec![nan::<E>(); input.len()];
        let pixels_per_image = pixels;
        regraft_kernels::batch_norm::normalize(
            &input,
            &scale,
            &shift,
            None,
            None,
            activation,
            pixels_per_image,
            &mut normalized,
        );
        let normalization = Some(Normalization { scale: &scale, shift: &shift, activation });
        let gradient: Vec<E> = to(&rounded::<E>(&draw_as(7, input.len(), |u| u - 0.5)));
        let run = |input: Input<'_, E>| {
            let (mut output, mut found) =
                (vec![nan::<E>(); gradient.len()], vec![nan::<E>(); gradient.len()]);
            forward(Function::Silu, input, channels, &mut output);
            backward(Function::Silu, input, channels, &gradient, &mut found, false);
            (bits(&output), bits(&found))
        };
        assert_eq!(
            run(Input { values: &input, normalization }),
            run(Input::from(&normalized)),
            "{}",
            E::NAME
        );
    }
    on_every_instruction_set("normalising_on_the_way_changes_no_bit", || {
        check::<f32>();
        check::<Bf16>();
    });
}

/// torch.nn.functional in f64: silu(1.3), hardswish(1.3), hardsigmoid(-1.1), gelu(-0.7), gelu(-0.7,
/// approximate="tanh"), sigmoid(0.4).
const TORCH: [f64; 6] = [
    1.0215854779553264,
    0.9316666666666666,
    0.31666666666666665,
    -0.1693745565561511,
    -0.16942986529488321,
    0.598687660112452,
];

#[test]
fn the_plain_functions_are_pytorchs() {
    let values = [
        (Function::Silu, 1.3, TORCH[0]),
        (Function::HardSwish, 1.3, TORCH[1]),
        (Function::HardSigmoid, -1.1, TORCH[2]),
        (Function::Gelu, -0.7, TORCH[3]),
        (Function::GeluTanh, -0.7, TORCH[4]),
        (Function::Sigmoid, 0.4, TORCH[5]),
    ];
    for (function, x, expected) in values {
        let found = value(function, x);
        assert!((found - expected).abs() < 1e-12, "{function:?}: {found} instead of {expected}");
    }
}

#[test]
fn non_finite_values_stay_and_large_ones_do_not_overflow() {
    for function in Function::ALL {
        let input = [f32::NAN, 1e4, -1e4, 3e38, -3e38];
        let mut output = [0.0; 5];
        forward(function, Input::from(&input[..]), 5, &mut output);
        assert!(output[0].is_nan(), "{function:?} of NaN is {}", output[0]);
        assert!(output[1..].iter().all(|value| value.is_finite()), "{function:?}: {output:?}");
        let mut gradient = [0.0; 5];
        backward(function, Input::from(&input[..]), 5, &[1.0; 5], &mut gradient, false);
        assert!(gradient[1..3].iter().all(|value| value.is_finite()), "{function:?}: {gradient:?}");
    }
}
