//! The training run, from a folder of pictures to a run folder. [`train`] reads from top to bottom.

mod automatic;
mod average;
mod budget;
pub mod checkpoint;
mod curvature;
pub mod data_list;
mod epoch;
mod error;
mod events;
mod feed;
mod files;
mod first_step;
mod fit;
pub mod identity;
pub mod lr_find;
mod mix;
pub mod preview;
mod rate_test;
mod resume;
mod setup;
pub mod state;
mod trial;
mod usefulness;

pub use error::{Divergence, RefusedStep, TrainError};
pub use events::{Event, Outcome, Output, Start, StepReport};

use crate::atomic_file;
use crate::config::{BatchNormMode, Freeze, HeadStart, Keep, OnNan, TrainConfig};
use crate::evaluate::{Scored, check_finite};
use crate::model::Model;
use crate::pictures::Pictures;
use crate::predictions::write_predictions;
use crate::report::summary::write_summary;
use crate::run_folder::{RunFolder, run_name};
use crate::transfer;
use crate::transfer::frozen::{FrozenProof, SourceName, prove_frozen};
use automatic::Decision;
use budget::Plan;
use epoch::Trainer;
use feed::{Feed, Part};
use files::{Ended, row_of_best, summary, write_model, write_progress};
use regraft_nn::engine::Engine;
use resume::{Beginning, Saver, begin, go_back};
use setup::{Setup, set_up};
use state::{BEST, Best, Scores, TrainState};
use std::path::Path;
use std::time::Instant;

