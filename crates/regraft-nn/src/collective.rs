//! Communication between several engines that train one network together.
//!
//! Each engine is a rank with a share of every batch. Sums are taken in the order of the ranks, so
//! the same number of ranks gives the same bits.

use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

/// One rank's connection to the others. All ranks make the same calls in the same order, and each
/// call waits for all ranks.
pub trait Collective: Send {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Replaces the values of every rank by their sum, taken in the order of the ranks.
    fn sum(&mut self, values: &mut [f32]);

    /// Replaces the values of every rank by those of rank 0.
    fn broadcast(&mut self, values: &mut [f32]);

    /// Whether the flag is set in any rank.
    fn any(&mut self, flag: bool) -> bool;
}

/// The connection of a single rank.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum(&mut self, _: &mut [f32]) {}

    fn broadcast(&mut self, _: &mut [f32]) {}

    fn any(&mut self, flag: bool) -> bool {
        flag
    }
}

/// A rank of one process, which makes its calls in a thread of its own.
///
/// # Panics
/// Its calls panic if another rank panicked while it was watched ([`Watch`]), so that no rank waits
/// forever.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The values of each rank.
    given: Vec<RwLock<Vec<f32>>>,
    /// The sums; each rank computes a part.
    parts: Vec<RwLock<Vec<f32>>>,
    meeting: Mutex<Meeting>,
    all_here: Condvar,
}

/// A barrier for the ranks.
#[derive(Debug, Default)]
struct Meeting {
    here: usize,
    /// Meetings so far.
    number: u64,
    /// A rank has panicked and will not come.
    is_over: bool,
}

impl Threads {
    /// Creates the ranks of a process.
    #[must_use]
    pub fn new(size: usize) -> Vec<Self> {
        let memory = || (0..size).map(|_| RwLock::default()).collect();
        let shared = Shared {
            given: memory(),
            parts: memory(),
            meeting: Mutex::default(),
            all_here: Condvar::new(),
        };
        let shared = Arc::new(shared);
        (0..size).map(|rank| Self { rank, shared: Arc::clone(&shared) }).collect()
    }

    /// A watch over the thread that makes this rank's calls.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared))
    }

    /// Waits until all ranks have called this.
    fn meet(&self) {
        let mut meeting = lock(&self.shared.meeting);
        meeting.here += 1;
        if meeting.here == self.shared.given.len() {
            meeting.here = 0;
            meeting.number += 1;
            self.shared.all_here.notify_all();
        } else {
            let number = meeting.number;
            while meeting.number == number && !meeting.is_over {
                meeting =
                    self.shared.all_here.wait(meeting).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let is_over = meeting.is_over;
        drop(meeting);
        assert!(!is_over, "another rank has panicked");
    }
}

/// Tells the other ranks if it is dropped by a panic. The thread that makes a rank's calls holds
/// one.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0.meeting).is_over = true;
            self.0.all_here.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.shared.given.len()
    }

    fn sum(&mut self, values: &mut [f32]) {
        let Shared { given, parts, .. } = &*self.shared;
        let size = given.len();
        {
            let mut given = write(&given[self.rank]);
            given.clear();
            given.extend_from_slice(values);
        }
        self.meet();
        let length = values.len();
        let bound = |rank: usize| length * rank / size;
        {
            let mine = bound(self.rank)..bound(self.rank + 1);
            let mut part = write(&parts[self.rank]);
            part.clear();
            part.extend_from_slice(&read(&given[0])[mine.clone()]);
            for other in &given[1..] {
                let other = read(other);
                part.iter_mut().zip(&other[mine.clone()]).for_each(|(sum, value)| *sum += value);
            }
        }
        self.meet();
        for (rank, part) in parts.iter().enumerate() {
            values[bound(rank)..bound(rank + 1)].copy_from_slice(&read(part));
        }
        // No rank may write before all have read.
        self.meet();
    }

    fn broadcast(&mut self, values: &mut [f32]) {
        if self.rank == 0 {
            let mut given = write(&self.shared.given[0]);
            given.clear();
            given.extend_from_slice(values);
        }
        self.meet();
        if self.rank > 0 {
            values.copy_from_slice(&read(&self.shared.given[0]));
        }
        self.meet();
    }

    fn any(&mut self, flag: bool) -> bool {
        let mut flags = vec![0.0; self.size()];
        flags[self.rank] = f32::from(u8::from(flag));
        self.sum(&mut flags);
        flags.iter().any(|&flag| flag > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<R: Send>(
        size: usize,
        work: impl Fn(&mut Threads) -> R + Sync,
    ) -> Vec<std::thread::Result<R>> {
        std::thread::scope(|scope| {
            let work = &work;
            let ranks: Vec<_> = Threads::new(size)
                .into_iter()
                .map(|mut rank| scope.spawn(move || work(&mut rank)))
                .collect();
            ranks.into_iter().map(|rank| rank.join()).collect()
        })
    }

    #[test]
    fn sums_are_taken_in_the_order_of_the_ranks_on_all_of_them() {
        for size in 1..=5 {
            for length in [0, 1, 3, 1000] {
                let of = |rank: usize| {
                    (0..length)
                        .map(move |at| ((rank * 7 + at * 3) % 11) as f32 * 1e-3 + 1e6 * rank as f32)
                };
                let found = run(size, |rank| {
                    let mut values: Vec<f32> = of(rank.rank()).collect();
                    rank.sum(&mut values);
                    let mut first = values.clone();
                    rank.sum(&mut first);
                    values
                });
                let mut expected: Vec<f32> = of(0).collect();
                (1..size).for_each(|rank| {
                    expected.iter_mut().zip(of(rank)).for_each(|(sum, value)| *sum += value)
                });
                assert!(
                    found.into_iter().all(|values| values.is_ok_and(|values| values == expected)),
                    "{size} ranks, {length}"
                );
            }
        }
    }

    #[test]
    fn rank_0_is_heard_by_all_and_any_flag_counts() {
        let found = run(3, |rank| {
            let mut values = [rank.rank() as f32 + 5.0; 2];
            rank.broadcast(&mut values);
            let is_last = rank.rank() == 2;
            (values, rank.any(false), rank.any(is_last))
        });
        assert!(
            found
                .into_iter()
                .all(|found| found.is_ok_and(|found| found == ([5.0; 2], false, true)))
        );
    }

    #[test]
    fn no_rank_waits_for_one_that_has_panicked() {
        let found = std::thread::scope(|scope| {
            let ranks: Vec<_> = Threads::new(2)
                .into_iter()
                .map(|mut rank| {
                    scope.spawn(move || {
                        let _watch = rank.watch();
                        assert!(rank.rank() == 0, "rank 1 fails");
                        rank.any(true)
                    })
                })
                .collect();
            ranks.into_iter().map(|rank| rank.join().is_err()).collect::<Vec<_>>()
        });
        assert_eq!(found, [true, true]);
    }
}
