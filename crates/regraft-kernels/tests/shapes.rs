//! Convolutions of odd shapes, whose sizes are not multiples of tiles and vectors, against plain
//! loops in f64.

mod common;

use common::reference::{self, Reference};
use common::{
    Kernels, assert_close, bits, convolution_shape, draw, on_every_instruction_set, plus, rounded,
    to, wide,
};
use regraft_kernels::activation::{Activation, Epilogue};
use regraft_kernels::convolution::ConvolutionShape;
use regraft_kernels::element::{Bf16, Element};
use regraft_kernels::finish::Finish;
use regraft_kernels::isa::{InstructionSet, in_use};
use regraft_kernels::packing::MapElement;
use regraft_kernels::winograd;

/// The largest differences, relative to the largest value of a result. Inputs are rounded to the
/// feature maps' type first.
struct Tolerance {
    /// Of feature maps.
    map: f64,
    /// Of the gradient of weights, which is f32.
    weights: f64,
    /// Of means, which may be small sums of large values, and of variances.
    statistics: f64,
}

/// A few units in the last place of f32. The worst measured is 5.9e-7.
const F32: Tolerance = Tolerance { map: 1e-6, weights: 1e-6, statistics: 4e-6 };
/// For Winograd's algorithm with tiles of 4x4 pixels. The worst measured is 2.6e-6.
const F32_LARGE_TILES: Tolerance = Tolerance { map: 4e-6, weights: 4e-6, statistics: 1e-5 };
/// Half a unit in the last place of bf16 is up to 3.9e-3 of a value; products of bf16 are exact in
/// f32, and so are sums up to f32's own rounding.
const BF16: Tolerance = Tolerance { map: 4e-3, weights: 1e-6, statistics: 4e-6 };
/// For Winograd's algorithm with products of bf16: sums of four values, and of up to nine weights,
/// are rounded before they are multiplied.
const BF16_WINOGRAD: Tolerance = Tolerance { map: 1.5e-2, weights: 1e-2, statistics: 1e-2 };

/// The tolerances for feature maps of `E`.
fn tolerance<E: MapElement>(shape: &ConvolutionShape) -> Tolerance {
    let narrow = E::NAME == Bf16::NAME;
    // On AMX, tiles multiply the maps themselves.
    let is_native = narrow && E::multiplies_natively();
    let is_winograd =
        winograd::handles(shape) && !(is_native && in_use() == Ok(InstructionSet::Amx));
    let weights = if is_winograd && winograd::has_large_tiles::<f32>(shape) {
        F32_LARGE_TILES.weights
    } else {
        F32.weights
    };
    match (narrow, is_winograd) {
        (true, true) if is_native => BF16_WINOGRAD,
        (true, _) => Tolerance { weights, ..BF16 },
        (false, true) if winograd::has_large_tiles::<f32>(shape) => F32_LARGE_TILES,
        (false, _) => F32,
    }
}

/// `(input [N, H, W, C], out channels, kernel, stride, padding [top, bottom, left, right], groups)`
type Case = ([usize; 4], usize, [usize; 2], usize, [usize; 4], usize);

