//! Blocks of a depthwise convolution between two of 1x1: the same bits as the three convolutions
//! one after the other.

mod common;

use common::{bits, convolution_shape, draw, on_every_instruction_set, to};
use regraft_kernels::activation::{Activation, Epilogue};
use regraft_kernels::convolution::{self, ConvolutionShape};
use regraft_kernels::depthwise;
use regraft_kernels::element::Bf16;
use regraft_kernels::finish::Finish;
use regraft_kernels::packing::{MapElement, PackedWeights};
use regraft_kernels::separable::{Block, Depthwise, Pointwise};

/// `([N, H, W], channels in, wide, out, kernel, stride, padding [top, bottom, left, right])`
type Case = ([usize; 3], [usize; 3], usize, usize, [usize; 4]);

const CASES: &[Case] = &[
    // Several bands and tasks.
    ([2, 40, 56], [16, 96, 24], 3, 1, [1; 4]),
    ([1, 61, 57], [16, 96, 24], 3, 2, [0, 1, 0, 1]),
    ([1, 50, 33], [24, 144, 40], 5, 1, [2; 4]),
    ([2, 45, 46], [24, 144, 40], 5, 2, [1, 2, 1, 2]),
    ([1, 40, 40], [10, 80, 12], 7, 1, [3; 4]),
    // Rows so long that each is a band, of which the last need no further rows of the input.
    ([1, 9, 260], [16, 544, 8], 5, 1, [2; 4]),
    ([1, 9, 260], [16, 272, 8], 3, 2, [1; 4]),
    // Many small images.
    ([70, 7, 7], [32, 192, 48], 5, 1, [2; 4]),
    ([65, 4, 5], [8, 48, 8], 3, 2, [1; 4]),
    // Odd channels, and maps smaller than the kernel.
    ([3, 9, 11], [5, 33, 7], 3, 1, [1; 4]),
    ([2, 1, 1], [3, 17, 1], 5, 1, [2; 4]),
    ([1, 3, 2], [1, 15, 3], 3, 2, [2; 4]),
    // A sum of more than a block of the depth.
    ([1, 8, 6], [40, 600, 24], 3, 1, [1; 4]),
];

#[test]
fn blocks_are_their_convolutions() {
    on_every_instruction_set("blocks_are_their_convolutions", || {
        for case in CASES {
            for (expands, projects) in [(true, true), (true, false), (false, true)] {
                check::<f32>(case, expands, projects);
                check::<Bf16>(case, expands, projects);
            }
        }
    });
}

/// A convolution of 1x1 pixels.
fn pointwise(input: [usize; 4], outs: usize) -> ConvolutionShape {
    convolution_shape(input, outs, [1, 1], 1, [0; 4], 1)
}

/// The output of a convolution of 1x1 pixels.
fn alone<E: MapElement>(
    shape: &ConvolutionShape,
    input: &[E],
    weights: &[f32],
    epilogue: Epilogue<'_, E>,
) -> Vec<E> {
    let mut packed = PackedWeights::default();
    packed.pack::<E>(shape, weights);
    let mut output = vec![E::default(); shape.output_length()];
    convolution::forward(shape, input, &packed, &mut output, Finish::Epilogue(epilogue));
    output
}

fn check<E: MapElement>(case: &Case, expands: bool, projects: bool) {
    let &([batch, height, width], [ins, wide, outs], kernel, stride, padding) = case;
    let first = pointwise([batch, height, width, ins], wide);
    let middle =
        convolution_shape([batch, height, width, wide], wide, [kernel; 2], stride, padding, wide);
    let last = pointwise([batch, middle.out_height, middle.out_width, wide], outs);
    let [first_weights, weights, last_weights] = [(1, &first), (2, &middle), (3, &last)]
        .map(|(sample, shape)| draw(sample, shape.weight_length()));
    let [first_bias, bias, last_bias] = [(4, wide), (5, wide), (6, outs)].map(|(s, n)| draw(s, n));
    let input: Vec<E> = to(&draw(7, if expands { first } else { middle }.input_length()));
    let output = if projects { &last } else { &middle }.output_length();
    let residual: Vec<E> = to(&draw(8, output));
    let clamped = Activation::Relu6;

    let expand = Pointwise::new::<E>(&first_weights, first_bias.clone(), clamped);
    let project = Pointwise::new::<E>(&last_weights, last_bias.clone(), Activation::Identity);
    let block = Block {
        expand: expands.then_some(&expand),
        depthwise: Depthwise { shape: middle, weights: &weights, bias: &bias, activation: clamped },
        project: projects.then_some(&project),
    };
    for residual in [None, Some(&residual[..])] {
        let mut found = vec![E::default(); output];
        block.forward(&input, residual, &mut found);

        let epilogue =
            |bias, residual, activation| Epilogue { bias: Some(bias), residual, activation };
        let map = if expands {
            alone(&first, &input, &first_weights, epilogue(&first_bias[..], None, clamped))
        } else {
            input.clone()
        };
        let middle_residual = if projects { None } else { residual };
        let mut expected = vec![E::default(); middle.output_length()];
        let finish = Finish::Epilogue(epilogue(&bias[..], middle_residual, clamped));
        depthwise::forward(&middle, &map[..], &weights, &mut expected, finish);
        if projects {
            let epilogue = epilogue(&last_bias[..], residual, Activation::Identity);
            expected = alone(&last, &expected, &last_weights, epilogue);
        }
        let what = format!("{} {case:?}, expands {expands}, projects {projects}", E::NAME);
        assert_eq!(bits(&found), bits(&expected), "{what}, residual {}", residual.is_some());
    }
}
