//! How a run begins: new, or where an earlier one was interrupted.

use super::agreed::Agreed;
use super::checkpoint::{self, Checkpoint, CheckpointError};
use super::data_list::DataList;
use super::error::TrainError;
use super::events::Finished;
use super::folder_recorder::FolderRecorder;
use super::identity::Identity;
use super::observer::{Halt, Observer, agree};
use super::recorder::{Recorder, Silent};
use super::settings::Destination;
use super::state::TrainState;
use super::together::follow_run;
use crate::config::{TrainConfig, options};
use crate::file_error::FileError;
use crate::note::{Note, NoteKind};
use crate::ranks::Ranks;
use crate::report::summary::read_summary;
use crate::run_folder::{NewFolder, RunFolder, run_name};
use regraft_nn::engine::Engine;
use std::fs;
use std::ops::ControlFlow;
use std::time::Instant;

/// How a run begins.
pub(super) enum Beginning {
    /// New, in a new folder or without one.
    New(Option<NewFolder>),
    /// In the folder of a run that was interrupted before its first checkpoint.
    Over(RunFolder),
    /// At a checkpoint.
    Resumed(Box<Resumed>),
    /// As rank 0 begins, which has the folder.
    Following {
        /// Whether the run is new.
        is_new: bool,
    },
}

/// A run to resume.
pub(super) struct Resumed {
    folder: RunFolder,
    checkpoint: Checkpoint,
    /// Why newer checkpoints cannot be used.
    damaged: Vec<CheckpointError>,
}

/// A run that is ready to train, as the files that it wrote say.
pub(super) struct Begun<'a> {
    pub config: &'a TrainConfig,
    pub identity: &'a Identity,
    pub images: &'a DataList,
    pub started: Instant,
}

/// Looks at the destination before anything is read that takes time. A run that was complete
/// already breaks off. Of several ranks, the first one looks.
pub(super) fn begin(
    config: &TrainConfig,
    destination: &Destination,
    ranks: &Ranks,
) -> Result<ControlFlow<Box<Finished>, Beginning>, TrainError> {
    let begun = if ranks.is_first() {
        look(config, destination).map(Some)
    } else {
        config.check().map(|()| None).map_err(TrainError::from)
    };
    let begun = agree(ranks, begun)?;
    // Whether the run is new, and the summary if it is complete.
    let facts = match &begun {
        Some(ControlFlow::Continue(beginning)) => (beginning.is_new(), None),
        Some(ControlFlow::Break(finished)) => (false, Some(finished.summary.clone())),
        None => (false, None),
    };
    Ok(match (begun, ranks.of_first(&facts)) {
        (Some(begun), _) => begun,
        (None, (is_new, None)) => ControlFlow::Continue(Beginning::Following { is_new }),
        (None, (_, Some(summary))) => ControlFlow::Break(Box::new(Finished {
            folder: None,
            summary,
            test: None,
            model: None,
            had_ended: true,
        })),
    })
}

fn look(
    config: &TrainConfig,
    destination: &Destination,
) -> Result<ControlFlow<Box<Finished>, Beginning>, TrainError> {
    config.check()?;
    let folder = match destination {
        Destination::Resume(folder) => RunFolder::resume(folder)?,
        Destination::New(place) => {
            place.check()?;
            return Ok(ControlFlow::Continue(Beginning::New(Some(place.clone()))));
        }
        Destination::Nowhere => return Ok(ControlFlow::Continue(Beginning::New(None))),
    };
    let Some((checkpoint, damaged)) = checkpoint::latest(&folder)? else {
        return Ok(ControlFlow::Continue(Beginning::Over(folder)));
    };
    // Options that are not given may follow from the source model. They are compared once it is
    // known.
    let (precision, device) =
        (config.precision.resolve(&config.device).into(), config.device.resolve()?);
    let mut asked = options(&TrainConfig { precision, device, ..config.clone() });
    for (name, value) in asked.iter_mut().filter(|(_, value)| value.is_null()) {
        *value = checkpoint.identity.config.get(name).cloned().unwrap_or_default();
    }
    let differences = checkpoint.identity.option_differences(&asked, checkpoint.state.epoch);
    if !differences.is_empty() {
        return Err(TrainError::OtherRun { folder: folder.path().to_owned(), differences });
    }
    // A run that is to train longer is not complete.
    if checkpoint.state.is_over(config) && folder.summary().exists() {
        return Ok(ControlFlow::Break(Box::new(Finished {
            folder: Some(folder.path().to_owned()),
            summary: read_summary(&folder.summary())?,
            test: None,
            model: None,
            had_ended: true,
        })));
    }
    let resumed = Resumed { folder, checkpoint, damaged };
    Ok(ControlFlow::Continue(Beginning::Resumed(Box::new(resumed))))
}

