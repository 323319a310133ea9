//! Gradients against finite differences in f64: those of the plain loops that other tests rely on,
//! and those of kernels, by the definition of their results.

mod common;

use common::{
    assert_close, convolution_shape, draw, draw_as, on_every_instruction_set, reference,
    statistics, wide,
};
use regraft_kernels::activation::Activation;
use regraft_kernels::batch_norm::{self, BackwardPrologue, Mask};
use regraft_kernels::{linear, loss, pooling};

/// The tolerance for f32 kernels, relative to the largest value of a gradient; the differences
/// themselves are accurate to about 1e-8.
const TOLERANCE: f64 = 2e-6;
/// The tolerance for the plain loops: they are linear in each argument, so differences are exact up
/// to f64's rounding.
const EXACT: f64 = 1e-9;

/// The derivatives of `function` by each of its arguments, as central differences.
fn differences(arguments: &[f64], function: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-4;
    let mut arguments = arguments.to_vec();
    let mut derivatives = Vec::with_capacity(arguments.len());
    for at in 0..arguments.len() {
        let value = arguments[at];
        let [above, below] = [STEP, -STEP].map(|step| {
            arguments[at] = value + step;
            function(&arguments)
        });
        arguments[at] = value;
        derivatives.push((above - below) / (2.0 * STEP));
    }
    derivatives
}

/// The sum of `values` weighted by `weights`: the function whose gradient at the output is
/// `weights`.
fn weighted(values: &[f64], weights: &[f64]) -> f64 {
    values.iter().zip(weights).map(|(value, weight)| value * weight).sum()
}

fn assert_near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let within = (found - expected).abs() <= tolerance * largest;
        assert!(within, "{what}: value {at} is {found} instead of {expected}");
    }
}

#[test]
fn the_plain_convolutions_gradients_are_its_derivatives() {
    for (input, out_channels, kernel, stride, padding, groups) in [
        ([2, 4, 3, 3], 4, [3, 3], 1, [1; 4], 1),
        ([1, 5, 4, 2], 3, [3, 3], 2, [0, 1, 0, 1], 1),
        ([2, 3, 4, 6], 9, [3, 3], 1, [1; 4], 3),
        ([1, 5, 5, 4], 4, [5, 5], 2, [1, 2, 1, 2], 4),
        ([1, 4, 5, 3], 2, [1, 1], 2, [0; 4], 1),
        ([1, 3, 4, 2], 3, [1, 3], 1, [0, 0, 1, 1], 1),
    ] {
        let shape = convolution_shape(input, out_channels, kernel, stride, padding, groups);
        let [input, weights, gradient] =
            [(1, shape.input_length()), (2, shape.weight_length()), (3, shape.output_length())]
                .map(|(sample, count)| wide(&draw(sample, count)));
        let found = reference::convolution(&shape, &input, &weights, &gradient);
        let output = |input: &[f64], weights: &[f64]| {
            weighted(&reference::convolution(&shape, input, weights, &gradient).output, &gradient)
        };
        let by_input = differences(&input, |input| output(input, &weights));
        assert_near(&format!("input of {shape:?}"), &found.input_gradient, &by_input, EXACT);
        let by_weights = differences(&weights, |weights| output(&input, weights));
        assert_near(&format!("weights of {shape:?}"), &found.weight_gradient, &by_weights, EXACT);
    }
}

/// The layer that follows a convolution: batch norm with the batch's statistics, stochastic depth,
/// residual, activation.
struct Behind {
    channels: usize,
    epsilon: f64,
    activation: Activation,
    keep: Vec<f64>,
}

impl Behind {
    fn output(&self, input: &[f64], weight: &[f64], bias: &[f64], residual: &[f64]) -> Vec<f64> {
        let (mean, variance) = reference::statistics(input, self.channels);
        let (low, high) = self.activation.bounds();
        let per_image = input.len() / self.keep.len();
        let value = |at: usize| {
            let channel = at % self.channels;
            let normalized =
                (input[at] - mean[channel]) / (variance[channel] + self.epsilon).sqrt();
            let value = self.keep[at / per_image] * (weight[channel] * normalized + bias[channel])
                + residual[at];
            // Differences mean nothing across a kink.
            assert!(
                [low, high].iter().all(|&bend| (value - f64::from(bend)).abs() > 1e-3),
                "a value on a bend"
            );
            value.clamp(f64::from(low), f64::from(high))
        };
        (0..input.len()).map(value).collect()
    }
}

