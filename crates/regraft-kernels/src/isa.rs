//! The instruction set of the kernels, which is detected at run time and never assumed.

use crate::{amx, processor};
use std::sync::OnceLock;

/// The environment variable that forces an instruction set, by [`InstructionSet::name`].
pub const VARIABLE: &str = "REGRAFT_ISA";

/// An instruction set that the kernels support; among those of one architecture, from the least to
/// the most capable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstructionSet {
    /// The instructions that the compiler's target always has, without fused multiply-add.
    Portable,
    /// NEON, which every 64-bit ARM processor has, with fused multiply-add.
    Neon,
    /// NEON with products of 2x4 and 4x2 matrices of bf16 (`bfmmla`).
    NeonBf16,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512 (F, BW, DQ and VL).
    Avx512,
    /// AVX-512 with products of bf16 pairs.
    Avx512Bf16,
    /// AMX's tiles for products of bf16, and [`Self::Avx512Bf16`] for everything else.
    Amx,
}

impl InstructionSet {
    /// Every instruction set.
    pub const ALL: [Self; 7] = [
        Self::Portable,
        Self::Neon,
        Self::NeonBf16,
        Self::Avx2,
        Self::Avx512,
        Self::Avx512Bf16,
        Self::Amx,
    ];

    /// The sets of the architecture that this program was compiled for, least capable first.
    pub const OF_ARCHITECTURE: &[Self] = if cfg!(target_arch = "x86_64") {
        &[Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16, Self::Amx]
    } else if cfg!(target_arch = "aarch64") {
        &[Self::Portable, Self::Neon, Self::NeonBf16]
    } else {
        &[Self::Portable]
    };

    /// The name that [`VARIABLE`] takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::NeonBf16 => "neonbf16",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
        }
    }

    /// Whether this processor has the set and the operating system permits it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Neon => cfg!(target_arch = "aarch64"),
            Self::NeonBf16 => processor::has_neon_bf16(),
            Self::Avx2 => processor::has_avx2(),
            Self::Avx512 => processor::has_avx512(),
            Self::Avx512Bf16 => processor::has_avx512_bf16(),
            Self::Amx => amx::usable().is_ok(),
        }
    }

    /// Whether the set multiplies bf16 directly. Otherwise feature maps in bf16 are widened, and
    /// the arithmetic is that of f32.
    #[must_use]
    pub fn multiplies_bf16(self) -> bool {
        matches!(self, Self::NeonBf16 | Self::Avx512Bf16 | Self::Amx)
    }

    /// The most capable set of this processor.
    #[must_use]
    pub fn best() -> Self {
        let mut sets = Self::OF_ARCHITECTURE.iter().rev();
        sets.find(|set| set.is_available()).copied().unwrap_or(Self::Portable)
    }
}

/// An invalid or unavailable value of [`VARIABLE`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// The value names no instruction set.
    #[error("{VARIABLE}={value} names no instruction set; use {}, or unset it", all_names())]
    Unknown {
        /// The variable's value.
        value: String,
    },
    /// The set cannot be used.
    #[error("{VARIABLE}={value} was asked for, but {why}; unset it to use {best}")]
    Unavailable {
        /// The variable's value.
        value: &'static str,
        /// The reason.
        why: String,
        /// The set that would be used without it.
        best: &'static str,
    },
}

fn all_names() -> String {
    let names: Vec<_> = InstructionSet::OF_ARCHITECTURE.iter().map(|set| set.name()).collect();
    names.split_last().map_or_else(String::new, |(last, others)| match others {
        [] => (*last).to_owned(),
        others => format!("{} or {last}", others.join(", ")),
    })
}

