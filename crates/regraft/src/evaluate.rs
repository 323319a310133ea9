//! Scores a network on labelled images.

use crate::metrics::{Evaluation, Evaluator, LogitSample};
use crate::predictions::Prediction;
use regraft_data::catalogue::Sample;
use regraft_data::loader::{Loader, LoaderError, LoaderOptions};
use regraft_data::shown::shown;
use regraft_nn::engine::{Engine, EngineError, Input, Share};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Images in an evaluation step: enough to keep all cores busy, few enough to need little memory.
pub const EVALUATION_BATCH: usize = 32;

/// An evaluation that could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// An image cannot be read.
    #[error(transparent)]
    Loader(#[from] LoaderError),
    /// The images do not fit the network.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The caller's callback said to stop.
    #[error("the scoring was stopped")]
    Stopped,
    /// The network's output is NaN or infinite.
    #[error(
        "the network's output is not finite for {count} of {total} images, such as {}: its \
         weights are too large, or its training diverged",
        shown(path)
    )]
    NotFinite {
        /// The first such image.
        path: PathBuf,
        /// How many such images there are.
        count: usize,
        /// All images.
        total: usize,
    },
    /// There is nothing to score.
    #[error("no images to score")]
    NoImages,
}

impl EvaluateError {
    /// Whether it only says that another rank failed.
    #[must_use]
    pub fn is_of_peer(&self) -> bool {
        matches!(self, Self::Engine(error) if error.is_of_peer())
    }
}

/// A model's scores on labelled images.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The scores.
    pub evaluation: Evaluation,
    /// The prediction for each image, in their order.
    pub predictions: Vec<Prediction>,
    /// Their logits, as far as they are kept.
    pub logits: LogitSample,
}

/// Gathers a [`Scored`] batch by batch.
pub struct Scorer<'a> {
    classes: &'a [String],
    evaluator: Evaluator,
    predictions: Vec<Prediction>,
    logits: LogitSample,
}

impl<'a> Scorer<'a> {
    /// One that has seen no image, for a network with these classes and up to `images` images.
    #[must_use]
    pub fn new(classes: &'a [String], images: usize) -> Self {
        Self {
            classes,
            evaluator: Evaluator::new(classes.to_vec()),
            predictions: Vec::new(),
            logits: LogitSample::new(images, classes.len()),
        }
    }

    /// Adds a batch's logits `[N, classes]`.
    pub fn add<'b>(&mut self, logits: &[f32], samples: impl Iterator<Item = &'b Sample>) {
        let mut labels = Vec::new();
        for (row, sample) in logits.chunks_exact(self.classes.len()).zip(samples) {
            self.logits.set(self.predictions.len(), sample.label, row.iter().copied());
            self.predictions.push(Prediction::new(
                &sample.path,
                sample.label as usize,
                row,
                self.classes,
            ));
            labels.push(sample.label);
        }
        self.evaluator.add(logits, &labels);
    }

    /// The scores.
    ///
    /// # Errors
    /// If there was no image.
    pub fn finish(self) -> Result<Scored, EvaluateError> {
        let evaluation = self.evaluator.finish().map_err(|_| EvaluateError::NoImages)?;
        Ok(Scored { evaluation, predictions: self.predictions, logits: self.logits })
    }
}

/// Refuses images for which the network gave no finite numbers. Takes each image's path and whether
/// it is one.
///
/// # Errors
/// [`EvaluateError::NotFinite`].
pub(crate) fn check_finite<'a>(
    images: impl Iterator<Item = (&'a Path, bool)>,
) -> Result<(), EvaluateError> {
    let (mut total, mut count, mut first) = (0, 0, None);
    for (path, is_one) in images {
        total += 1;
        if is_one {
            count += 1;
            first.get_or_insert(path);
        }
    }
    match first {
        Some(path) => Err(EvaluateError::NotFinite { path: path.to_owned(), count, total }),
        None => Ok(()),
    }
}

/// Scores `samples`, whose labels are places in `classes`. `progress` is called with the images
/// done and says whether to continue.
///
/// # Errors
/// If an image cannot be read, there is none, or `progress` says to stop.
pub fn evaluate(
    engine: &mut dyn Engine,
    samples: &Arc<[Sample]>,
    classes: &[String],
    options: LoaderOptions,
    progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Scored, EvaluateError> {
    let mut scorer = Scorer::new(classes, samples.len());
    let mut done = 0;
    for_each_batch(engine, samples, options, &mut |logits, _, places| {
        scorer.add(logits, places.iter().map(|&place| &samples[place as usize]));
        done += places.len();
        progress(done)
    })?;
    scorer.finish()
}

/// Takes a batch's logits `[N, classes]`, labels `[N]` and places in the list of samples `[N]`, and
/// says whether to continue.
pub type TakeBatch<'a> = dyn FnMut(&[f32], &[u32], &[u32]) -> ControlFlow<()> + 'a;

/// Runs the network over `samples` in order and hands over each batch's logits `[N, classes]`,
/// labels and places in `samples`. If there are several ranks, each loads and computes its share of
/// every batch, which has as many times more images, and all of them get all logits.
///
/// # Errors
/// If an image cannot be read, or `take` says to stop, in any rank.
pub fn for_each_batch(
    engine: &mut dyn Engine,
    samples: &Arc<[Sample]>,
    options: LoaderOptions,
    take: &mut TakeBatch<'_>,
) -> Result<(), EvaluateError> {
    let order = (0..samples.len() as u32).collect();
    let normalisation = options.preprocessing.normalisation();
    let options = shared_out(options, engine.share());
    let mut loader = Loader::start(Arc::clone(samples), order, options);
    while let Some(batch) = loader.next() {
        let batch = agreed(engine, batch)?;
        let input = Input { part: batch.part, ..Input::pixels(&batch.pixels, normalisation) };
        let logits = engine.evaluate(input, batch.labels.len())?;
        let flow = take(&logits, &batch.labels, &batch.indices);
        loader.recycle(batch);
        if engine.any_rank(flow.is_break()) {
            return Err(EvaluateError::Stopped);
        }
    }
    Ok(())
}

/// How each of several ranks loads its share of batches that are as many times larger.
pub(crate) fn shared_out(options: LoaderOptions, share: Share) -> LoaderOptions {
    LoaderOptions { batch_size: options.batch_size.saturating_mul(share.size), share, ..options }
}

/// A rank's result, if no rank has failed. All ranks ask together.
pub(crate) fn agreed<T>(
    engine: &mut dyn Engine,
    result: Result<T, LoaderError>,
) -> Result<T, EvaluateError> {
    let has_failed = engine.any_rank(result.is_err());
    let value = result?;
    if has_failed { Err(EngineError::Peer.into()) } else { Ok(value) }
}
