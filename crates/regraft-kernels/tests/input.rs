//! If a layer normalises its input as it reads, the result equals, to the bit, that for an input
//! that was normalised before.

mod common;

use common::{bits, convolution_shape, draw, draw_as, on_every_instruction_set, to};
use regraft_kernels::activation::Activation;
use regraft_kernels::batch_norm::{Statistics, normalize};
use regraft_kernels::convolution::{self, ConvolutionShape, GradientScratch};
use regraft_kernels::depthwise;
use regraft_kernels::element::Bf16;
use regraft_kernels::finish::Finish;
use regraft_kernels::input::{Input, Normalization};
use regraft_kernels::packing::{MapElement, PackedWeights};

/// Forward, forward with statistics, and the gradient of the weights.
struct Results {
    output: Vec<u32>,
    with_statistics: Vec<u32>,
    mean: Vec<u32>,
    weight_gradient: Vec<u32>,
}

fn results<E: MapElement>(shape: &ConvolutionShape, input: Input<'_, E>) -> Results {
    let weights = draw(5, shape.weight_length());
    let gradient = to::<E>(&draw(6, shape.output_length()));
    let [mut output, mut with_statistics] =
        [(); 2].map(|()| vec![E::default(); shape.output_length()]);
    let mut weight_gradient = vec![f32::NAN; weights.len()];
    let mut statistics = Statistics::default();
    if depthwise::handles(shape) {
        depthwise::forward(shape, input, &weights, &mut output, Finish::NOTHING);
        depthwise::forward(
            shape,
            input,
            &weights,
            &mut with_statistics,
            Finish::Statistics(&mut statistics),
        );
        depthwise::backward_weights(shape, input, &gradient, &mut weight_gradient, &mut Vec::new());
    } else {
        let mut packed = PackedWeights::default();
        packed.pack::<E>(shape, &weights);
        convolution::forward(shape, input, &packed, &mut output, Finish::NOTHING);
        convolution::forward(
            shape,
            input,
            &packed,
            &mut with_statistics,
            Finish::Statistics(&mut statistics),
        );
        convolution::backward_weights(
            shape,
            input,
            &gradient,
            &mut weight_gradient,
            &mut GradientScratch::default(),
        );
    }
    Results {
        output: bits(&output),
        with_statistics: bits(&with_statistics),
        mean: bits(&statistics.mean),
        weight_gradient: bits(&weight_gradient),
    }
}

fn check<E: MapElement>(shape: &ConvolutionShape, activation: Activation) {
    let channels = shape.in_channels;
    let values = to::<E>(&draw(1, shape.input_length()));
    // Values below, between and above the bounds.
    let (scale, shift) =
        (draw_as(2, channels, |u| 4.0 + 8.0 * u), draw_as(3, channels, |u| 6.0 * u - 2.0));
    let mut normalized = vec![E::default(); values.len()];
    let pixels = shape.in_height * shape.in_width;
    normalize(&values, &scale, &shift, None, None, activation, pixels, &mut normalized);
    let expected = results(shape, Input::from(&normalized));
    let normalization = Some(Normalization { scale: &scale, shift: &shift, activation });
    let found = results(shape, Input { values: &values, normalization });
    let what = |result: &str| format!("{} {result} of {shape:?}, {activation:?}", E::NAME);
    assert!(expected.output == found.output, "{}", what("output"));
    assert!(
        expected.with_statistics == found.with_statistics,
        "{}",
        what("output with statistics")
    );
    assert!(expected.mean == found.mean, "{}", what("mean"));
    assert!(expected.weight_gradient == found.weight_gradient, "{}", what("weight gradient"));
    assert!(
        results(shape, Input::from(&values)).output != found.output,
        "{}",
        what("the case normalises nothing")
    );
}

#[test]
fn normalising_while_reading_changes_no_bit() {
    on_every_instruction_set("normalising_while_reading_changes_no_bit", || {
        let shapes = [
            // In place: one pixel, odd channels, more columns of weights than a task takes, more
            // pixels than a block.
            convolution_shape([1, 1, 1, 3], 5, [1, 1], 1, [0; 4], 1),
            convolution_shape([2, 5, 7, 33], 17, [1, 1], 1, [0; 4], 1),
            convolution_shape([2, 19, 17, 330], 16, [1, 1], 1, [0; 4], 1),
            // Depthwise: both kernels, strides, one-sided borders, several bands. Pixels outside of
            // the feature map are zero, not normalised.
            convolution_shape([2, 7, 5, 19], 19, [3, 3], 1, [1; 4], 19),
            convolution_shape([1, 9, 9, 32], 32, [3, 3], 2, [0, 1, 0, 1], 32),
            convolution_shape([2, 6, 11, 17], 17, [5, 5], 1, [2; 4], 17),
            convolution_shape([1, 60, 70, 96], 96, [5, 5], 2, [1, 2, 1, 2], 96),
        ];
        for shape in shapes {
            for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
                check::<f32>(&shape, activation);
                check::<Bf16>(&shape, activation);
            }
        }
    });
}

#[test]
#[should_panic(expected = "does not normalise what it reads")]
fn a_convolution_that_gathers_refuses() {
    let shape = convolution_shape([1, 5, 5, 16], 16, [3, 3], 1, [1; 4], 1);
    let values = draw(1, shape.input_length());
    let ones = [1.0; 16];
    let normalization =
        Some(Normalization { scale: &ones, shift: &ones, activation: Activation::Relu });
    results(&shape, Input { values: &values, normalization });
}