/// Fine-tunes a source model on the pictures of a folder, or goes on with a run that was
/// interrupted.
///
/// # Errors
/// When an option, the folder, a picture or the weight file is wrong, before anything is written;
/// or when the training diverges, a file cannot be written, or the run was asked to stop.
pub fn train(
    config: &TrainConfig,
    output: &Output,
    report: &mut (dyn FnMut(Event<'_>) + Send),
) -> Result<Outcome, TrainError> {
    let started = Instant::now();
    let beginning = begin(config, output)?;
    if let Beginning::Ended(outcome) = beginning {
        return Ok(*outcome);
    }
    let cache = config.cache_images.cache();
    let is_new = matches!(beginning, Beginning::New);
    let (config, plan, checked, fitted) = match output.budget {
        None if is_new && config.decides_depth() => {
            let Decision { config, note, fitted } =
                automatic::decide(config, None, &|_, _| true, cache.as_ref(), report)?;
            let (checked, fitted) = fitted.unzip();
            (config, Some(note), checked, fitted)
        }
        None => (config.clone(), None, None, None),
        Some(budget) => {
            let Plan { config, note, checked, fitted } =
                budget::plan(config, budget, started, cache.as_ref(), report)?;
            (config, Some(note), checked, fitted)
        }
    };
    plan.iter().for_each(|note| report(Event::Note(note)));
    let Setup {
        config,
        source,
        pictures,
        data_list,
        notes,
        identity,
        loading,
        engine,
        mut model,
        parameters,
        matches,
        prior,
    } = set_up(&config, cache.as_ref(), checked, report)?;
    let (feed, mut engine) = Feed::new(&config, engine, &pictures, &loading)?;
    let start = (config.on_nan == OnNan::Retry).then(|| engine.state());
    let (folder, mut state) = match beginning {
        Beginning::Resumed(resumed) => {
            let (folder, state) =
                resumed.restore(&config, &identity, &data_list, &mut *engine, report)?;
            write_restored(&folder, &config, &mut model, &state)?;
            (folder, state)
        }
        Beginning::Over(folder, note) => {
            (folder, TrainState::new(notes.into_iter().chain([note]).collect()))
        }
        _ => {
            let name = run_name(&config.data)?;
            let (folder, renamed) =
                RunFolder::create(&output.parent, &name, output.folder.as_deref(), output.force)?;
            (folder, TrainState::new(notes.into_iter().chain(renamed).collect()))
        }
    };
    state.notes.iter().for_each(|note| report(Event::Note(note)));
    state.notes.extend(plan);
    atomic_file::write(&folder.config(), config.to_toml()?.as_bytes())?;
    data_list.write(&folder.data())?;
    if state.rows.is_empty() {
        write_progress(&folder, &config, &state)?;
    }
    report(Event::Started(&Start {
        folder: folder.path().to_owned(),
        source,
        classes: pictures.classes.clone(),
        images: [pictures.train.len(), pictures.validation.len(), pictures.test.len()],
        parameters,
        device: engine.device(),
    }));

    let mut saver = Saver::new(&folder, &identity, &*engine, config.checkpoint_every.0, started)?;
    let mut trainer = Trainer::new(&config, &mut *engine, &pictures, feed, &output.stop);
    trainer.prior = prior;
    trainer.fitted = fitted;
    let begins = state.steps_done == 0 && state.rows.is_empty();
    if begins && config.head_start() == HeadStart::Fit {
        match trainer.fit_head(&mut state, report) {
            Ok(out_of_fold) => {
                if let Some(predictions) = out_of_fold {
                    write_predictions(&folder.out_of_fold(), &predictions)?;
                }
                end_epoch(&config, &mut trainer, &mut state, &folder, &mut model, report)?;
                trainer.prepare_steps(&mut state, report)?;
            }
            Err(error) if error.is_stop() => {
                saver.save(trainer.engine, &state)?;
                return Err(stopped(&folder, &state, &config, &pictures));
            }
            Err(error) => return Err(error),
        }
    }
    if begins && (config.head_start() == HeadStart::Fit || start.is_some()) {
        saver.save(trainer.engine, &state)?;
    }
    while state.epoch < config.epoch_count() && !is_out_of_patience(&config, &state) {
        let mut after_step =
            |engine: &dyn Engine, state: &TrainState| saver.save_where_due(engine, state);
        match (trainer.run_epoch(&mut state, &mut after_step, report), &start) {
            (Ok(()), _) => {}
            (Err(error), _) if error.is_stop() => {
                saver.save(trainer.engine, &state)?;
                return Err(stopped(&folder, &state, &config, &pictures));
            }
            (Err(TrainError::Diverged(divergence)), Some(start)) if state.retries == 0 => {
                state = go_back(&folder, *divergence, start, trainer.engine)?;
                write_restored(&folder, &config, &mut model, &state)?;
                saver.save(trainer.engine, &state)?;
                report(Event::Note(state.notes.last().map_or("", String::as_str)));
                continue;
            }
            (Err(error), _) => {
                if matches!(
                    error,
                    TrainError::Loader(_) | TrainError::Evaluate(_) | TrainError::Features(_)
                ) {
                    // The steps before are good. Should they not be saved either, the first error
                    // is the one to report.
                    let _ = saver.save(trainer.engine, &state);
                }
                return Err(name_kept_model(error, &folder, &state));
            }
        }
        end_epoch(&config, &mut trainer, &mut state, &folder, &mut model, report)?;
        saver.save(trainer.engine, &state)?;
    }

    if state.epoch < config.epoch_count() {
        let note = format!(
            "the run ends after epoch {}: none of the last epochs was better than epoch {}",
            state.epoch,
            state.best.map_or(0, |best| best.epoch)
        );
        report(Event::Note(&note));
        state.notes.push(note);
    }
    // The test pictures are scored once, with the weights that the run leaves; they never choose
    // anything.
    let kept = row_of_best(&state).cloned().ok_or(TrainError::NoEpoch)?;
    if let Some(warning) = usefulness::warning(&kept, pictures.classes.len()) {
        report(Event::Note(&warning));
        state.notes.push(warning);
    }
    let last = std::mem::take(&mut state.last_scores);
    let mut last = if kept.epoch == state.epoch { last } else { Scores::default() };
    if config.refit && !pictures.validation.is_empty() {
        // A head that has seen the held-out images says nothing of how well it does on them.
        if pictures.test.is_empty() && last.validation.is_none() {
            let scored = score_best(&mut trainer, &state, Part::Validation, report);
            last.validation =
                scored.map_err(|error| name_stop(error, &folder, &state, &config, &pictures))?;
        }
        last.test = None;
        let refitted = trainer.refit(&mut state, report);
        refitted.map_err(|error| name_stop(error, &folder, &state, &config, &pictures))?;
        write_model(&folder, &mut model, &state, &kept, None)?;
    }
    let mut score = |part| {
        let scored = score_best(&mut trainer, &state, part, report);
        let scored =
            scored.map_err(|error| name_stop(error, &folder, &state, &config, &pictures))?;
        let rows = scored.iter().flat_map(|scored| &scored.predictions);
        check_finite(rows.map(|row| (Path::new(&row.path), row.predicted.is_none())))?;
        Ok::<_, TrainError>(scored)
    };
    let test = match last.test {
        Some(test) => Some(test),
        None => {
            let test = score(Part::Test)?;
            if let Some(test) = &test {
                write_model(&folder, &mut model, &state, &kept, Some(test.evaluation.accuracy))?;
            }
            test
        }
    };
    let (test, predictions) = match (test, last.validation) {
        (Some(test), _) => (Some(test.evaluation), test.predictions),
        // Without test pictures the validation pictures show what the model gets wrong.
        (None, Some(validation)) => (None, validation.predictions),
        (None, None) => (
            None,
            score(Part::Validation)?.map(|validation| validation.predictions).unwrap_or_default(),
        ),
    };
    write_predictions(&folder.predictions(), &predictions)?;
    // The proof reads two models: what has done its work makes room for them.
    let device = trainer.engine.device();
    drop(trainer);
    drop(engine);
    state.tensors.clear();
    let frozen = prove(&config, &model, &folder, kept.epoch, report)?;
    let ended = Ended {
        config: &config,
        model: &model,
        pictures: &pictures,
        identity: &identity,
        kept: &kept,
        test: test.as_ref(),
        parameters,
        head_reuse: matches,
        frozen,
        device,
        wall_seconds: state.earlier_seconds + started.elapsed().as_secs_f64(),
    };
    let summary = summary(state, &ended);
    write_summary(&folder.summary(), &summary)?;
    Ok(Outcome { folder: folder.path().to_owned(), summary, test, had_ended: false })
}

/// Whether so many epochs were not better than the best that another one is not worth its time.
fn is_out_of_patience(config: &TrainConfig, state: &TrainState) -> bool {
    let without_gain = state.best.map_or(0, |best| state.epoch.saturating_sub(best.epoch));
    config.patience.is_some_and(|patience| without_gain >= patience.get())
}

/// Keeps the network after an epoch if it is the best so far, and writes the files that grow.
fn end_epoch(
    config: &TrainConfig,
    trainer: &mut Trainer<'_>,
    state: &mut TrainState,
    folder: &RunFolder,
    model: &mut Model,
    report: &mut (dyn FnMut(Event<'_>) + Send),
) -> Result<(), TrainError> {
    let Some(row) = state.rows.last().cloned() else { return Err(TrainError::NoEpoch) };
    let kept = config.keep == Keep::Last || state.best.is_none_or(|best| best.is_beaten_by(&row));
    if kept {
        state.best = Some(Best::of(&row));
        let network = average::kept_network(state, trainer.engine);
        state.tensors.insert(BEST.into(), network);
        write_model(folder, model, state, &row, row.test_accuracy)?;
    }
    write_progress(folder, config, state)?;
    report(Event::Epoch { row: &row, epochs: config.epoch_count(), kept });
    Ok(())
}

/// Proves that what was frozen up to the epoch that the run leaves is in its model file as it is in
/// the source.
fn prove(
    config: &TrainConfig,
    model: &Model,
    folder: &RunFolder,
    best_epoch: u32,
    report: &mut (dyn FnMut(Event<'_>) + Send),
) -> Result<Option<FrozenProof>, TrainError> {
    let freeze = config.freeze.as_ref().unwrap_or(&Freeze::None);
    let frozen = match best_epoch.checked_sub(1) {
        Some(epoch) => transfer::frozen_nodes(&model.graph, freeze, epoch)?,
        // Nothing but the fitted head.
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
    if source.is_file(&folder.model()) {
        report(Event::Note(
            "the run has replaced its source, so that frozen layers cannot be compared with it",
        ));
        return Ok(None);
    }
    Ok(Some(prove_frozen(source, &folder.model(), &model.graph, frozen, statistics)?))
}

/// Scores a part's pictures with the network that the run leaves.
fn score_best(
    trainer: &mut Trainer<'_>,
    state: &TrainState,
    part: Part,
    report: &mut (dyn FnMut(Event<'_>) + Send),
) -> Result<Option<Scored>, TrainError> {
    if let Some(best) = state.tensors.get(BEST) {
        trainer.engine.load_state(best)?;
    }
    trainer.score(part, report)
}

/// Makes the folder's files those of a state that was read from a checkpoint: they may be of a
/// later step.
fn write_restored(
    folder: &RunFolder,
    config: &TrainConfig,
    model: &mut Model,
    state: &TrainState,
) -> Result<(), TrainError> {
    if let Some(row) = row_of_best(state) {
        write_model(folder, model, state, row, row.test_accuracy)?;
    }
    write_progress(folder, config, state)
}

/// Says in a divergence which model the run leaves.
fn name_kept_model(mut error: TrainError, folder: &RunFolder, state: &TrainState) -> TrainError {
    if let TrainError::Diverged(divergence) = &mut error {
        divergence.kept = state.best.map(|best| (folder.model(), best.epoch));
    }
    error
}

/// Says of a stop where the run has stopped; another error stays as it is.
fn name_stop(
    error: TrainError,
    folder: &RunFolder,
    state: &TrainState,
    config: &TrainConfig,
    pictures: &Pictures,
) -> TrainError {
    if error.is_stop() { stopped(folder, state, config, pictures) } else { error }
}

/// Where a run that was asked to stop has stopped.
fn stopped(
    folder: &RunFolder,
    state: &TrainState,
    config: &TrainConfig,
    pictures: &Pictures,
) -> TrainError {
    let place = if config.head_start() == HeadStart::Fit && state.head_fit.is_none() {
        "before the head was fitted".to_owned()
    } else if state.epoch == config.epoch_count() {
        format!("after {} epochs, before the test pictures were scored", state.epoch)
    } else {
        format!(
            "in epoch {}/{}, after {} of {} pictures",
            state.epoch + 1,
            config.epoch_count(),
            state.progress.images,
            pictures.train.len()
        )
    };
    TrainError::Stopped { folder: folder.path().to_owned(), place }
}
