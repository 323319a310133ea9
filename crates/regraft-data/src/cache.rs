//! Keeps decoded images in memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::RgbImage;
use crate::decode::{DecodeError, DecodeOptions, Decoded, decode_file};

/// Bytes that an image costs in addition to its pixels and its path: the entry and the allocations.
const OVERHEAD: usize = 200;

/// Decoded images by path and by size, up to a number of bytes. Nothing is evicted: every epoch
/// asks for every image once in a new order, so evicting the least recently used image would evict
/// one that is needed next.
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
    /// Whether decoding the file with these options would give this image.
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

    /// The result of decoding the file with `options`, if it is in the cache.
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

    /// Returns a file's image, and keeps it if there is room.
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

    /// Number of images in the cache, and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        (content.count, content.bytes)
    }
}

/// A file's image from the cache, or decoded and kept if there is room.
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
