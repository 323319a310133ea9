//! The common part of scoring and predicting: a finished model on this machine, and files that are
//! checked first.

use crate::class_names::LabelledFolderError;
use crate::config::{CacheImages, OnBadImage, PrecisionChoice, Recipe, TrainConfig};
use crate::engines::{self, DeviceChoice, OpenError};
use crate::error_kind::{Classified, ErrorKind};
use crate::evaluate::{EVALUATION_BATCH, EvaluateError};
use crate::hashing::hash_tensors;
use crate::memory_check::{Purpose, TooLittleMemory, check_batch};
use crate::model::Model;
use crate::pictures::{self, UnreadableFiles};
use crate::progress::{Progress, Stage, from_any_thread};
use crate::ranks::Ranks;
use regraft_data::catalogue::CatalogueError;
use regraft_data::decode::{DecodeError, DecodeOptions};
use regraft_data::loader::LoaderOptions;
use regraft_data::verify::Verified;
use regraft_nn::engine::{Engine, EngineError};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::path::Path;

/// How to run a finished model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferenceOptions {
    /// The device.
    pub device: DeviceChoice,
    /// Threads that compute on the processor; 0 is one for each core.
    pub threads: usize,
    /// Number format of feature maps.
    pub precision: PrecisionChoice,
    /// Threads that decode and transform images; 0 is one for each core.
    pub workers: usize,
    /// The response to an image that cannot be read.
    pub on_bad_image: OnBadImage,
    /// The limits within which a file counts as a readable image.
    pub decode: DecodeOptions,
    /// Whether large JPEGs are decoded at their full size, instead of a part of it that leaves more
    /// detail than the network sees.
    pub full_decode: bool,
    /// Memory for decoded images.
    pub cache_images: CacheImages,
    /// The ranks that share the work.
    pub ranks: Ranks,
}

/// A model that could not be run over images.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each is the error of the part that it is named after.
pub enum InferenceError {
    #[error(transparent)]
    Folder(#[from] LabelledFolderError),
    #[error(transparent)]
    Inputs(#[from] CatalogueError),
    #[error(transparent)]
    Unreadable(#[from] UnreadableFiles),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Memory(#[from] TooLittleMemory),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error("rank {rank} finds other files than rank 0: all ranks must be given the same ones")]
    OtherFiles { rank: usize },
    #[error("the model of rank {rank} differs from that of rank 0")]
    OtherModel { rank: usize },
}

impl Classified for InferenceError {
    fn is_of_peer(&self) -> bool {
        match self {
            Self::Engine(error) => error.is_of_peer(),
            Self::Evaluate(error) => error.is_of_peer(),
            _ => false,
        }
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::failure_if(matches!(
            self,
            Self::Engine(_)
                | Self::Evaluate(
                    EvaluateError::Loader(_)
                        | EvaluateError::Engine(_)
                        | EvaluateError::NotFinite { .. }
                )
        ))
    }
}

impl InferenceOptions {
    /// The options of a configuration that are about running a finished model.
    #[must_use]
    pub fn of(config: &TrainConfig) -> Self {
        Self {
            device: config.device.clone(),
            threads: config.threads,
            precision: config.precision,
            workers: config.workers,
            on_bad_image: config.on_bad_image,
            decode: config.decode_options(),
            full_decode: config.full_decode,
            cache_images: config.cache_images,
            ranks: Ranks::default(),
        }
    }
}

impl Default for InferenceOptions {
    /// The best device, all cores, f32, and an error for the first image that cannot be read.
    fn default() -> Self {
        Self::of(&TrainConfig::recipe(Recipe::Default, Path::new("")))
    }
}

/// An engine that holds a model's tensors; device, threads and ranks are as for [`engines::open`].
///
/// # Errors
/// If the machine cannot do what `device` and `precision` ask for.
pub fn engine(
    model: &Model,
    device: &DeviceChoice,
    threads: usize,
    precision: PrecisionChoice,
    ranks: &Ranks,
) -> Result<Box<dyn Engine>, InferenceError> {
    let image_size = model.preprocessing.image_size;
    let mut engine = engines::open(
        device,
        model.graph.clone(),
        image_size as usize,
        precision.resolve(device),
        threads,
        ranks,
    )?;
    check_batch(&*engine, image_size, EVALUATION_BATCH * ranks.size(), Purpose::Evaluate, "model")?;
    engine.load_state(&model.state)?;
    if !ranks.is_alone() {
        let mut hash = Sha256::new();
        hash_tensors(&mut hash, &model.state);
        let rank = ranks.first_other(&hash.finalize());
        rank.map_or(Ok(()), |rank| Err(InferenceError::OtherModel { rank }))?;
    }
    Ok(engine)
}

/// Refuses ranks that were given other files.
pub(crate) fn same_files<'a>(
    ranks: &Ranks,
    paths: impl IntoIterator<Item = &'a Path>,
) -> Result<(), InferenceError> {
    let mut hash = Sha256::new();
    for path in paths {
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update([0]);
    }
    let rank = ranks.first_other(&hash.finalize());
    rank.map_or(Ok(()), |rank| Err(InferenceError::OtherFiles { rank }))
}

/// The files that could not be read.
pub(crate) fn unreadable(skipped: &[DecodeError]) -> HashSet<&Path> {
    skipped.iter().map(|error| error.path.as_path()).collect()
}

/// Decodes every file once and returns the findings, with how to load those that can be read.
/// Decoded images are kept as far as they fit.
pub(crate) fn check(
    model: &Model,
    paths: &[&Path],
    options: &InferenceOptions,
    report: &mut (dyn FnMut(Progress) + Send),
) -> Result<(Verified, LoaderOptions), InferenceError> {
    same_files(&options.ranks, paths.iter().copied())?;
    let loading = LoaderOptions {
        workers: options.ranks.threads(options.workers),
        decode: options.decode,
        full_decode: options.full_decode,
        cache: options.cache_images.cache(),
        ..LoaderOptions::new(model.preprocessing.clone(), EVALUATION_BATCH)
    };
    let tell = from_any_thread(report);
    let progress = |done, total| tell(Progress::of(Stage::Checking, done, total));
    let verified =
        pictures::check(paths, &loading, options.on_bad_image, &options.ranks, &progress)?;
    Ok((verified, loading))
}
