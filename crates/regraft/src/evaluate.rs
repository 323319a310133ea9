//! Scores a network on labelled pictures.

use crate::metrics::{Evaluation, Evaluator};
use regraft_data::catalogue::Sample;
use regraft_data::loader::{Loader, LoaderError, LoaderOptions};
use regraft_nn::engine::{Engine, EngineError};
use std::sync::Arc;

/// Pictures in an evaluation step: enough to keep all cores busy, few enough to need little memory.
pub const EVALUATION_BATCH: usize = 32;

/// An evaluation that could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// A picture could not be had.
    #[error(transparent)]
    Loader(#[from] LoaderError),
    /// The pictures do not fit the network.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is nothing to score.
    #[error("there are no pictures to score")]
    NoImages,
}

/// Scores `samples`, whose labels are places in `classes`. `progress` is called with the pictures done.
///
/// # Errors
/// When a picture cannot be read, or there is none.
pub fn evaluate(
    engine: &mut dyn Engine,
    samples: &Arc<[Sample]>,
    classes: &[String],
    options: LoaderOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation, EvaluateError> {
    let mut evaluator = Evaluator::new(classes.to_vec());
    let mut done = 0;
    for_each_batch(engine, samples, options, &mut |logits, labels, _| {
        evaluator.add(logits, labels);
        done += labels.len();
        progress(done);
    })?;
    evaluator.finish().map_err(|_| EvaluateError::NoImages)
}

/// Takes a batch's logits `[N, classes]`, labels `[N]` and places in the list of samples `[N]`.
pub type TakeBatch<'a> = dyn FnMut(&[f32], &[u32], &[u32]) + 'a;

/// Runs the network over `samples` in order and hands over each batch's logits `[N, classes]`, labels and places in `samples`.
///
/// # Errors
/// When a picture cannot be read.
pub fn for_each_batch(
    engine: &mut dyn Engine,
    samples: &Arc<[Sample]>,
    options: LoaderOptions,
    take: &mut TakeBatch<'_>,
) -> Result<(), EvaluateError> {
    let order = (0..samples.len() as u32).collect();
    let mut loader = Loader::start(Arc::clone(samples), order, options);
    while let Some(batch) = loader.next() {
        let batch = batch?;
        let logits = engine.evaluate(&batch.images, batch.labels.len())?;
        take(&logits, &batch.labels, &batch.indices);
        loader.recycle(batch);
    }
    Ok(())
}
