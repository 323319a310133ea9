//! Checkpoints: everything that a run needs to continue as if it had never been interrupted, each
//! in a file of its own.
//!
//! A checkpoint is a safetensors file. Its tensors are groups of networks
//! (`network/layer4.0.conv1.weight`, `best/…`) and the optimiser's memory (`optimizer/…`), as far
//! as training changes them: layers that are frozen are those of the source model. Its metadata
//! holds the rest as JSON, and a SHA-256 of all of it. It is written under another name, synced and
//! renamed; the last two are kept, and also the last that was written between two epochs.

use super::identity::Identity;
use super::state::{Scores, TrainState};
use crate::file_error::FileError;
use crate::hashing::{hash_tensors, hexadecimal};
use crate::run_folder::{
    RunFolder, RunFolderError, checkpoint_files, checkpoint_name, checkpoint_place,
};
use regraft_nn::engine::{Engine, State};
use regraft_nn::weights::{self, NamedTensor, StorageType, WeightError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Checkpoints that are kept.
const KEPT: usize = 2;
/// Version of the form of a checkpoint. Another form is refused.
const FORM: u32 = 1;
const RECORD: &str = "regraft.checkpoint";
const CHECKSUM: &str = "regraft.sha256";
const NETWORK: &str = "network";
const OPTIMIZER: &str = "optimizer";
const AVERAGE: &str = "average";

/// A run as it was at some step.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The options, images and source of the run.
    pub identity: Identity,
    /// Where it was; without its tensors, which are in `groups`.
    pub state: TrainState,
    /// Tensors by group and name.
    groups: BTreeMap<String, State>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    form: u32,
    identity: Identity,
    state: TrainState,
}

/// A checkpoint that could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused to write it.
    #[error("{0}; the checkpoints before it are intact")]
    Write(WeightError),
    /// Its folder cannot be made, or a file not removed.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The folder of checkpoints cannot be listed.
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    /// It has changed since it was written.
    #[error("the checkpoint {path} is damaged: {reason}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        reason: String,
    },
    /// There are checkpoints, but none can be used.
    #[error(
        "every checkpoint of {folder} is damaged, so the run cannot go on:{}\nremove the folder \
         {folder} to start the run over",
        damaged.iter().map(|error| format!("\n  {error}")).collect::<String>(),
        folder = folder.display()
    )]
    AllDamaged {
        /// The folder of checkpoints.
        folder: PathBuf,
        /// The problem with each.
        damaged: Vec<CheckpointError>,
    },
    /// Its tensors are not those of the network.
    #[error("the checkpoint does not fit the network: {0}")]
    Misfit(String),
}

impl Checkpoint {
    /// The run as it is: its state, and of the engine's tensors those that training changes.
    #[must_use]
    pub fn of(identity: &Identity, state: &TrainState, engine: &dyn Engine) -> Self {
        let learned: HashSet<&str> = engine
            .parameters()
            .iter()
            .filter(|parameter| parameter.node >= engine.frozen())
            .map(|parameter| parameter.name.as_str())
            .collect();
        let is_learned = |name: &String| learned.contains(name.as_str());
        let changed = |tensors: &State| -> State {
            let learned = tensors.iter().filter(|(name, _)| is_learned(name));
            learned.map(|(name, values)| (name.clone(), values.clone())).collect()
        };
        let mut groups: BTreeMap<String, State> = state
            .tensors
            .iter()
            .map(|(group, tensors)| (group.clone(), changed(tensors)))
            .collect();
        let mut network = engine.state();
        network.retain(|name, _| is_learned(name));
        groups.insert(NETWORK.into(), network);
        groups.insert(OPTIMIZER.into(), engine.optimizer_state());
        if let Some(average) = engine.average() {
            groups.insert(AVERAGE.into(), changed(&average));
        }
        Self {
            identity: identity.clone(),
            state: TrainState {
                last_scores: Scores::default(),
                fitted_head: None,
                tensors: BTreeMap::new(),
                ..state.clone()
            },
            groups,
        }
    }

    /// Puts the run back to where it was. The engine must hold the network as it was before the
    /// first step.
    ///
    /// # Errors
    /// If the tensors do not fit the engine's network.
    pub fn restore(self, engine: &mut dyn Engine) -> Result<TrainState, CheckpointError> {
        let Self { mut state, mut groups, .. } = self;
        let misfit =
            |error: regraft_nn::engine::EngineError| CheckpointError::Misfit(error.to_string());
        let start = engine.state();
        let optimizer = groups.remove(OPTIMIZER).unwrap_or_default();
        engine.load_optimizer_state(&optimizer).map_err(misfit)?;
        engine.load_average(None).map_err(misfit)?;
        for (group, tensors) in groups {
            if let Some(stranger) = tensors.keys().find(|name| !start.contains_key(*name)) {
                return Err(CheckpointError::Misfit(format!("it has no tensor {stranger}")));
            }
            let mut whole = start.clone();
            whole.extend(tensors);
            match group.as_str() {
                NETWORK => engine.load_state(&whole).map_err(misfit)?,
                AVERAGE => engine.load_average(Some(&whole)).map_err(misfit)?,
                _ => drop(state.tensors.insert(group, whole)),
            }
        }
        Ok(state)
    }

