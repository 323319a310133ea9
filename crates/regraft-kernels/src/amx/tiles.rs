//! AMX's tiles: their configuration, and the code that computes a block of sums in them.

use super::Amx;
use regraft_base::element::{Bf16, Element};
use std::arch::asm;
use std::marker::PhantomData;

/// Depth of a row of a tile, in values.
pub(crate) const TILE_DEPTH: usize = 32;
/// Rows of a tile, and its columns of f32 or pairs.
pub(crate) const TILE_SIDE: usize = 16;

/// The operand of `ldtilecfg`: the sizes of eight tiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Rows and columns of a block of sums: of its upper or left tiles, and of its lower or right ones,
/// which may be zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockSize {
    pub(crate) rows: [usize; 2],
    pub(crate) columns: [usize; 2],
}

impl BlockSize {
    fn configuration(self) -> Configuration {
        let mut made = Configuration { palette: 1, ..Configuration::default() };
        let mut tile = |number: usize, rows: usize, row_bytes: usize| {
            // An unused tile has neither rows nor bytes.
            if rows > 0 && row_bytes > 0 {
                (made.rows[number], made.row_bytes[number]) = (rows as u8, row_bytes as u16);
            }
        };
        for (down, rows) in self.rows.into_iter().enumerate() {
            for (across, columns) in self.columns.into_iter().enumerate() {
                tile(2 * down + across, rows, columns * size_of::<f32>());
            }
            tile(4 + down, rows, TILE_DEPTH * size_of::<Bf16>());
        }
        for (across, columns) in self.columns.into_iter().enumerate() {
            tile(6 + across, TILE_DEPTH / 2, columns * 2 * size_of::<Bf16>());
        }
        made
    }
}

/// This thread's tiles while it multiplies. Dropping it releases them, so that the system need not
/// save them when it switches threads.
pub(crate) struct Tiles {
    /// Their configured sizes; the default before the first block.
    pub(super) size: BlockSize,
    /// Tiles belong to a thread.
    stays: PhantomData<*const ()>,
}

impl Tiles {
    /// Tiles that are not configured yet.
    pub(crate) fn new(_: Amx) -> Self {
        Self { size: BlockSize::default(), stays: PhantomData }
    }

    /// Computes a block of sums, and configures the tiles if the previous block had another size.
    ///
    /// # Safety
    /// The memory behind the block's pointers must be as large as the size, the depth and the
    /// strides say.
    pub(crate) unsafe fn compute(&mut self, block: &Block, size: BlockSize) {
        if size != self.size {
            self.configure(size);
        }
        let code = match (size.rows[1] > 0, size.columns[1] > 0) {
            (false, false) => one_by_one,
            (false, true) => one_by_two,
            (true, false) => two_by_one,
            (true, true) => two_by_two,
        };
        // SAFETY: the tiles are configured for the size; the rest is the caller's promise.
        unsafe { code(block, size.rows[0]) };
    }

    pub(super) fn configure(&mut self, size: BlockSize) {
        let configuration = size.configuration();
        // SAFETY: 64 bytes are read. A `Tiles` is made from the proof that the instruction works
        // here. Code from the compiler uses no tiles, so none of its state changes.
        unsafe {
            asm!(
                "ldtilecfg [{configuration}]",
                configuration = in(reg) &raw const configuration,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _,
                    out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, readonly),
            );
        }
        self.size = size;
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: as for `ldtilecfg`.
        unsafe {
            asm!(
                "tilerelease",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _,
                    out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, nomem),
            );
        }
    }
}

/// A block of sums, with the locations of its operands. Distances are in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    /// Rows of the left matrix at the block's depth; `whole` times [`TILE_DEPTH`] values of each
    /// are read.
    pub(crate) left: *const Bf16,
    pub(crate) left_stride: usize,
    pub(crate) whole: usize,
    /// Rows of [`TILE_DEPTH`] values behind those, contiguous; null if there are none.
    pub(crate) rest: *const Bf16,
    /// Contiguous rows of a panel, one for each pair of the depth: of 16 pairs for one tile, of 32
    /// for two.
    pub(crate) right: *const Bf16,
    pub(crate) result: *mut f32,
    pub(crate) result_stride: usize,
    /// Whether the sums begin with the values in the result instead of zero.
    pub(crate) accumulate: bool,
}

