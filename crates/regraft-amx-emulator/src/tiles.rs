//! The state of the tiles, and the effects of the instructions on it.

use std::arch::asm;
use std::arch::x86_64::*;

/// Rows of a tile.
const ROWS: usize = 16;
/// Bytes of a row.
const ROW_BYTES: usize = 64;

/// A row of a tile.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Row([u8; ROW_BYTES]);

/// One tile: its configured sizes and its contents. A tile without rows is not configured.
#[derive(Clone, Copy)]
struct Tile {
    rows: usize,
    row_bytes: usize,
    data: [Row; ROWS],
}

/// The eight tiles of a thread.
pub struct Tiles {
    tiles: [Tile; 8],
}

/// A use that the manual forbids; on a processor it raises an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden(pub &'static str);

/// The operand of `ldtilecfg`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Configuration {
    pub palette: u8,
    pub start_row: u8,
    pub reserved: [u8; 14],
    pub row_bytes: [u16; 16],
    pub rows: [u8; 16],
}

impl Tiles {
    /// Not configured.
    pub const INITIAL: Self =
        Self { tiles: [Tile { rows: 0, row_bytes: 0, data: [Row([0; ROW_BYTES]); ROWS] }; 8] };

    /// `ldtilecfg`: sets all tiles to zero.
    pub fn configure(&mut self, configuration: &Configuration) -> Result<(), Forbidden> {
        *self = Self::INITIAL;
        if configuration.palette == 0 {
            return Ok(());
        }
        if configuration.palette != 1
            || configuration.start_row != 0
            || configuration.reserved != [0; 14]
        {
            return Err(Forbidden(
                "ldtilecfg: the palette must be 0 or 1, and what is reserved must be zero",
            ));
        }
        let (row_bytes, rows) = (configuration.row_bytes, configuration.rows);
        if row_bytes[8..].iter().any(|&bytes| bytes != 0) || rows[8..].iter().any(|&rows| rows != 0)
        {
            return Err(Forbidden("ldtilecfg: there are eight tiles"));
        }
        for ((tile, row_bytes), rows) in self.tiles.iter_mut().zip(row_bytes).zip(rows) {
            (tile.rows, tile.row_bytes) = (usize::from(rows), usize::from(row_bytes));
            if tile.rows > ROWS || tile.row_bytes > ROW_BYTES {
                return Err(Forbidden("ldtilecfg: a tile has at most 16 rows of 64 bytes"));
            }
            if (tile.rows == 0) != (tile.row_bytes == 0) {
                return Err(Forbidden("ldtilecfg: a tile has rows and bytes, or neither"));
            }
        }
        Ok(())
    }

    /// `tilerelease`.
    pub fn release(&mut self) {
        *self = Self::INITIAL;
    }

    fn configured(&mut self, tile: usize) -> Result<&mut Tile, Forbidden> {
        let tile = &mut self.tiles[tile];
        if tile.rows == 0 { Err(Forbidden("a tile that is not configured")) } else { Ok(tile) }
    }

    /// `tilezero`.
    pub fn zero(&mut self, tile: usize) -> Result<(), Forbidden> {
        self.configured(tile)?.data = [Row([0; ROW_BYTES]); ROWS];
        Ok(())
    }

    /// `tileloadd`: sets everything behind the configured bytes and rows to zero.
    ///
    /// # Safety
    /// The rows must be readable, as for the instruction itself.
    pub unsafe fn load(
        &mut self,
        tile: usize,
        address: *const u8,
        stride: isize,
    ) -> Result<(), Forbidden> {
        let tile = self.configured(tile)?;
        tile.data = [Row([0; ROW_BYTES]); ROWS];
        for (at, row) in tile.data.iter_mut().enumerate().take(tile.rows) {
            let from = address.wrapping_offset(at as isize * stride);
            // SAFETY: the caller's promise; a row of a tile has that many bytes.
            unsafe { from.copy_to_nonoverlapping(row.0.as_mut_ptr(), tile.row_bytes) };
        }
        Ok(())
    }

    /// `tilestored`.
    ///
    /// # Safety
    /// The rows must be writable, as for the instruction itself.
    pub unsafe fn store(
        &mut self,
        tile: usize,
        address: *mut u8,
        stride: isize,
    ) -> Result<(), Forbidden> {
        let tile = self.configured(tile)?;
        for (at, row) in tile.data.iter().enumerate().take(tile.rows) {
            let to = address.wrapping_offset(at as isize * stride);
            // SAFETY: the caller's promise; a row of a tile has that many bytes.
            unsafe { to.copy_from_nonoverlapping(row.0.as_ptr(), tile.row_bytes) };
        }
        Ok(())
    }

