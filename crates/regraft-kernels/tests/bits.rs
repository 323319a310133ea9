//! Tests that results do not depend, to the bit, on the number of threads nor, in a forward pass,
//! on the rest of the batch.

mod common;

use common::{Kernels, bits, convolution_shape, draw, on_every_instruction_set, to};
use regraft_base::adam::AdamSettings;
use regraft_kernels::activation::{Activation, Epilogue};
use regraft_kernels::convolution::ConvolutionShape;
use regraft_kernels::element::Bf16;
use regraft_kernels::finish::Finish;
use regraft_kernels::optimizer::{adamw, sgd};
use regraft_kernels::packing::MapElement;
use regraft_kernels::{batch_norm, linear, pooling};

/// Shapes with several blocks and tasks: dense, in place, strided, by Winograd, grouped, depthwise
/// with both kernels and both strides.
fn shapes(batch: usize) -> Vec<ConvolutionShape> {
    vec![
        convolution_shape([batch, 19, 18, 20], 33, [3, 3], 1, [1; 4], 1),
        convolution_shape([batch, 16, 17, 35], 40, [1, 1], 1, [0; 4], 1),
        convolution_shape([batch, 21, 23, 3], 17, [7, 7], 2, [3; 4], 1),
        convolution_shape([batch, 5, 5, 130], 34, [3, 3], 1, [1; 4], 1),
        convolution_shape([batch, 19, 18, 32], 48, [3, 3], 1, [1; 4], 1),
        convolution_shape([batch, 7, 7, 256], 288, [3, 3], 1, [1; 4], 1),
        convolution_shape([batch, 9, 9, 12], 18, [3, 3], 2, [0, 1, 0, 1], 3),
        convolution_shape([batch, 13, 11, 35], 35, [3, 3], 1, [1; 4], 35),
        convolution_shape([batch, 13, 11, 35], 35, [5, 5], 2, [2; 4], 35),
    ]
}

/// Everything that the kernels compute from a batch of five images, with a name for each result.
fn everything() -> Vec<(String, Vec<f32>)> {
    [of_maps::<f32>(), of_maps::<Bf16>(), of_parameters()].concat()
}

