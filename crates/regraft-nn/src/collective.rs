//! Communication between several engines that train one network together.
//!
//! Each engine is a rank with a share of every batch. Sums are taken in the order of the ranks, so
//! the same number of ranks gives the same bits.

use regraft_base::share::Share;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

/// A sum that has begun.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the other ranks wait for a sum to be ended"]
pub struct Ticket(usize);

impl Ticket {
    /// A ticket for the sum with this number, which an implementation chooses.
    pub fn new(number: usize) -> Self {
        Self(number)
    }

    /// The number that the implementation chose.
    #[must_use]
    pub fn number(&self) -> usize {
        self.0
    }
}

/// One rank's connection to the others.
///
/// All ranks make the same calls in the same order. [`Collective::begin_sum`] returns at once; the
/// other calls wait for all ranks.
pub trait Collective: Send {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Gives this rank's values to the other ranks without waiting for theirs. A rank can begin
    /// several sums before it ends the first.
    fn begin_sum(&mut self, values: &[f32]) -> Ticket;

    /// Replaces values by the sum over the ranks, in the order of the ranks.
    ///
    /// # Panics
    /// If the sum was begun with another number of values.
    fn end_sum(&mut self, ticket: Ticket, values: &mut [f32]);

    /// Replaces the values of every rank by their sum, taken in the order of the ranks.
    fn sum(&mut self, values: &mut [f32]) {
        let ticket = self.begin_sum(values);
        self.end_sum(ticket, values);
    }

    /// The values of all ranks, one rank after the other. All ranks must give the same number of
    /// values.
    fn gather(&mut self, values: &[f32]) -> Vec<f32>;

    /// Replaces the values of every rank by those of rank 0.
    fn broadcast(&mut self, values: &mut [f32]);

    /// Whether the flag is set in any rank.
    fn any(&mut self, flag: bool) -> bool {
        self.gather(&[f32::from(u8::from(flag))]).into_iter().any(|flag| flag > 0.0)
    }
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

    fn begin_sum(&mut self, _: &[f32]) -> Ticket {
        Ticket(0)
    }

    fn end_sum(&mut self, _: Ticket, _: &mut [f32]) {}

    fn gather(&mut self, values: &[f32]) -> Vec<f32> {
        values.to_vec()
    }

    fn broadcast(&mut self, _: &mut [f32]) {}
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
    /// Exchanges that this rank has begun in each slot.
    begun: Vec<u64>,
    /// The slots that no pending exchange uses. All ranks make the same calls, so all choose the
    /// same slot.
    free: VecDeque<usize>,
    /// The slots of sums to which this rank has not added its part, oldest first.
    pending: VecDeque<usize>,
}

#[derive(Debug)]
struct Shared {
    size: usize,
    meeting: Mutex<Meeting>,
    news: Condvar,
}

/// The progress that ranks wait for.
#[derive(Debug, Default)]
struct Meeting {
    slots: Vec<Slot>,
    /// A rank has panicked and will never come.
    is_over: bool,
}

/// An exchange of values, with the number of ranks that have finished each stage.
#[derive(Debug)]
struct Slot {
    values: Arc<Values>,
    given: usize,
    added: usize,
    read: usize,
    /// Exchanges that all ranks have ended.
    ended: u64,
}

/// The memory of a slot, a part for each rank.
#[derive(Debug)]
struct Values {
    /// The values of each rank.
    given: Vec<RwLock<Vec<f32>>>,
    /// The sums; each rank computes a part.
    sums: Vec<RwLock<Vec<f32>>>,
}

impl Slot {
    fn new(size: usize) -> Self {
        let memory = || (0..size).map(|_| RwLock::default()).collect();
        let values = Arc::new(Values { given: memory(), sums: memory() });
        Self { values, given: 0, added: 0, read: 0, ended: 0 }
    }
}

impl Threads {
    /// The ranks of a process.
    #[must_use]
    pub fn new(size: usize) -> Vec<Self> {
        let shared = Shared { size, meeting: Mutex::default(), news: Condvar::new() };
        let shared = Arc::new(shared);
        let rank = |rank| Self {
            rank,
            shared: Arc::clone(&shared),
            begun: Vec::new(),
            free: VecDeque::new(),
            pending: VecDeque::new(),
        };
        (0..size).map(rank).collect()
    }

