//! The end of a run: the final scores, the proof that frozen layers are unchanged, and the summary.

use super::observer::{Halt, Observer};
use super::state::{BEST, Scores};
use super::{Finished, Run, TrainError, usefulness};
use crate::config::{BatchNormMode, Freeze, TrainConfig};
use crate::evaluate::{Scored, check_finite};
use crate::metrics::Evaluation;
use crate::model::Model;
use crate::note::{Note, NoteKind};
use crate::progress::Part;
use crate::report::epochs::EpochRow;
use crate::report::summary::Summary;
use crate::run_folder::MODEL;
use crate::transfer;
use crate::transfer::frozen::{FrozenProof, SourceName, prove_frozen};
use std::path::Path;

/// The scores of the network that a run leaves.
pub(super) struct FinalScores {
    /// The epoch that it is from.
    kept: EpochRow,
    /// On the test images, if there are any.
    test: Option<Evaluation>,
}

impl Run<'_, '_> {
    /// Scores the network that the run leaves. The test images are scored once, here; they never
    /// choose anything.
    pub(super) fn score(&mut self) -> Result<FinalScores, Halt> {
        let Self { config, state, trainer, observer, .. } = self;
        if state.epoch < config.epoch_count() {
            let best = state.best.map_or(0, |best| best.epoch);
            let text = format!(
                "the run ends after epoch {}: none of the last epochs was better than epoch {best}",
                state.epoch
            );
            observer.note_in(state, NoteKind::EarlyEnd, text);
        }
        let kept = state.best_row().cloned().ok_or(TrainError::NoEpoch)?;
        if let Some(warning) = usefulness::warning(&kept, trainer.pictures.classes.len()) {
            observer.note_in(state, NoteKind::Warning, warning);
        }
        let last = std::mem::take(&mut state.last_scores);
        let mut last = if kept.epoch == state.epoch { last } else { Scores::default() };
        if config.refit && !trainer.pictures.validation.is_empty() {
            // A head that has seen the held-out images says nothing about how well it does on them.
            if trainer.pictures.test.is_empty() && last.validation.is_none() {
                last.validation = self.score_best(Part::Validation)?;
            }
            last.test = None;
            self.trainer.refit(&mut self.state, self.observer)?;
            self.record_model(None)?;
        }
        let test = match last.test {
            Some(test) => Some(test),
            None => {
                let test = self.score_finite(Part::Test)?;
                if let Some(test) = &test {
                    self.record_model(Some(test.evaluation.accuracy))?;
                }
                test
            }
        };
        let (test, predictions) = match (test, last.validation) {
            (Some(test), _) => (Some(test.evaluation), test.predictions),
            // Without a test set, the validation images show what the model gets wrong.
            (None, Some(validation)) => (None, validation.predictions),
            (None, None) => {
                let validation = self.score_finite(Part::Validation)?;
                (None, validation.map(|validation| validation.predictions).unwrap_or_default())
            }
        };
        self.recorder.predictions(&predictions)?;
        // A temperature of 1 changes nothing.
        if let Some(found) = self.state.temperature.filter(|found| found.temperature != 1.0) {
            self.observer.note_in(&mut self.state, NoteKind::Temperature, found.note());
        }
        Ok(FinalScores { kept, test })
    }

    /// Scores a part's images with the network that the run leaves.
    fn score_best(&mut self, part: Part) -> Result<Option<Scored>, Halt> {
        if let Some(best) = self.state.tensors.get(BEST) {
            self.trainer.engine.load_state(best)?;
        }
        self.trainer.score(part, self.observer)
    }

    /// As [`Self::score_best`]; outputs that are not finite are an error.
    fn score_finite(&mut self, part: Part) -> Result<Option<Scored>, Halt> {
        let scored = self.score_best(part)?;
        let rows = scored.iter().flat_map(|scored| &scored.predictions);
        check_finite(rows.map(|row| (Path::new(&row.path), row.predicted.is_none())))?;
        Ok(scored)
    }