/// The instruction set to use, given the variable's value: the forced one, otherwise the best.
///
/// # Errors
/// If the value names no set, or one that this processor lacks.
pub fn select(forced: Option<&str>) -> Result<InstructionSet, IsaError> {
    let Some(value) = forced.filter(|value| !value.is_empty()) else {
        return Ok(InstructionSet::best());
    };
    let set = InstructionSet::ALL
        .into_iter()
        .find(|set| set.name() == value)
        .ok_or_else(|| IsaError::Unknown { value: value.to_owned() })?;
    if set.is_available() {
        Ok(set)
    } else {
        let why = match (set, amx::usable()) {
            (InstructionSet::Amx, Err(unusable)) => unusable.to_string(),
            _ => format!("this processor has no {}", set.name()),
        };
        Err(IsaError::Unavailable { value: set.name(), why, best: InstructionSet::best().name() })
    }
}

/// The instruction set of this process, chosen at the first call from [`VARIABLE`] and the
/// processor.
///
/// # Errors
/// Like [`select`]. A program should call this once before any kernel, and show the error to its
/// user.
pub fn in_use() -> Result<InstructionSet, IsaError> {
    static CHOSEN: OnceLock<Result<InstructionSet, IsaError>> = OnceLock::new();
    CHOSEN.get_or_init(|| select(std::env::var(VARIABLE).ok().as_deref())).clone()
}

/// The set for a kernel to run on.
///
/// # Panics
/// If [`in_use`] is an error that the program ignored.
pub(crate) fn active() -> InstructionSet {
    in_use().unwrap_or_else(|error| panic!("{error}"))
}

/// Compiles one generic, inlined body for each instruction set and defines the function that
/// selects among them.
///
/// The body's first generic argument says whether fused multiply-add is one instruction; then come
/// the function's own types and, after the body's name, a constant such as a kernel's side.
macro_rules! for_each_isa {
    (
        $(#[$meta:meta])*
        $visibility:vis fn $name:ident $(<$($element:ident: $bound:path),+>)?
        ($($argument:ident: $type:ty),* $(,)?)
            => $body:ident $(, $constant:literal)?
    ) => {
        $(#[$meta])*
        $visibility fn $name $(<$($element: $bound),+>)? ($($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512 $(<$($element: $bound),+>)? ($($argument: $type),*) {
                    $body::<true $($(, $element)+)? $(, $constant)?>($($argument),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2 $(<$($element: $bound),+>)? ($($argument: $type),*) {
                    $body::<true $($(, $element)+)? $(, $constant)?>($($argument),*);
                }
                let set = $crate::isa::active();
                if set >= $crate::isa::InstructionSet::Avx512 {
                    // SAFETY: `active` returns a set only if all its features are available, and
                    // these are among them.
                    return unsafe { avx512 $(::<$($element),+>)? ($($argument),*) };
                }
                if set >= $crate::isa::InstructionSet::Avx2 {
                    // SAFETY: as above.
                    return unsafe { avx2 $(::<$($element),+>)? ($($argument),*) };
                }
            }
            // The compiler's target has NEON, so this only fuses multiplications and additions.
            #[cfg(target_arch = "aarch64")]
            if $crate::isa::active() >= $crate::isa::InstructionSet::Neon {
                return $body::<true $($(, $element)+)? $(, $constant)?>($($argument),*);
            }
            $body::<false $($(, $element)+)? $(, $constant)?>($($argument),*);
        }
    };
}
pub(crate) use for_each_isa;

/// `a * b + c`, fused if that is one instruction (otherwise it would be a slow library call).
#[inline(always)]
pub(crate) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forced_sets_are_honoured_or_refused() {
        assert_eq!(select(None), Ok(InstructionSet::best()));
        assert_eq!(select(Some("")), Ok(InstructionSet::best()));
        assert_eq!(select(Some("portable")), Ok(InstructionSet::Portable));
        assert!(matches!(select(Some("sse9")), Err(IsaError::Unknown { .. })));
        for set in InstructionSet::ALL {
            assert_eq!(select(Some(set.name())).is_ok(), set.is_available(), "{}", set.name());
        }
    }
}