    /// Watches over a thread that makes a rank's calls.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared))
    }

    /// Waits until a slot has reached a stage.
    fn wait(&self, slot: usize, has_come: impl Fn(&Slot) -> bool) -> Arc<Values> {
        let mut meeting = lock(&self.shared.meeting);
        while !meeting.is_over && !has_come(&meeting.slots[slot]) {
            meeting = self.shared.news.wait(meeting).unwrap_or_else(PoisonError::into_inner);
        }
        assert!(!meeting.is_over, "another rank has panicked");
        Arc::clone(&meeting.slots[slot].values)
    }

    /// Tells the others that this rank has reached a stage.
    fn tell(&self, slot: usize, change: impl FnOnce(&mut Slot)) {
        change(&mut lock(&self.shared.meeting).slots[slot]);
        self.shared.news.notify_all();
    }

    /// Gives the others this rank's values.
    fn begin(&mut self, values: &[f32]) -> usize {
        let slot = self.free.pop_front().unwrap_or_else(|| {
            self.begun.push(0);
            self.begun.len() - 1
        });
        {
            let mut meeting = lock(&self.shared.meeting);
            while meeting.slots.len() <= slot {
                meeting.slots.push(Slot::new(self.shared.size));
            }
        }
        // The others may still read the slot's earlier content.
        let before = self.begun[slot];
        let memory = self.wait(slot, |slot| slot.ended == before);
        self.begun[slot] += 1;
        {
            let mut given = write(&memory.given[self.rank]);
            given.clear();
            given.extend_from_slice(values);
        }
        self.tell(slot, |slot| slot.given += 1);
        slot
    }

    /// Waits for the values of all ranks.
    fn given(&self, slot: usize) -> Arc<Values> {
        self.wait(slot, |slot| slot.given == self.shared.size)
    }

    /// Releases the slot once this rank has read it.
    fn end(&mut self, slot: usize) {
        let size = self.shared.size;
        self.tell(slot, |slot| {
            slot.read += 1;
            if slot.read == size {
                *slot = Slot {
                    given: 0,
                    added: 0,
                    read: 0,
                    ended: slot.ended + 1,
                    values: Arc::clone(&slot.values),
                };
            }
        });
        self.free.push_back(slot);
    }

    /// Adds up this rank's part of a sum, once all ranks have given their values.
    fn add_part(&self, slot: usize, values: &Values) {
        {
            let first = read(&values.given[0]);
            let mine = self.part(first.len(), self.rank);
            let mut sums = write(&values.sums[self.rank]);
            sums.clear();
            sums.extend_from_slice(&first[mine.clone()]);
            for other in &values.given[1..] {
                let other = read(other);
                sums.iter_mut().zip(&other[mine.clone()]).for_each(|(sum, value)| *sum += value);
            }
        }
        self.tell(slot, |slot| slot.added += 1);
    }

    /// The elements of a sum that a rank adds up.
    fn part(&self, length: usize, rank: usize) -> Range<usize> {
        Share { rank, size: self.shared.size }.of(length)
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
            self.0.news.notify_all();
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
        self.shared.size
    }

    fn begin_sum(&mut self, values: &[f32]) -> Ticket {
        let slot = self.begin(values);
        self.pending.push_back(slot);
        Ticket(slot)
    }

    fn end_sum(&mut self, Ticket(slot): Ticket, values: &mut [f32]) {
        // The other ranks will need this rank's part of later sums too. Adding up the parts that
        // are ready saves a wait at every sum.
        let mut is_added = !self.pending.contains(&slot);
        while let Some(&next) = self.pending.front() {
            if is_added && lock(&self.shared.meeting).slots[next].given < self.shared.size {
                break;
            }
            self.add_part(next, &self.given(next));
            self.pending.pop_front();
            is_added |= next == slot;
        }
        let memory = self.wait(slot, |slot| slot.added == self.shared.size);
        for (rank, sums) in memory.sums.iter().enumerate() {
            let part = self.part(values.len(), rank);
            values[part].copy_from_slice(&read(sums));
        }
        self.end(slot);
    }

    fn gather(&mut self, values: &[f32]) -> Vec<f32> {
        let slot = self.begin(values);
        let memory = self.given(slot);
        let all = memory.given.iter().flat_map(|values| read(values).clone()).collect();
        self.end(slot);
        all
    }

    fn broadcast(&mut self, values: &mut [f32]) {
        let slot = self.begin(if self.rank == 0 { values } else { &[] });
        let memory = self.given(slot);
        if self.rank > 0 {
            values.copy_from_slice(&read(&memory.given[0]));
        }
        self.end(slot);
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
    fn sums_can_begin_before_earlier_ones_end_and_end_in_any_order() {
        let value = |rank: usize, sum: usize| (rank * 10 + sum) as f32;
        let found = run(3, |rank| {
            let mut results = Vec::new();
            for round in 0..20 {
                let at = rank.rank();
                let mut tickets: Vec<_> = (0..5)
                    .map(|sum| Some(rank.begin_sum(&vec![value(at, sum); sum + 1])))
                    .collect();
                // An exchange between the beginning and the end of others.
                assert_eq!(rank.gather(&[at as f32]), [0.0, 1.0, 2.0]);
                for step in 0..5 {
                    let sum = (step * 2 + round) % 5;
                    let mut values = vec![0.0; sum + 1];
                    rank.end_sum(tickets[sum].take().expect("each once"), &mut values);
                    results.push((sum, values));
                }
            }
            results
        });
        for results in found {
            for (sum, values) in results.expect("no panic") {
                assert_eq!(values, vec![value(0, sum) + value(1, sum) + value(2, sum); sum + 1]);
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