/// The results from feature maps of `E`.
fn of_maps<E: MapElement>() -> Vec<(String, Vec<f32>)> {
    let mut results = Vec::new();
    let mut keep = |name: String, values: &[f32]| {
        results.push((format!("{} {name}", E::NAME), values.to_vec()))
    };
    for shape in shapes(5) {
        let (input, gradient) =
            (to::<E>(&draw(1, shape.input_length())), to::<E>(&draw(3, shape.output_length())));
        for kernels in Kernels::of(&shape) {
            let weights = kernels.to_kernel_order(&shape, &draw(2, shape.weight_length()));
            let name = |what: &str| format!("{what} by {kernels:?} of {shape:?}");
            keep(name("output"), &to(&kernels.forward(&shape, &input, &weights)));
            let (_, statistics) = kernels.forward_with_statistics(&shape, &input, &weights);
            keep(name("mean of the output"), &statistics.mean);
            keep(name("variance of the output"), &statistics.variance);
            keep(
                name("input gradient"),
                &to(&kernels.backward_input(&shape, &gradient, &weights, None)),
            );
            keep(
                name("input gradient, added"),
                &to(&kernels.backward_input(&shape, &gradient, &weights, Some(&input))),
            );
            keep(name("weight gradient"), &kernels.backward_weights(&shape, &input, &gradient));
        }
    }

    let (images, pixels, channels) = (5, 19 * 17, 37);
    let map = draw(1, images * pixels * channels);
    let statistics = common::statistics(&map, channels);
    let (map, mut gradient) = (to::<E>(&map), to::<E>(&draw(2, map.len())));
    keep("mean".into(), &statistics.mean);
    keep("variance".into(), &statistics.variance);
    let inverse = batch_norm::inverse_deviation(&statistics.variance, 1e-3);
    let (mut weight_gradient, mut bias_gradient) = (vec![0.0; channels], vec![0.0; channels]);
    let mean = &statistics.mean;
    let plain =
        batch_norm::BackwardPrologue { mask: batch_norm::Mask::None, residual: None, keep: None };
    let (weights, bias) = (&mut weight_gradient, &mut bias_gradient);
    batch_norm::backward(
        plain,
        &map,
        &mut gradient,
        mean,
        &inverse,
        weights,
        bias,
        &mut Vec::new(),
    );
    keep("batch norm's weight gradient".into(), &weight_gradient);
    keep("batch norm's bias gradient".into(), &bias_gradient);
    let mut output = vec![E::default(); map.len()];
    let branch = [1.25, 0.0, 1.25, 1.25, 0.0];
    let residual = to::<E>(&draw(3, map.len()));
    batch_norm::normalize(
        &map,
        &inverse,
        mean,
        Some(&residual),
        Some(&branch),
        Activation::Relu6,
        pixels,
        &mut output,
    );
    keep("normalised".into(), &to(&output));
    batch_norm::backward_input(
        map.len() / mean.len(),
        &map,
        &mut gradient,
        mean,
        &inverse,
        &inverse,
        &weight_gradient,
        &bias_gradient,
    );
    keep("gradient before batch norm".into(), &to(&gradient));
    let mut residual_gradient = residual.clone();
    let prologue = batch_norm::BackwardPrologue {
        mask: batch_norm::Mask::Output(&output, Activation::Relu6),
        residual: Some((&mut residual_gradient, true)),
        keep: Some(&branch),
    };
    let (weights, bias) = (&mut weight_gradient, &mut bias_gradient);
    batch_norm::backward(
        prologue,
        &map,
        &mut gradient,
        mean,
        &inverse,
        weights,
        bias,
        &mut Vec::new(),
    );
    keep("gradient behind activation and branch".into(), &to(&gradient));
    keep("residual gradient".into(), &to(&residual_gradient));
    keep("batch norm's weight gradient behind them".into(), &weight_gradient);

    let shape = convolution_shape([5, 20, 19, 35], 35, [3, 3], 2, [1; 4], 1);
    let (map, gradient) =
        (to::<E>(&draw(1, shape.input_length())), to::<E>(&draw(2, shape.output_length())));
    let (mut output, mut places) = (vec![E::default(); gradient.len()], vec![0; gradient.len()]);
    pooling::max_forward(&shape, &map, &mut output, Some(&mut places));
    keep("maxima".into(), &to(&output));
    let mut input_gradient = vec![E::default(); map.len()];
    pooling::max_backward(&shape, &gradient, &places, &mut input_gradient, false);
    keep("gradient before max pooling".into(), &to(&input_gradient));
    let mut means = vec![0.0f32; 5 * 35];
    pooling::average_forward(&map, 20 * 19, 35, &mut means);
    keep("means".into(), &means);
    pooling::average_backward(&means, 20 * 19, 35, &mut input_gradient, true);
    keep("gradient before average pooling".into(), &to(&input_gradient));
    results
}

/// The results from the head and from parameters.
fn of_parameters() -> Vec<(String, Vec<f32>)> {
    let mut results = Vec::new();
    let mut keep = |name: String, values: &[f32]| results.push((name, values.to_vec()));
    let (inputs, outputs, rows) = (70, 45, 60);
    let (features, weights, bias) =
        (draw(1, rows * inputs), draw(2, outputs * inputs), draw(3, outputs));
    let mut logits = vec![0.0; rows * outputs];
    linear::forward(&features, &weights, &bias, inputs, &mut logits);
    keep("logits".into(), &logits);
    let (mut weight_gradient, mut bias_gradient) = (vec![0.0; weights.len()], vec![0.0; outputs]);
    linear::backward_parameters(
        &features,
        &logits,
        inputs,
        &mut weight_gradient,
        &mut bias_gradient,
    );
    keep("linear weight gradient".into(), &weight_gradient);
    keep("linear bias gradient".into(), &bias_gradient);
    let mut input_gradient = vec![0.0; features.len()];
    linear::backward_input(&logits, &weights, inputs, &mut input_gradient, false);
    keep("linear input gradient".into(), &input_gradient);

    let count = 100_003;
    let (mut parameter, gradient) = (draw(1, count), draw(2, count));
    let (mut first, mut second) = (vec![0.0; count], vec![0.0; count]);
    adamw(
        &mut parameter,
        &gradient,
        &mut first,
        &mut second,
        1,
        1e-2,
        1e-2,
        AdamSettings::default(),
    );
    sgd(&mut parameter, &gradient, &mut first, 1e-2, 0.9, 1e-2);
    sgd(&mut parameter, &gradient, &mut [], 1e-2, 0.0, 1e-2);
    keep("parameter".into(), &parameter);
    results
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    on_every_instruction_set("results_do_not_depend_on_the_number_of_threads", || {
        let on_threads = |threads| {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(everything)
        };
        let expected = on_threads(1);
        for threads in [2, 3, 5] {
            for ((name, expected), (_, found)) in expected.iter().zip(on_threads(threads)) {
                assert_eq!(bits(expected), bits(&found), "{name}, {threads} threads");
            }
        }
    });
}

