//! Decoded pictures kept in memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::RgbImage;
use crate::decode::{DecodeError, DecodeOptions, Decoded, decode_file};

/// What a picture costs beside its pixels and its path, in bytes: the entry and the allocations.
const OVERHEAD: usize = 200;

/// Decoded pictures by path and by size, up to a number of bytes. What has come in stays: every
/// epoch asks for every picture once in a new order, so that throwing out the one used longest ago
/// would throw out what is asked for next.
#[derive(Debug)]
pub struct DecodedCache {
    limit: usize,
    content: Mutex<Content>,
}

#[derive(Debug)]
struct Kept {
    reduction: u32,
    reducible_side: u32,
    picture: Arc<RgbImage>,
}

impl Kept {
    /// Whether decoding the file with these options would give this picture.
    fn is_for(&self, options: &DecodeOptions) -> bool {
        self.reduction == options.reduction(self.reducible_side)
    }
}

#[derive(Debug, Default)]
struct Content {
    pictures: HashMap<PathBuf, Vec<Kept>>,
    count: usize,
    bytes: usize,
}

impl DecodedCache {
    /// An empty cache that holds at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, content: Mutex::default() }
    }

    /// What decoding a file with `options` would give, if it is here.
    #[must_use]
    pub fn get(&self, path: &Path, options: &DecodeOptions) -> Option<Arc<RgbImage>> {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content
            .pictures
            .get(path)?
            .iter()
            .find(|kept| kept.is_for(options))
            .map(|kept| Arc::clone(&kept.picture))
    }

    /// Hands out a file's picture, which is kept if there is room for it.
    pub fn insert(&self, path: &Path, decoded: Decoded) -> Arc<RgbImage> {
        let Decoded { image, reduction, reducible_side, .. } = decoded;
        let bytes = image.pixels.capacity() + path.as_os_str().len() + OVERHEAD;
        let picture = Arc::new(image);
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = content
            .pictures
            .get(path)
            .is_some_and(|kept| kept.iter().any(|kept| kept.reduction == reduction));
        if !kept && content.bytes + bytes <= self.limit {
            content.bytes += bytes;
            content.count += 1;
            let kept = Kept { reduction, reducible_side, picture: Arc::clone(&picture) };
            content.pictures.entry(path.to_path_buf()).or_default().push(kept);
        }
        picture
    }

    /// How many pictures are here, and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        (content.count, content.bytes)
    }
}

/// A file's picture from the cache, or decoded (and kept if there is room).
pub(crate) fn decoded(
    path: &Path,
    options: &DecodeOptions,
    cache: Option<&DecodedCache>,
) -> Result<Arc<RgbImage>, DecodeError> {
    if let Some(picture) = cache.and_then(|cache| cache.get(path, options)) {
        return Ok(picture);
    }
    let decoded = decode_file(path, options)?;
    Ok(match cache {
        Some(cache) => cache.insert(path, decoded),
        None => Arc::new(decoded.image),
    })
}
