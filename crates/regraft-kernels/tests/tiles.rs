//! Counts the tiles that convolutions load and multiply on AMX, in the emulator: on a processor
//! with AMX, nothing counts them.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod common;

use common::{draw, on_instruction_sets, to};
use regraft_amx_emulator::{loads, products};
use regraft_kernels::convolution::{self, ConvolutionShape, GradientScratch};
use regraft_kernels::element::Bf16;
use regraft_kernels::finish::Finish;
use regraft_kernels::isa::InstructionSet;
use regraft_kernels::packing::PackedWeights;

/// A convolution whose output is as large as its input divided by the stride.
fn shape(
    batch: usize,
    side: usize,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
) -> ConvolutionShape {
    ConvolutionShape {
        batch,
        in_height: side,
        in_width: side,
        in_channels: channels[0],
        out_height: side / stride,
        out_width: side / stride,
        out_channels: channels[1],
        kernel_height: kernel,
        kernel_width: kernel,
        stride,
        padding_top: kernel / 2,
        padding_left: kernel / 2,
        groups: 1,
    }
}

/// The products and loads of tiles during `work`.
fn counted(work: impl FnOnce()) -> [u64; 2] {
    let before = [products(), loads()];
    work();
    [products() - before[0], loads() - before[1]]
}

/// `(shape, [products, loads] forward, of the input's gradient, of the weights' gradient)`.
///
/// A product multiplies 16 positions, 32 values of the depth and 16 channels. A turn of a patch
/// loads four tiles for four products, or three for two if it needs only 16 columns.
fn layers() -> [(ConvolutionShape, [[u64; 2]; 3]); 5] {
    [
        // Images of 9 x 9 positions with shared borders, two of them without the last row: 5 groups
        // of 32 positions. 9 taps of 2 runs, 2 panels, 4 tiles each. Without borders, 4 groups
        // would do.
        (shape(2, 8, [64, 64], 3, 1), [[720; 2]; 3]),
        // 4 x 4 outputs among 5 x 5 positions: 2 groups. 9 taps of 1 run, 2 panels; backwards, 9
        // taps of 2 runs in four phases, 1 panel.
        (shape(2, 8, [32, 64], 3, 2), [[144; 2]; 3]),
        // 128 pixels without borders: 4 groups. 1 tap of 2 runs, 1 panel, or the reverse.
        (shape(2, 8, [64, 32], 1, 1), [[32; 2]; 3]),
        // The 7 columns of a row of the kernel are one run, so there are 7 taps. 8 positions in a
        // row and 10 rows of an image: 5 groups. Backwards, 49 taps in four phases of 6 groups, and
        // 3 channels need only half a panel.
        (shape(2, 16, [3, 32], 7, 2), [[140; 2], [588, 882], [140; 2]]),
        // 16 channels need half a panel: 4 groups, 1 tap of 1 run.
        (shape(2, 8, [32, 16], 1, 1), [[8, 12], [16; 2], [16; 2]]),
    ]
}

#[test]
fn layers_load_and_multiply_as_many_tiles_as_their_patches_need() {
    let test = "layers_load_and_multiply_as_many_tiles_as_their_patches_need";
    on_instruction_sets(&[InstructionSet::Amx], test, || {
        if !common::is_emulated() {
            return;
        }
        for (shape, expected) in layers() {
            let input: Vec<Bf16> = to(&draw(1, shape.input_length()));
            let gradient: Vec<Bf16> = to(&draw(2, shape.output_length()));
            let weights: Vec<f32> = draw(3, shape.weight_length());
            let (mut packed, mut scratch) = (PackedWeights::default(), GradientScratch::default());
            packed.pack::<Bf16>(&shape, &weights);
            let (mut output, mut input_gradient) = (gradient.clone(), input.clone());
            let mut weight_gradient = weights.clone();
            let found = [
                counted(|| {
                    let finish = Finish::NOTHING;
                    convolution::forward(&shape, &input, &packed, &mut output, finish);
                }),
                counted(|| {
                    let target = &mut input_gradient;
                    convolution::backward_input(
                        &shape,
                        &gradient,
                        &weights,
                        target,
                        false,
                        &mut scratch,
                    );
                }),
                counted(|| {
                    let target = &mut weight_gradient;
                    convolution::backward_weights(&shape, &input, &gradient, target, &mut scratch);
                }),
            ];
            assert_eq!(found, expected, "{shape:?}");
        }
    });
}
