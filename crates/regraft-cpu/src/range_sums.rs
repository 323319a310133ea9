//! Sums of gradients over ranks, of each range as it becomes final.

use crate::tensors::Memory;
use regraft_nn::collective::{Collective, Ticket};
use std::collections::VecDeque;
use std::ops::Range;

/// Least number of elements in a sum. Each sum is a few messages between ranks, and small layers
/// are computed faster than messages travel.
const LEAST: usize = 1 << 18;

/// The most sums in progress: if a rank is slower in one layer and faster in the next, it keeps no
/// other waiting, and the memory for the ranks' values stays small.
const MOST_PENDING: usize = 4;

/// Gathers ranges from the end of the arena to its start.
pub(crate) struct RangeSums<'a> {
    collective: &'a mut dyn Collective,
    /// Whether this pass's gradients are final, and there are ranks to sum them over.
    is_final: bool,
    /// The range that is final but not given to the other ranks yet.
    waiting: Range<usize>,
    /// The sums in progress, oldest first.
    pending: VecDeque<(Ticket, Range<usize>)>,
}

impl<'a> RangeSums<'a> {
    pub fn new(collective: &'a mut dyn Collective, is_final: bool) -> Self {
        let is_final = is_final && collective.size() > 1;
        Self { collective, is_final, waiting: 0..0, pending: VecDeque::new() }
    }

    /// The ranks, for exchanges between the sums.
    pub fn collective(&mut self) -> &mut dyn Collective {
        self.collective
    }

    /// Adds a final range, and begins the sum of the waiting ones if they are long enough.
    pub fn add(&mut self, gradients: &mut Memory, range: &Range<usize>) {
        if !self.is_final || range.is_empty() {
            return;
        }
        if !self.waiting.is_empty() && range.end != self.waiting.start {
            self.begin(gradients);
        }
        let end = if self.waiting.is_empty() { range.end } else { self.waiting.end };
        self.waiting = range.start..end;
        if self.waiting.len() >= LEAST {
            self.begin(gradients);
        }
    }

    /// Begins the sum of the waiting range, and ends the oldest sum if too many are in progress.
    fn begin(&mut self, gradients: &mut Memory) {
        if !self.waiting.is_empty() {
            let range = std::mem::take(&mut self.waiting);
            let ticket = self.collective.begin_sum(gradients.of(&range));
            self.pending.push_back((ticket, range));
        }
        if self.pending.len() > MOST_PENDING {
            self.end(gradients);
        }
    }

    /// Ends the oldest sum.
    fn end(&mut self, gradients: &mut Memory) {
        if let Some((ticket, range)) = self.pending.pop_front() {
            self.collective.end_sum(ticket, gradients.of_mut(&range));
        }
    }

    /// Ends all sums.
    pub fn finish(&mut self, gradients: &mut Memory) {
        self.begin(gradients);
        while !self.pending.is_empty() {
            self.end(gradients);
        }
    }
}