    /// `tdpbf16ps`: for each row of `sums`, the products of all pairs' first values are added to
    /// one sum and those of the second values to another, each with one rounding to nearest even;
    /// then the two sums are added, and their sum is added to the tile's content. Denormals count
    /// as zero throughout.
    ///
    /// # Safety
    /// The processor must have AVX-512.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn multiply_bf16(
        &mut self,
        sums: usize,
        left: usize,
        right: usize,
    ) -> Result<(), Forbidden> {
        if sums == left || sums == right || left == right {
            return Err(Forbidden("tdpbf16ps: three tiles that are not different"));
        }
        let (left, right) = (*self.configured(left)?, *self.configured(right)?);
        let sums = self.configured(sums)?;
        let multiples = [&left, &right, &*sums].iter().all(|tile| tile.row_bytes.is_multiple_of(4));
        let fits = sums.rows == left.rows
            && left.row_bytes / 4 == right.rows
            && sums.row_bytes == right.row_bytes;
        if !multiples || !fits {
            return Err(Forbidden("tdpbf16ps: tiles whose sizes do not fit"));
        }
        // Denormals are zero, in inputs (bit 6) and results (bit 15); no exceptions; round to
        // nearest even.
        with_control(0x9fc0, || {
            // SAFETY: the caller's promise.
            unsafe { add_products(sums, &left, &right) };
        });
        Ok(())
    }
}

/// Runs `work` with this value in the control register of vector arithmetic. `work` must not be
/// inlined, because its arithmetic could be moved out.
fn with_control(control: u32, work: impl FnOnce()) {
    let mut before = 0u32;
    // SAFETY: the register is stored, and loaded with a value that sets no reserved bit.
    unsafe {
        asm!("stmxcsr [{before}]", "ldmxcsr [{control}]", before = in(reg) &raw mut before,
            control = in(reg) &raw const control);
    }
    work();
    // SAFETY: this is the earlier value.
    unsafe { asm!("ldmxcsr [{before}]", before = in(reg) &raw const before) };
}

