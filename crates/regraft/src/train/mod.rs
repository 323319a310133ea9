//! The training run, from a folder of images to a run folder. [`train`] and `Run::learn` read from
//! top to bottom; they decide, and a [`Recorder`] writes.

mod agreed;
mod automatic;
mod average;
mod balance;
mod budget;
pub mod checkpoint;
mod curvature;
pub mod data_list;
mod end;
mod epoch;
mod error;
mod events;
mod feed;
mod first_step;
mod fit;
mod folder_recorder;
pub mod identity;
pub mod lr_find;
mod mix;
mod observer;
mod plan;
pub mod preview;
mod rate_test;
mod recorder;
mod resume;
mod settings;
mod setup;
mod source;
pub mod state;
mod steps;
mod together;
mod trial;
mod usefulness;

pub use error::{Divergence, RefusedStep, TrainError};
pub use events::{Event, Finished, Outcome, Place, Report, Start, StepReport, Stop};
pub use folder_recorder::FolderRecorder;
pub use recorder::{Recorder, Silent};
pub use settings::{Destination, Settings};

use crate::config::{HeadStart, Keep, OnNan, TrainConfig};
use crate::model::{Metrics, Model, json, keys};
use crate::note::NoteKind;
use crate::run_folder::MODEL;
use crate::transfer::labels::LabelMatch;
use epoch::Trainer;
use feed::Feed;
use identity::Identity;
use observer::{Halt, Observer};
use plan::{Plan, plan};
use regraft_nn::engine::State;
use resume::{Beginning, Begun, begin};
use setup::{Setup, set_up};
use state::{BEST, Best, TrainState};
use std::ops::ControlFlow;
use std::time::Instant;
use steps::Record;

/// Fine-tunes a source model on a folder of images, or resumes a run that was interrupted. If there
/// are several [ranks](Settings::ranks), all of them call it with the same configuration.
///
/// # Errors
/// If an option, the folder, an image or the weight file is wrong, before anything is written; or
/// if the training diverges or a file cannot be written. A run that was asked to stop is not an
/// error but [`Outcome::Stopped`].
pub fn train(
    config: &TrainConfig,
    settings: &Settings,
    report: &mut Report<'_>,
) -> Result<Outcome, TrainError> {
    let started = Instant::now();
    let mut observer = Observer { report, stop: &settings.stop, ranks: &settings.ranks };
    let config = &source::named(config)?;
    let beginning = match begin(config, &settings.destination, &settings.ranks)? {
        ControlFlow::Continue(beginning) => beginning,
        ControlFlow::Break(finished) => return Ok(Outcome::Finished(finished)),
    };
    match carry_out(config, settings, beginning, started, &mut observer) {
        Ok(outcome) => Ok(outcome),
        Err(Halt::Stop) => Ok(Outcome::Stopped(Stop { folder: None, place: Place::Planning })),
        Err(Halt::Failed(error)) => Err(error),
    }
}

