//! The most probable classes of single images.

use crate::evaluate::{EvaluateError, check_finite, for_each_batch};
use crate::inference::{self, InferenceError, InferenceOptions};
use crate::metrics::top_k;
use crate::model::Model;
use crate::progress::{Progress, Stage};
use regraft_data::catalogue::Sample;
use regraft_data::decode::DecodeError;
use regraft_data::loader::LoaderOptions;
use regraft_data::verify::Verified;
use regraft_nn::engine::Engine;
use serde::{Serialize, Serializer};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A class with its probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Guess {
    /// The class's name.
    pub class: String,
    /// Softmax of its logit, from 0 to 1.
    pub probability: f32,
}

/// The prediction for one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The file. In JSON, what is not Unicode in its name is replaced.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// The most probable classes, the most probable first. Empty where the network's output is not
    /// finite.
    pub top: Vec<Guess>,
}

fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// A model's predictions for a list of files.
#[derive(Debug)]
pub struct Predictions {
    /// One for each file that could be read, in the files' order.
    pub predictions: Vec<Prediction>,
    /// Files left out because they could not be read.
    pub skipped: Vec<DecodeError>,
    /// Truncated or damaged files, which were used as far as they could be decoded.
    pub truncated: Vec<PathBuf>,
    /// Large JPEGs that were decoded at a part of their size.
    pub reduced: usize,
}

/// The `top` most probable classes of each file. All files are checked before the network runs.
///
/// # Errors
/// If a file cannot be read and the options say to stop.
pub fn predict_files(
    model: &Model,
    paths: &[PathBuf],
    top: usize,
    options: &InferenceOptions,
    report: &mut (dyn FnMut(Progress) + Send),
) -> Result<Predictions, InferenceError> {
    let mut engine = inference::engine(
        model,
        &options.device,
        options.threads,
        options.precision,
        &options.ranks,
    )?;
    let all: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let (Verified { unreadable: skipped, truncated, reduced }, loading) =
        inference::check(model, &all, options, report)?;
    let bad = inference::unreadable(&skipped);
    let readable: Vec<PathBuf> =
        paths.iter().filter(|path| !bad.contains(path.as_path())).cloned().collect();
    let total = readable.len();
    let mut progress = |done| report(Progress::of(Stage::Running, done, total));
    let predictions =
        predict(&mut *engine, &readable, &model.classes, top, loading, &mut progress)?;
    check_finite(
        predictions.iter().map(|prediction| (prediction.path.as_path(), prediction.top.is_empty())),
    )?;
    Ok(Predictions { predictions, skipped, truncated, reduced })
}

/// The `top` most probable classes of each file, in the files' order.
///
/// # Errors
/// If a file cannot be read.
pub fn predict(
    engine: &mut dyn Engine,
    paths: &[PathBuf],
    classes: &[String],
    top: usize,
    options: LoaderOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Prediction>, EvaluateError> {
    let samples: Arc<[Sample]> =
        paths.iter().map(|path| Sample { path: path.clone(), label: 0 }).collect();
    let mut predictions = Vec::with_capacity(paths.len());
    for_each_batch(engine, &samples, options, &mut |logits, _, indices| {
        for (row, &index) in logits.chunks_exact(classes.len()).zip(indices) {
            let guesses = top_k(row, top).into_iter();
            let top = guesses
                .map(|(class, probability)| Guess { class: classes[class].clone(), probability })
                .collect();
            predictions.push(Prediction { path: paths[index as usize].clone(), top });
        }
        progress(predictions.len());
        ControlFlow::Continue(())
    })?;
    Ok(predictions)
}