/// # Safety
/// The processor must have AVX-512.
#[target_feature(enable = "avx512f")]
#[inline(never)]
unsafe fn add_products(sums: &mut Tile, left: &Tile, right: &Tile) {
    // The lower and the upper half of each pair, as f32.
    let first = |pairs: __m512i| _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    let second = |pairs: __m512i| {
        _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32)))
    };
    let columns = ((1u32 << (sums.row_bytes / 4)) - 1) as u16;
    for (sums, left) in sums.data.iter_mut().zip(&left.data).take(sums.rows) {
        let (pairs, _) = left.0.as_chunks::<4>();
        let (mut first_sum, mut second_sum) = (_mm512_setzero_ps(), _mm512_setzero_ps());
        for (pair, right) in pairs.iter().zip(&right.data).take(right.rows) {
            let pair = _mm512_set1_epi32(i32::from_le_bytes(*pair));
            // SAFETY: a row is 64 bytes, aligned to 64.
            let right = unsafe { _mm512_load_si512(right.0.as_ptr().cast()) };
            first_sum = _mm512_fmadd_ps(first(pair), first(right), first_sum);
            second_sum = _mm512_fmadd_ps(second(pair), second(right), second_sum);
        }
        // SAFETY: as above.
        unsafe {
            let held = _mm512_load_ps(sums.0.as_ptr().cast());
            let sum = _mm512_add_ps(held, _mm512_add_ps(first_sum, second_sum));
            _mm512_mask_store_ps(sums.0.as_mut_ptr().cast(), columns, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes of three tiles: `rows` of sums and left, `pairs` of the depth, `columns` of right and
    /// sums.
    fn configuration(rows: u8, pairs: u8, columns: u8) -> Configuration {
        let mut made = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        (made.rows[0], made.rows[1], made.rows[2]) = (rows, rows, pairs);
        let bytes = |words: u8| u16::from(words) * 4;
        (made.row_bytes[0], made.row_bytes[1], made.row_bytes[2]) =
            (bytes(columns), bytes(pairs), bytes(columns));
        made
    }

    /// The sums after adding the products of `left [rows][2 * pairs]` and `right [pairs][2 *
    /// columns]`, both given as bits, to `held`.
    fn multiply(
        rows: usize,
        pairs: usize,
        columns: usize,
        left: &[u16],
        right: &[u16],
        held: &[f32],
    ) -> Vec<f32> {
        let mut tiles = Tiles::INITIAL;
        tiles
            .configure(&configuration(rows as u8, pairs as u8, columns as u8))
            .expect("sizes that a tile has");
        let mut sums = held.to_vec();
        assert_eq!(
            (left.len(), right.len(), sums.len()),
            (rows * 2 * pairs, 2 * pairs * columns, rows * columns)
        );
        // SAFETY: the lengths were compared; the test is skipped without AVX-512.
        unsafe {
            tiles.load(0, sums.as_ptr().cast(), 4 * columns as isize).expect("a tile");
            tiles.load(1, left.as_ptr().cast(), 4 * pairs as isize).expect("a tile");
            tiles.load(2, right.as_ptr().cast(), 4 * columns as isize).expect("a tile");
            tiles.multiply_bf16(0, 1, 2).expect("tiles that fit");
            tiles.store(0, sums.as_mut_ptr().cast(), 4 * columns as isize).expect("a tile");
        }
        sums
    }

    fn bf16(value: f32) -> u16 {
        assert_eq!(value.to_bits() & 0xffff, 0, "{value} is a bf16");
        (value.to_bits() >> 16) as u16
    }

    fn has_avx512() -> bool {
        let has = is_x86_feature_detected!("avx512f");
        if !has {
            eprintln!("skipped: no avx512");
        }
        has
    }

    #[test]
    fn products_are_those_of_the_plain_loops() {
        if !has_avx512() {
            return;
        }
        for (rows, pairs, columns) in [(1, 1, 1), (3, 5, 7), (16, 16, 16), (9, 16, 4), (16, 2, 15)]
        {
            let left: Vec<f32> =
                (0..rows * 2 * pairs).map(|at| ((at * 7 + 3) % 11) as f32 - 5.0).collect();
            let right: Vec<f32> =
                (0..pairs * 2 * columns).map(|at| ((at * 5 + 1) % 13) as f32 - 6.0).collect();
            let held: Vec<f32> = (0..rows * columns).map(|at| at as f32).collect();
            let [left_bits, right_bits] = [&left, &right]
                .map(|values| values.iter().map(|&value| bf16(value)).collect::<Vec<_>>());
            let found = multiply(rows, pairs, columns, &left_bits, &right_bits, &held);
            for (at, found) in found.iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                let products = (0..2 * pairs).map(|k| {
                    left[row * 2 * pairs + k] * right[k / 2 * 2 * columns + 2 * column + k % 2]
                });
                // All values are small integers, so the order of the sums does not matter.
                assert_eq!(
                    *found,
                    held[at] + products.sum::<f32>(),
                    "{rows}x{pairs}x{columns} at {row}, {column}"
                );
            }
        }
    }

    /// The manual prescribes the order of the sums and the rounding.
    #[test]
    fn sums_are_rounded_in_the_order_of_the_manual() {
        if !has_avx512() {
            return;
        }
        let (one, large) = (bf16(1.0), bf16(16_777_216.0));
        // First values 2^24, 1, 1 and second values 0, 0, 1: adding 1 to 2^24 rounds to 2^24 twice,
        // and so does adding the two sums.
        let left = [large, 0, one, 0, one, one];
        assert_eq!(multiply(1, 3, 1, &left, &[one; 6], &[0.0]), [16_777_216.0]);
        // The first values' sum 2 and the second values' sum 1 are added first: only then is 3 +
        // (2^24 - 1) exact.
        assert_eq!(
            multiply(1, 2, 1, &[one, one, one, 0], &[one; 4], &[16_777_215.0]),
            [16_777_218.0]
        );
        // 1 + 2^-24 is a tie and goes to the even 1; the product alone is not rounded.
        let small = bf16(f32::powi(2.0, -12));
        assert_eq!(multiply(1, 2, 1, &[one, 0, small, 0], &[one, 0, small, 0], &[0.0]), [1.0]);
    }

    #[test]
    fn denormals_are_zero() {
        if !has_avx512() {
            return;
        }
        let (one, denormal) = (bf16(1.0), 0x0040);
        let smallest = bf16(f32::MIN_POSITIVE);
        assert_eq!(multiply(1, 1, 1, &[denormal, 0], &[one, 0], &[0.0]), [0.0], "an operand");
        assert_eq!(multiply(1, 1, 1, &[smallest, 0], &[bf16(0.5), 0], &[0.0]), [0.0], "a product");
        assert_eq!(
            multiply(1, 1, 1, &[0, 0], &[one, 0], &[f32::from_bits(5)]),
            [0.0],
            "what the sum held"
        );
        assert_eq!(multiply(1, 1, 1, &[smallest, 0], &[one, 0], &[0.0]), [f32::MIN_POSITIVE]);
        assert_eq!(
            f32::MIN_POSITIVE / std::hint::black_box(2.0),
            f32::from_bits(0x0040_0000),
            "arithmetic elsewhere is as it was"
        );
    }

    #[test]
    fn operations_that_the_manual_forbids_are_refused() {
        let mut tiles = Tiles::INITIAL;
        assert!(tiles.zero(0).is_err(), "not configured");
        tiles.configure(&configuration(3, 4, 5)).expect("sizes that a tile has");
        assert!(tiles.zero(0).is_ok() && tiles.zero(3).is_err());
        if has_avx512() {
            // SAFETY: checked above.
            unsafe {
                assert!(tiles.multiply_bf16(0, 1, 2).is_ok());
                assert!(tiles.multiply_bf16(0, 1, 1).is_err(), "a tile twice");
                assert!(tiles.multiply_bf16(0, 2, 1).is_err(), "sizes that do not fit");
            }
        }
        let with = |change: &dyn Fn(&mut Configuration)| {
            let mut changed = configuration(3, 4, 5);
            change(&mut changed);
            let mut tiles = Tiles::INITIAL;
            tiles.configure(&changed)
        };
        assert!(with(&|_| ()).is_ok());
        assert!(with(&|it| it.palette = 2).is_err());
        assert!(with(&|it| it.reserved[3] = 1).is_err());
        assert!(with(&|it| it.rows[0] = 17).is_err());
        assert!(with(&|it| it.row_bytes[1] = 65).is_err());
        assert!(with(&|it| it.rows[8] = 1).is_err());
        tiles.release();
        assert!(tiles.zero(0).is_err(), "released");
    }
}