    /// Proves that frozen layers are unchanged, and sums the run up.
    pub(super) fn finish(self, scores: FinalScores) -> Result<Finished, Halt> {
        let Self { config, identity, trainer, mut state, mut model, mut recorder, .. } = self;
        let FinalScores { kept, test } = scores;
        let folder = recorder.folder();
        let device = trainer.engine.device();
        let pictures = trainer.pictures;
        // The proof reads two models. The engine and the state make room for them.
        drop(trainer);
        let best = state.tensors.remove(BEST).unwrap_or_default();
        state.tensors.clear();
        let frozen = match &folder {
            Some(folder) => {
                drop(best);
                // The first rank has the file.
                let proof = if self.observer.ranks.is_first() {
                    prove(config, &model, &folder.join(MODEL), kept.epoch, self.observer)
                } else {
                    Ok(None)
                };
                self.observer.agree(proof)?
            }
            None => {
                model.state = best;
                None
            }
        };
        let last = state.rows.last().unwrap_or(&kept);
        let skipped = pictures.skipped.iter().map(|error| error.path.display().to_string());
        let summary = Summary {
            train_loss: Some(last.train_loss).filter(|loss| loss.is_finite()),
            train_accuracy: Some(last.train_accuracy),
            val_accuracy: kept.validation_accuracy,
            test_accuracy: test.as_ref().map(|test| test.accuracy),
            test_loss: test.as_ref().and_then(|test| test.loss),
            best_epoch: kept.epoch,
            images_per_second: state.images as f64 / state.seconds,
            wall_seconds: state.earlier_seconds + self.started.elapsed().as_secs_f64(),
            device,
            instruction_set: identity.instruction_set.clone(),
            precision: identity.precision.clone(),
            seed: config.seed,
            classes: model.classes.clone(),
            architecture: model.architecture().to_owned(),
            image_size: model.preprocessing.image_size,
            epochs: state.epoch,
            optimizer_steps: state.steps_done,
            train_images: pictures.train.len() as u64,
            val_images: pictures.validation.len() as u64,
            test_images: pictures.test.len() as u64,
            trained_parameters: self.parameters.0 as u64,
            total_parameters: self.parameters.1 as u64,
            head_reuse: self.matches,
            frozen,
            skipped_images: skipped.collect(),
            regraft_version: env!("CARGO_PKG_VERSION").into(),
            notes: state.notes.iter().map(ToString::to_string).collect(),
            temperature: state.temperature,
            head_fit: state.head_fit,
        };
        recorder.summary(&summary)?;
        let model = folder.is_none().then_some(model);
        Ok(Finished { folder, summary, test, model, had_ended: false })
    }
}

/// Proves that the layers that stayed frozen up to the kept epoch are the same in the model file as
/// in the source.
fn prove(
    config: &TrainConfig,
    model: &Model,
    file: &Path,
    kept_epoch: u32,
    observer: &mut Observer<'_>,
) -> Result<Option<FrozenProof>, TrainError> {
    let freeze = config.freeze.as_ref().unwrap_or(&Freeze::None);
    let frozen = match kept_epoch.checked_sub(1) {
        Some(epoch) => transfer::frozen_nodes(&model.graph, freeze, epoch)?,
        // Only the head was fitted.
        None => model.graph.backbone(),
    };
    let statistics = config.batch_norm == Some(BatchNormMode::Running);
    if frozen == 0 && !statistics {
        return Ok(None);
    }
    let source = SourceName {
        model: config.model.as_deref(),
        weights: config.weights.as_ref(),
        seed: config.seed,
    };
    if source.is_file(file) {
        let text = "the run has replaced its source, so frozen layers cannot be compared with it";
        observer.note(Note::new(NoteKind::Source, text));
        return Ok(None);
    }
    Ok(Some(prove_frozen(source, file, &model.graph, frozen, statistics)?))
}
