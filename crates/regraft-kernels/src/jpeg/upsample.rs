//! Enlarges chroma that is stored at half the resolution, with a triangle filter as in
//! libjpeg-turbo (`h2v1_fancy_upsample` and its siblings in `jdsample.c`): each new sample is 3/4
//! of the nearer and 1/4 of the farther sample in each direction.

use crate::isa::for_each_isa;

/// Doubles a row's width: `[N]` to `[2 * N]`, N at least 2.
///
/// # Panics
///
/// If `output` is not twice as long as `input`, or `input` has fewer than two samples.
pub fn double_width(input: &[u8], output: &mut [u8]) {
    assert!(input.len() >= 2 && output.len() == 2 * input.len(), "the lengths do not fit");
    let last = input.len() - 1;
    double_width_inside(input, output);
    output[0] = input[0];
    output[1] = mix_1(input[0], input[1], 2);
    output[2 * last] = mix_1(input[last], input[last - 1], 1);
    output[2 * last + 1] = input[last];
}

/// Interpolates a row between two rows: 3/4 of `near`, 1/4 of `far`. All are `[N]`. `bias` is 1 for
/// a row above `near`'s middle and 2 for one below, so that rounding favours neither.
///
/// # Panics
///
/// If the lengths differ.
pub fn double_height(near: &[u8], far: &[u8], bias: u16, output: &mut [u8]) {
    assert!(near.len() == far.len() && near.len() == output.len(), "the lengths differ");
    double_height_inside(near, far, bias, output);
}

/// Doubles width and height: a row of twice the width between `near` and `far`. `sums` is working
/// memory.
///
/// # Panics
///
/// If `near` and `far` differ in length or have fewer than two samples, or `output` is not twice as
/// long.
pub fn double_both(near: &[u8], far: &[u8], sums: &mut Vec<u16>, output: &mut [u8]) {
    assert!(near.len() >= 2 && near.len() == far.len() && output.len() == 2 * near.len());
    sums.resize(near.len(), 0);
    double_both_inside(near, far, sums, output);
    let last = sums.len() - 1;
    output[0] = ((sums[0] * 4 + 8) >> 4) as u8;
    output[1] = ((sums[0] * 3 + sums[1] + 7) >> 4) as u8;
    output[2 * last] = ((sums[last] * 3 + sums[last - 1] + 8) >> 4) as u8;
    output[2 * last + 1] = ((sums[last] * 4 + 7) >> 4) as u8;
}

for_each_isa! { fn double_width_inside(input: &[u8], output: &mut [u8]) => double_width_body }
for_each_isa! {
    fn double_height_inside(near: &[u8], far: &[u8], bias: u16, output: &mut [u8])
        => double_height_body
}
for_each_isa! {
    fn double_both_inside(near: &[u8], far: &[u8], sums: &mut [u16], output: &mut [u8])
        => double_both_body
}

#[inline(always)]
fn mix_1(near: u8, far: u8, bias: u16) -> u8 {
    ((3 * u16::from(near) + u16::from(far) + bias) >> 2) as u8
}

/// All samples except the first two and the last two.
#[inline(always)]
fn double_width_body<const FUSED: bool>(input: &[u8], output: &mut [u8]) {
    let inside = input.len() - 2;
    let (left, middle, right) = (&input[..inside], &input[1..][..inside], &input[2..][..inside]);
    let pairs = output.as_chunks_mut::<2>().0;
    for (pair, ((&left, &middle), &right)) in
        pairs[1..][..inside].iter_mut().zip(left.iter().zip(middle).zip(right))
    {
        *pair = [mix_1(middle, left, 1), mix_1(middle, right, 2)];
    }
}

#[inline(always)]
fn double_height_body<const FUSED: bool>(near: &[u8], far: &[u8], bias: u16, output: &mut [u8]) {
    for ((output, &near), &far) in output.iter_mut().zip(near).zip(far) {
        *output = mix_1(near, far, bias);
    }
}

/// The sums of both rows, and from them all samples except the first two and the last two.
#[inline(always)]
fn double_both_body<const FUSED: bool>(
    near: &[u8],
    far: &[u8],
    sums: &mut [u16],
    output: &mut [u8],
) {
    for ((sum, &near), &far) in sums.iter_mut().zip(near).zip(far) {
        *sum = 3 * u16::from(near) + u16::from(far);
    }
    let inside = sums.len() - 2;
    let (left, middle, right) = (&sums[..inside], &sums[1..][..inside], &sums[2..][..inside]);
    let pairs = output.as_chunks_mut::<2>().0;
    for (pair, ((&left, &middle), &right)) in
        pairs[1..][..inside].iter_mut().zip(left.iter().zip(middle).zip(right))
    {
        *pair = [((3 * middle + left + 8) >> 4) as u8, ((3 * middle + right + 7) >> 4) as u8];
    }
}