fn carry_out(
    config: &TrainConfig,
    settings: &Settings,
    beginning: Beginning,
    started: Instant,
    observer: &mut Observer<'_>,
) -> Result<Outcome, Halt> {
    let config = &source::located(config, observer)?;
    let cache = config.cache_images.cache();
    let budget = settings.budget.map(|budget| (budget, started));
    let Plan { config, note, checked, fitted } = if beginning.is_new() {
        plan(config, budget, cache.as_ref(), observer)?
    } else {
        Plan::as_given(config)
    };
    note.iter().for_each(|note| observer.note(note.clone()));
    let Setup {
        config,
        source,
        pictures,
        data_list,
        notes,
        identity,
        loading,
        engine,
        model,
        parameters,
        matches,
        prior,
    } = set_up(&config, cache.as_ref(), checked, observer)?;
    let feed = Feed::new(&config, engine, &pictures, &loading, &settings.ranks);
    let (feed, mut engine) = observer.agree(feed)?;
    let start = (config.on_nan == OnNan::Retry).then(|| engine.state());
    let begun = Begun { config: &config, identity: &identity, images: &data_list, started };
    let (recorder, mut state) = beginning.open(&begun, notes, &mut *engine, observer)?;
    state.notes.iter().for_each(|note| observer.note(note.clone()));
    state.notes.extend(note);
    observer.tell(Event::Started(Start {
        folder: recorder.folder(),
        source,
        classes: pictures.classes.clone(),
        images: [pictures.train.len(), pictures.validation.len(), pictures.test.len()],
        parameters,
        device: engine.device(),
    }));

    let trainer = Trainer { prior, fitted, ..Trainer::new(&config, engine, &pictures, feed) };
    let mut run = Run {
        config: &config,
        identity: &identity,
        trainer,
        state,
        model,
        recorder,
        observer,
        start,
        parameters,
        matches,
        started,
    };
    match run.learn().and_then(|()| run.score()) {
        Ok(scores) => Ok(Outcome::Finished(Box::new(run.finish(scores)?))),
        Err(Halt::Stop) => Ok(Outcome::Stopped(run.stopped())),
        Err(failed) => Err(failed),
    }
}

/// A run that has begun.
struct Run<'a, 'o> {
    config: &'a TrainConfig,
    identity: &'a Identity,
    trainer: Trainer<'a>,
    state: TrainState,
    /// The model as its file describes it, without tensors.
    model: Model,
    recorder: Box<dyn Recorder>,
    observer: &'a mut Observer<'o>,
    /// The network before the first step, if a divergence may go back.
    start: Option<State>,
    /// Parameters that learn, and all.
    parameters: (usize, usize),
    /// The source rows that each class's row of the head starts from, if rows are reused.
    matches: Vec<LabelMatch>,
    started: Instant,
}

impl Run<'_, '_> {
    /// Trains: fits the head if the configuration asks for it, then runs the epochs that are left.
    fn learn(&mut self) -> Result<(), Halt> {
        self.record()?;
        if self.state.is_at_start() {
            self.begin()?;
        }
        while !self.state.is_over(self.config) {
            match self.run_epoch() {
                Ok(()) => {
                    self.end_epoch()?;
                    self.recorder.checkpoint(&*self.trainer.engine, &self.state)?;
                }
                Err(Halt::Failed(TrainError::Diverged(divergence))) => self.go_back(divergence)?,
                Err(halt) => {
                    self.save_what_is_good(&halt)?;
                    return Err(halt);
                }
            }
        }
        Ok(())
    }

    /// Fits the head, and prepares the steps that follow.
    fn begin(&mut self) -> Result<(), Halt> {
        if self.config.head_start() == HeadStart::Fit {
            let before = self.state.clone();
            if let Err(halt) = self.fit_head() {
                if matches!(halt, Halt::Stop) {
                    // A resumed run fits the head again.
                    self.state = before;
                    self.recorder.checkpoint(&*self.trainer.engine, &self.state)?;
                }
                return Err(halt);
            }
        } else if self.start.is_none() {
            return Ok(());
        }
        Ok(self.recorder.checkpoint(&*self.trainer.engine, &self.state)?)
    }

    fn fit_head(&mut self) -> Result<(), Halt> {
        if let Some(predictions) = self.trainer.fit_head(&mut self.state, self.observer)? {
            self.recorder.out_of_fold(&predictions)?;
        }
        self.end_epoch()?;
        self.trainer.prepare_steps(&mut self.state, self.observer)
    }

    /// The rest of the epoch in progress.
    fn run_epoch(&mut self) -> Result<(), Halt> {
        let mut after_step = Record(&mut *self.recorder);
        self.trainer.run_epoch(&mut self.state, &mut after_step, self.observer)
    }

