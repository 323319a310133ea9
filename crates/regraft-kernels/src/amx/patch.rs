//! The code that computes a patch of sums from operands at any distances: a table says where those
//! of each turn are.

use super::tiles::{BlockSize, TILE_SIDE, Tiles};
use regraft_base::element::Bf16;
use std::arch::asm;

/// One turn of [`Tiles::compute_patch`]: distances from the operands' starts, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Turn {
    /// To the left operand's first row.
    pub(crate) left: u32,
    /// To the right operand's 16 rows of two tiles side by side.
    pub(crate) right: u32,
}

impl Turn {
    /// The turn at these distances in values.
    ///
    /// # Panics
    /// If an operand takes 4 GiB or more.
    pub(crate) fn at(left: usize, right: usize) -> Self {
        let bytes = |values: usize| {
            u32::try_from(values * size_of::<Bf16>()).expect("an operand takes less than 4 GiB")
        };
        Self { left: bytes(left), right: bytes(right) }
    }
}

/// A patch of 32 x 32 sums and its operands.
#[derive(Clone, Copy)]
pub(crate) struct Patch {
    pub(crate) left: *const Bf16,
    /// Distance between the left operand's 32 rows, in bytes.
    pub(crate) left_stride: usize,
    pub(crate) right: *const Bf16,
    /// 32 rows of 32 sums.
    pub(crate) sums: *mut f32,
    /// Whether the sums begin with the values in memory instead of zero.
    pub(crate) accumulate: bool,
}

/// A hint about the right operand for the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Other patches read it again soon: keep it.
    Soon,
    /// It should not displace the left operand in the first-level cache.
    Late,
}

impl Tiles {
    /// Adds the products of all turns to a patch of sums: to the first `columns` of them, whole
    /// tiles.
    ///
    /// # Safety
    /// From the operands' pointers plus each turn's distances, 32 rows of 64 bytes of the left one
    /// and 16 rows of 128 bytes of the right one must be readable, and 4 KiB of sums writable.
    pub(crate) unsafe fn compute_patch(
        &mut self,
        turns: &[Turn],
        patch: &Patch,
        columns: usize,
        reuse: Reuse,
    ) {
        let size = BlockSize { rows: [TILE_SIDE; 2], columns: [TILE_SIDE; 2] };
        if size != self.size {
            self.configure(size);
        }
        if turns.is_empty() {
            return;
        }
        let code = match (columns <= TILE_SIDE, reuse) {
            (true, _) => narrow_patch,
            (false, Reuse::Soon) => wide_patch,
            (false, Reuse::Late) => streaming_patch,
        };
        // SAFETY: the tiles are configured; the rest is the caller's promise.
        unsafe { code(turns, patch) };
    }
}

/// Defines the code of a patch.
macro_rules! patch_code {
    ($name:ident, [$($load:literal)+], [$($zero:literal)+], [$($turn:literal)+],
        [$($store:literal)+]) => {
        /// # Safety
        /// There must be a turn. The tiles must be configured, all with 16 rows of 64 bytes; the
        /// memory must be as large as [`Tiles::compute_patch`] says.
        unsafe fn $name(turns: &[Turn], patch: &Patch) {
            let Patch { left, left_stride, right, sums, accumulate } = *patch;
            // SAFETY: the caller's promise covers every byte; the registers that change are
            // outputs.
            unsafe {
                asm!(
                    "test {accumulate:e}, {accumulate:e}",
                    "jz 2f",
                    $($load,)+
                    "jmp 3f",
                    "2:",
                    $($zero,)+
                    "3:",
                    "mov {at_left:e}, dword ptr [{turn}]",
                    "mov {at_right:e}, dword ptr [{turn} + 4]",
                    "add {at_left}, {left}",
                    "add {at_right}, {right}",
                    "lea {at_lower}, [{at_left} + {lower}]",
                    $($turn,)+
                    "add {turn}, 8",
                    "cmp {turn}, {end}",
                    "jne 3b",
                    $($store,)+
                    accumulate = in(reg) u32::from(accumulate),
                    turn = inout(reg) turns.as_ptr_range().start => _,
                    end = in(reg) turns.as_ptr_range().end,
                    left = in(reg) left,
                    left_stride = in(reg) left_stride,
                    lower = in(reg) TILE_SIDE * left_stride,
                    right = in(reg) right,
                    sums = in(reg) sums,
                    sums_stride = in(reg) 128_usize,
                    at_left = out(reg) _,
                    at_right = out(reg) _,
                    at_lower = out(reg) _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _,
                        out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

/// Defines the code of a patch with both tiles of columns; `$right` loads the right operand.
macro_rules! whole_patch_code {
    ($name:ident, $right:literal) => {
        patch_code!(
            $name,
            [
                "tileloadd tmm0, [{sums} + {sums_stride}]"
                "tileloadd tmm1, [{sums} + {sums_stride} + 64]"
                "tileloadd tmm2, [{sums} + {sums_stride} + 2048]"
                "tileloadd tmm3, [{sums} + {sums_stride} + 2112]"
            ],
            ["tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3"],
            [
                "tileloadd tmm4, [{at_left} + {left_stride}]"
                $right
                "tileloadd tmm5, [{at_lower} + {left_stride}]"
                "tdpbf16ps tmm0, tmm4, tmm6"
                "tdpbf16ps tmm1, tmm4, tmm7"
                "tdpbf16ps tmm2, tmm5, tmm6"
                "tdpbf16ps tmm3, tmm5, tmm7"
            ],
            [
                "tilestored [{sums} + {sums_stride}], tmm0"
                "tilestored [{sums} + {sums_stride} + 64], tmm1"
                "tilestored [{sums} + {sums_stride} + 2048], tmm2"
                "tilestored [{sums} + {sums_stride} + 2112], tmm3"
            ]
        );
    };
}
whole_patch_code!(
    wide_patch,
    "tileloadd tmm6, [{at_right} + {sums_stride}]
     tileloadd tmm7, [{at_right} + {sums_stride} + 64]"
);
whole_patch_code!(
    streaming_patch,
    "tileloaddt1 tmm6, [{at_right} + {sums_stride}]
     tileloaddt1 tmm7, [{at_right} + {sums_stride} + 64]"
);
patch_code!(
    narrow_patch,
    [
        "tileloadd tmm0, [{sums} + {sums_stride}]"
        "tileloadd tmm2, [{sums} + {sums_stride} + 2048]"
    ],
    ["tilezero tmm0" "tilezero tmm2"],
    [
        "tileloadd tmm4, [{at_left} + {left_stride}]"
        "tileloadd tmm6, [{at_right} + {sums_stride}]"
        "tileloadd tmm5, [{at_lower} + {left_stride}]"
        "tdpbf16ps tmm0, tmm4, tmm6"
        "tdpbf16ps tmm2, tmm5, tmm6"
    ],
    [
        "tilestored [{sums} + {sums_stride}], tmm0"
        "tilestored [{sums} + {sums_stride} + 2048], tmm2"
    ]
);
