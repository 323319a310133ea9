//! Runs the same work for each index on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Calls `work` for `0..count` on `workers` threads and returns the results in order. `progress` is
/// called from any of the threads, with the number of finished calls. If the system starts fewer
/// threads, those do the work; if it starts none, the calling thread does.
pub fn map<T: Send>(
    count: usize,
    workers: usize,
    work: &(dyn Fn(usize) -> T + Sync),
    progress: &(dyn Fn(usize) + Sync),
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(count));
    let take_places = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= count {
                break;
            }
            let result = work(place);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((place, result));
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    std::thread::scope(|scope| {
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, take_places);
        let started =
            (0..workers.clamp(1, count.max(1))).map(start).take_while(Result::is_ok).count();
        if started == 0 {
            take_places();
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|&(place, _)| place);
    results.into_iter().map(|(_, result)| result).collect()
}
