//! The types of a feature map's elements: f32 or bf16. Arithmetic is f32 either way.

use std::fmt;

/// A 16-bit float with f32's range: the upper half of an f32 (8 bits of exponent, 7 of fraction).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(u16);

impl Bf16 {
    /// The value of these bits.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The bits of this value.
    #[inline(always)]
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

/// The type of a feature map's elements. Kernels read them as f32 and round what they write.
///
/// The trait is sealed: its two types have no padding and accept any bits, so memory can be viewed
/// as elements of either.
pub trait Element:
    Copy + Default + PartialEq + fmt::Debug + Send + Sync + sealed::Sealed + 'static
{
    /// The name of the type, as in `--precision`.
    const NAME: &'static str;

    /// The nearest value; if two are equally near, the one whose last bit is zero.
    fn from_f32(value: f32) -> Self;

    /// The exact value.
    fn to_f32(self) -> f32;

    /// The slice itself, if its values are f32.
    fn as_f32(values: &[Self]) -> Option<&[f32]>;

    /// The slice itself for writing, if its values are f32.
    ///
    /// # Errors
    /// Returns the slice if its values are not f32.
    fn as_f32_mut(values: &mut [Self]) -> Result<&mut [f32], &mut [Self]>;

    /// The slice itself, if its values are bf16.
    fn as_bf16(values: &[Self]) -> Option<&[Bf16]>;
}

impl Element for f32 {
    const NAME: &'static str = "f32";

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn as_f32(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }

    #[inline(always)]
    fn as_f32_mut(values: &mut [Self]) -> Result<&mut [f32], &mut [Self]> {
        Ok(values)
    }

    #[inline(always)]
    fn as_bf16(_: &[Self]) -> Option<&[Bf16]> {
        None
    }
}

impl Element for Bf16 {
    const NAME: &'static str = "bf16";

    // Without branches, so that loops become vectors.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        // Rounding could carry from a NaN's fraction and give an infinity; the bit set here keeps
        // it a NaN.
        let nan = bits >> 16 | 0x40;
        Self(if value.is_nan() { nan } else { rounded } as u16)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    #[inline(always)]
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }

    #[inline(always)]
    fn as_f32_mut(values: &mut [Self]) -> Result<&mut [f32], &mut [Self]> {
        Err(values)
    }

    #[inline(always)]
    fn as_bf16(values: &[Self]) -> Option<&[Bf16]> {
        Some(values)
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
}
