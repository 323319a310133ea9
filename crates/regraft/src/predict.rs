//! The most probable classes of single pictures.

use crate::evaluate::{EvaluateError, for_each_batch};
use crate::metrics::top_k;
use regraft_data::catalogue::Sample;
use regraft_data::loader::LoaderOptions;
use regraft_nn::engine::Engine;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// A class with its probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Guess {
    /// The class's name.
    pub class: String,
    /// Softmax of its logit, from 0 to 1.
    pub probability: f32,
}

/// What the network says of one picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The file.
    pub path: PathBuf,
    /// The most probable classes, the most probable first. Empty where the network's output is not finite.
    pub top: Vec<Guess>,
}

/// The `top` most probable classes of each file, in the files' order.
///
/// # Errors
/// When a file cannot be read.
pub fn predict(
    engine: &mut dyn Engine,
    paths: &[PathBuf],
    classes: &[String],
    top: usize,
    options: LoaderOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Prediction>, EvaluateError> {
    let samples: Arc<[Sample]> = paths.iter().map(|path| Sample { path: path.clone(), label: 0 }).collect();
    let mut predictions = Vec::with_capacity(paths.len());
    for_each_batch(engine, &samples, options, &mut |logits, _, indices| {
        for (row, &index) in logits.chunks_exact(classes.len()).zip(indices) {
            let guesses = top_k(row, top).into_iter();
            let top = guesses.map(|(class, probability)| Guess { class: classes[class].clone(), probability }).collect();
            predictions.push(Prediction { path: paths[index as usize].clone(), top });
        }
        progress(predictions.len());
    })?;
    Ok(predictions)
}
