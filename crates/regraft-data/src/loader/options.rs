//! The options of a loader.

use std::sync::Arc;

use regraft_base::share::Share;

use crate::augmentation::Augmentation;
use crate::cache::DecodedCache;
use crate::decode::DecodeOptions;
use crate::detail::least_side;
use crate::preprocessing::Preprocessing;
use crate::transform::Transform;

/// How a loader prepares images, and how far ahead.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// Images in a batch; the last one may have fewer.
    pub batch_size: usize,
    /// Threads that decode and transform.
    pub workers: usize,
    /// Batches that may be in progress or waiting at a time.
    pub prefetch_batches: usize,
    /// Training or evaluation.
    pub transform: Transform,
    /// The network's preprocessing.
    pub preprocessing: Preprocessing,
    /// How training images are varied.
    pub augmentation: Augmentation,
    /// Which images are accepted. [`DecodeOptions::least_side`] is set by `full_decode`.
    pub decode: DecodeOptions,
    /// Whether large JPEGs are decoded at full size, and not at a reduced size that leaves more
    /// detail than `transform` needs.
    pub full_decode: bool,
    /// Keeps decoded images from epoch to epoch.
    pub cache: Option<Arc<DecodedCache>>,
    /// The share of each batch whose images are loaded.
    pub share: Share,
    /// Whether a share comes with the image before its first one, with which that is mixed. Before
    /// the first image of a batch comes the last.
    pub with_previous: bool,
}

impl LoaderOptions {
    /// Evaluation in batches of `batch_size`, two batches ahead, without a cache, on as many
    /// threads as the machine has cores.
    #[must_use]
    pub fn new(preprocessing: Preprocessing, batch_size: usize) -> Self {
        Self {
            batch_size,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            prefetch_batches: 2,
            transform: Transform::Evaluate,
            preprocessing,
            augmentation: Augmentation::default(),
            decode: DecodeOptions::default(),
            full_decode: false,
            cache: None,
            share: Share::WHOLE,
            with_previous: false,
        }
    }

    /// How files are decoded for `transform`.
    #[must_use]
    pub fn decode_options(&self) -> DecodeOptions {
        let needed = || least_side(self.transform, &self.preprocessing, &self.augmentation);
        DecodeOptions { least_side: (!self.full_decode).then(needed), ..self.decode }
    }

    /// The places in a batch of `count` images that are loaded: those of the share, behind the one
    /// before it if that is needed.
    pub(super) fn loaded(&self, count: usize) -> impl Iterator<Item = usize> + use<> {
        let own = self.share.of(count);
        let previous = (self.with_previous && self.share != Share::WHOLE && !own.is_empty())
            .then(|| (own.start + count - 1) % count);
        previous.into_iter().chain(own)
    }
}
