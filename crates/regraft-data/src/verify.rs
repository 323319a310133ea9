//! Decoding every file once before anything depends on it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::cache::DecodedCache;
use crate::decode::{DecodeError, DecodeOptions, decode_file};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The errors of files that cannot be read, in the files' order.
    pub unreadable: Vec<DecodeError>,
    /// Files that were taken as far as they go (see [`DecodeOptions::allow_truncated`]), in order.
    pub truncated: Vec<PathBuf>,
    /// Pictures that were decoded at a part of their size (see [`DecodeOptions::least_side`]).
    pub reduced: usize,
}

impl Verified {
    /// Adds what was found in files that come after.
    pub fn extend(&mut self, later: Self) {
        self.unreadable.extend(later.unreadable);
        self.truncated.extend(later.truncated);
        self.reduced += later.reduced;
    }
}

/// Decodes all files on `workers` threads. Pictures that fit are kept in `cache`, so that the first epoch does not decode them again.
/// `progress` is called from any of the threads, with the number of files done so far.
pub fn verify(
    paths: &[&Path],
    workers: usize,
    options: &DecodeOptions,
    cache: Option<&DecodedCache>,
    progress: &(dyn Fn(usize) + Sync),
) -> Verified {
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let reduced = AtomicUsize::new(0);
    let remarks = Mutex::new(Vec::new());
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = paths.get(place) else { break };
            let remark = match decode_file(path, options) {
                Ok(decoded) => {
                    let truncated = decoded.truncated;
                    reduced.fetch_add(usize::from(decoded.reduction > 1), Ordering::Relaxed);
                    if let Some(cache) = cache {
                        cache.insert(path, decoded);
                    }
                    truncated.then_some(None)
                }
                Err(error) => Some(Some(error)),
            };
            if let Some(error) = remark {
                remarks.lock().unwrap_or_else(PoisonError::into_inner).push((place, error));
            }
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..workers.clamp(1, paths.len().max(1)) {
            scope.spawn(work);
        }
    });
    let mut remarks = remarks.into_inner().unwrap_or_else(PoisonError::into_inner);
    remarks.sort_by_key(|&(place, _)| place);
    let mut verified = Verified { reduced: reduced.into_inner(), ..Verified::default() };
    for (place, error) in remarks {
        match error {
            Some(error) => verified.unreadable.push(error),
            None => verified.truncated.push(paths[place].to_path_buf()),
        }
    }
    verified
}
