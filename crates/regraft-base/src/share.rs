//! How work is shared out: each of several ranks takes a range of consecutive items.

use std::ops::Range;

/// The share of one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The rank, from 0.
    pub rank: usize,
    /// The number of ranks.
    pub size: usize,
}

impl Share {
    /// The share of a single rank: everything.
    pub const WHOLE: Self = Self { rank: 0, size: 1 };

    /// The share's items among `count`. Together the shares are all items in their order. They
    /// differ by at most one, and some are empty if there are fewer items than ranks.
    #[must_use]
    pub fn of(self, count: usize) -> Range<usize> {
        let start = |rank: usize| (count as u128 * rank as u128 / self.size as u128) as usize;
        start(self.rank)..start(self.rank + 1)
    }

    /// The most items that a rank has.
    #[must_use]
    pub fn most(self, count: usize) -> usize {
        count.div_ceil(self.size)
    }

    /// The shares of all ranks.
    pub fn all(size: usize) -> impl Iterator<Item = Self> {
        (0..size).map(move |rank| Self { rank, size })
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::WHOLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_all_items_once_and_nearly_of_a_size() {
        for size in 1..8 {
            for count in [0, 1, 5, 64, 1001] {
                let shares: Vec<_> = Share::all(size).map(|share| share.of(count)).collect();
                assert!(shares.iter().cloned().flatten().eq(0..count));
                let lengths = || shares.iter().map(ExactSizeIterator::len);
                assert!(lengths().max() <= lengths().min().map(|least| least + 1));
                assert_eq!(lengths().max(), Some(Share::WHOLE.of(count).len().div_ceil(size)));
                assert_eq!(lengths().max(), Some(Share { rank: 0, size }.most(count)));
            }
        }
        assert_eq!(Share { rank: 1, size: 2 }.of(usize::MAX), usize::MAX / 2..usize::MAX);
    }
}
