//! The recorder of several ranks: the first writes, and the others learn whether it could.

use super::error::TrainError;
use super::observer::agree;
use super::recorder::{Recorder, Silent};
use super::state::TrainState;
use super::together::{follow_run, same_tensors};
use crate::model::Model;
use crate::predictions::Prediction;
use crate::ranks::Ranks;
use crate::report::summary::Summary;
use regraft_nn::engine::{Engine, State};
use std::path::PathBuf;

/// A recorder that all ranks call alike. That of rank 0 does the work.
pub(super) struct Agreed {
    own: Box<dyn Recorder>,
    ranks: Ranks,
    folder: Option<PathBuf>,
    /// The error of a call after which the ranks do not ask each other, until they do.
    deferred: Option<TrainError>,
}

impl Agreed {
    /// `own` is what rank 0 records with.
    pub fn new(own: Box<dyn Recorder>, ranks: &Ranks) -> Self {
        let own = if ranks.is_first() { own } else { Box::new(Silent) };
        // For messages only: the first rank alone has the files.
        let folder = own.folder().map(|folder| folder.to_string_lossy().into_owned());
        let folder = ranks.of_first(&folder).map(PathBuf::from);
        Self { own, ranks: ranks.clone(), folder, deferred: None }
    }

    fn agree<T>(&mut self, result: Result<T, TrainError>) -> Result<T, TrainError> {
        let result = self.deferred.take().map_or(Ok(()), Err).and(result);
        agree(&self.ranks, result)
    }
}

impl Recorder for Agreed {
    fn folder(&self) -> Option<PathBuf> {
        self.folder.clone()
    }

    fn epochs(&mut self, state: &TrainState) -> Result<(), TrainError> {
        let result = self.own.epochs(state);
        self.agree(result)
    }

    fn model(&mut self, model: &Model, network: &State) -> Result<(), TrainError> {
        let result = self.own.model(model, network);
        self.agree(result)
    }

    /// Compares the ranks first: what is saved is the same in all of them.
    fn checkpoint(&mut self, engine: &dyn Engine, state: &TrainState) -> Result<(), TrainError> {
        same_tensors(&self.ranks, engine)?;
        let result = self.own.checkpoint(engine, state);
        self.agree(result)
    }

    /// Called in every step, so its error waits for the next question.
    fn made(&mut self, state: &TrainState) -> Result<(), TrainError> {
        if self.deferred.is_none() {
            self.deferred = self.own.made(state).err();
        }
        Ok(())
    }

    fn is_checkpoint_due(&self) -> bool {
        self.deferred.is_some() || self.own.is_checkpoint_due()
    }

    fn go_back(&mut self, engine: &mut dyn Engine) -> Result<Option<TrainState>, TrainError> {
        let result = self.own.go_back(engine);
        let state = self.agree(result)?;
        if !self.ranks.any(state.is_some()) {
            return Ok(None);
        }
        let mut state = state.unwrap_or_else(|| TrainState::new(Vec::new()));
        follow_run(&self.ranks, engine, &mut state)?;
        Ok(Some(state))
    }

    fn out_of_fold(&mut self, predictions: &[Prediction]) -> Result<(), TrainError> {
        let result = self.own.out_of_fold(predictions);
        self.agree(result)
    }

    fn predictions(&mut self, predictions: &[Prediction]) -> Result<(), TrainError> {
        let result = self.own.predictions(predictions);
        self.agree(result)
    }

    fn summary(&mut self, summary: &Summary) -> Result<(), TrainError> {
        let result = self.own.summary(summary);
        self.agree(result)
    }
}