    /// Keeps the network after an epoch if it is the best so far.
    fn end_epoch(&mut self) -> Result<(), TrainError> {
        let Self { config, trainer, state, .. } = self;
        let Some(row) = state.rows.last().cloned() else { return Err(TrainError::NoEpoch) };
        let kept =
            config.keep == Keep::Last || state.best.is_none_or(|best| best.is_beaten_by(&row));
        if kept {
            state.best = Some(Best::of(&row));
            state.temperature = state.fitted_temperature(row.epoch);
            let network = average::kept_network(state, &*trainer.engine);
            state.tensors.insert(BEST.into(), network);
            self.record_model(row.test_accuracy)?;
        }
        self.recorder.epochs(&self.state)?;
        self.state.steps.clear();
        self.observer.tell(Event::Epoch { row, epochs: self.config.epoch_count(), kept });
        Ok(())
    }

    /// Records the epochs and the network that the run would leave now.
    fn record(&mut self) -> Result<(), TrainError> {
        let accuracy = self.state.best_row().and_then(|row| row.test_accuracy);
        self.record_model(accuracy)?;
        self.recorder.epochs(&self.state)
    }

    fn record_model(&mut self, test_accuracy: Option<f64>) -> Result<(), TrainError> {
        let Self { state, model, recorder, .. } = self;
        let (Some(row), Some(network)) = (state.best_row(), state.tensors.get(BEST)) else {
            return Ok(());
        };
        let metrics =
            Metrics { epoch: row.epoch, val_accuracy: row.validation_accuracy, test_accuracy };
        model.metadata.insert(keys::METRICS.into(), json(&metrics));
        match &state.temperature {
            Some(found) => model.metadata.insert(keys::TEMPERATURE.into(), json(found)),
            None => model.metadata.remove(keys::TEMPERATURE),
        };
        recorder.model(model, network)
    }

    /// Once, takes a run that diverged back to the end of its last epoch, from where it continues
    /// with half the learning rate.
    fn go_back(&mut self, mut divergence: Box<Divergence>) -> Result<(), Halt> {
        let file = self.recorder.folder().map(|folder| folder.join(MODEL));
        divergence.kept = file.zip(self.state.best.map(|best| best.epoch));
        let Some(start) = self.start.as_ref().filter(|_| self.state.retries == 0) else {
            return Err(TrainError::Diverged(divergence).into());
        };
        let engine = &mut *self.trainer.engine;
        engine.load_state(start)?;
        let Some(state) = self.recorder.go_back(engine)? else {
            return Err(TrainError::Diverged(divergence).into());
        };
        self.state = state;
        self.state.retries += 1;
        self.state.rate_factor /= 2.0;
        let text = format!(
            "the training diverged in {}: {}; it resumes from the end of epoch {} with half the \
             learning rate",
            divergence.place(),
            divergence.what,
            self.state.epoch
        );
        self.observer.note_in(&mut self.state, NoteKind::Divergence, text);
        self.record()?;
        Ok(self.recorder.checkpoint(&*self.trainer.engine, &self.state)?)
    }

    /// Saves the steps before the one that ended the training, if they are good.
    fn save_what_is_good(&mut self, halt: &Halt) -> Result<(), TrainError> {
        let engine = &*self.trainer.engine;
        match halt {
            Halt::Stop => self.recorder.checkpoint(engine, &self.state),
            Halt::Failed(error) if error.leaves_good_steps() => {
                // If this fails too, the first error is the one to report.
                let _ = self.recorder.checkpoint(engine, &self.state);
                Ok(())
            }
            Halt::Failed(_) => Ok(()),
        }
    }

    /// Where a run that was asked to stop has stopped.
    fn stopped(&self) -> Stop {
        let Self { config, state, trainer, .. } = self;
        let epochs = config.epoch_count();
        let place = if config.head_start() == HeadStart::Fit && state.head_fit.is_none() {
            Place::Head
        } else if state.epoch == epochs {
            Place::End { epochs }
        } else {
            let (images, of) = (state.progress.images, trainer.pictures.train.len());
            Place::Epoch { epoch: state.epoch + 1, epochs, images, of }
        };
        Stop { folder: self.recorder.folder(), place }
    }
}
