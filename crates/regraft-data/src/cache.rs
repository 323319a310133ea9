//! Decoded pictures kept in memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::RgbImage;
use crate::decode::{DecodeError, DecodeOptions, decode};

/// Decoded pictures by path, up to a number of bytes. What has come in stays: every epoch asks for every picture once in a new order, so
/// that throwing out the one used longest ago would throw out what is asked for next.
#[derive(Debug)]
pub struct DecodedCache {
    limit: usize,
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    pictures: HashMap<PathBuf, Arc<RgbImage>>,
    bytes: usize,
}

impl DecodedCache {
    /// An empty cache that holds at most `limit` bytes of pixels.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, content: Mutex::default() }
    }

    /// The picture of a file, if it is here.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<Arc<RgbImage>> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).pictures.get(path).cloned()
    }

    /// Keeps a picture if there is room for it, and says whether it did.
    pub fn insert(&self, path: &Path, picture: &Arc<RgbImage>) -> bool {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = picture.pixels.len();
        if content.pictures.contains_key(path) {
            return true;
        }
        if content.bytes + bytes > self.limit {
            return false;
        }
        content.bytes += bytes;
        content.pictures.insert(path.to_path_buf(), Arc::clone(picture));
        true
    }

    /// How many pictures are here, and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        (content.pictures.len(), content.bytes)
    }
}

/// A file's picture from the cache, or decoded (and kept if there is room).
pub(crate) fn decoded(path: &Path, options: &DecodeOptions, cache: Option<&DecodedCache>) -> Result<Arc<RgbImage>, DecodeError> {
    if let Some(picture) = cache.and_then(|cache| cache.get(path)) {
        return Ok(picture);
    }
    let picture = Arc::new(decode(path, options)?);
    if let Some(cache) = cache {
        cache.insert(path, &picture);
    }
    Ok(picture)
}
