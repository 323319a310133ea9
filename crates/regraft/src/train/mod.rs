//! The training run, from a folder of pictures to a run folder. [`train`] reads from top to bottom.

mod epoch;
mod error;
mod events;
mod files;
mod setup;
pub mod state;

pub use error::{Divergence, TrainError};
pub use events::{Event, Outcome, Output, Start, StepReport};

use crate::atomic_file;
use crate::config::{Keep, TrainConfig};
use crate::metrics::Evaluation;
use crate::report::summary::write_summary;
use crate::run_folder::{RunFolder, run_name};
use epoch::Trainer;
use files::{Ended, summary, write_model, write_progress};
use regraft_nn::engine::Engine;
use setup::{Setup, set_up};
use state::{BEST, Best, TrainState};
use std::time::Instant;

/// Fine-tunes a source model on the pictures of a folder.
///
/// # Errors
/// When an option, the folder, a picture or the weight file is wrong, before anything is written; or when the training diverges or a
/// file cannot be written.
pub fn train(config: &TrainConfig, output: &Output, report: &mut (dyn FnMut(Event<'_>) + Send)) -> Result<Outcome, TrainError> {
    let started = Instant::now();
    RunFolder::check(&output.parent, output.folder.as_deref(), output.force)?;
    let Setup { config, source, pictures, loading, mut engine, mut model, parameters } = set_up(config, report)?;

    let (folder, renamed) = RunFolder::create(&output.parent, &run_name(&config.data)?, output.folder.as_deref(), output.force)?;
    let mut state = TrainState { notes: pictures.notes.iter().cloned().chain(renamed).collect(), ..TrainState::default() };
    state.notes.iter().for_each(|note| report(Event::Note(note)));
    atomic_file::write(&folder.config(), config.to_toml()?.as_bytes())?;
    write_progress(&folder, &config, &state)?;
    report(Event::Started(&Start {
        folder: folder.path().to_owned(),
        source,
        classes: pictures.classes.clone(),
        images: [pictures.train.len(), pictures.validation.len(), pictures.test.len()],
        parameters,
        device: engine.device(),
    }));

    let mut trainer = Trainer::new(&config, &mut engine, &pictures, &loading);
    while state.epoch < config.epochs {
        trainer.run_steps(&mut state, report).map_err(|error| name_kept_model(error, &folder, &state))?;
        trainer.finish_epoch(&mut state, report)?;
        let Some(row) = state.rows.last().cloned() else { continue };
        let kept = config.keep == Keep::Last || state.best.is_none_or(|best| best.is_beaten_by(&row));
        if kept {
            state.best = Some(Best::of(&row));
            state.tensors.insert(BEST.into(), trainer.engine.state());
            write_model(&folder, &mut model, &state, &row, row.test_accuracy)?;
        }
        write_progress(&folder, &config, &state)?;
        report(Event::Epoch { row: &row, epochs: config.epochs, kept });
    }

    // The test pictures are scored once, with the weights that the run leaves; they never choose anything.
    let best_epoch = state.best.map_or(config.epochs, |best| best.epoch);
    let kept = state.rows[best_epoch as usize - 1].clone();
    let test = match state.last_test.take().filter(|_| best_epoch == config.epochs) {
        Some(test) => Some(test),
        None => {
            let test = score_best(&mut trainer, &pictures, &state, report)?;
            if let Some(test) = &test {
                write_model(&folder, &mut model, &state, &kept, Some(test.accuracy))?;
            }
            test
        }
    };
    let summary = summary(
        state,
        &Ended {
            config: &config,
            model: &model,
            pictures: &pictures,
            kept: &kept,
            test: test.as_ref(),
            parameters,
            device: engine.device(),
            wall_seconds: started.elapsed().as_secs_f64(),
        },
    );
    write_summary(&folder.summary(), &summary)?;
    Ok(Outcome { folder: folder.path().to_owned(), summary, test })
}

/// Scores the test pictures with the network that the run leaves.
fn score_best(
    trainer: &mut Trainer<'_>,
    pictures: &crate::pictures::Pictures,
    state: &TrainState,
    report: &mut (dyn FnMut(Event<'_>) + Send),
) -> Result<Option<Evaluation>, TrainError> {
    if let Some(best) = state.tensors.get(BEST) {
        trainer.engine.load_state(best)?;
    }
    trainer.score("test", &pictures.test, report)
}

/// Says in a divergence which model the run leaves.
fn name_kept_model(mut error: TrainError, folder: &RunFolder, state: &TrainState) -> TrainError {
    if let TrainError::Diverged(divergence) = &mut error {
        divergence.kept = state.best.map(|best| (folder.model(), best.epoch));
    }
    error
}
