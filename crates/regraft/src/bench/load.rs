//! How fast files become batches: decoding, random crops, flips and normalisation, without a
//! network.

use crate::config::{CacheImages, cores_or};
use crate::memory_check::{self, LOADED_BATCHES, TooLittleMemory};
use regraft_base::random::{Draws, Purpose};
use regraft_data::augmentation::Augmentation;
use regraft_data::catalogue::{self, CatalogueError, Sample, SplitOptions};
use regraft_data::decode::DecodeOptions;
use regraft_data::loader::{Loader, LoaderError, LoaderOptions, Transform};
use regraft_data::preprocessing::{Interpolation, Preprocessing, ResizeMode};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// The measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// Labelled images, as for training; those that train are loaded.
    pub data: PathBuf,
    /// Threads; 0 is one for each core.
    pub workers: usize,
    /// Images in a batch.
    pub batch: usize,
    /// Passes over the images.
    pub epochs: u32,
    /// Side of the network's input in pixels.
    pub image_size: u32,
    /// Memory for decoded images. If there is some, later epochs find images there.
    pub cache_images: CacheImages,
    /// The limits within which a file counts as a readable image.
    pub decode: DecodeOptions,
    /// Whether large JPEGs are decoded whole.
    pub full_decode: bool,
}

/// One pass over the images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadedEpoch {
    /// Counted from 1.
    pub epoch: u32,
    /// Images loaded.
    pub images: usize,
    /// How many of them were in memory already.
    pub cached_images: usize,
    /// Seconds from the start of the epoch to its last batch.
    pub seconds: f64,
    /// `images / seconds`.
    pub images_per_second: f64,
    /// Seconds to the first batch.
    pub first_batch_seconds: f64,
}

/// The figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadReport {
    /// Threads.
    pub workers: usize,
    /// Images in a batch.
    pub batch: usize,
    /// Side of the network's input in pixels.
    pub image_size: u32,
    /// Whether large JPEGs were decoded whole.
    pub full_decode: bool,
    /// Of the fastest epoch that read every file; `null` if none did.
    pub images_per_second: Option<f64>,
    /// Of the fastest epoch that found every image in memory; `null` if none did.
    pub cached_images_per_second: Option<f64>,
    /// All epochs.
    pub epochs: Vec<LoadedEpoch>,
}

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each is the error of the part that it is named after.
pub enum LoadError {
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Loader(#[from] LoaderError),
    #[error(transparent)]
    Memory(#[from] TooLittleMemory),
}

/// Loads the images with torchvision's default training transform (`RandomResizedCrop`,
/// `RandomHorizontalFlip`, ImageNet's normalisation). `progress` is called with the epoch, the
/// images done and their number.
///
/// # Errors
/// If the data cannot be used or an image cannot be read.
pub fn load(
    options: &LoadOptions,
    progress: &mut dyn FnMut(u32, usize, usize),
) -> Result<LoadReport, LoadError> {
    let samples: Arc<[Sample]> =
        catalogue::scan(&options.data, &SplitOptions::NOTHING)?.train.into();
    let workers = cores_or(options.workers);
    let preprocessing = Preprocessing {
        image_size: options.image_size,
        resize: ResizeMode::Crop { short_side: options.image_size * 8 / 7 },
        interpolation: Interpolation::Bilinear,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
    let batch = options.batch.min(samples.len());
    let bytes = (batch as u64)
        .saturating_mul(preprocessing.input_length() as u64)
        .saturating_mul(LOADED_BATCHES);
    let what = format!(
        "{LOADED_BATCHES} batches of {batch} images of {size} x {size} pixels",
        size = options.image_size
    );
    memory_check::check(what, bytes, "choose a smaller batch or image size".into())?;
    let cache = options.cache_images.cache();
    let mut epochs = Vec::new();
    for epoch in 0..options.epochs {
        let mut order: Vec<u32> = (0..samples.len() as u32).collect();
        Draws::new(0, Purpose::Shuffle, epoch, 0).shuffle(&mut order);
        let loading = LoaderOptions {
            workers,
            transform: Transform::Train { seed: 0, epoch },
            augmentation: Augmentation::default(),
            decode: options.decode,
            full_decode: options.full_decode,
            cache: cache.clone(),
            ..LoaderOptions::new(preprocessing.clone(), options.batch)
        };
        let cached_images = cache.as_ref().map_or(0, |cache| cache.size().0);
        let started = Instant::now();
        let mut loader = Loader::start(Arc::clone(&samples), order, loading);
        let (mut images, mut first) = (0, None);
        while let Some(batch) = loader.next() {
            let batch = batch?;
            images += batch.labels.len();
            first.get_or_insert_with(|| started.elapsed());
            loader.recycle(batch);
            progress(epoch + 1, images, samples.len());
        }
        let seconds = started.elapsed().as_secs_f64();
        epochs.push(LoadedEpoch {
            epoch: epoch + 1,
            images,
            cached_images,
            seconds,
            images_per_second: images as f64 / seconds,
            first_batch_seconds: first.unwrap_or_default().as_secs_f64(),
        });
    }
    let fastest = |wanted: &dyn Fn(&LoadedEpoch) -> bool| {
        epochs
            .iter()
            .filter(|epoch| wanted(epoch))
            .map(|epoch| epoch.images_per_second)
            .reduce(f64::max)
    };
    Ok(LoadReport {
        workers,
        batch: options.batch,
        image_size: options.image_size,
        full_decode: options.full_decode,
        images_per_second: fastest(&|epoch| epoch.cached_images == 0),
        cached_images_per_second: fastest(&|epoch| epoch.cached_images == epoch.images),
        epochs,
    })
}
