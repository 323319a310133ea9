//! Scratch memory that each thread keeps for the blocks it works on.

use crate::memory::{CacheLine, elements_mut, lines_for};
use regraft_base::element::Element;
use std::cell::RefCell;

thread_local! {
    /// Memory that is not lent at the moment; that of the outermost loan is last.
    static FREE: RefCell<Vec<Vec<CacheLine>>> = const { RefCell::new(Vec::new()) };
}

/// Lends this thread's scratch memory: `length` elements with arbitrary values. Loans may be
/// nested; the memory grows to the size that each nesting level needs, and is kept.
pub(crate) fn with_scratch<E: Element, R>(length: usize, work: impl FnOnce(&mut [E]) -> R) -> R {
    let mut lines = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let needed = lines_for::<E>(length);
    // In pages of the usual size: a large page for each thread's few blocks would waste most of it.
    if lines.len() < needed {
        lines.resize(needed, CacheLine::ZERO);
    }
    let result = work(elements_mut(&mut lines, length));
    FREE.with_borrow_mut(|free| free.push(lines));
    result
}