/// Dense and grouped convolutions.
const CONVOLUTIONS: &[Case] = &[
    // Channels below, at and above the widths of vectors and tiles.
    ([1, 5, 7, 1], 1, [3, 3], 1, [1; 4], 1),
    ([2, 5, 4, 1], 33, [3, 3], 1, [1; 4], 1),
    ([2, 6, 5, 3], 15, [3, 3], 2, [1; 4], 1),
    ([1, 7, 7, 15], 17, [3, 3], 1, [1; 4], 1),
    ([3, 5, 5, 17], 33, [3, 3], 2, [1; 4], 1),
    ([2, 4, 3, 33], 15, [3, 3], 1, [1; 4], 1),
    ([1, 3, 5, 16], 32, [3, 3], 1, [1; 4], 1),
    // Kernels of one pixel: in place, with a stride, and with a border outside of the feature map.
    ([1, 1, 1, 1], 1, [1, 1], 1, [0; 4], 1),
    ([5, 4, 7, 33], 17, [1, 1], 1, [0; 4], 1),
    ([2, 7, 5, 17], 33, [1, 1], 2, [0; 4], 1),
    ([1, 3, 3, 3], 5, [1, 1], 1, [0, 1, 0, 1], 1),
    ([2, 3, 4, 15], 3, [1, 1], 1, [1; 4], 1),
    ([1, 4, 4, 3], 17, [1, 1], 2, [1; 4], 1),
    // Feature maps of one pixel, of which most taps see only the border.
    ([1, 1, 1, 33], 17, [3, 3], 1, [1; 4], 1),
    ([3, 1, 1, 3], 15, [7, 7], 2, [3; 4], 1),
    ([2, 1, 1, 17], 3, [5, 5], 1, [2; 4], 1),
    ([2, 2, 1, 3], 5, [3, 3], 2, [0, 1, 1, 1], 1),
    // Large kernels, strides that skip pixels, kernels that are not square.
    ([1, 13, 11, 3], 17, [7, 7], 2, [3; 4], 1),
    ([2, 9, 9, 15], 3, [7, 7], 1, [3; 4], 1),
    ([1, 11, 12, 3], 4, [2, 2], 3, [0; 4], 1),
    ([1, 9, 7, 3], 5, [3, 3], 4, [1; 4], 1),
    ([2, 6, 9, 5], 7, [1, 5], 1, [0, 0, 2, 2], 1),
    ([2, 9, 6, 5], 7, [5, 3], 2, [2, 1, 0, 1], 1),
    // Borders on one side, no borders, and borders wider than the kernel needs.
    ([1, 8, 6, 3], 17, [3, 3], 2, [0, 1, 0, 1], 1),
    ([2, 9, 9, 17], 3, [5, 5], 2, [1, 2, 1, 2], 1),
    ([1, 6, 8, 15], 3, [3, 3], 1, [2, 0, 0, 2], 1),
    ([1, 6, 5, 3], 15, [3, 3], 1, [0; 4], 1),
    ([1, 5, 4, 3], 5, [3, 3], 1, [2; 4], 1),
    ([2, 4, 5, 3], 17, [3, 3], 1, [4, 3, 5, 4], 1),
    ([1, 5, 5, 17], 3, [3, 3], 2, [4; 4], 1),
    // Sums deeper than a block, more columns than a task, more pixels than a block.
    ([2, 5, 5, 130], 33, [3, 3], 1, [1; 4], 1),
    ([1, 3, 4, 530], 35, [1, 1], 1, [0; 4], 1),
    ([3, 20, 20, 3], 5, [3, 3], 1, [1; 4], 1),
    ([2, 41, 23, 3], 15, [5, 5], 2, [2; 4], 1),
    ([4, 12, 11, 24], 17, [3, 3], 2, [1; 4], 1),
    // Tiles of Winograd's algorithm: even and odd ends, several blocks, every border it supports,
    // and one it does not.
    ([1, 1, 1, 16], 16, [3, 3], 1, [1; 4], 1),
    ([2, 2, 3, 16], 32, [3, 3], 1, [1; 4], 1),
    ([3, 7, 7, 48], 16, [3, 3], 1, [1; 4], 1),
    ([2, 6, 5, 16], 16, [3, 3], 1, [0; 4], 1),
    ([1, 5, 4, 32], 16, [3, 3], 1, [2; 4], 1),
    ([2, 5, 8, 16], 48, [3, 3], 1, [2, 0, 0, 2], 1),
    ([1, 6, 7, 16], 16, [3, 3], 1, [0, 2, 1, 0], 1),
    ([1, 4, 5, 16], 16, [3, 3], 1, [4, 3, 5, 4], 1),
    ([2, 41, 30, 16], 16, [3, 3], 1, [1; 4], 1),
    ([5, 9, 10, 144], 160, [3, 3], 1, [1; 4], 1),
    // Its large tiles: all numbers of pixels beyond the last whole tile, and every border.
    ([2, 17, 18, 16], 32, [3, 3], 1, [1; 4], 1),
    ([1, 19, 20, 48], 16, [3, 3], 1, [1; 4], 1),
    ([1, 21, 23, 16], 16, [3, 3], 1, [0; 4], 1),
    ([1, 18, 17, 32], 16, [3, 3], 1, [2; 4], 1),
    ([2, 20, 19, 16], 48, [3, 3], 1, [2, 0, 0, 2], 1),
    ([3, 24, 21, 144], 80, [3, 3], 1, [1, 1, 0, 2], 1),
    ([1, 2, 120, 16], 16, [3, 3], 1, [1; 4], 1),
    // Groups.
    ([2, 5, 4, 6], 9, [3, 3], 1, [1; 4], 3),
    ([1, 7, 6, 34], 34, [3, 3], 2, [1; 4], 2),
    ([2, 4, 4, 15], 30, [1, 1], 1, [0; 4], 5),
    ([1, 5, 6, 5], 5, [7, 7], 1, [3; 4], 5),
    ([2, 9, 11, 37], 37, [7, 7], 1, [3; 4], 37),
    ([1, 13, 10, 16], 16, [7, 7], 2, [3; 4], 16),
    ([2, 5, 5, 4], 8, [3, 3], 2, [0, 1, 0, 1], 4),
];

