//! Memory of whole cache lines, viewed as elements of either type: vectors and tiles that begin at
//! a line load fastest.

use regraft_base::element::Element;
use std::collections::TryReserveError;
use std::ops::Range;

/// 64 bytes, aligned to 64.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct CacheLine([u8; 64]);

impl CacheLine {
    /// All bits zero.
    pub const ZERO: Self = Self([0; 64]);
}

/// Makes `lines` at least `count` lines long. If that takes new memory, all lines are zero;
/// otherwise they keep their contents.
///
/// Asks the system to map large memory in large pages: a pass walks through all of it, and
/// looking up the address of each 4 KiB takes 5 to 7 % of a step's time on a virtual machine.
///
/// # Errors
/// If there is not enough memory. Then `lines` is empty.
pub fn make_room(lines: &mut Vec<CacheLine>, count: usize) -> Result<(), TryReserveError> {
    if lines.capacity() < count {
        // The old memory is free before the new one is taken.
        *lines = Vec::new();
        lines.try_reserve_exact(count)?;
        ask_for_large_pages(lines);
    }
    if lines.len() < count {
        lines.resize(count, CacheLine::ZERO);
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn ask_for_large_pages(lines: &mut Vec<CacheLine>) {
    /// Size and alignment of a large page.
    const PAGE: usize = 2 << 20;
    let memory = lines.spare_capacity_mut();
    let (start, bytes) = (memory.as_mut_ptr(), size_of_val(memory));
    let before = start.addr().next_multiple_of(PAGE) - start.addr();
    let pages = bytes.saturating_sub(before) / PAGE * PAGE;
    if pages > 0 {
        // SAFETY: the range lies in the vector's own memory, of whose pages the call changes no
        // value. If the system refuses, pages are small, and nothing else differs.
        unsafe { libc::madvise(start.byte_add(before).cast(), pages, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_: &mut Vec<CacheLine>) {}

/// Lines that hold `count` elements.
#[must_use]
pub const fn lines_for<E: Element>(count: usize) -> usize {
    (count * size_of::<E>()).div_ceil(size_of::<CacheLine>())
}

/// The first `count` elements in `lines`.
///
/// # Panics
/// If the lines hold fewer.
#[must_use]
pub fn elements<E: Element>(lines: &[CacheLine], count: usize) -> &[E] {
    assert!(
        lines_for::<E>(count) <= lines.len(),
        "{count} elements do not fit into {} lines",
        lines.len()
    );
    // SAFETY: the lines hold that many elements (asserted), begin at a multiple of any element's
    // size, and hold initialised bytes; every bit pattern is a valid value of the two types that
    // have the trait, which is sealed.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast::<E>(), count) }
}

/// Like [`elements`], for writing.
///
/// # Panics
/// If the lines hold fewer.
#[must_use]
pub fn elements_mut<E: Element>(lines: &mut [CacheLine], count: usize) -> &mut [E] {
    assert!(
        lines_for::<E>(count) <= lines.len(),
        "{count} elements do not fit into {} lines",
        lines.len()
    );
    // SAFETY: as in `elements`; the borrow is exclusive, and every written element leaves
    // initialised bytes.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<E>(), count) }
}

/// Elements of `E` between those that a kernel reads and those that it asks for: a page, at whose
/// end the processor stops to ask by itself.
const fn ahead<E: Element>() -> usize {
    4096 / size_of::<E>()
}

/// Asks for elements that will be read soon, also beyond the slice's end.
#[inline(always)]
pub(crate) fn prefetch<E: Element>(values: &[E], elements: Range<usize>) {
    for at in elements.step_by(size_of::<CacheLine>() / size_of::<E>()) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: the instruction changes no value and never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().wrapping_add(at).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (values, at);
    }
}

/// [`prefetch`] of as many elements as `pixel` has, [`ahead`] of it.
#[inline(always)]
pub(crate) fn prefetch_ahead<E: Element>(pixel: &[E]) {
    prefetch(pixel, ahead::<E>()..ahead::<E>() + pixel.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_base::element::Bf16;

    #[test]
    fn lines_have_their_documented_fields() {
        assert_eq!(
            (
                lines_for::<f32>(16),
                lines_for::<f32>(17),
                lines_for::<Bf16>(32),
                lines_for::<Bf16>(0)
            ),
            (1, 2, 1, 0)
        );
        let mut lines = [CacheLine::ZERO; 2];
        elements_mut::<Bf16>(&mut lines, 33)[32] = Bf16::from_f32(1.5);
        assert_eq!(elements::<Bf16>(&lines, 33)[32].to_f32(), 1.5);
        assert_eq!(
            elements::<f32>(&lines, 17)[16].to_bits(),
            u32::from(Bf16::from_f32(1.5).to_bits())
        );
    }

    #[test]
    fn room_is_made_for_small_and_large_counts() {
        let mut lines = Vec::new();
        for count in [0, 1, 100_000, 3, 200_001] {
            make_room(&mut lines, count).expect("a few megabytes");
            assert!(lines.len() >= count);
            elements_mut::<f32>(&mut lines, 16 * count).fill(1.0);
        }
        assert!(elements::<f32>(&lines, 16 * 200_001).iter().all(|&value| value == 1.0));
    }

    #[test]
    #[should_panic(expected = "17 elements do not fit into 1 lines")]
    fn too_few_lines_are_refused() {
        let _ = elements::<f32>(&[CacheLine::ZERO], 17);
    }
}
