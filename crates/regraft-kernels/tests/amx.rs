//! Tests products by AMX's tiles: all ends that a tile can have, next to memory that nothing may
//! touch.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod common;
#[path = "common/guarded.rs"]
mod guarded;

use common::{convolution_shape, draw, on_instruction_sets, to};
use guarded::{Guarded, Side};
use regraft_kernels::amx;
use regraft_kernels::convolution::{self, ConvolutionShape, GradientScratch};
use regraft_kernels::element::{Bf16, Element};
use regraft_kernels::finish::Finish;
use regraft_kernels::gemm::{Left, Matrix, Operand, Packed, Rows, Sums, multiply};
use regraft_kernels::isa::InstructionSet;
use regraft_kernels::packing::PackedWeights;

/// `(rows, depth, columns)`: below, at and above the sides of one tile and of two, several blocks
/// of the depth, ends of all kinds.
const SIZES: [(usize, usize, usize); 22] = [
    (1, 1, 1),
    (1, 33, 16),
    (2, 31, 17),
    (15, 32, 15),
    (16, 64, 32),
    (17, 65, 33),
    (31, 2, 31),
    (32, 96, 48),
    (33, 30, 64),
    (33, 5, 47),
    (48, 40, 49),
    (49, 16, 20),
    (56, 64, 64),
    (65, 63, 1),
    (100, 147, 70),
    (3, 512, 5),
    (35, 513, 36),
    (18, 544, 3),
    (9, 1030, 40),
    (70, 1536, 18),
    (0, 7, 3),
    (5, 0, 4),
];

/// Products of bf16 are exact in f32, so only the rounding of the sums differs from that of f64.
fn assert_near(found: &[f32], expected: &[f64], what: &str) {
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(*found) - expected).abs();
        assert!(difference <= 2e-5, "{what}: sum {at} is {found} instead of {expected}");
    }
}

#[test]
fn products_of_all_sizes_stay_within_their_operands() {
    on_instruction_sets(
        &[InstructionSet::Amx],
        "products_of_all_sizes_stay_within_their_operands",
        || {
            for (rows, depth, columns) in SIZES {
                for side in [Side::End, Side::Start] {
                    let before = regraft_amx_emulator::products();
                    check(rows, depth, columns, side);
                    let emulated = common::is_emulated() && rows * depth > 0;
                    assert_eq!(
                        regraft_amx_emulator::products() > before,
                        emulated,
                        "products are those of tiles"
                    );
                }
            }
        },
    );
}

fn check(rows: usize, depth: usize, columns: usize, side: Side) {
    let what = format!("{rows}x{depth}x{columns}, guarded at its {side:?}");
    // Rows are farther apart than they are long; the last one ends where its values do.
    let (left_stride, stride, result_stride) = (depth + 6, rows + 3, columns + 5);
    let end = |count: usize, stride: usize, length: usize| {
        if count == 0 { 0 } else { (count - 1) * stride + length }
    };
    let left: Vec<Bf16> = to(&draw(1, end(rows, left_stride, depth)));
    let right: Vec<f32> = to(&to::<Bf16>(&draw(2, depth * columns)));
    let start = draw(3, end(rows, result_stride, columns));
    let mut transposed = vec![Bf16::from_f32(f32::NAN); end(depth, stride, rows)];
    for (row, k) in (0..rows).flat_map(|row| (0..depth).map(move |k| (row, k))) {
        transposed[k * stride + row] = left[row * left_stride + k];
    }
    let mut packed = Packed::<Bf16>::default();
    packed.pack(Matrix::Rows { data: &right, stride: columns }, depth, columns);
    let narrow = Guarded::new(&to::<Bf16>(&right), side);
    let (left, transposed) = (Guarded::new(&left, side), Guarded::new(&transposed, side));
    for accumulate in [false, true] {
        let mut expected: Vec<f64> = start.iter().map(|&value| f64::from(value)).collect();
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)))
        {
            let product = |k: usize| {
                f64::from(left.get()[row * left_stride + k].to_f32())
                    * f64::from(right[k * columns + column])
            };
            let sum = &mut expected[row * result_stride + column];
            *sum = (0..depth).map(product).sum::<f64>() + if accumulate { *sum } else { 0.0 };
        }
        let mut result = Guarded::new(&start, side);
        multiply(
            Left::rows(left.get(), left_stride),
            rows,
            &packed,
            result.get_mut(),
            result_stride,
            accumulate,
        );
        assert_near(result.get(), &expected, &what);

        let mut same = Guarded::new(&start, side);
        let (map, sums) = (transposed.get(), same.get_mut());
        let mut scratch = Packed::default();
        let map = Rows { data: map, stride, columns: rows };
        let right = Rows { data: narrow.get(), stride: columns, columns };
        let sums = Sums { data: sums, stride: result_stride, accumulate };
        Bf16::multiply_transposed(map, right, depth, sums, &mut scratch);
        assert_eq!(same.get(), result.get(), "{what}, transposed");

        // A row's sums do not depend on the other rows of the product.
        for row in 0..rows {
            let mut alone = Guarded::new(&start[row * result_stride..][..columns], side);
            let left = Guarded::new(&left.get()[row * left_stride..][..depth], side);
            multiply(
                Left::rows(left.get(), depth),
                1,
                &packed,
                alone.get_mut(),
                columns,
                accumulate,
            );
            assert_eq!(
                alone.get(),
                &result.get()[row * result_stride..][..columns],
                "{what}: row {row} alone"
            );
        }
    }
}