fn alone_and_together<E: MapElement>() {
    for (one, five) in shapes(1).into_iter().zip(shapes(5)) {
        let input = to::<E>(&draw(1, five.input_length()));
        let (bias, residual) =
            (draw(4, five.out_channels), to::<E>(&draw(5, five.output_length())));
        for kernels in Kernels::of(&one) {
            let weights = kernels.to_kernel_order(&one, &draw(2, one.weight_length()));
            let run = |shape: &ConvolutionShape, input: &[E], residual: &[E]| {
                let epilogue = Epilogue {
                    bias: Some(&bias),
                    residual: Some(residual),
                    activation: Activation::Relu6,
                };
                kernels.forward_with(shape, input, &weights, Finish::Epilogue(epilogue))
            };
            let (inputs, outputs) = (
                input.chunks_exact(one.input_length()),
                residual.chunks_exact(one.output_length()),
            );
            let alone: Vec<E> = inputs
                .zip(outputs)
                .flat_map(|(input, residual)| run(&one, input, residual))
                .collect();
            assert_eq!(
                bits(&alone),
                bits(&run(&five, &input, &residual)),
                "{} {kernels:?} of {five:?}",
                E::NAME
            );
        }
    }
}

#[test]
fn an_image_gives_the_same_alone_and_in_a_batch() {
    on_every_instruction_set("an_image_gives_the_same_alone_and_in_a_batch", || {
        alone_and_together::<f32>();
        alone_and_together::<Bf16>();

        let (inputs, outputs, rows) = (600, 37, 70);
        let (features, weights, bias) =
            (draw(1, rows * inputs), draw(2, outputs * inputs), draw(3, outputs));
        let run = |features: &[f32]| {
            let mut logits = vec![0.0; features.len() / inputs * outputs];
            linear::forward(features, &weights, &bias, inputs, &mut logits);
            logits
        };
        let alone: Vec<f32> = features.chunks_exact(inputs).flat_map(run).collect();
        assert_eq!(bits(&alone), bits(&run(&features)), "the linear layer");
    });
}

/// A diverged training must show it and not continue with clamped values.
#[test]
fn nan_passes_through() {
    on_every_instruction_set("nan_passes_through", || {
        for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
            let shape = convolution_shape([1, 4, 4, 5], 40, [1, 1], 1, [0; 4], 1);
            let mut input = draw(1, shape.input_length());
            input[5 * 3] = f32::NAN;
            let weights = draw(2, shape.weight_length());
            let (bias, residual) = (draw(3, 40), draw(4, shape.output_length()));
            let epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), activation };
            let output = Kernels::Convolution.forward_with(
                &shape,
                &input,
                &weights,
                Finish::Epilogue(epilogue),
            );
            let found: Vec<bool> = output
                .chunks_exact(40)
                .map(|pixel| pixel.iter().all(|value| value.is_nan()))
                .collect();
            assert_eq!(
                found,
                (0..16).map(|pixel| pixel == 3).collect::<Vec<_>>(),
                "{activation:?}"
            );
            let mut normalized = vec![0.0; output.len()];
            batch_norm::normalize(
                &output,
                &bias,
                &bias,
                None,
                None,
                activation,
                16,
                &mut normalized,
            );
            assert!(
                normalized[3 * 40..4 * 40].iter().all(|value| value.is_nan()),
                "{activation:?}"
            );
        }
        for place in 0..9 {
            let shape = convolution_shape([1, 3, 3, 1], 1, [3, 3], 1, [0; 4], 1);
            let mut map = draw(1, 9);
            map[place] = f32::NAN;
            let (mut output, mut places) = ([0.0], [0]);
            pooling::max_forward(&shape, &map, &mut output, Some(&mut places));
            assert!(output[0].is_nan() && places[0] as usize == place);
        }
    });
}
