//! Scores a finished model on a folder of labelled images.

use crate::class_names::labelled_folder;
use crate::evaluate::{Scored, check_finite, evaluate};
use crate::inference::{self, InferenceError, InferenceOptions};
use crate::model::Model;
use crate::pictures::{ignored_note, left_out_notes, reduced_note, truncated_note};
use crate::progress::{Progress, Stage};
use regraft_data::catalogue::Sample;
use regraft_data::decode::DecodeError;
use regraft_data::verify::Verified;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// A model's scores on a folder.
#[derive(Debug)]
pub struct FolderEvaluation {
    /// The scores.
    pub scored: Scored,
    /// Images left out because they could not be read.
    pub skipped: Vec<DecodeError>,
    /// Notes on the folder, such as the files that were ignored.
    pub notes: Vec<String>,
    /// The device, in words.
    pub device: String,
}

/// Scores a model on a folder that holds a folder for each class (see
/// [`ClassNames::find`](crate::class_names::ClassNames::find) for what the folders may be called).
/// All files are checked before the network runs.
///
/// # Errors
/// If the folder or a file cannot be used, or a class folder means no class of the model.
pub fn evaluate_folder(
    model: &Model,
    folder: &Path,
    options: &InferenceOptions,
    report: &mut (dyn FnMut(Progress) + Send),
) -> Result<FolderEvaluation, InferenceError> {
    let mut listed = labelled_folder(folder, model.class_names())?;
    let mut engine = inference::engine(
        model,
        &options.device,
        options.threads,
        options.precision,
        &options.ranks,
    )?;
    let paths: Vec<&Path> = listed.samples.iter().map(|sample| sample.path.as_path()).collect();
    let (Verified { unreadable: skipped, truncated, reduced }, loading) =
        inference::check(model, &paths, options, report)?;
    let bad = inference::unreadable(&skipped);
    listed.samples.retain(|sample| !bad.contains(sample.path.as_path()));
    let samples: Arc<[Sample]> = listed.samples.into();
    let total = samples.len();
    let mut progress = |done| {
        report(Progress::of(Stage::Running, done, total));
        ControlFlow::Continue(())
    };
    let scored = evaluate(&mut *engine, &samples, &model.classes, loading, &mut progress)?;
    check_finite(
        scored.predictions.iter().map(|row| (Path::new(&row.path), row.predicted.is_none())),
    )?;
    let notes = model.notes.iter().cloned().chain(listed.notes);
    let notes = notes
        .chain(ignored_note(&listed.ignored))
        .chain(left_out_notes(&skipped))
        .chain(truncated_note(&truncated))
        .chain(reduced_note(reduced))
        .collect();
    Ok(FolderEvaluation { scored, notes, device: engine.device(), skipped })
}
