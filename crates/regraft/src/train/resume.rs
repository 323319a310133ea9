//! How a run begins, anew or where an earlier one was interrupted; when its checkpoints are
//! written; and how it goes back to one.

use super::checkpoint::{self, Checkpoint, CheckpointError};
use super::data_list::DataList;
use super::identity::Identity;
use super::state::TrainState;
use super::{Divergence, Event, Outcome, Output, TrainError, is_out_of_patience};
use crate::config::{TrainConfig, options};
use crate::file_error::FileError;
use crate::report::summary::read_summary;
use crate::run_folder::RunFolder;
use regraft_nn::engine::{Engine, State};
use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

/// How a run begins.
pub(super) enum Beginning {
    /// With nothing.
    New,
    /// In the folder of a run that was interrupted before its first checkpoint, which the note
    /// says.
    Over(RunFolder, String),
    /// With a checkpoint.
    Resumed(Box<Resumed>),
    /// Not at all: the run had ended.
    Ended(Box<Outcome>),
}

/// A run that is to go on.
pub(super) struct Resumed {
    folder: RunFolder,
    checkpoint: Checkpoint,
    /// What is wrong with newer checkpoints.
    damaged: Vec<CheckpointError>,
}

/// Looks at what is there before anything is read that takes time.
pub(super) fn begin(config: &TrainConfig, output: &Output) -> Result<Beginning, TrainError> {
    config.check()?;
    if !output.resume {
        RunFolder::check(&output.parent, output.folder.as_deref(), output.force)?;
        return Ok(Beginning::New);
    }
    let folder = RunFolder::resume(output.folder.as_deref().ok_or(TrainError::NoFolder)?)?;
    let Some((checkpoint, damaged)) = checkpoint::latest(&folder)? else {
        let note =
            format!("{} has no checkpoint yet: the run starts over", folder.path().display());
        return Ok(Beginning::Over(folder, note));
    };
    // What is not given yet may follow from the source model, and is compared when that is known.
    let (precision, device) = (config.precision.resolve().into(), config.device.resolve()?);
    let mut asked = options(&TrainConfig { precision, device, ..config.clone() });
    for (name, value) in asked.iter_mut().filter(|(_, value)| value.is_null()) {
        *value = checkpoint.identity.config.get(name).cloned().unwrap_or_default();
    }
    let differences = checkpoint.identity.option_differences(&asked, checkpoint.state.epoch);
    if !differences.is_empty() {
        return Err(TrainError::OtherRun { folder: folder.path().to_owned(), differences });
    }
    // A run that is asked to train longer has not ended.
    let is_over = checkpoint.state.epoch == config.epoch_count()
        || is_out_of_patience(config, &checkpoint.state);
    if is_over && folder.summary().exists() {
        let summary = read_summary(&folder.summary())?;
        return Ok(Beginning::Ended(Box::new(Outcome {
            folder: folder.path().to_owned(),
            summary,
            test: None,
            had_ended: true,
        })));
    }
    Ok(Beginning::Resumed(Box::new(Resumed { folder, checkpoint, damaged })))
}

impl Resumed {
    /// Puts the engine to where the run was, if it is the same run.
    pub fn restore(
        self,
        config: &TrainConfig,
        identity: &Identity,
        pictures: &DataList,
        engine: &mut dyn Engine,
        report: &mut (dyn FnMut(Event<'_>) + Send),
    ) -> Result<(RunFolder, TrainState), TrainError> {
        let Self { folder, checkpoint, damaged } = self;
        let before = checkpoint.identity.clone();
        let mut differences = before.differences(identity, checkpoint.state.epoch);
        if before.data != identity.data {
            let unknown = || vec!["the pictures are others".to_owned()];
            let listed =
                DataList::read(&folder.data()).ok().filter(|list| list.hash() == before.data);
            let listed =
                listed.map(|list| list.differences(pictures)).filter(|lines| !lines.is_empty());
            differences.extend(listed.unwrap_or_else(unknown));
        }
        if !differences.is_empty() {
            return Err(TrainError::OtherRun { folder: folder.path().to_owned(), differences });
        }
        for error in damaged {
            report(Event::Note(&format!("{error}; the one before it is used")));
        }
        let mut state = checkpoint.restore(engine)?;
        state.notes.extend(before.remarks(identity));
        checkpoint::remove_later(&folder, &state)?;
        if folder.summary().exists() {
            let path = folder.summary();
            fs::remove_file(&path)
                .map_err(FileError::when("remove", &path))
                .map_err(CheckpointError::from)?;
        }
        let place = match state.progress.images {
            0 => format!("after {} of {} epochs", state.epoch, config.epoch_count()),
            images => format!(
                "in epoch {}/{}, after {images} pictures",
                state.epoch + 1,
                config.epoch_count()
            ),
        };
        report(Event::Note(&format!("{} goes on {place}", folder.path().display())));
        Ok((folder, state))
    }
}

/// Writes a run's checkpoints.
pub(super) struct Saver<'a> {
    folder: &'a RunFolder,
    identity: &'a Identity,
    /// Shapes of the network's tensors.
    shapes: HashMap<String, Vec<usize>>,
    every: Duration,
    last: Instant,
    started: Instant,
}

impl<'a> Saver<'a> {
    pub fn new(
        folder: &'a RunFolder,
        identity: &'a Identity,
        engine: &dyn Engine,
        every: Duration,
        started: Instant,
    ) -> Result<Self, TrainError> {
        // Here and never again: a folder that is removed under a run is an error.
        folder.create_checkpoints()?;
        let parameters = engine.parameters().iter();
        let shapes =
            parameters.map(|parameter| (parameter.name.clone(), parameter.shape.clone())).collect();
        Ok(Self { folder, identity, shapes, every, last: Instant::now(), started })
    }

    pub fn save(&mut self, engine: &dyn Engine, state: &TrainState) -> Result<(), TrainError> {
        let mut checkpoint = Checkpoint::of(self.identity, state, engine);
        checkpoint.state.earlier_seconds += self.started.elapsed().as_secs_f64();
        checkpoint.write(self.folder, &self.shapes)?;
        self.last = Instant::now();
        Ok(())
    }

    /// Saves where the last time is long enough ago.
    pub fn save_where_due(
        &mut self,
        engine: &dyn Engine,
        state: &TrainState,
    ) -> Result<(), TrainError> {
        if self.last.elapsed() >= self.every { self.save(engine, state) } else { Ok(()) }
    }
}

/// Goes back to the last checkpoint between two epochs, and on with half the rate. Those alone are
/// at places that no clock decides, so that the same run goes back to the same place each time.
/// `start` is the network before the first step.
pub(super) fn go_back(
    folder: &RunFolder,
    divergence: Divergence,
    start: &State,
    engine: &mut dyn Engine,
) -> Result<TrainState, TrainError> {
    let Some((checkpoint, _)) = checkpoint::latest_between_epochs(folder)? else {
        return Err(TrainError::Diverged(Box::new(divergence)));
    };
    engine.load_state(start)?;
    let mut state = checkpoint.restore(engine)?;
    state.retries += 1;
    state.rate_factor /= 2.0;
    state.notes.push(format!(
        "the training diverged in {}: {}; it goes on from the end of epoch {} with half the \
         learning rate",
        divergence.place(),
        divergence.what,
        state.epoch
    ));
    checkpoint::remove_later(folder, &state)?;
    Ok(state)
}
