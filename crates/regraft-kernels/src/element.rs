//! What a map's values are stored as: f32 or bf16. Arithmetic is f32 either way.

use crate::gemm::Operand;
use crate::isa::{active, for_each_isa};
use crate::scratch::with_scratch;
use std::fmt;

/// A 16-bit float with f32's range: the upper half of an f32 (8 bits of exponent, 7 of fraction).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(u16);

impl Bf16 {
    /// The value of these bits.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The bits of this value.
    #[must_use]
    pub const fn to_bits(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for Bf16 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_f32().fmt(formatter)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for super::Bf16 {}
}

/// The type of a map's elements. Kernels read them as f32 and round what they write.
///
/// Implementors have no padding and take any bits, which [`crate::memory`] relies on.
pub trait Element: Copy + Default + PartialEq + fmt::Debug + Send + Sync + sealed::Sealed + 'static {
    /// What the type is called, as in `--precision`.
    const NAME: &'static str;

    /// The operands of matrix products where the processor multiplies this type; elsewhere they are f32.
    type Native: Operand + CopyFrom<Self>;

    /// Whether products are those of [`Self::Native`].
    fn multiplies_natively() -> bool;

    /// The nearest value; of two equally near, the one whose last bit is zero.
    fn from_f32(value: f32) -> Self;

    /// The value, exactly.
    fn to_f32(self) -> f32;

    /// Lends f32 memory for the sums that become `output`: the output itself where that is f32, else this thread's scratch
    /// memory, rounded into the output afterwards. It holds the output's values at first where `keeps`, else anything.
    fn with_sums<R>(output: &mut [Self], keeps: bool, work: impl FnOnce(&mut [f32]) -> R) -> R;

    /// The values themselves where they are f32.
    fn as_f32(values: &[Self]) -> Option<&[f32]>;

    /// Lends the values as f32: themselves where they are, else a copy in this thread's scratch memory.
    fn with_values<R>(values: &[Self], work: impl FnOnce(&[f32]) -> R) -> R;
}

impl Element for f32 {
    const NAME: &'static str = "f32";

    type Native = f32;

    fn multiplies_natively() -> bool {
        true
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    fn with_sums<R>(output: &mut [Self], _: bool, work: impl FnOnce(&mut [f32]) -> R) -> R {
        work(output)
    }

    fn as_f32(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }

    fn with_values<R>(values: &[Self], work: impl FnOnce(&[f32]) -> R) -> R {
        work(values)
    }
}

impl Element for Bf16 {
    const NAME: &'static str = "bf16";

    type Native = Self;

    fn multiplies_natively() -> bool {
        active().multiplies_bf16()
    }

    // Without branches, so that loops become vectors.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        // Rounding could carry a NaN's fraction over into an infinity; the bit set here keeps it a NaN.
        let nan = bits >> 16 | 0x40;
        Self(if value.is_nan() { nan } else { rounded } as u16)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    fn with_sums<R>(output: &mut [Self], keeps: bool, work: impl FnOnce(&mut [f32]) -> R) -> R {
        with_scratch(output.len(), |sums: &mut [f32]| {
            if keeps {
                copy(output, sums);
            }
            let result = work(sums);
            copy(sums, output);
            result
        })
    }

    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }

    fn with_values<R>(values: &[Self], work: impl FnOnce(&[f32]) -> R) -> R {
        with_scratch(values.len(), |wide: &mut [f32]| {
            copy(values, wide);
            work(wide)
        })
    }
}

/// A type that holds every value of `E` exactly.
pub trait CopyFrom<E>: Element {
    /// Copies values as they are.
    fn copy_run(from: &[E], to: &mut [Self]);

    /// The values themselves where the types are the same.
    fn in_place(values: &[E]) -> Option<&[Self]>;
}

impl<E: Element> CopyFrom<E> for f32 {
    #[inline]
    fn copy_run(from: &[E], to: &mut [Self]) {
        match E::as_f32(from) {
            Some(from) => copy_short_run(from, to),
            None => to.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f32()),
        }
    }

    fn in_place(values: &[E]) -> Option<&[Self]> {
        E::as_f32(values)
    }
}

impl CopyFrom<Self> for Bf16 {
    #[inline]
    fn copy_run(from: &[Self], to: &mut [Self]) {
        copy_short_run(from, to);
    }

    fn in_place(values: &[Self]) -> Option<&[Self]> {
        Some(values)
    }
}

/// As `copy_from_slice`, which is a call: too slow for the many short runs of a patch of few channels.
#[inline]
fn copy_short_run<T: Copy>(from: &[T], to: &mut [T]) {
    const WHOLE: usize = 8;
    assert_eq!(from.len(), to.len());
    let length = from.len();
    if !(WHOLE..=8 * WHOLE).contains(&length) {
        return to.copy_from_slice(from);
    }
    let (pieces, _) = from.as_chunks::<WHOLE>();
    let (targets, _) = to.as_chunks_mut::<WHOLE>();
    targets.iter_mut().zip(pieces).for_each(|(to, from)| *to = *from);
    // The last piece again, up to the end.
    to[length - WHOLE..].copy_from_slice(&from[length - WHOLE..]);
}

for_each_isa! {
    /// Copies values from one type to another, rounding where it must.
    pub fn copy<From: Element, To: Element>(from: &[From], to: &mut [To]) => copy_body
}
#[inline(always)]
fn copy_body<const FUSED: bool, From: Element, To: Element>(from: &[From], to: &mut [To]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = To::from_f32(from.to_f32());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_to_the_nearest_even() {
        let rounded = |value: f32| Bf16::from_f32(value).to_f32();
        let step = 1.0 / 128.0;
        assert_eq!(rounded(1.0 + 0.49 * step), 1.0);
        assert_eq!(rounded(1.0 + 0.5 * step), 1.0, "a tie goes to the even one below");
        assert_eq!(rounded(1.0 + 1.5 * step), 1.0 + 2.0 * step, "a tie goes to the even one above");
        assert_eq!(rounded(-1.0 - 0.51 * step), -1.0 - step);
        assert_eq!(rounded(f32::MAX), f32::INFINITY);
        assert_eq!(rounded(f32::NEG_INFINITY), f32::NEG_INFINITY);
        assert_eq!(rounded(-0.0).to_bits(), (-0.0f32).to_bits());
        for nan in [f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff)] {
            assert!(rounded(nan).is_nan(), "{:x}", nan.to_bits());
        }
        for bits in 0..=u16::MAX {
            let value = Bf16::from_bits(bits);
            let same = Bf16::from_f32(value.to_f32());
            assert!(same == value || value.to_f32().is_nan(), "{bits:x}");
        }
    }

    #[test]
    fn sums_begin_with_what_the_output_holds_where_it_is_kept() {
        let mut output = [1.0, 2.0].map(Bf16::from_f32);
        Bf16::with_sums(&mut output, true, |sums| sums.iter_mut().for_each(|sum| *sum += 0.5));
        assert_eq!(output, [1.5, 2.5].map(Bf16::from_f32));
        Bf16::with_sums(&mut output, false, |sums| sums.fill(3.0));
        assert_eq!(output, [3.0, 3.0].map(Bf16::from_f32));
    }
}