/// `([N, H, W], kernel, stride, padding)`, each with every number of channels below.
type DepthwiseCase = ([usize; 3], usize, usize, [usize; 4]);

/// Convolutions with as many groups as channels.
const DEPTHWISE: &[DepthwiseCase] = &[
    ([2, 5, 7], 3, 1, [1; 4]),
    ([1, 7, 5], 5, 1, [2; 4]),
    ([2, 9, 7], 3, 2, [1; 4]),
    ([1, 8, 6], 3, 2, [0, 1, 0, 1]),
    ([2, 7, 9], 5, 2, [2; 4]),
    ([1, 8, 8], 5, 2, [1, 2, 1, 2]),
    ([1, 10, 7], 3, 3, [1; 4]),
    // Wide enough for several blocks of output columns between the borders.
    ([1, 3, 23], 3, 1, [1; 4]),
    ([1, 4, 26], 5, 1, [2; 4]),
    ([1, 5, 24], 3, 2, [0, 1, 0, 1]),
    ([1, 6, 31], 5, 2, [2; 4]),
    ([1, 6, 29], 5, 3, [0; 4]),
    ([3, 1, 1], 3, 1, [1; 4]),
    ([1, 1, 1], 5, 2, [2; 4]),
    ([1, 2, 2], 5, 1, [2; 4]),
    ([1, 6, 5], 3, 1, [0; 4]),
    ([1, 4, 5], 3, 1, [2; 4]),
    ([1, 5, 4], 3, 2, [2; 4]),
    ([1, 4, 4], 5, 1, [4, 3, 3, 4]),
];
const CHANNELS: [usize; 7] = [1, 3, 15, 16, 17, 33, 48];

struct Values<E> {
    input: Vec<E>,
    weights: Vec<f32>,
    gradient: Vec<E>,
    expected: Reference,
}

fn values<E: MapElement>(shape: &ConvolutionShape) -> Values<E> {
    let weights = rounded::<E>(&draw(2, shape.weight_length()));
    let [input, gradient] = [(1, shape.input_length()), (3, shape.output_length())]
        .map(|(sample, count)| to(&draw(sample, count)));
    let expected = reference::convolution(shape, &wide(&input), &wide(&weights), &wide(&gradient));
    Values { input, weights, gradient, expected }
}

fn check<E: MapElement>(shape: &ConvolutionShape) {
    let Values { input, weights, gradient, expected } = values::<E>(shape);
    let all = tolerance::<E>(shape);
    for kernels in Kernels::of(shape) {
        let what = |result: &str| format!("{} {result} by {kernels:?} of {shape:?}", E::NAME);
        let weights = kernels.to_kernel_order(shape, &weights);
        let output = kernels.forward(shape, &input, &weights);
        assert_close(&what("output"), &output, &expected.output, all.map);
        let (same, statistics) = kernels.forward_with_statistics(shape, &input, &weights);
        assert_eq!(bits(&output), bits(&same), "{}", what("output with statistics"));
        let (mean, variance) = reference::statistics(&expected.output, shape.out_channels);
        assert_close(&what("mean"), &statistics.mean, &mean, all.statistics);
        assert_close(&what("variance"), &statistics.variance, &variance, all.statistics);
        let found = kernels.backward_input(shape, &gradient, &weights, None);
        assert_close(&what("input gradient"), &found, &expected.input_gradient, all.map);
        let found = kernels.backward_input(shape, &gradient, &weights, Some(&input));
        assert_close(
            &what("input gradient, added"),
            &found,
            &plus(&expected.input_gradient, &input),
            all.map,
        );
        let found =
            kernels.to_pytorch_order(shape, &kernels.backward_weights(shape, &input, &gradient));
        assert_close(&what("weight gradient"), &found, &expected.weight_gradient, all.weights);
        let mut added = gradient.clone();
        kernels.forward_into(shape, &input, &weights, &mut added, Finish::Add);
        assert_close(&what("output, added"), &added, &plus(&expected.output, &gradient), all.map);
    }
}

