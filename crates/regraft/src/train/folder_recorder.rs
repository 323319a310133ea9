//! Writes a run into its folder.

use super::checkpoint::{self, Checkpoint};
use super::data_list::DataList;
use super::error::TrainError;
use super::identity::Identity;
use super::recorder::Recorder;
use super::state::TrainState;
use crate::atomic_file;
#[cfg(feature = "report")]
use crate::config::Keep;
use crate::config::{TrainConfig, options};
use crate::model::Model;
use crate::predictions::{Prediction, write_predictions};
use crate::report::epochs;
use crate::report::summary::{Summary, write_summary};
#[cfg(feature = "report")]
use crate::report::{curves, strengths};
use crate::run_folder::RunFolder;
use crate::tensorboard::{EventWriter, EventsError};
use regraft_nn::engine::{Engine, State};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

/// Writes a run into its folder: configuration, list of images, metrics, curves, model,
/// checkpoints, predictions and summary.
pub struct FolderRecorder {
    folder: RunFolder,
    config: TrainConfig,
    identity: Identity,
    /// Shapes of the network's tensors by name.
    shapes: HashMap<String, Vec<usize>>,
    started: Instant,
    last_checkpoint: Instant,
    events: EventWriter,
}

impl FolderRecorder {
    /// Writes the files that are known before the next step of a run that is at `state`. The time
    /// of earlier sittings aside, the run began at `started`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn new(
        folder: RunFolder,
        config: &TrainConfig,
        images: &DataList,
        identity: &Identity,
        engine: &dyn Engine,
        state: &TrainState,
        started: Instant,
    ) -> Result<Self, TrainError> {
        atomic_file::write(&folder.config(), config.to_toml()?.as_bytes())?;
        images.write(&folder.data())?;
        // Only here: a folder that is removed under a run is an error.
        folder.create_checkpoints()?;
        let parameters = engine.parameters().iter();
        let shapes =
            parameters.map(|parameter| (parameter.name.clone(), parameter.shape.clone())).collect();
        Ok(Self {
            events: event_writer(&folder, config, state)?,
            folder,
            config: config.clone(),
            identity: identity.clone(),
            shapes,
            started,
            last_checkpoint: Instant::now(),
        })
    }
}

/// The event file of a run that is at `state`.
fn event_writer(
    folder: &RunFolder,
    config: &TrainConfig,
    state: &TrainState,
) -> Result<EventWriter, EventsError> {
    EventWriter::open(folder.path(), options(config), &state.rows, state.steps_done)
}

#[cfg(feature = "report")]
impl FolderRecorder {
    /// Draws the epochs so far, or the search for the head's strength if only the head is fitted.
    fn draw(&self, state: &TrainState) -> Result<(), TrainError> {
        let Self { folder, config, .. } = self;
        let name = folder.path().file_name();
        let name = name.map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
        let marked = state.best.filter(|_| config.keep == Keep::Best).map(|best| best.epoch);
        match (&state.head_fit, state.rows.len()) {
            (_, 0) => {}
            (Some(fit), 1) if config.epoch_count() == 0 && fit.chosen().is_some() => {
                strengths::write_strengths(&folder.curves(), &name, fit)?;
            }
            _ => curves::write_curves(&folder.curves(), &name, &state.rows, marked)?,
        }
        Ok(())
    }
}

impl Recorder for FolderRecorder {
    fn folder(&self) -> Option<PathBuf> {
        Some(self.folder.path().to_owned())
    }

    fn epochs(&mut self, state: &TrainState) -> Result<(), TrainError> {
        epochs::write_epochs(&self.folder.metrics(), &state.rows)?;
        self.events.steps(&state.steps)?;
        self.events.epochs(&state.rows)?;
        #[cfg(feature = "report")]
        self.draw(state)?;
        Ok(())
    }

    fn model(&mut self, model: &Model, network: &State) -> Result<(), TrainError> {
        Ok(model.save_with(network, &self.folder.model())?)
    }

    fn checkpoint(&mut self, engine: &dyn Engine, state: &TrainState) -> Result<(), TrainError> {
        self.events.steps(&state.steps)?;
        let mut checkpoint = Checkpoint::of(&self.identity, state, engine);
        checkpoint.state.earlier_seconds += self.started.elapsed().as_secs_f64();
        checkpoint.write(&self.folder, &self.shapes)?;
        self.last_checkpoint = Instant::now();
        Ok(())
    }

    fn made(&mut self, state: &TrainState) -> Result<(), TrainError> {
        Ok(self.events.steps(&state.steps)?)
    }

    fn is_checkpoint_due(&self) -> bool {
        self.last_checkpoint.elapsed() >= self.config.checkpoint_every.0
    }

    /// Only checkpoints between two epochs are at places that no clock decides, so that the same
    /// run goes back to the same place each time.
    fn go_back(&mut self, engine: &mut dyn Engine) -> Result<Option<TrainState>, TrainError> {
        let Some((checkpoint, _)) = checkpoint::latest_between_epochs(&self.folder)? else {
            return Ok(None);
        };
        let state = checkpoint.restore(engine)?;
        checkpoint::remove_later(&self.folder, &state)?;
        self.events = event_writer(&self.folder, &self.config, &state)?;
        Ok(Some(state))
    }

    fn out_of_fold(&mut self, predictions: &[Prediction]) -> Result<(), TrainError> {
        Ok(write_predictions(&self.folder.out_of_fold(), predictions)?)
    }

    fn predictions(&mut self, predictions: &[Prediction]) -> Result<(), TrainError> {
        Ok(write_predictions(&self.folder.predictions(), predictions)?)
    }

    fn summary(&mut self, summary: &Summary) -> Result<(), TrainError> {
        self.events.end()?;
        Ok(write_summary(&self.folder.summary(), summary)?)
    }
}