/// `(batch, side, channels in, channels out, kernel, stride)`: copied and in place, in whole and in
/// part tiles, folded.
const CONVOLUTIONS: [[usize; 6]; 7] = [
    [1, 8, 32, 64, 1, 1],
    [3, 5, 64, 32, 1, 1],
    [2, 6, 40, 24, 1, 1],
    [2, 8, 32, 16, 3, 1],
    [1, 7, 24, 33, 3, 2],
    [2, 9, 3, 20, 7, 2],
    [2, 8, 64, 32, 1, 2],
];

#[test]
fn convolutions_stay_within_their_operands() {
    on_instruction_sets(&[InstructionSet::Amx], "convolutions_stay_within_their_operands", || {
        for [batch, side, ins, outs, kernel, stride] in CONVOLUTIONS {
            let padding = [kernel / 2; 4];
            let input = [batch, side, side, ins];
            let shape = convolution_shape(input, outs, [kernel; 2], stride, padding, 1);
            let loose = convolve(&shape, None);
            for side in [Side::Start, Side::End] {
                assert!(loose == convolve(&shape, Some(side)), "{shape:?} at its {side:?}");
            }
        }
    });
}

/// The output and both gradients, of operands next to memory that nothing may touch.
fn convolve(shape: &ConvolutionShape, side: Option<Side>) -> (Vec<Bf16>, Vec<Bf16>, Vec<f32>) {
    let input: Vec<Bf16> = to(&draw(1, shape.input_length()));
    let gradient: Vec<Bf16> = to(&draw(2, shape.output_length()));
    let weights: Vec<f32> = draw(3, shape.weight_length());
    let (mut packed, mut scratch) = (PackedWeights::default(), GradientScratch::default());
    packed.pack::<Bf16>(shape, &weights);
    let run = |input: &[Bf16],
               gradient: &[Bf16],
               output: &mut [Bf16],
               input_gradient: &mut [Bf16],
               weight_gradient: &mut [f32],
               scratch: &mut GradientScratch| {
        convolution::forward(shape, input, &packed, output, Finish::NOTHING);
        convolution::backward_input(shape, gradient, &weights, input_gradient, false, scratch);
        convolution::backward_weights(shape, input, gradient, weight_gradient, scratch);
    };
    let (mut output, mut input_gradient) = (gradient.clone(), input.clone());
    let mut weight_gradient = weights.clone();
    let Some(side) = side else {
        run(
            &input,
            &gradient,
            &mut output,
            &mut input_gradient,
            &mut weight_gradient,
            &mut scratch,
        );
        return (output, input_gradient, weight_gradient);
    };
    let (input, gradient) = (Guarded::new(&input, side), Guarded::new(&gradient, side));
    let mut output = Guarded::new(&output, side);
    let mut input_gradient = Guarded::new(&input_gradient, side);
    let mut weight_gradient = Guarded::new(&weight_gradient, side);
    run(
        input.get(),
        gradient.get(),
        output.get_mut(),
        input_gradient.get_mut(),
        weight_gradient.get_mut(),
        &mut scratch,
    );
    (output.get().to_vec(), input_gradient.get().to_vec(), weight_gradient.get().to_vec())
}

/// A NaN affects the sums of its own row or column, and no others.
#[test]
fn nan_stays_in_its_row_or_column() {
    on_instruction_sets(&[InstructionSet::Amx], "nan_stays_in_its_row_or_column", || {
        let (rows, depth, columns) = (35, 45, 37);
        let spoil = |values: Vec<f32>, place: Option<usize>| {
            let mut values = values;
            if let Some(place) = place {
                values[place] = f32::NAN;
            }
            values
        };
        for (row, column) in [(Some(33), None), (None, Some(36)), (Some(0), Some(16)), (None, None)]
        {
            let left: Vec<Bf16> =
                to(&spoil(draw(1, rows * depth), row.map(|row| row * depth + 44)));
            let right = spoil(draw(2, depth * columns), column.map(|column| 44 * columns + column));
            let mut packed = Packed::<Bf16>::default();
            let mut result = vec![f32::NAN; rows * columns];
            // Fills the scratch memory, including the part for padding, with NaN.
            let nothing = vec![Bf16::from_f32(f32::NAN); rows * 63];
            packed.pack(Matrix::Columns { data: &[1.0; 63], stride: 63 }, 63, 1);
            multiply(Left::rows(&nothing, 63), rows, &packed, &mut result, columns, false);
            packed.pack(Matrix::Rows { data: &right, stride: columns }, depth, columns);
            multiply(Left::rows(&left, depth), rows, &packed, &mut result, columns, false);
            for (at, sum) in result.iter().enumerate() {
                let spoilt = Some(at / columns) == row || Some(at % columns) == column;
                assert_eq!(
                    sum.is_nan(),
                    spoilt,
                    "at {}, {} with {row:?}, {column:?}",
                    at / columns,
                    at % columns
                );
            }
        }
    });
}

/// The reason against AMX is known, and forcing AMX reports it.
#[test]
fn a_machine_without_amx_says_why() {
    match amx::usable() {
        Ok(_) => assert_eq!(InstructionSet::best(), InstructionSet::Amx),
        Err(unusable) => {
            assert!(InstructionSet::best() < InstructionSet::Amx);
            let error = regraft_kernels::isa::select(Some("amx")).expect_err("AMX is not usable");
            assert!(error.to_string().contains(&unusable.to_string()), "{error}");
        }
    }
}
