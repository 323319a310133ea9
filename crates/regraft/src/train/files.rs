//! The files of a run: its model, metrics, curves and summary.

use super::TrainError;
use super::identity::Identity;
use super::state::{BEST, TrainState};
use crate::config::{Keep, TrainConfig};
use crate::metrics::Evaluation;
use crate::model::{Metrics, Model, ModelError, json, keys};
use crate::pictures::Pictures;
use crate::report::epochs::EpochRow;
use crate::report::summary::Summary;
use crate::report::{curves, epochs, strengths};
use crate::run_folder::RunFolder;
use crate::transfer::frozen::FrozenProof;
use crate::transfer::labels::LabelMatch;

/// The row of the epoch whose weights the run would leave.
pub(super) fn row_of_best(state: &TrainState) -> Option<&EpochRow> {
    state.rows.iter().find(|row| state.best.is_some_and(|best| best.epoch == row.epoch))
}

/// Writes the model file with the network that the state holds as its best, whose epoch has this
/// row.
pub(super) fn write_model(
    folder: &RunFolder,
    model: &mut Model,
    state: &TrainState,
    row: &EpochRow,
    test_accuracy: Option<f64>,
) -> Result<(), ModelError> {
    let metrics =
        Metrics { epoch: row.epoch, val_accuracy: row.validation_accuracy, test_accuracy };
    model.metadata.insert(keys::METRICS.into(), json(&metrics));
    match state.tensors.get(BEST) {
        Some(best) => model.save_with(best, &folder.model()),
        None => Ok(()),
    }
}

/// Writes the epochs that are over as rows and as a picture.
pub(super) fn write_progress(
    folder: &RunFolder,
    config: &TrainConfig,
    state: &TrainState,
) -> Result<(), TrainError> {
    epochs::write_epochs(&folder.metrics(), &state.rows)?;
    let name = folder
        .path()
        .file_name()
        .map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
    let marked = state.best.filter(|_| config.keep == Keep::Best).map(|best| best.epoch);
    match (&state.head_fit, state.rows.len()) {
        (_, 0) => {}
        // One point is no curve; how the head was fitted is.
        (Some(fit), 1) if config.epoch_count() == 0 && fit.chosen().is_some() => {
            strengths::write_strengths(&folder.curves(), &name, fit)?
        }
        _ => curves::write_curves(&folder.curves(), &name, &state.rows, marked)?,
    }
    Ok(())
}

/// What a summary says beside what state and configuration hold.
pub(super) struct Ended<'a> {
    pub config: &'a TrainConfig,
    pub model: &'a Model,
    pub pictures: &'a Pictures,
    pub identity: &'a Identity,
    /// The row of the epoch whose weights the run leaves.
    pub kept: &'a EpochRow,
    pub test: Option<&'a Evaluation>,
    /// Parameters that learned, and all.
    pub parameters: (usize, usize),
    pub head_reuse: Vec<LabelMatch>,
    pub frozen: Option<FrozenProof>,
    pub device: String,
    pub wall_seconds: f64,
}

/// The outcome of a run whose state this is at its end.
pub(super) fn summary(state: TrainState, ended: &Ended<'_>) -> Summary {
    let Ended { config, model, pictures, kept, .. } = ended;
    let last = state.rows.last().unwrap_or(kept);
    Summary {
        train_loss: Some(last.train_loss).filter(|loss| loss.is_finite()),
        train_accuracy: Some(last.train_accuracy),
        val_accuracy: kept.validation_accuracy,
        test_accuracy: ended.test.map(|test| test.accuracy),
        test_loss: ended.test.and_then(|test| test.loss),
        best_epoch: kept.epoch,
        images_per_second: state.images as f64 / state.seconds,
        wall_seconds: ended.wall_seconds,
        device: ended.device.clone(),
        instruction_set: ended.identity.instruction_set.clone(),
        precision: ended.identity.precision.clone(),
        seed: config.seed,
        classes: model.classes.clone(),
        architecture: model.architecture().to_owned(),
        image_size: model.preprocessing.image_size,
        epochs: state.epoch,
        optimizer_steps: state.steps_done,
        train_images: pictures.train.len() as u64,
        val_images: pictures.validation.len() as u64,
        test_images: pictures.test.len() as u64,
        trained_parameters: ended.parameters.0 as u64,
        total_parameters: ended.parameters.1 as u64,
        head_fit: state.head_fit,
        head_reuse: ended.head_reuse.clone(),
        frozen: ended.frozen,
        skipped_images: pictures
            .skipped
            .iter()
            .map(|error| error.path.display().to_string())
            .collect(),
        regraft_version: env!("CARGO_PKG_VERSION").into(),
        notes: state.notes,
    }
}
