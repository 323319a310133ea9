//! Decoding every file once before anything depends on it.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::cache::{DecodedCache, decoded};
use crate::decode::DecodeError;

/// Decodes all files on `workers` threads and returns the errors of those that cannot be, in the files' order. Pictures that fit are kept in
/// `cache`, so that the first epoch does not decode them again. `progress` is called from any of the threads, with the number of files
/// done so far.
pub fn verify(
    paths: &[&Path],
    workers: usize,
    max_pixels: u64,
    cache: Option<&DecodedCache>,
    progress: &(dyn Fn(usize) + Sync),
) -> Vec<DecodeError> {
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = paths.get(place) else { break };
            if let Err(error) = decoded(path, max_pixels, cache) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).push((place, error));
            }
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..workers.clamp(1, paths.len().max(1)) {
            scope.spawn(work);
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|&(place, _)| place);
    failed.into_iter().map(|(_, error)| error).collect()
}
