//! Sums gradients over ranks, range by range as they become final.

use crate::tensors::Memory;
use regraft_nn::collective::Collective;
use std::ops::Range;

/// Least number of elements in a sum. Ranks wait for each other at every sum, and small layers are
/// computed faster than that.
const LEAST: usize = 1 << 18;

/// Collects ranges from the end of the arena to its start.
pub(crate) struct RangeSums<'a> {
    collective: &'a mut dyn Collective,
    /// Whether this pass's gradients are final and there are ranks to sum them over.
    is_final: bool,
    /// The range that is final but not summed yet.
    waiting: Range<usize>,
}

impl<'a> RangeSums<'a> {
    pub fn new(collective: &'a mut dyn Collective, is_final: bool) -> Self {
        let is_final = is_final && collective.size() > 1;
        Self { collective, is_final, waiting: 0..0 }
    }

    /// Adds a final range, and sums the waiting ones if they are long enough.
    pub fn add(&mut self, gradients: &mut Memory, range: &Range<usize>) {
        if !self.is_final || range.is_empty() {
            return;
        }
        if !self.waiting.is_empty() && range.end != self.waiting.start {
            self.finish(gradients);
        }
        let end = if self.waiting.is_empty() { range.end } else { self.waiting.end };
        self.waiting = range.start..end;
        if self.waiting.len() >= LEAST {
            self.finish(gradients);
        }
    }

    /// Sums the waiting range.
    pub fn finish(&mut self, gradients: &mut Memory) {
        if !self.waiting.is_empty() {
            self.collective.sum(gradients.of_mut(&self.waiting));
            self.waiting = 0..0;
        }
    }
}
