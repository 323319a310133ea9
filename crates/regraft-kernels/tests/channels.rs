//! Layer norm, products with a vector of channels, sums, and statistics of a feature map, on every
//! instruction set against plain loops in f64; the gradients of those loops against finite
//! differences.

mod common;

use common::{
    assert_close, convolution_shape, draw, draw_as, nan, on_every_instruction_set, plus, reference,
    to, wide,
};
use regraft_kernels::batch_norm::{Statistics, map_statistics};
use regraft_kernels::element::{Bf16, Element};
use regraft_kernels::{channelwise, elementwise, layer_norm, pooling};

fn tolerance<E: Element>() -> f64 {
    if E::NAME == Bf16::NAME { 5e-3 } else { 3e-6 }
}

/// Sizes below, at and above a vector and a task: (images, pixels of each, channels).
const SIZES: [(usize, usize, usize); 6] =
    [(1, 1, 3), (2, 3, 16), (3, 5, 33), (2, 1000, 7), (1, 90, 768), (2, 49, 96)];
const EPSILON: f64 = 1e-6;

/// Normalised `[pixels, C]`.
fn layer_norm_reference(input: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let channels = weight.len();
    let normalize = |pixel: &[f64]| -> Vec<f64> {
        let mean = pixel.iter().sum::<f64>() / channels as f64;
        let variance =
            pixel.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / channels as f64;
        let inverse = 1.0 / (variance + EPSILON).sqrt();
        pixel
            .iter()
            .zip(weight)
            .zip(bias)
            .map(|((value, weight), bias)| (value - mean) * inverse * weight + bias)
            .collect()
    };
    input.chunks_exact(channels).flat_map(normalize).collect()
}

/// The gradients of input, weight and bias of [`layer_norm_reference`].
fn layer_norm_gradients(input: &[f64], weight: &[f64], gradient: &[f64]) -> [Vec<f64>; 3] {
    let channels = weight.len();
    let count = channels as f64;
    let mut of_input = Vec::new();
    let (mut of_weight, mut of_bias) = (vec![0.0; channels], vec![0.0; channels]);
    for (pixel, gradient) in input.chunks_exact(channels).zip(gradient.chunks_exact(channels)) {
        let mean = pixel.iter().sum::<f64>() / count;
        let variance = pixel.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let inverse = 1.0 / (variance + EPSILON).sqrt();
        let normalized: Vec<f64> = pixel.iter().map(|value| (value - mean) * inverse).collect();
        let scaled: Vec<f64> =
            gradient.iter().zip(weight).map(|(gradient, weight)| gradient * weight).collect();
        let average = scaled.iter().sum::<f64>() / count;
        let product = scaled
            .iter()
            .zip(&normalized)
            .map(|(scaled, normalized)| scaled * normalized)
            .sum::<f64>()
            / count;
        for channel in 0..channels {
            of_weight[channel] += gradient[channel] * normalized[channel];
            of_bias[channel] += gradient[channel];
            of_input.push(inverse * (scaled[channel] - average - normalized[channel] * product));
        }
    }
    [of_input, of_weight, of_bias]
}

/// The plain gradient of layer norm is the derivative of the plain layer norm.
#[test]
fn plain_gradients_of_layer_norm_are_finite_differences() {
    let (pixels, channels) = (3, 7);
    let input: Vec<f64> = wide(&draw(1, pixels * channels));
    let (weight, bias) = (wide(&draw(2, channels)), wide(&draw(3, channels)));
    let gradient = wide(&draw(4, pixels * channels));
    let loss = |input: &[f64], weight: &[f64], bias: &[f64]| -> f64 {
        layer_norm_reference(input, weight, bias)
            .iter()
            .zip(&gradient)
            .map(|(value, gradient)| value * gradient)
            .sum()
    };
    let gradients = layer_norm_gradients(&input, &weight, &gradient);
    let step = 1e-6;
    for (which, expected) in gradients.iter().enumerate() {
        for (at, expected) in expected.iter().enumerate() {
            let moved = |step: f64| {
                let mut all = [input.clone(), weight.clone(), bias.clone()];
                all[which][at] += step;
                loss(&all[0], &all[1], &all[2])
            };
            let found = (moved(step) - moved(-step)) / (2.0 * step);
            assert!(
                (found - expected).abs() < 1e-6 * expected.abs().max(1.0),
                "{which} {at}: {found} and {expected}"
            );
        }
    }
}