#[test]
fn convolutions_of_odd_shapes() {
    on_every_instruction_set("convolutions_of_odd_shapes", || {
        for &(input, out_channels, kernel, stride, padding, groups) in CONVOLUTIONS {
            let shape = convolution_shape(input, out_channels, kernel, stride, padding, groups);
            check::<f32>(&shape);
            check::<Bf16>(&shape);
        }
    });
}

#[test]
fn depthwise_convolutions_of_odd_shapes() {
    on_every_instruction_set("depthwise_convolutions_of_odd_shapes", || {
        for &([batch, height, width], kernel, stride, padding) in DEPTHWISE {
            for channels in CHANNELS {
                let input = [batch, height, width, channels];
                let shape =
                    convolution_shape(input, channels, [kernel; 2], stride, padding, channels);
                assert_eq!(Kernels::of(&shape).len(), 2, "{shape:?}");
                check::<f32>(&shape);
                check::<Bf16>(&shape);
            }
        }
    });
}

#[test]
fn epilogues_add_bias_and_residual_before_the_activation() {
    on_every_instruction_set("epilogues_add_bias_and_residual_before_the_activation", || {
        let shapes = [
            convolution_shape([3, 11, 9, 7], 33, [3, 3], 1, [1; 4], 1),
            convolution_shape([2, 5, 5, 33], 17, [1, 1], 1, [0; 4], 1),
            convolution_shape([2, 5, 6, 4], 6, [3, 3], 2, [0, 1, 0, 1], 2),
            convolution_shape([2, 7, 6, 35], 35, [5, 5], 2, [1, 2, 1, 2], 35),
        ];
        for shape in shapes {
            check_epilogues::<f32>(&shape);
            check_epilogues::<Bf16>(&shape);
        }
    });
}

fn check_epilogues<E: MapElement>(shape: &ConvolutionShape) {
    let Values { input, weights, expected, .. } = values::<E>(shape);
    // Large enough that ReLU6 clamps on both sides.
    let bias: Vec<f32> =
        draw(4, shape.out_channels).iter().map(|value| 4.0 * value + 3.0).collect();
    let residual: Vec<E> =
        draw(5, shape.output_length()).iter().map(|value| E::from_f32(8.0 * value)).collect();
    for (activation, with_bias, with_residual) in [
        (Activation::Identity, true, true),
        (Activation::Relu6, true, true),
        (Activation::Relu6, true, false),
        (Activation::Relu6, false, true),
        (Activation::Relu, false, false),
        (Activation::Relu, true, true),
    ] {
        let (low, high) = activation.bounds();
        let value = |at: usize| {
            let bias = if with_bias { bias[at % shape.out_channels] } else { 0.0 };
            let residual = if with_residual { residual[at].to_f32() } else { 0.0 };
            expected.output[at] + f64::from(bias) + f64::from(residual)
        };
        let unlimited: Vec<f64> = (0..expected.output.len()).map(value).collect();
        let limited: Vec<f64> =
            unlimited.iter().map(|value| value.clamp(f64::from(low), f64::from(high))).collect();
        if activation == Activation::Relu6 && with_bias && with_residual {
            let cut = |bound: f64| limited.iter().filter(|value| **value == bound).count();
            assert!(cut(0.0) > 5 && cut(6.0) > 5, "both bounds are met");
        }
        let epilogue = Epilogue {
            bias: with_bias.then_some(&bias[..]),
            residual: with_residual.then_some(&residual[..]),
            activation,
        };
        for kernels in Kernels::of(shape) {
            let weights = kernels.to_kernel_order(shape, &weights);
            let found = kernels.forward_with(shape, &input, &weights, Finish::Epilogue(epilogue));
            let what = format!(
                "{kernels:?} of {shape:?}, {activation:?}, bias {with_bias}, residual \
                 {with_residual}"
            );
            assert_close(&what, &found, &limited, tolerance::<E>(shape).map);
        }
    }
}
