//! A [`Recorder`] writes the results of a run; the training loop decides when.

use super::error::TrainError;
use super::state::TrainState;
use crate::model::Model;
use crate::predictions::Prediction;
use crate::report::summary::Summary;
use regraft_nn::engine::{Engine, State};
use std::path::PathBuf;

/// Keeps the results of a run. Each method is called with everything that it may want to keep; one
/// that does nothing is a valid implementation.
///
/// # Errors
/// Every method fails if it cannot write, which ends the run.
pub trait Recorder {
    /// The folder of the run, if it has one.
    fn folder(&self) -> Option<PathBuf> {
        None
    }

    /// The list of epochs has changed: one has ended, or the run went back to an earlier one.
    fn epochs(&mut self, _state: &TrainState) -> Result<(), TrainError> {
        Ok(())
    }

    /// The weights that the run would leave have changed. They are `network`; `model` has its
    /// classes, preprocessing and metrics.
    fn model(&mut self, _model: &Model, _network: &State) -> Result<(), TrainError> {
        Ok(())
    }

    /// The run has reached a point to resume from.
    fn checkpoint(&mut self, _engine: &dyn Engine, _state: &TrainState) -> Result<(), TrainError> {
        Ok(())
    }

    /// A step was made. The engine may have begun the next one, and the last steps of an epoch are
    /// told by [`Self::epochs`].
    fn made(&mut self, _state: &TrainState) -> Result<(), TrainError> {
        Ok(())
    }

    /// Whether the last checkpoint is old enough for another one within the epoch. The next step
    /// then waits until [`Self::checkpoint`] has seen the engine as this one leaves it.
    fn is_checkpoint_due(&self) -> bool {
        false
    }

    /// Takes the engine, which holds the network as it was before the first step, back to the last
    /// checkpoint between two epochs. `None` if there is none.
    fn go_back(&mut self, _engine: &mut dyn Engine) -> Result<Option<TrainState>, TrainError> {
        Ok(None)
    }

    /// Predictions for each training image by heads that did not see it.
    fn out_of_fold(&mut self, _predictions: &[Prediction]) -> Result<(), TrainError> {
        Ok(())
    }

    /// The finished model's predictions for the test images, or for the validation images if there
    /// is no test set.
    fn predictions(&mut self, _predictions: &[Prediction]) -> Result<(), TrainError> {
        Ok(())
    }

    /// The run is complete.
    fn summary(&mut self, _summary: &Summary) -> Result<(), TrainError> {
        Ok(())
    }
}

/// Records nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Recorder for Silent {}