#[test]
fn batch_norms_gradients_are_derivatives_of_the_whole_layer() {
    on_every_instruction_set("batch_norms_gradients_are_derivatives_of_the_whole_layer", || {
        let (images, pixels, channels) = (3, 5, 19);
        let length = images * pixels * channels;
        for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
            let (input, gradient, residual) = (draw(1, length), draw(2, length), draw(3, length));
            let weight = draw_as(4, channels, |u| 1.0 + 3.0 * u);
            let bias = draw_as(5, channels, |u| 6.0 * u - 1.0);
            let keep = [1.25, 0.0, 1.25];
            let epsilon = 1e-3;
            let layer = Behind {
                channels,
                epsilon: f64::from(epsilon),
                activation,
                keep: keep.map(f64::from).to_vec(),
            };
            let [wide_input, wide_weight, wide_bias, wide_residual, weights] =
                [&input, &weight, &bias, &residual, &gradient].map(|values| wide(values));

            let statistics = statistics(&input, channels);
            let inverse = batch_norm::inverse_deviation(&statistics.variance, epsilon);
            let scale: Vec<f32> =
                weight.iter().zip(&inverse).map(|(weight, inverse)| weight * inverse).collect();
            let shift: Vec<f32> =
                (0..channels).map(|at| bias[at] - statistics.mean[at] * scale[at]).collect();
            let mut output = vec![f32::NAN; length];
            batch_norm::normalize(
                &input,
                &scale,
                &shift,
                Some(&residual),
                Some(&keep),
                activation,
                pixels,
                &mut output,
            );
            let expected = layer.output(&wide_input, &wide_weight, &wide_bias, &wide_residual);
            assert_close("output", &output, &expected, TOLERANCE);

            let mut found = gradient.clone();
            let (mut by_weight, mut by_bias) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
            let mut by_residual = vec![f32::NAN; length];
            let mask = Mask::Output(&output, activation);
            let prologue = BackwardPrologue {
                mask,
                residual: Some((&mut by_residual, false)),
                keep: Some(&keep),
            };
            let (mean, partial) = (&statistics.mean, &mut Vec::new());
            batch_norm::backward(
                prologue,
                &input,
                &mut found,
                mean,
                &inverse,
                &mut by_weight,
                &mut by_bias,
                partial,
            );
            batch_norm::backward_input(
                length / channels,
                &input,
                &mut found,
                mean,
                &inverse,
                &scale,
                &by_weight,
                &by_bias,
            );

            let what = |argument: &str| format!("{activation:?}, by {argument}");
            let of = |input: &[f64], weight: &[f64], bias: &[f64], residual: &[f64]| {
                weighted(&layer.output(input, weight, bias, residual), &weights)
            };
            let expected = differences(&wide_input, |input| {
                of(input, &wide_weight, &wide_bias, &wide_residual)
            });
            assert_close(&what("input"), &found, &expected, TOLERANCE);
            let expected = differences(&wide_weight, |weight| {
                of(&wide_input, weight, &wide_bias, &wide_residual)
            });
            assert_close(&what("weight"), &by_weight, &expected, TOLERANCE);
            let expected =
                differences(&wide_bias, |bias| of(&wide_input, &wide_weight, bias, &wide_residual));
            assert_close(&what("bias"), &by_bias, &expected, TOLERANCE);
            let expected = differences(&wide_residual, |residual| {
                of(&wide_input, &wide_weight, &wide_bias, residual)
            });
            assert_close(&what("residual"), &by_residual, &expected, TOLERANCE);
        }
    });
}