/// Defines the code of a block with `$down` by `$across` tiles.
macro_rules! block_code {
    (
        $name:ident, $down:literal, $across:literal,
        begin [$($load:literal)+], [$($zero:literal)+],
        turn [$($turn:literal)+],
        end [$($rest:literal)+], [$($store:literal)+]
    ) => {
        /// # Safety
        /// The tiles must be configured for the block's size, on a processor with AMX; the memory
        /// behind the pointers must be as large as that size, the depth and the strides say.
        unsafe fn $name(block: &Block, upper_rows: usize) {
            let Block { left, left_stride, whole, rest, right, result, result_stride,
                accumulate } = *block;
            let lower = ($down - 1) * upper_rows;
            // SAFETY: the caller's promise covers every row that the tiles' sizes let the
            // instructions read or write. The registers that change are outputs.
            unsafe {
                asm!(
                    "test {accumulate:e}, {accumulate:e}",
                    "jz 2f",
                    $($load,)+
                    "jmp 3f",
                    "2:",
                    $($zero,)+
                    "3:",
                    "test {whole}, {whole}",
                    "jz 5f",
                    "4:",
                    $($turn,)+
                    "add {left}, 64",
                    "add {left_low}, 64",
                    "add {right}, {turn_bytes}",
                    "dec {whole}",
                    "jnz 4b",
                    "5:",
                    "test {rest}, {rest}",
                    "jz 6f",
                    // The rest's rows are contiguous, and the left matrix's own stride is no longer
                    // needed.
                    "mov {left_stride}, 64",
                    $($rest,)+
                    "6:",
                    $($store,)+
                    // If there are no lower tiles, nothing else names these operands, but every
                    // operand must be named.
                    "/* {rest_low} {result_low} */",
                    accumulate = in(reg) u32::from(accumulate),
                    whole = inout(reg) whole => _,
                    left = inout(reg) left => _,
                    left_low = inout(reg) left.wrapping_byte_add(lower * left_stride) => _,
                    left_stride = inout(reg) left_stride => _,
                    rest = in(reg) rest,
                    rest_low = in(reg) rest.wrapping_byte_add(lower * 64),
                    right = inout(reg) right => _,
                    right_stride = in(reg) 64_usize * $across,
                    turn_bytes = const TILE_SIDE * 64 * $across,
                    result = in(reg) result,
                    result_low = in(reg) result.wrapping_byte_add(lower * result_stride),
                    result_stride = in(reg) result_stride,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _,
                        out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

block_code!(
    one_by_one, 1, 1,
    begin
        [
            "tileloadd tmm0, [{result} + {result_stride}]"
        ],
        ["tilezero tmm0"],
    turn
        [
            "tileloadd tmm4, [{left} + {left_stride}]"
            "tileloadd tmm6, [{right} + {right_stride}]"
            "tdpbf16ps tmm0, tmm4, tmm6"
        ],
    end
        [
            "tileloadd tmm4, [{rest} + {left_stride}]"
            "tileloadd tmm6, [{right} + {right_stride}]"
            "tdpbf16ps tmm0, tmm4, tmm6"
        ],
        [
            "tilestored [{result} + {result_stride}], tmm0"
        ]
);
block_code!(
    one_by_two, 1, 2,
    begin
        [
            "tileloadd tmm0, [{result} + {result_stride}]"
            "tileloadd tmm1, [{result} + {result_stride} + 64]"
        ],
        ["tilezero tmm0" "tilezero tmm1"],
    turn
        [
            "tileloadd tmm4, [{left} + {left_stride}]"
            "tileloadd tmm6, [{right} + {right_stride}]"
            "tileloadd tmm7, [{right} + {right_stride} + 64]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tdpbf16ps tmm1, tmm4, tmm7"
        ],
    end
        [
            "tileloadd tmm4, [{rest} + {left_stride}]"
            "tileloadd tmm6, [{right} + {right_stride}]"
            "tileloadd tmm7, [{right} + {right_stride} + 64]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tdpbf16ps tmm1, tmm4, tmm7"
        ],
        [
            "tilestored [{result} + {result_stride}], tmm0"
            "tilestored [{result} + {result_stride} + 64], tmm1"
        ]
);
block_code!(
    two_by_one, 2, 1,
    begin
        [
            "tileloadd tmm0, [{result} + {result_stride}]"
            "tileloadd tmm2, [{result_low} + {result_stride}]"
        ],
        ["tilezero tmm0" "tilezero tmm2"],
    turn
        [
            "tileloadd tmm4, [{left} + {left_stride}]"
            "tileloadd tmm6, [{right} + {right_stride}]"
            "tileloadd tmm5, [{left_low} + {left_stride}]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tdpbf16ps tmm2, tmm5, tmm6"
        ],
    end
        [
            "tileloadd tmm4, [{rest} + {left_stride}]"
            "tileloadd tmm6, [{right} + {right_stride}]"
            "tileloadd tmm5, [{rest_low} + {left_stride}]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tdpbf16ps tmm2, tmm5, tmm6"
        ],
        [
            "tilestored [{result} + {result_stride}], tmm0"
            "tilestored [{result_low} + {result_stride}], tmm2"
        ]
);
block_code!(
    two_by_two, 2, 2,
    begin
        [
            "tileloadd tmm0, [{result} + {result_stride}]"
            "tileloadd tmm1, [{result} + {result_stride} + 64]"
            "tileloadd tmm2, [{result_low} + {result_stride}]"
            "tileloadd tmm3, [{result_low} + {result_stride} + 64]"
        ],
        ["tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3"],
    turn
        [
            "tileloadd tmm4, [{left} + {left_stride}]"
            "tileloadd tmm6, [{right} + {right_stride}]"
            "tileloadd tmm7, [{right} + {right_stride} + 64]"
            "tileloadd tmm5, [{left_low} + {left_stride}]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tdpbf16ps tmm1, tmm4, tmm7"
            "tdpbf16ps tmm2, tmm5, tmm6"
            "tdpbf16ps tmm3, tmm5, tmm7"
        ],
    end
        [
            "tileloadd tmm4, [{rest} + {left_stride}]"
            "tileloadd tmm6, [{right} + {right_stride}]"
            "tileloadd tmm7, [{right} + {right_stride} + 64]"
            "tileloadd tmm5, [{rest_low} + {left_stride}]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tdpbf16ps tmm1, tmm4, tmm7"
            "tdpbf16ps tmm2, tmm5, tmm6"
            "tdpbf16ps tmm3, tmm5, tmm7"
        ],
        [
            "tilestored [{result} + {result_stride}], tmm0"
            "tilestored [{result} + {result_stride} + 64], tmm1"
            "tilestored [{result_low} + {result_stride}], tmm2"
            "tilestored [{result_low} + {result_stride} + 64], tmm3"
        ]
);

/// Computes a product of small integers, whose sums are exact in any order; returns the number of
/// wrong sums and of all sums. It uses all eight tiles, none of them full, and a depth with a rest.
pub(super) fn test(amx: Amx) -> (usize, usize) {
    const ROWS: usize = 27;
    const COLUMNS: usize = 29;
    const DEPTH: usize = 2 * TILE_DEPTH;
    const WIDTH: usize = 2 * TILE_SIDE;
    let whole = |number: usize| number as f32 - 3.0;
    let left_value = |row: usize, k: usize| whole((row * 5 + k * 3 + row * k) % 7);
    let right_value = |k: usize, column: usize| whole((k * 2 + column * 4 + column * k) % 7);
    let left: Vec<Bf16> =
        (0..ROWS * DEPTH).map(|at| Bf16::from_f32(left_value(at / DEPTH, at % DEPTH))).collect();
    let pairs = (0..DEPTH * WIDTH).map(|at| (at / (2 * WIDTH) * 2 + at % 2, at % (2 * WIDTH) / 2));
    let right: Vec<Bf16> =
        pairs.map(|(k, column)| Bf16::from_f32(right_value(k, column))).collect();
    let rest: Vec<Bf16> = (0..ROWS)
        .flat_map(|row| &left[row * DEPTH + TILE_DEPTH..(row + 1) * DEPTH])
        .copied()
        .collect();
    let mut sums = vec![1.0f32; ROWS * COLUMNS];
    let block = Block {
        left: left.as_ptr(),
        left_stride: DEPTH * size_of::<Bf16>(),
        whole: 1,
        rest: rest.as_ptr(),
        right: right.as_ptr(),
        result: sums.as_mut_ptr(),
        result_stride: COLUMNS * size_of::<f32>(),
        accumulate: true,
    };
    let size = BlockSize {
        rows: [TILE_SIDE, ROWS - TILE_SIDE],
        columns: [TILE_SIDE, COLUMNS - TILE_SIDE],
    };
    // SAFETY: the vectors have the sizes that the block names.
    unsafe { Tiles::new(amx).compute(&block, size) };
    let expected = |row: usize, column: usize| {
        1.0 + (0..DEPTH).map(|k| left_value(row, k) * right_value(k, column)).sum::<f32>()
    };
    let wrong = sums
        .iter()
        .enumerate()
        .filter(|&(at, &sum)| sum != expected(at / COLUMNS, at % COLUMNS))
        .count();
    (wrong, sums.len())
}