    /// Writes it beside the others of the run, and removes those that are no longer needed.
    ///
    /// # Errors
    /// If it cannot be written; those before are then all there.
    pub fn write(
        self,
        folder: &RunFolder,
        shapes: &HashMap<String, Vec<usize>>,
    ) -> Result<PathBuf, CheckpointError> {
        let Self { identity, state, groups } = self;
        let folder = folder.checkpoints();
        let path = folder.join(checkpoint_name(state.epoch, state.progress.images));
        let record = crate::model::json(&Record { form: FORM, identity, state });
        let metadata =
            [(CHECKSUM.to_owned(), checksum(&record, &groups)), (RECORD.to_owned(), record)].into();
        let mut named = Vec::new();
        for (group, tensors) in groups {
            named.extend(tensors.into_iter().map(|(name, values)| NamedTensor {
                shape: shapes.get(&name).cloned().unwrap_or_else(|| vec![values.len()]),
                name: format!("{group}/{name}"),
                values,
            }));
        }
        weights::write_safetensors(&path, &named, &metadata, StorageType::F32)
            .map_err(CheckpointError::Write)?;
        prune(&folder)?;
        Ok(path)
    }

    /// Reads one and compares it with its checksum.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`].
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let damaged = |reason: String| CheckpointError::Damaged { path: path.to_owned(), reason };
        let file = weights::read(path).map_err(|error| damaged(error.to_string()))?;
        let text = |key: &str| {
            file.metadata.get(key).ok_or_else(|| damaged(format!("its metadata lacks {key}")))
        };
        let (record, expected) = (text(RECORD)?, text(CHECKSUM)?);
        let mut groups: BTreeMap<String, State> = BTreeMap::new();
        for NamedTensor { name, values, .. } in file.tensors {
            let (group, name) = name
                .split_once('/')
                .ok_or_else(|| damaged(format!("its tensor {name} is of no group")))?;
            groups.entry(group.to_owned()).or_default().insert(name.to_owned(), values);
        }
        if checksum(record, &groups) != *expected {
            return Err(damaged(
                "its content does not have the checksum that it was written with".into(),
            ));
        }
        let form: Form =
            serde_json::from_str(record).map_err(|error| damaged(error.to_string()))?;
        if form.form != FORM {
            let reason = format!(
                "it is of form {}, and this version of Regraft reads form {FORM}",
                form.form
            );
            return Err(damaged(reason));
        }
        let Record { identity, state, .. } =
            serde_json::from_str(record).map_err(|error| damaged(error.to_string()))?;
        Ok(Self { identity, state, groups })
    }
}

#[derive(Deserialize)]
struct Form {
    form: u32,
}

/// The newest intact checkpoint of a run, and the problems with newer ones; `None` if
/// none has been written.
///
/// # Errors
/// If there are checkpoints and none is intact.
pub fn latest(
    folder: &RunFolder,
) -> Result<Option<(Checkpoint, Vec<CheckpointError>)>, CheckpointError> {
    intact(folder, |_| true)
}

/// As [`latest`], of those that were written between two epochs.
///
/// # Errors
/// As [`latest`].
pub fn latest_between_epochs(
    folder: &RunFolder,
) -> Result<Option<(Checkpoint, Vec<CheckpointError>)>, CheckpointError> {
    intact(folder, is_between_epochs)
}

fn intact(
    folder: &RunFolder,
    wanted: impl Fn(&Path) -> bool,
) -> Result<Option<(Checkpoint, Vec<CheckpointError>)>, CheckpointError> {
    let folder = folder.checkpoints();
    let mut damaged = Vec::new();
    for path in checkpoint_files(&folder)?.iter().rev().filter(|path| wanted(path)) {
        match Checkpoint::read(path) {
            Ok(checkpoint) => return Ok(Some((checkpoint, damaged))),
            Err(error) => damaged.push(error),
        }
    }
    if damaged.is_empty() { Ok(None) } else { Err(CheckpointError::AllDamaged { folder, damaged }) }
}

/// Removes the checkpoints of a run that are further than `state`: damaged ones, or those of a way
/// that is not taken again.
///
/// # Errors
/// When one cannot be removed.
pub fn remove_later(folder: &RunFolder, state: &TrainState) -> Result<(), CheckpointError> {
    for path in checkpoint_files(&folder.checkpoints())? {
        if checkpoint_place(&path) > Some((state.epoch, state.progress.images)) {
            fs::remove_file(&path).map_err(FileError::when("remove", &path))?;
        }
    }
    Ok(())
}

fn prune(folder: &Path) -> Result<(), CheckpointError> {
    let files = checkpoint_files(folder)?;
    let between_epochs = files.iter().rposition(|path| is_between_epochs(path));
    for (place, path) in files.iter().enumerate() {
        if place + KEPT < files.len() && Some(place) != between_epochs {
            fs::remove_file(path).map_err(FileError::when("remove", path))?;
        }
    }
    Ok(())
}

fn is_between_epochs(path: &Path) -> bool {
    checkpoint_place(path).is_some_and(|(_, images)| images == 0)
}

/// SHA-256 of everything that a checkpoint holds, in hexadecimal digits.
fn checksum(record: &str, groups: &BTreeMap<String, State>) -> String {
    let mut hash = Sha256::new();
    hash.update(record);
    for (group, tensors) in groups.iter().filter(|(_, tensors)| !tensors.is_empty()) {
        hash.update(group);
        hash_tensors(&mut hash, tensors);
    }
    hexadecimal(&hash.finalize())
}