fn check_layer_norm<E: Element, O: Element>() {
    for (images, pixels, channels) in SIZES {
        let what = format!(
            "layer norm of {images} x {pixels} x {channels} from {} to {}",
            E::NAME,
            O::NAME
        );
        let count = images * pixels * channels;
        let input: Vec<E> = to(&draw_as(1, count, |u| 3.0 * u + 1.0));
        let (weight, bias) = (draw_as(2, channels, |u| u + 0.5), draw(3, channels));
        let (mut output, mut saved) = (vec![nan::<O>(); count], Vec::new());
        layer_norm::forward(&input, &weight, &bias, EPSILON as f32, &mut output, &mut saved);
        let expected = layer_norm_reference(&wide(&input), &wide(&weight), &wide(&bias));
        assert_close(&what, &output, &expected, tolerance::<O>());

        let gradient: Vec<O> = to(&draw(4, count));
        let [of_input, of_weight, of_bias] =
            layer_norm_gradients(&wide(&input), &wide(&weight), &wide(&gradient));
        for start in [None, Some(to::<E>(&draw(5, count)))] {
            let accumulate = start.is_some();
            let mut target = start.clone().unwrap_or_else(|| vec![nan::<E>(); count]);
            let (mut weight_gradient, mut bias_gradient) =
                (vec![f32::NAN; channels], vec![f32::NAN; channels]);
            layer_norm::backward(
                &input,
                &gradient,
                &weight,
                &saved,
                &mut weight_gradient,
                &mut bias_gradient,
                Some((&mut target, accumulate)),
                &mut vec![f32::NAN; 5],
            );
            let expected =
                start.as_ref().map_or_else(|| of_input.clone(), |start| plus(&of_input, start));
            assert_close(&format!("{what}: input"), &target, &expected, 2.0 * tolerance::<E>());
            assert_close(&format!("{what}: weight"), &weight_gradient, &of_weight, 1e-5);
            assert_close(&format!("{what}: bias"), &bias_gradient, &of_bias, 1e-5);
        }
    }
}

#[test]
fn layer_norm_is_that_of_plain_loops() {
    on_every_instruction_set("layer_norm_is_that_of_plain_loops", || {
        check_layer_norm::<f32, f32>();
        check_layer_norm::<Bf16, Bf16>();
        check_layer_norm::<Bf16, f32>();
        check_layer_norm::<f32, Bf16>();
    });
}