#[test]
fn the_losses_gradients_are_derivatives() {
    let (classes, rows, smoothing, scale) = (5, 4, 0.1f32, 0.25f32);
    let logits = draw_as(1, rows * classes, |u| 6.0 * u - 3.0);
    let labels = [3, 0, 4, 1];
    let mut targets: Vec<f32> = draw_as(2, rows * classes, |u| u + 0.1);
    targets.chunks_exact_mut(classes).for_each(|row| {
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|target| *target /= sum);
    });
    let of_labels: Vec<f32> = (0..rows * classes)
        .map(|at| if at % classes == labels[at / classes] as usize { 1.0 } else { 0.0 })
        .collect();
    for (targets, name) in [(&of_labels, "labels"), (&targets, "targets")] {
        let definition = |logits: &[f64]| -> f64 {
            let row = |(logits, targets): (&[f64], &[f32])| -> f64 {
                let logarithm = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
                let smooth = |target: f32| {
                    f64::from(1.0 - smoothing) * f64::from(target)
                        + f64::from(smoothing) / classes as f64
                };
                logits
                    .iter()
                    .zip(targets)
                    .map(|(logit, &target)| smooth(target) * (logarithm - logit))
                    .sum()
            };
            f64::from(scale)
                * logits
                    .chunks_exact(classes)
                    .zip(targets.chunks_exact(classes))
                    .map(row)
                    .sum::<f64>()
        };
        let (mut losses, mut gradient) = (vec![f32::NAN; rows], vec![f32::NAN; rows * classes]);
        match name {
            "labels" => loss::cross_entropy(
                &logits,
                &labels,
                classes,
                smoothing,
                scale,
                &mut losses,
                &mut gradient,
            ),
            _ => loss::soft_cross_entropy(
                &logits,
                targets,
                classes,
                smoothing,
                scale,
                &mut losses,
                &mut gradient,
            ),
        }
        let sum = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() * f64::from(scale);
        let expected = definition(&wide(&logits));
        assert!(
            (sum - expected).abs() < TOLERANCE * expected,
            "{name}: {sum} instead of {expected}"
        );
        assert_close(name, &gradient, &differences(&wide(&logits), definition), TOLERANCE);
    }
}

/// A kernel of losses that are means over single outputs: values, targets, outputs, weight, losses,
/// gradient.
type SingleLoss = fn(&[f32], &[f32], usize, f32, &mut [f32], &mut [f32]);

/// Tests a loss that is a mean over single outputs against the definition for one output and its
/// differences.
fn check_single(name: &str, of_one: fn(f64, f64) -> f64, kernel: SingleLoss) {
    let (outputs, rows, scale) = (5, 4, 0.25f32);
    let values = draw_as(1, rows * outputs, |u| 6.0 * u - 3.0);
    let targets = draw_as(2, rows * outputs, |u| u);
    let definition = |values: &[f64]| -> f64 {
        let sum: f64 = values
            .iter()
            .zip(&targets)
            .map(|(&value, &target)| of_one(value, f64::from(target)))
            .sum();
        f64::from(scale) * sum / outputs as f64
    };
    let (mut losses, mut gradient) = (vec![f32::NAN; rows], vec![f32::NAN; rows * outputs]);
    kernel(&values, &targets, outputs, scale, &mut losses, &mut gradient);
    let sum = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() * f64::from(scale);
    let expected = definition(&wide(&values));
    assert!((sum - expected).abs() < TOLERANCE * expected, "{name}: {sum} instead of {expected}");
    assert_close(name, &gradient, &differences(&wide(&values), definition), TOLERANCE);
}

#[test]
fn the_gradients_of_losses_of_single_outputs_are_derivatives() {
    let sigmoid = |value: f64, target: f64| {
        let probability = 1.0 / (1.0 + (-value).exp());
        -target * probability.ln() - (1.0 - target) * (1.0 - probability).ln()
    };
    check_single("sigmoid cross-entropy", sigmoid, loss::sigmoid_cross_entropy);
    check_single("squared error", |value, target| (value - target).powi(2), loss::squared_error);
    // torch.nn.functional.binary_cross_entropy_with_logits of [1000, -1000, 0] with targets [0, 0,
    // 1]: 1000, 0, ln 2.
    let (mut losses, mut gradient) = ([0.0; 3], [0.0; 3]);
    loss::sigmoid_cross_entropy(
        &[1000.0, -1000.0, 0.0],
        &[0.0, 0.0, 1.0],
        1,
        1.0,
        &mut losses,
        &mut gradient,
    );
    assert_eq!(losses, [1000.0, 0.0, std::f32::consts::LN_2]);
    assert_eq!(gradient, [1.0, 0.0, -0.5]);
}

