//! The JPEG kernels on every instruction set, against plain loops. The tests of `regraft-data` show
//! with whole files that this is libjpeg-turbo's arithmetic.

mod common;

use std::f64::consts::PI;

use common::on_every_instruction_set;
use regraft_base::random::{Draws, Purpose};
use regraft_kernels::jpeg::inverse::{Blocks, LANES, inverse};
use regraft_kernels::jpeg::{colour, upsample};

/// Blocks like those of images: a mean, and fewer frequencies the higher they are.
fn blocks(groups: usize, frequencies: usize) -> Vec<Blocks> {
    let mut draws = Draws::new(7, Purpose::Fixture, 0, groups as u32);
    let mut blocks = vec![[[0; LANES]; 64]; groups];
    for group in &mut blocks {
        group[0] = [0; LANES].map(|_| draws.below(160) as i16 - 80);
        for _ in 0..LANES * frequencies {
            let (place, lane) = (1 + draws.below(63), draws.below(LANES as u32));
            group[place as usize][lane as usize] = draws.below(21) as i16 - 10;
        }
    }
    blocks
}

/// The inverse transform of one block by its definition, with `side` of eight frequencies each way.
fn by_definition(block: &[f64; 64], side: usize) -> Vec<f64> {
    let scale = |frequency: usize| if frequency == 0 { 0.5f64.sqrt() } else { 1.0 };
    let angle = |sample: usize, frequency: usize| {
        PI * (2 * sample + 1) as f64 * frequency as f64 / (2 * side) as f64
    };
    let mut samples = Vec::new();
    for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
        let mut sum = 0.0;
        for (row, column) in (0..side).flat_map(|row| (0..side).map(move |column| (row, column))) {
            let cosines = angle(y, row).cos() * angle(x, column).cos();
            sum += block[row * 8 + column] * scale(row) * scale(column) * cosines / 4.0;
        }
        samples.push((sum + 128.0).clamp(0.0, 255.0));
    }
    samples
}

#[test]
fn blocks_become_the_samples_of_their_frequencies() {
    on_every_instruction_set("blocks_become_the_samples_of_their_frequencies", || {
        let mut steps = [0; 64];
        (0..64).for_each(|place| steps[place] = 3 + (place / 8 + place % 8) as u16);
        for (groups, frequencies) in [(1, 0), (1, 3), (2, 12), (3, 60)] {
            let blocks = blocks(groups, frequencies);
            for side in [8, 4, 2, 1] {
                let stride = groups * LANES * side + 5;
                let mut output = vec![77; side * stride];
                inverse(&blocks, &steps, side, &mut output, stride);
                for (place, lane) in
                    (0..groups).flat_map(|place| (0..LANES).map(move |lane| (place, lane)))
                {
                    let frequency =
                        |at: usize| f64::from(blocks[place][at][lane]) * f64::from(steps[at]);
                    let expected = by_definition(&std::array::from_fn(frequency), side);
                    for (at, expected) in expected.iter().enumerate() {
                        let sample =
                            output[at / side * stride + (place * LANES + lane) * side + at % side];
                        // Both round; the whole transform also rounds between its passes.
                        let bound = if side == 8 { 0.75 } else { 0.502 };
                        let difference = (f64::from(sample) - expected).abs();
                        assert!(difference <= bound, "side {side}: {sample} for {expected}");
                    }
                }
                assert!(
                    output[stride - 5..stride].iter().all(|&level| level == 77),
                    "nothing beyond the blocks"
                );
            }
        }
    });
}

/// Quantised frequencies of a damaged file reach the ends of their range.
#[test]
fn extreme_frequencies_do_no_harm() {
    on_every_instruction_set("extreme_frequencies_do_no_harm", || {
        let mut draws = Draws::new(7, Purpose::Fixture, 1, 0);
        let mut extreme = vec![[[0; LANES]; 64]; 2];
        for value in extreme.as_flattened_mut().as_flattened_mut() {
            *value = [i16::MIN, i16::MAX, 0, draws.next_u32() as i16][draws.below(4) as usize];
        }
        for side in [8, 4, 2, 1] {
            inverse(
                &extreme,
                &[u16::MAX; 64],
                side,
                &mut vec![0; side * 2 * LANES * side],
                2 * LANES * side,
            );
        }
    });
}

fn levels(length: usize, sample: u32) -> Vec<u8> {
    let mut draws = Draws::new(7, Purpose::Fixture, 2, sample);
    (0..length).map(|_| draws.next_u32() as u8).collect()
}

#[test]
fn chroma_is_enlarged_by_a_triangle_filter() {
    on_every_instruction_set("chroma_is_enlarged_by_a_triangle_filter", || {
        for length in [2, 3, 4, 17, 64, 131] {
            let (near, far) = (levels(length, 0), levels(length, 1));
            let three = |near: u8, far: u8| 3 * u32::from(near) + u32::from(far);
            for bias in [1, 2] {
                let mut output = vec![0; length];
                upsample::double_height(&near, &far, bias, &mut output);
                let expected = near
                    .iter()
                    .zip(&far)
                    .map(|(&near, &far)| ((three(near, far) + u32::from(bias)) / 4) as u8);
                assert!(output.into_iter().eq(expected), "double height of {length}, bias {bias}");
            }
            let mut output = vec![0; 2 * length];
            upsample::double_width(&near, &mut output);
            // Beyond the ends, the last sample is repeated.
            let neighbours = |at: usize| (at.saturating_sub(1), (at + 1).min(length - 1));
            let expected: Vec<u8> = (0..length)
                .flat_map(|at| {
                    let (left, right) = neighbours(at);
                    [
                        ((three(near[at], near[left]) + 1) / 4) as u8,
                        ((three(near[at], near[right]) + 2) / 4) as u8,
                    ]
                })
                .collect();
            assert_eq!(output, expected, "double width of {length}");
            upsample::double_both(&near, &far, &mut Vec::new(), &mut output);
            let sum = |at: usize| three(near[at], far[at]);
            let expected: Vec<u8> = (0..length)
                .flat_map(|at| {
                    let (left, right) = neighbours(at);
                    [
                        ((3 * sum(at) + sum(left) + 8) / 16) as u8,
                        ((3 * sum(at) + sum(right) + 7) / 16) as u8,
                    ]
                })
                .collect();
            assert_eq!(output, expected, "double both of {length}");
        }
    });
}

#[test]
fn luma_and_chroma_become_rgb() {
    on_every_instruction_set("luma_and_chroma_become_rgb", || {
        let all: Vec<u8> = (0..=255).collect();
        let bound = |value: i64| value.clamp(0, 255) as u8;
        for (luma, red) in [(0, 0), (255, 255), (128, 3), (77, 200), (200, 128)] {
            let (luma, red) = (vec![luma; 256], vec![red; 256]);
            let mut output = vec![0; 768];
            colour::rgb(&luma, &all, &red, &mut output);
            for (at, pixel) in output.chunks(3).enumerate() {
                let [luma, blue, red] = [luma[at], all[at], red[at]].map(i64::from);
                let (blue, red) = (blue - 128, red - 128);
                let expected = [
                    bound(luma + ((91_881 * red + 32_768) >> 16)),
                    bound(luma + ((-22_554 * blue - 46_802 * red + 32_768) >> 16)),
                    bound(luma + ((116_130 * blue + 32_768) >> 16)),
                ];
                assert_eq!(pixel, expected, "{luma} {blue} {red}");
            }
        }
    });
}
