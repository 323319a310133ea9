//! Decodes every file once before anything depends on it.

use std::path::{Path, PathBuf};

use crate::cache::DecodedCache;
use crate::decode::{DecodeError, DecodeOptions, decode_file};
use crate::parallel;

/// The findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The errors of files that cannot be read, in the order of the files.
    pub unreadable: Vec<DecodeError>,
    /// Files that were decoded only as far as possible (see [`DecodeOptions::allow_truncated`]), in
    /// order.
    pub truncated: Vec<PathBuf>,
    /// Number of images that were decoded at reduced size (see [`DecodeOptions::least_side`]).
    pub reduced: usize,
}

impl Verified {
    /// Adds the findings of later files.
    pub fn extend(&mut self, later: Self) {
        self.unreadable.extend(later.unreadable);
        self.truncated.extend(later.truncated);
        self.reduced += later.reduced;
    }
}

/// Decodes all files on `workers` threads. Images that fit are kept in `cache`, so that the first
/// epoch does not decode them again. `progress` is called from any of the threads, with the number
/// of files done so far.
pub fn verify(
    paths: &[&Path],
    workers: usize,
    options: &DecodeOptions,
    cache: Option<&DecodedCache>,
    progress: &(dyn Fn(usize) + Sync),
) -> Verified {
    let check = |place: usize| {
        let path = paths[place];
        let decoded = decode_file(path, options)?;
        let found = (decoded.truncated, decoded.reduction > 1);
        if let Some(cache) = cache {
            cache.insert(path, decoded);
        }
        Ok(found)
    };
    let mut verified = Verified::default();
    for (path, found) in paths.iter().zip(parallel::map(paths.len(), workers, &check, progress)) {
        match found {
            Ok((truncated, reduced)) => {
                verified.reduced += usize::from(reduced);
                if truncated {
                    verified.truncated.push(path.to_path_buf());
                }
            }
            Err(error) => verified.unreadable.push(error),
        }
    }
    verified
}