impl Beginning {
    /// Whether nothing of the run was there before.
    pub fn is_new(&self) -> bool {
        matches!(self, Self::New(_) | Self::Following { is_new: true })
    }

    /// Makes the run's folder, or takes the engine to where the run was, and returns the recorder
    /// of the run and its state. `notes` are those of a new run so far. Of several ranks, the first
    /// one does that, and the others follow.
    pub fn open(
        self,
        run: &Begun<'_>,
        notes: Vec<Note>,
        engine: &mut dyn Engine,
        observer: &mut Observer<'_>,
    ) -> Result<(Box<dyn Recorder>, TrainState), Halt> {
        let is_resumed = matches!(self, Self::Resumed(_));
        let opened = self.open_here(run, notes, engine, observer);
        let (recorder, mut state) = observer.agree(opened)?;
        let ranks = observer.ranks;
        if ranks.is_alone() {
            return Ok((recorder, state));
        }
        if ranks.any(is_resumed) {
            follow_run(ranks, engine, &mut state)?;
        }
        Ok((Box::new(Agreed::new(recorder, ranks)), state))
    }

    fn open_here(
        self,
        run: &Begun<'_>,
        notes: Vec<Note>,
        engine: &mut dyn Engine,
        observer: &mut Observer<'_>,
    ) -> Result<(Box<dyn Recorder>, TrainState), TrainError> {
        let new = |note: Option<Note>| TrainState::new(notes.into_iter().chain(note).collect());
        let (folder, state) = match self {
            Self::New(None) | Self::Following { .. } => return Ok((Box::new(Silent), new(None))),
            Self::New(Some(place)) => {
                let (folder, note) = place.create(&run_name(&run.config.data)?)?;
                (folder, new(note.map(|text| Note::new(NoteKind::Other, text))))
            }
            Self::Over(folder) => {
                let path = folder.path().display();
                let note =
                    format!("{path} has no checkpoint yet, so the run starts from the beginning");
                let state = new(Some(Note::new(NoteKind::Resume, note)));
                (folder, state)
            }
            Self::Resumed(resumed) => resumed.restore(run, engine, observer)?,
        };
        let Begun { config, identity, images, started } = *run;
        let recorder =
            FolderRecorder::new(folder, config, images, identity, engine, &state, started)?;
        Ok((Box::new(recorder), state))
    }
}

impl Resumed {
    /// Takes the engine to where the run was, if it is the same run.
    fn restore(
        self,
        run: &Begun<'_>,
        engine: &mut dyn Engine,
        observer: &mut Observer<'_>,
    ) -> Result<(RunFolder, TrainState), TrainError> {
        let Self { folder, checkpoint, damaged } = self;
        let before = checkpoint.identity.clone();
        let mut differences = before.differences(run.identity, checkpoint.state.epoch);
        if before.data != run.identity.data {
            let unknown = || vec!["the images differ".to_owned()];
            let listed =
                DataList::read(&folder.data()).ok().filter(|list| list.hash() == before.data);
            let listed =
                listed.map(|list| list.differences(run.images)).filter(|lines| !lines.is_empty());
            differences.extend(listed.unwrap_or_else(unknown));
        }
        if !differences.is_empty() {
            return Err(TrainError::OtherRun { folder: folder.path().to_owned(), differences });
        }
        for error in damaged {
            let text = format!("{error}; the one before it is used");
            observer.note(Note::new(NoteKind::Resume, text));
        }
        let mut state = checkpoint.restore(engine)?;
        let remarks = before.remarks(run.identity).into_iter();
        state.notes.extend(remarks.map(|text| Note::new(NoteKind::Resume, text)));
        checkpoint::remove_later(&folder, &state)?;
        if folder.summary().exists() {
            let path = folder.summary();
            fs::remove_file(&path)
                .map_err(FileError::when("remove", &path))
                .map_err(CheckpointError::from)?;
        }
        let epochs = run.config.epoch_count();
        let place = match state.progress.images {
            0 => format!("after {} of {epochs} epochs", state.epoch),
            images => format!("in epoch {}/{epochs}, after {images} images", state.epoch + 1),
        };
        let text = format!("{} resumes {place}", folder.path().display());
        observer.note(Note::new(NoteKind::Resume, text));
        Ok((folder, state))
    }
}
