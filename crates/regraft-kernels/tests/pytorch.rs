//! Every kernel against PyTorch's values in `fixtures/kernels.json`, which `fixtures/kernels.py` in
//! the repository makes.
//!
//! PyTorch computed them in float64 from the same float32 inputs, so the tolerances cover only
//! rounding in f32.

mod common;

use common::{
    Kernels, assert_close, convolution_shape, draw, draw_as, on_every_instruction_set, plus,
    statistics,
};
use regraft_base::adam::AdamSettings;
use regraft_kernels::activation::Activation;
use regraft_kernels::batch_norm::{BackwardPrologue, Mask};
use regraft_kernels::optimizer::{adamw, sgd};
use regraft_kernels::{batch_norm, linear, loss, pooling};
use serde_json::Value;

/// Relative to the largest value: a few units in the last place of f32. The worst measured is
/// 5.6e-7.
const TOLERANCE: f64 = 1e-6;

fn cases(kind: &str) -> Vec<Value> {
    let text = include_str!("fixtures/kernels.json");
    let record: Value = serde_json::from_str(text).expect("the fixture is JSON");
    let cases = record[kind].as_array().expect("the fixture has the kind").clone();
    assert!(!cases.is_empty());
    cases
}

fn number(case: &Value, key: &str) -> f64 {
    case[key].as_f64().unwrap_or_else(|| panic!("{key} is a number in {case}"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .expect("a list")
        .iter()
        .map(|value| value.as_f64().expect("a list of numbers"))
        .collect()
}

fn count(case: &Value, key: &str) -> usize {
    number(case, key) as usize
}

fn sizes<const COUNT: usize>(case: &Value, key: &str) -> [usize; COUNT] {
    let values: Vec<usize> = numbers(&case[key]).into_iter().map(|value| value as usize).collect();
    values.try_into().expect("the number of sizes")
}

/// The fixture's stream number of tensor `which` of the case.
fn sample(case: &Value, which: u32) -> u32 {
    count(case, "case") as u32 * 10 + which
}

/// Compares with the case's list `key`.
fn check(case: &Value, key: &str, found: &[f32]) {
    assert_close(&format!("case {} {key}", case["case"]), found, &numbers(&case[key]), TOLERANCE);
}

/// Compares with the case's list `key` added to `start`, whose values are about one.
fn check_added(case: &Value, key: &str, start: &[f32], found: &[f32]) {
    let expected = plus(&numbers(&case[key]), start);
    assert_close(&format!("case {} {key}, accumulated", case["case"]), found, &expected, TOLERANCE);
}

#[test]
fn convolutions_match() {
    on_every_instruction_set("convolutions_match", || {
        let mut runs = 0;
        for case in cases("convolution") {
            let [out_channels, _, height, width] = sizes(&case, "weight");
            let (stride, groups) = (count(&case, "stride"), count(&case, "groups"));
            let shape = convolution_shape(
                sizes(&case, "input"),
                out_channels,
                [height, width],
                stride,
                sizes(&case, "padding"),
                groups,
            );
            assert_eq!(
                [shape.batch, shape.out_height, shape.out_width, out_channels],
                sizes(&case, "output_shape")
            );
            let input = draw(sample(&case, 0), shape.input_length());
            let weights = draw(sample(&case, 1), shape.weight_length());
            let gradient = draw(sample(&case, 2), shape.output_length());
            for kernels in Kernels::of(&shape) {
                println!("case {}: {kernels:?}", case["case"]);
                let weights = kernels.to_kernel_order(&shape, &weights);
                check(&case, "output", &kernels.forward(&shape, &input, &weights));
                check(
                    &case,
                    "input_gradient",
                    &kernels.backward_input(&shape, &gradient, &weights, None),
                );
                let added = kernels.backward_input(&shape, &gradient, &weights, Some(&input));
                check_added(&case, "input_gradient", &input, &added);
                let weight_gradient = kernels.backward_weights(&shape, &input, &gradient);
                check(
                    &case,
                    "weight_gradient",
                    &kernels.to_pytorch_order(&shape, &weight_gradient),
                );
                runs += 1;
            }
        }
        assert_eq!(runs, 13 + 4, "all cases, and the depthwise ones twice");
    });
}

#[test]
fn batch_norms_match() {
    on_every_instruction_set("batch_norms_match", || {
        for case in cases("batch_norm") {
            let [batch, height, width, channels]: [usize; 4] = sizes(&case, "input");
            let (pixels, length) = (batch * height * width, batch * height * width * channels);
            let input = draw(sample(&case, 0), length);
            let [weight, bias, mut running_mean] =
                [1, 2, 3].map(|which| draw(sample(&case, which), channels));
            let mut running_variance = draw_as(sample(&case, 4), channels, |u| 0.5 + u);
            let mut gradient = draw(sample(&case, 5), length);
            let training = case["training"].as_bool().expect("a flag");

            let mut statistics = statistics(&input, channels);
            if training {
                let momentum = number(&case, "momentum") as f32;
                statistics.update_running(
                    pixels,
                    momentum,
                    &mut running_mean,
                    &mut running_variance,
                );
            } else {
                (statistics.mean, statistics.variance) =
                    (running_mean.clone(), running_variance.clone());
            }
            check(&case, "running_mean", &running_mean);
            check(&case, "running_var", &running_variance);

            let inverse =
                batch_norm::inverse_deviation(&statistics.variance, number(&case, "eps") as f32);
            let scale: Vec<f32> =
                weight.iter().zip(&inverse).map(|(weight, inverse)| weight * inverse).collect();
            let shift: Vec<f32> = (0..channels)
                .map(|channel| bias[channel] - statistics.mean[channel] * scale[channel])
                .collect();
            let mut output = vec![f32::NAN; length];
            batch_norm::normalize(
                &input,
                &scale,
                &shift,
                None,
                None,
                Activation::Identity,
                height * width,
                &mut output,
            );
            check(&case, "output", &output);

            let (mut weight_gradient, mut bias_gradient) =
                (vec![f32::NAN; channels], vec![f32::NAN; channels]);
            batch_norm::backward(
                BackwardPrologue { mask: Mask::None, residual: None, keep: None },
                &input,
                &mut gradient,
                &statistics.mean,
                &inverse,
                &mut weight_gradient,
                &mut bias_gradient,
                &mut Vec::new(),
            );
            check(&case, "weight_gradient", &weight_gradient);
            check(&case, "bias_gradient", &bias_gradient);
            if training {
                let mean = &statistics.mean;
                batch_norm::backward_input(
                    input.len() / mean.len(),
                    &input,
                    &mut gradient,
                    mean,
                    &inverse,
                    &scale,
                    &weight_gradient,
                    &bias_gradient,
                );
            } else {
                batch_norm::backward_input_of_constants(&mut gradient, &scale);
            }
            check(&case, "input_gradient", &gradient);
        }
    });
}

#[test]
fn pooling_matches() {
    on_every_instruction_set("pooling_matches", || {
        for case in cases("max_pool") {
            let input_shape @ [_, _, _, channels] = sizes(&case, "input");
            let kernel = count(&case, "kernel");
            let padding = [count(&case, "padding"); 4];
            let shape = convolution_shape(
                input_shape,
                channels,
                [kernel; 2],
                count(&case, "stride"),
                padding,
                1,
            );
            let input =
                draw_as(sample(&case, 0), shape.input_length(), |u| (4.0 * u).floor() - 3.0);
            let gradient = draw(sample(&case, 1), shape.output_length());
            let (mut output, mut places) =
                (vec![f32::NAN; gradient.len()], vec![u32::MAX; gradient.len()]);
            pooling::max_forward(&shape, &input, &mut output, None);
            check(&case, "output", &output);
            output.fill(f32::NAN);
            pooling::max_forward(&shape, &input, &mut output, Some(&mut places));
            check(&case, "output", &output);
            let mut input_gradient = vec![f32::NAN; input.len()];
            pooling::max_backward(&shape, &gradient, &places, &mut input_gradient, false);
            check(&case, "input_gradient", &input_gradient);
            let mut added = input.clone();
            pooling::max_backward(&shape, &gradient, &places, &mut added, true);
            check_added(&case, "input_gradient", &input, &added);
        }
        for case in cases("average_pool") {
            let [batch, height, width, channels]: [usize; 4] = sizes(&case, "input");
            let pixels = height * width;
            let input = draw(sample(&case, 0), batch * pixels * channels);
            let gradient = draw(sample(&case, 1), batch * channels);
            let mut output = vec![f32::NAN; batch * channels];
            pooling::average_forward(&input, pixels, channels, &mut output);
            check(&case, "output", &output);
            let mut input_gradient = vec![f32::NAN; input.len()];
            pooling::average_backward(&gradient, pixels, channels, &mut input_gradient, false);
            check(&case, "input_gradient", &input_gradient);
            let mut added = input.clone();
            pooling::average_backward(&gradient, pixels, channels, &mut added, true);
            check_added(&case, "input_gradient", &input, &added);
        }
    });
}

#[test]
fn activations_match() {
    on_every_instruction_set("activations_match", || {
        for case in cases("activation") {
            let function = match case["name"].as_str() {
                Some("relu") => Activation::Relu,
                Some("relu6") => Activation::Relu6,
                name => panic!("an unknown activation {name:?}"),
            };
            let length = count(&case, "length");
            let input = draw_as(sample(&case, 0), length, |u| (17.0 * u).floor() / 2.0 - 1.0);
            let mut gradient = draw(sample(&case, 1), length);
            let output: Vec<f32> = input.iter().map(|&value| function.apply(value)).collect();
            check(&case, "output", &output);
            // The backward pass of an activation is the first part of batch norm's.
            let prologue = BackwardPrologue {
                mask: Mask::Output(&output, function),
                residual: None,
                keep: None,
            };
            let (constants, mut sums) = ([0.0], [[0.0]; 2]);
            let [weights, bias] = &mut sums;
            batch_norm::backward(
                prologue,
                &input,
                &mut gradient,
                &constants,
                &constants,
                weights,
                bias,
                &mut Vec::new(),
            );
            check(&case, "input_gradient", &gradient);
        }
    });
}

#[test]
fn linear_layers_match() {
    on_every_instruction_set("linear_layers_match", || {
        for case in cases("linear") {
            let [rows, inputs, outputs] =
                ["rows", "inputs", "outputs"].map(|key| count(&case, key));
            let input = draw(sample(&case, 0), rows * inputs);
            let weights = draw(sample(&case, 1), outputs * inputs);
            let bias = draw(sample(&case, 2), outputs);
            let gradient = draw(sample(&case, 3), rows * outputs);
            let mut output = vec![f32::NAN; rows * outputs];
            linear::forward(&input, &weights, &bias, inputs, &mut output);
            check(&case, "output", &output);
            let (mut weight_gradient, mut bias_gradient) =
                (vec![f32::NAN; weights.len()], vec![f32::NAN; outputs]);
            linear::backward_parameters(
                &input,
                &gradient,
                inputs,
                &mut weight_gradient,
                &mut bias_gradient,
            );
            check(&case, "weight_gradient", &weight_gradient);
            check(&case, "bias_gradient", &bias_gradient);
            let mut input_gradient = vec![f32::NAN; input.len()];
            linear::backward_input(&gradient, &weights, inputs, &mut input_gradient, false);
            check(&case, "input_gradient", &input_gradient);
            let mut added = input.clone();
            linear::backward_input(&gradient, &weights, inputs, &mut added, true);
            check_added(&case, "input_gradient", &input, &added);
        }
    });
}

#[test]
fn losses_match() {
    on_every_instruction_set("losses_match", || {
        for case in cases("cross_entropy") {
            let (rows, classes) = (count(&case, "rows"), count(&case, "classes"));
            let logits = draw_as(sample(&case, 0), rows * classes, |u| 8.0 * u - 4.0);
            let labels: Vec<u32> =
                numbers(&case["labels"]).into_iter().map(|label| label as u32).collect();
            let weight = match case["reduction"].as_str() {
                Some("mean") => 1.0 / rows as f32,
                Some("sum") => 1.0,
                reduction => panic!("an unknown reduction {reduction:?}"),
            };
            let (mut losses, mut gradient) = (vec![f32::NAN; rows], vec![f32::NAN; logits.len()]);
            let smoothing = number(&case, "label_smoothing") as f32;
            loss::cross_entropy(
                &logits,
                &labels,
                classes,
                smoothing,
                weight,
                &mut losses,
                &mut gradient,
            );
            check(&case, "losses", &losses);
            check(&case, "gradient", &gradient);
            let reduced: f32 = losses.iter().map(|loss| loss * weight).sum();
            assert_close("the reduced loss", &[reduced], &[number(&case, "loss")], TOLERANCE);
        }
    });
}

#[test]
fn optimizers_match() {
    on_every_instruction_set("optimizers_match", || {
        for case in cases("sgd").into_iter().chain(cases("adamw")) {
            let length = count(&case, "length");
            let mut parameter = draw(sample(&case, 0), length);
            let (mut first, mut second) = (vec![0.0; length], vec![0.0; length]);
            let (rate, decay) = (number(&case, "lr") as f32, number(&case, "weight_decay") as f32);
            let steps = case["steps"].as_array().expect("a list of steps");
            assert_eq!(steps.len(), 3);
            for (step, expected) in (0..).zip(steps) {
                let gradient = draw(sample(&case, 1 + step), length);
                if case.get("betas").is_some() {
                    let [beta1, beta2] = numbers(&case["betas"])[..] else { panic!("two betas") };
                    let epsilon = number(&case, "eps") as f32;
                    let settings =
                        AdamSettings { beta1: beta1 as f32, beta2: beta2 as f32, epsilon };
                    let number = u64::from(step) + 1;
                    adamw(
                        &mut parameter,
                        &gradient,
                        &mut first,
                        &mut second,
                        number,
                        rate,
                        decay,
                        settings,
                    );
                } else {
                    let momentum = number(&case, "momentum") as f32;
                    let velocity = if momentum == 0.0 { &mut [][..] } else { &mut first[..] };
                    sgd(&mut parameter, &gradient, velocity, rate, momentum, decay);
                }
                let what = format!("case {} step {step}", case["case"]);
                assert_close(&what, &parameter, &numbers(expected), TOLERANCE);
            }
        }
    });
}

/// In the fixture, the gradients are far larger than epsilon. At the first step AdamW moves by
/// `rate x g / (|g| + epsilon)`.
#[test]
fn adamw_adds_epsilon_to_the_root() {
    let settings = AdamSettings { epsilon: 1e-3, ..AdamSettings::default() };
    let (mut parameter, mut first, mut second) = ([0.0; 3], [0.0; 3], [0.0; 3]);
    adamw(&mut parameter, &[1e-3, -1e-3, 3e-3], &mut first, &mut second, 1, 0.1, 0.0, settings);
    assert_close("parameters", &parameter, &[-0.05, 0.05, -0.075], TOLERANCE);
}
