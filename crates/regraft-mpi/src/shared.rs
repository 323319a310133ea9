//! The common state of a rank's threads: results, memory to use again, and the account of the
//! traffic.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The traffic of a rank so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Sums that were ended.
    pub sums: u64,
    /// Bytes that this rank sent to others for them.
    pub bytes: u64,
    /// Seconds in which at least one sum was under way.
    pub seconds: f64,
    /// Seconds in which a caller waited for the result of a sum.
    pub waited_seconds: f64,
}

/// Memory of finished sums that is kept.
const SPARE: usize = 16;

#[derive(Default)]
pub struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    results: HashMap<usize, Vec<f32>>,
    spare: Vec<Vec<f32>>,
    traffic: Traffic,
    /// The thread that communicates has ended.
    is_over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a result.
    pub fn finish(&self, number: usize, values: Vec<f32>) {
        self.lock().results.insert(number, values);
        self.news.notify_all();
    }

    /// Waits for a result.
    ///
    /// # Panics
    /// If the thread that communicates has ended.
    pub fn wait(&self, number: usize) -> Vec<f32> {
        let mut state = self.lock();
        loop {
            if let Some(values) = state.results.remove(&number) {
                return values;
            }
            assert!(!state.is_over, "the connection to the other ranks has ended");
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// As [`Self::wait`]; `None` if the result is not there in time.
    pub fn wait_until(&self, number: usize, deadline: Option<Instant>) -> Option<Vec<f32>> {
        let Some(deadline) = deadline else { return Some(self.wait(number)) };
        let mut state = self.lock();
        while !state.is_over {
            if let Some(values) = state.results.remove(&number) {
                return Some(values);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            state = self.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }

    /// Nothing will be finished any more.
    pub fn end(&self) {
        self.lock().is_over = true;
        self.news.notify_all();
    }

    /// Empty memory, with the room of an earlier sum if there was one.
    pub fn memory(&self) -> Vec<f32> {
        let mut memory = self.lock().spare.pop().unwrap_or_default();
        memory.clear();
        memory
    }

    /// Takes memory back.
    pub fn recycle(&self, memory: Vec<f32>) {
        let mut state = self.lock();
        if state.spare.len() < SPARE {
            state.spare.push(memory);
        }
    }

    pub fn count(&self, change: impl FnOnce(&mut Traffic)) {
        change(&mut self.lock().traffic);
    }

    pub fn traffic(&self) -> Traffic {
        self.lock().traffic
    }
}