/// A product is linear in each factor, which determines its gradients.
fn check_products<E: Element>() {
    for (images, pixels, channels) in SIZES {
        let what = format!("{images} x {pixels} x {channels} in {}", E::NAME);
        let (length, count) = (pixels * channels, images * pixels * channels);
        let map: Vec<E> = to(&draw(1, count));
        let vectors: Vec<E> = to(&draw(2, images * channels));
        let start: Vec<E> = to(&draw(3, count));
        let (exact, exact_vectors) = (wide(&map), wide(&vectors));
        let product = |at: usize| exact[at] * exact_vectors[at / length * channels + at % channels];
        let expected: Vec<f64> = (0..count).map(product).collect();
        let mut output = vec![nan::<E>(); count];
        channelwise::multiply(&map, &vectors, channels, &mut output, false);
        assert_close(&format!("multiply {what}"), &output, &expected, tolerance::<E>());
        let mut output = start.clone();
        channelwise::multiply(&map, &vectors, channels, &mut output, true);
        assert_close(
            &format!("multiply and add {what}"),
            &output,
            &plus(&expected, &start),
            tolerance::<E>(),
        );

        let gradient: Vec<E> = to(&draw(4, count));
        let exact_gradient = wide(&gradient);
        let mut of_vectors = vec![0.0; images * channels];
        let mut of_scale = vec![0.0; channels];
        for at in 0..count {
            of_vectors[at / length * channels + at % channels] += exact[at] * exact_gradient[at];
            of_scale[at % channels] += exact[at] * exact_gradient[at];
        }
        let mut found = vec![nan::<E>(); images * channels];
        channelwise::multiply_backward_vectors(&map, &gradient, channels, &mut found, false);
        assert_close(
            &format!("vectors' gradient {what}"),
            &found,
            &of_vectors,
            2.0 * tolerance::<E>(),
        );
        let start_vectors: Vec<E> = to(&draw(5, images * channels));
        let mut found = start_vectors.clone();
        channelwise::multiply_backward_vectors(&map, &gradient, channels, &mut found, true);
        assert_close(
            &format!("added {what}"),
            &found,
            &plus(&of_vectors, &start_vectors),
            2.0 * tolerance::<E>(),
        );

        let scale = draw(6, channels);
        let expected: Vec<f64> =
            (0..count).map(|at| exact[at] * f64::from(scale[at % channels])).collect();
        let mut output = vec![nan::<E>(); count];
        channelwise::scale(&map, &scale, &mut output, false);
        assert_close(&format!("scale {what}"), &output, &expected, tolerance::<E>());
        let mut found = vec![f32::NAN; channels];
        channelwise::scale_backward(&map, &gradient, &mut found, &mut vec![f32::NAN; 3]);
        assert_close(&format!("scale's gradient {what}"), &found, &of_scale, 1e-5);
    }
}

#[test]
fn products_with_channels_are_those_of_plain_loops() {
    on_every_instruction_set("products_with_channels_are_those_of_plain_loops", || {
        check_products::<f32>();
        check_products::<Bf16>();
    });
}

fn check_sums<E: Element>() {
    for (images, pixels, channels) in SIZES {
        let what = format!("{images} x {pixels} x {channels} in {}", E::NAME);
        let (length, count) = (pixels * channels, images * pixels * channels);
        let [left, right]: [Vec<E>; 2] = [1, 2].map(|sample| to(&draw(sample, count)));
        let (exact_left, exact_right) = (wide(&left), wide(&right));
        let mut output = vec![nan::<E>(); count];
        elementwise::sum(&left, &right, &mut output);
        assert_close(&format!("sum {what}"), &output, &plus(&exact_left, &right), tolerance::<E>());
        let factors: Vec<f32> = draw(3, images);
        let expected: Vec<f64> = (0..count)
            .map(|at| f64::from(factors[at / length]) * exact_left[at] + exact_right[at])
            .collect();
        elementwise::scaled_sum(&left, &factors, &right, length, &mut output);
        assert_close(&format!("scaled sum {what}"), &output, &expected, tolerance::<E>());
        let mut target = right.clone();
        elementwise::give(&left, 0.25, &mut target, true);
        let quarter: Vec<f64> = exact_left.iter().map(|value| 0.25 * value).collect();
        assert_close(
            &format!("give, added {what}"),
            &target,
            &plus(&quarter, &right),
            tolerance::<E>(),
        );
        elementwise::give(&left, 0.25, &mut target, false);
        assert_close(&format!("give {what}"), &target, &quarter, tolerance::<E>());
        let factors = draw(4, count);
        let products: Vec<f64> = exact_left
            .iter()
            .zip(&factors)
            .map(|(value, factor)| value * f64::from(*factor))
            .collect();
        elementwise::multiply_values(&left, &factors, &mut target, false);
        assert_close(&format!("values {what}"), &target, &products, tolerance::<E>());
        let mut target = right.clone();
        elementwise::multiply_values(&left, &factors, &mut target, true);
        assert_close(
            &format!("added values {what}"),
            &target,
            &plus(&products, &right),
            tolerance::<E>(),
        );
        let mut sums = vec![f32::NAN; channels];
        elementwise::channel_sums(&left, &mut sums, &mut vec![f32::NAN; 3]);
        let mut expected = vec![0.0; channels];
        exact_left.iter().enumerate().for_each(|(at, value)| expected[at % channels] += value);
        assert_close(&format!("channels' sums {what}"), &sums, &expected, 1e-5);

        let mut statistics = Statistics::default();
        map_statistics(&left, channels, &mut statistics);
        let (mean, variance) = reference::statistics(&exact_left, channels);
        assert_close(&format!("mean {what}"), &statistics.mean, &mean, 1e-5);
        if images * pixels > 1 {
            assert_close(&format!("variance {what}"), &statistics.variance, &variance, 1e-5);
        }
    }
}

