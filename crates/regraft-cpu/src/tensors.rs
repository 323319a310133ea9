//! The network's tensors and their gradients, each in an arena of its kind.

use regraft_kernels::memory::{CacheLine, elements, elements_mut, lines_for};
use regraft_nn::arena::{ALIGNMENT, Arena};
use std::ops::Range;

/// Memory for f32 from a position in an arena to its end. Everything before it is frozen and takes
/// no memory.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    lines: Vec<CacheLine>,
    start: usize,
    length: usize,
}

impl Memory {
    /// Zeros from `start` to `end`, which must be at the boundaries of tensors.
    pub fn zeros(start: usize, end: usize) -> Self {
        assert!(start.is_multiple_of(ALIGNMENT) && start <= end);
        let length = end - start;
        Self { lines: vec![CacheLine::ZERO; lines_for::<f32>(length)], start, length }
    }

    /// Extends it to reach from `start` or earlier to `end`; the added part is zero.
    pub fn reach(&mut self, start: usize, end: usize) {
        if self.lines.is_empty() {
            *self = Self::zeros(start, end);
        } else if start < self.start {
            let mut longer = Self::zeros(start, end);
            let kept = self.start..self.start + self.length;
            longer.of_mut(&kept).copy_from_slice(self.of(&kept));
            *self = longer;
        }
    }

    /// Whether there is memory for a tensor.
    pub fn covers(&self, place: &Range<usize>) -> bool {
        self.start <= place.start && place.end <= self.start + self.length
    }

    /// All of it.
    pub fn all(&self) -> &[f32] {
        elements(&self.lines, self.length)
    }

    /// Like [`Self::all`], for writing.
    pub fn all_mut(&mut self) -> &mut [f32] {
        elements_mut(&mut self.lines, self.length)
    }

    /// A tensor.
    pub fn of(&self, place: &Range<usize>) -> &[f32] {
        &self.all()[place.start - self.start..place.end - self.start]
    }

    /// Like [`Self::of`], for writing.
    pub fn of_mut(&mut self, place: &Range<usize>) -> &mut [f32] {
        let start = self.start;
        &mut self.all_mut()[place.start - start..place.end - start]
    }

    /// Sets a tensor to zero.
    pub fn fill(&mut self, place: &Range<usize>) {
        if !place.is_empty() {
            self.of_mut(place).fill(0.0);
        }
    }

    /// Two tensors for writing; the first must lie before the second.
    pub fn of_two(
        &mut self,
        first: &Range<usize>,
        second: &Range<usize>,
    ) -> (&mut [f32], &mut [f32]) {
        let start = self.start;
        let (before, after) = self.all_mut().split_at_mut(second.start - start);
        (&mut before[first.start - start..first.end - start], &mut after[..second.len()])
    }
}

/// All tensors of a network, or of a running average of networks.
#[derive(Clone, Default)]
pub(crate) struct Tensors {
    pub learned: Memory,
    pub running: Memory,
}

impl Tensors {
    /// Zeros.
    pub fn new(arena: &Arena) -> Self {
        Self {
            learned: Memory::zeros(0, arena.learned()),
            running: Memory::zeros(0, arena.running()),
        }
    }

    /// The arena of learned tensors or of running statistics.
    pub fn arena(&self, is_learned: bool) -> &Memory {
        if is_learned { &self.learned } else { &self.running }
    }

    /// Like [`Self::arena`], for writing.
    pub fn arena_mut(&mut self, is_learned: bool) -> &mut Memory {
        if is_learned { &mut self.learned } else { &mut self.running }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_memory_keeps_its_content() {
        let mut memory = Memory::default();
        assert!(!memory.covers(&(32..40)));
        memory.reach(32, 64);
        memory.of_mut(&(32..40)).fill(2.0);
        memory.reach(48, 64);
        memory.reach(16, 64);
        assert!(memory.covers(&(16..64)) && !memory.covers(&(0..8)));
        assert_eq!(
            (memory.all()[..16].to_vec(), memory.of(&(32..40))),
            (vec![0.0; 16], &[2.0; 8][..])
        );
        let (first, second) = memory.of_two(&(32..34), &(48..50));
        (first[0], second[1]) = (3.0, 4.0);
        assert_eq!((memory.of(&(32..33)), memory.of(&(49..50))), (&[3.0][..], &[4.0][..]));
    }
}