#[test]
fn the_gradients_of_pooling_and_of_the_head_are_derivatives() {
    on_every_instruction_set("the_gradients_of_pooling_and_of_the_head_are_derivatives", || {
        let shape = convolution_shape([2, 7, 6, 3], 3, [3, 3], 2, [1; 4], 1);
        // All different, in no order, and farther apart than a difference's step.
        let input: Vec<f32> = (0..shape.input_length())
            .map(|at| (at * 101 % shape.input_length()) as f32 / 16.0 - 8.0)
            .collect();
        let gradient = draw(1, shape.output_length());
        let maximum = |input: &[f64]| -> f64 {
            let output = |at: usize| {
                let (channel, pixel) = (at % 3, at / 3);
                let (column, row, image) = (
                    pixel % shape.out_width,
                    pixel / shape.out_width % shape.out_height,
                    pixel / shape.out_width / shape.out_height,
                );
                let mut largest = f64::NEG_INFINITY;
                for tap in 0..9 {
                    let (y, x) = (row * 2 + tap / 3, column * 2 + tap % 3);
                    if (1..=shape.in_height).contains(&y) && (1..=shape.in_width).contains(&x) {
                        largest = largest.max(
                            input[((image * shape.in_height + y - 1) * shape.in_width + x - 1) * 3
                                + channel],
                        );
                    }
                }
                largest
            };
            weighted(&(0..shape.output_length()).map(output).collect::<Vec<_>>(), &wide(&gradient))
        };
        let (mut output, mut places) = (vec![f32::NAN; gradient.len()], vec![0; gradient.len()]);
        pooling::max_forward(&shape, &input, &mut output, Some(&mut places));
        let mut found = vec![f32::NAN; input.len()];
        pooling::max_backward(&shape, &gradient, &places, &mut found, false);
        assert_close("max pooling", &found, &differences(&wide(&input), maximum), TOLERANCE);

        let (images, pixels, channels) = (2, 6, 5);
        let gradient = draw(2, images * channels);
        let mean = |input: &[f64]| -> f64 {
            let value = |at: usize| {
                let (image, channel) = (at / channels, at % channels);
                let values =
                    (0..pixels).map(|pixel| input[(image * pixels + pixel) * channels + channel]);
                values.sum::<f64>() / pixels as f64
            };
            weighted(&(0..images * channels).map(value).collect::<Vec<_>>(), &wide(&gradient))
        };
        let mut found = vec![f32::NAN; images * pixels * channels];
        pooling::average_backward(&gradient, pixels, channels, &mut found, false);
        assert_close(
            "average pooling",
            &found,
            &differences(&wide(&draw(3, found.len())), mean),
            TOLERANCE,
        );

        let (rows, inputs, outputs) = (4, 7, 3);
        let (features, weights, bias) =
            (draw(4, rows * inputs), draw(5, outputs * inputs), draw(6, outputs));
        let gradient = draw(7, rows * outputs);
        let head = |features: &[f64], weights: &[f64], bias: &[f64]| -> f64 {
            let value = |at: usize| {
                let (row, output) = (&features[at / outputs * inputs..][..inputs], at % outputs);
                weighted(row, &weights[output * inputs..][..inputs]) + bias[output]
            };
            weighted(&(0..rows * outputs).map(value).collect::<Vec<_>>(), &wide(&gradient))
        };
        let [wide_features, wide_weights, wide_bias] =
            [&features, &weights, &bias].map(|values| wide(values));
        let (mut by_weights, mut by_bias) =
            (vec![f32::NAN; weights.len()], vec![f32::NAN; outputs]);
        linear::backward_parameters(&features, &gradient, inputs, &mut by_weights, &mut by_bias);
        assert_close(
            "weights",
            &by_weights,
            &differences(&wide_weights, |weights| head(&wide_features, weights, &wide_bias)),
            TOLERANCE,
        );
        assert_close(
            "bias",
            &by_bias,
            &differences(&wide_bias, |bias| head(&wide_features, &wide_weights, bias)),
            TOLERANCE,
        );
        let mut by_features = vec![f32::NAN; features.len()];
        linear::backward_input(&gradient, &weights, inputs, &mut by_features, false);
        assert_close(
            "features",
            &by_features,
            &differences(&wide_features, |features| head(features, &wide_weights, &wide_bias)),
            TOLERANCE,
        );
    });
}