#[test]
fn sums_and_statistics_are_those_of_plain_loops() {
    on_every_instruction_set("sums_and_statistics_are_those_of_plain_loops", || {
        check_sums::<f32>();
        check_sums::<Bf16>();
    });
}

/// Averages of the pixels inside the window; they are linear, which determines their gradient.
fn check_average<E: Element>() {
    for (input, kernel, stride, padding) in [
        ([2, 7, 6, 5], 3, 2, 1),
        ([1, 4, 4, 17], 2, 2, 0),
        ([3, 5, 5, 3], 3, 1, 1),
        ([1, 1, 1, 4], 3, 2, 1),
    ] {
        let shape = convolution_shape(input, input[3], [kernel; 2], stride, [padding; 4], 1);
        let what = format!("{shape:?} in {}", E::NAME);
        let map: Vec<E> = to(&draw(1, shape.input_length()));
        let gradient: Vec<E> = to(&draw(2, shape.output_length()));
        let (exact, exact_gradient) = (wide(&map), wide(&gradient));
        let mut expected = vec![0.0; shape.output_length()];
        let mut expected_gradient = vec![0.0; shape.input_length()];
        for (at, expected) in expected.iter_mut().enumerate() {
            let (channel, pixel) = (at % input[3], at / input[3]);
            let (column, row) =
                (pixel % shape.out_width, pixel / shape.out_width % shape.out_height);
            let image = pixel / shape.out_width / shape.out_height;
            let mut places = Vec::new();
            for tap in 0..kernel * kernel {
                let (y, x) = (row * stride + tap / kernel, column * stride + tap % kernel);
                if (padding..shape.in_height + padding).contains(&y)
                    && (padding..shape.in_width + padding).contains(&x)
                {
                    places.push(
                        ((image * shape.in_height + y - padding) * shape.in_width + x - padding)
                            * input[3]
                            + channel,
                    );
                }
            }
            *expected = places.iter().map(|&place| exact[place]).sum::<f64>() / places.len() as f64;
            places.iter().for_each(|&place| {
                expected_gradient[place] += exact_gradient[at] / places.len() as f64
            });
        }
        let mut output = vec![nan::<E>(); shape.output_length()];
        pooling::window_average_forward(&shape, &map, &mut output);
        assert_close(&what, &output, &expected, tolerance::<E>());
        let mut found = vec![nan::<E>(); shape.input_length()];
        pooling::window_average_backward(&shape, &gradient, &mut found, false);
        assert_close(&format!("gradient of {what}"), &found, &expected_gradient, tolerance::<E>());
        let mut found = map.clone();
        pooling::window_average_backward(&shape, &gradient, &mut found, true);
        assert_close(
            &format!("added gradient of {what}"),
            &found,
            &plus(&expected_gradient, &map),
            tolerance::<E>(),
        );
    }
}

#[test]
fn window_averages_are_those_of_plain_loops() {
    on_every_instruction_set("window_averages_are_those_of_plain_loops", || {
        check_average::<f32>();
        check_average::<Bf16>();
    });
}
