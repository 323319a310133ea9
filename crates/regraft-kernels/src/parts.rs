//! Values as sums of bf16, which tiles multiply.

use crate::element::{Bf16, Element};
use crate::isa::for_each_isa;

/// A type whose values are sums of a few bf16.
pub trait Parts: Element {
    /// Parts of a value.
    const PARTS: usize;
    /// The pairs of parts, of the left and the right operand, that a product needs, the smallest
    /// first: so the rounding of the small ones is small, too.
    const PAIRS: &'static [(usize, usize)];

    /// Writes the parts of values, each of `depth` values, which zeros fill up.
    fn split(values: &[Self], depth: usize, parts: &mut [Bf16]);

    /// The values themselves, if they are their only part.
    fn as_one_part(values: &[Self]) -> Option<&[Bf16]>;
}

impl Parts for Bf16 {
    const PARTS: usize = 1;
    const PAIRS: &'static [(usize, usize)] = &[(0, 0)];

    #[inline]
    fn split(values: &[Self], _: usize, parts: &mut [Self]) {
        let (values_of_part, rest) = parts.split_at_mut(values.len());
        values_of_part.copy_from_slice(values);
        rest.fill(Self::default());
    }

    fn as_one_part(values: &[Self]) -> Option<&[Self]> {
        Some(values)
    }
}

/// Three parts of 8 bits hold the 24 bits of an f32. The products of two parts that are left out
/// are below its rounding.
impl Parts for f32 {
    const PARTS: usize = 3;
    const PAIRS: &'static [(usize, usize)] = &[(2, 0), (1, 1), (0, 2), (1, 0), (0, 1), (0, 0)];

    #[inline]
    fn split(values: &[Self], depth: usize, parts: &mut [Bf16]) {
        let (first, rest) = parts.split_at_mut(depth);
        let (second, third) = rest.split_at_mut(depth);
        for part in [&mut *first, &mut *second, &mut *third] {
            part[values.len()..].fill(Bf16::default());
        }
        let count = values.len();
        split_in_three(values, &mut first[..count], &mut second[..count], &mut third[..count]);
    }

    fn as_one_part(_: &[Self]) -> Option<&[Bf16]> {
        None
    }
}

/// A value's part; see [`Parts`].
#[inline(always)]
pub(crate) fn part_of(value: f32, part: usize) -> Bf16 {
    let mut rest = value;
    for _ in 0..part {
        rest -= Bf16::from_f32(rest).to_f32();
    }
    Bf16::from_f32(rest)
}

for_each_isa! {
    fn split_in_three(values: &[f32], first: &mut [Bf16], second: &mut [Bf16], third: &mut [Bf16])
        => split_in_three_body
}
#[inline(always)]
fn split_in_three_body<const FUSED: bool>(
    values: &[f32],
    first: &mut [Bf16],
    second: &mut [Bf16],
    third: &mut [Bf16],
) {
    for (((value, first), second), third) in values.iter().zip(first).zip(second).zip(third) {
        *first = Bf16::from_f32(*value);
        // Both differences are exact: the value and its rounding share their leading bits.
        let rest = value - first.to_f32();
        *second = Bf16::from_f32(rest);
        *third = Bf16::from_f32(rest - second.to_f32());
    }
}
