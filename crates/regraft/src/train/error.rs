//! Why a run fails.

use super::checkpoint::CheckpointError;
use super::data_list::DataListError;
use crate::atomic_file;
use crate::config::{ConfigError, Interval};
use crate::engines::OpenError;
use crate::error_kind::{Classified, ErrorKind};
use crate::evaluate::EvaluateError;
use crate::features::FeaturesError;
use crate::memory_check::TooLittleMemory;
use crate::model::ModelError;
use crate::pictures::PicturesError;
use crate::predictions::PredictionsError;
#[cfg(feature = "report")]
use crate::report::curves;
use crate::report::{epochs, summary};
use crate::run_folder::RunFolderError;
use crate::tensorboard::EventsError;
use crate::transfer::fit::FitError;
use crate::transfer::frozen::FrozenError;
use crate::transfer::head::GraftError;
use regraft_data::augmentation::AugmentationError;
use regraft_data::loader::LoaderError;
use regraft_data::preprocessing::PreprocessingError;
use regraft_data::shown::shown;
use regraft_nn::engine::EngineError;
use regraft_nn::graph::GraphError;
use std::path::PathBuf;

/// A run that failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each is the error of the part that it is named after.
pub enum TrainError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Pictures(#[from] PicturesError),
    #[error(transparent)]
    Preprocessing(#[from] PreprocessingError),
    #[error(transparent)]
    Augmentation(#[from] AugmentationError),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Memory(#[from] TooLittleMemory),
    #[error(transparent)]
    Loader(#[from] LoaderError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    Features(#[from] FeaturesError),
    #[error(transparent)]
    Graft(#[from] GraftError),
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error(transparent)]
    Frozen(#[from] FrozenError),
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
    #[error(transparent)]
    File(#[from] atomic_file::AtomicFileError),
    #[error(transparent)]
    Epochs(#[from] epochs::EpochsError),
    #[error(transparent)]
    Events(#[from] EventsError),
    #[cfg(feature = "report")]
    #[error(transparent)]
    Curves(#[from] curves::CurvesError),
    #[error(transparent)]
    Predictions(#[from] PredictionsError),
    #[error(transparent)]
    Summary(#[from] summary::SummaryError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    DataList(#[from] DataListError),
    /// A loss, the gradient or a weight is not finite.
    #[error(transparent)]
    Diverged(Box<Divergence>),
    /// The run to resume was asked for something else.
    #[error(
        "{} cannot be resumed, because it would not be the same run:{}",
        folder.display(),
        list(differences)
    )]
    OtherRun { folder: PathBuf, differences: Vec<String> },
    /// A range test of a run that makes no steps.
    #[error(
        "a head that is fitted to a frozen backbone takes no steps, so there is no rate to find"
    )]
    NoRate,
    /// A budget in which not even the head can be fitted.
    #[error(
        "a budget of {} is too small for {images} images on this machine: a run that only fits \
         the head would take about {}",
        String::from(*budget),
        String::from(*needed)
    )]
    SmallBudget { budget: Interval, needed: Interval, images: usize },
    /// A budget from scratch.
    #[error(
        "a budget begins with a head that is fitted to the features of a source model, but the run \
         trains from scratch"
    )]
    BudgetFromScratch,
    /// Another rank failed, and says why. What it made before may be kept.
    #[error("another rank of this run has failed")]
    Peer { keeps: bool },
    /// The ranks do not have the same images.
    #[error("rank {rank} finds other images in {}: {difference}", data.display())]
    OtherImages { rank: usize, data: PathBuf, difference: String },
    /// The ranks' parameters are not the same any more.
    #[error(
        "the parameters of rank {rank} differ from those of rank 0, first in {tensor}: a machine \
         computes wrongly, or two compute differently; nothing was saved"
    )]
    RanksDiffer { rank: usize, tensor: String },
    /// No epoch has ended.
    #[error("the run has no finished epoch; start it from the beginning")]
    NoEpoch,
}

/// How many differences are printed. The error value itself holds all of them.
const LISTED: usize = 20;

fn list(lines: &[String]) -> String {
    let mut text: String = lines.iter().take(LISTED).map(|line| format!("\n  {line}")).collect();
    if lines.len() > LISTED {
        text.push_str(&format!("\n  and {} more", lines.len() - LISTED));
    }
    text
}

/// A training whose numbers are not finite.
#[derive(Debug, thiserror::Error)]
#[error(
    "the training diverged in {}: {what}. {}{}{}",
    self.place(),
    if step.is_some() { "The step was not applied. " } else { "The epoch was discarded. " },
    kept.as_ref().map_or_else(
        || "No epoch was finished, so no model was saved.".to_owned(),
        |(path, epoch)| format!("{} holds epoch {epoch}.", path.display())
    ),
    step.as_ref().map_or_else(String::new, |step| {
        let paths = step.images.iter().map(|path| format!("\n  {}", shown(path)));
        format!(" The images of the step:{}", paths.collect::<String>())
    })
)]
pub struct Divergence {
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// The step that was not applied; `None` if only the check after the epoch found it.
    pub step: Option<RefusedStep>,
    /// The value that is not finite, in words.
    pub what: String,
    /// The learning rate at the maximum of the schedule.
    pub learning_rate: f32,
    /// The model file and its epoch, if there is one.
    pub kept: Option<(PathBuf, u32)>,
}

/// A step with a loss or gradient that is not finite.
#[derive(Debug)]
pub struct RefusedStep {
    /// The step of the run, counted from 1.
    pub number: u64,
    /// The step's images.
    pub images: Vec<PathBuf>,
}

impl Divergence {
    /// Where in the training it happened, in words.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.step {
            Some(step) => format!("epoch {}, step {}", self.epoch, step.number),
            None => format!("epoch {}", self.epoch),
        }
    }
}

impl TrainError {
    /// Whether the steps before it are good, and can be saved.
    pub(super) fn leaves_good_steps(&self) -> bool {
        matches!(
            self,
            Self::Loader(_) | Self::Evaluate(_) | Self::Features(_) | Self::Peer { keeps: true }
        )
    }
}

impl Classified for TrainError {
    fn is_of_peer(&self) -> bool {
        match self {
            Self::Peer { .. } => true,
            Self::Engine(error) => error.is_of_peer(),
            Self::Evaluate(error) => error.is_of_peer(),
            Self::Features(error) => error.is_of_peer(),
            _ => false,
        }
    }

    fn kind(&self) -> ErrorKind {
        #[cfg(feature = "report")]
        if matches!(self, Self::Curves(_)) {
            return ErrorKind::Failure;
        }
        if let Self::Model(error) = self {
            return error.kind();
        }
        ErrorKind::failure_if(matches!(
            self,
            Self::Diverged(_)
                | Self::Engine(_)
                // Every image could be read before the first epoch.
                | Self::Loader(_)
                | Self::Checkpoint(CheckpointError::Write(_) | CheckpointError::Io(_))
                | Self::DataList(_)
                | Self::Peer { .. }
                | Self::RanksDiffer { .. }
                | Self::Evaluate(_)
                | Self::Features(_)
                | Self::Fit(FitError::Regression(_) | FitError::Threads(_))
                | Self::Frozen(_)
                | Self::File(_)
                | Self::Epochs(_)
                | Self::Events(_)
                | Self::Predictions(_)
                | Self::Summary(_)
        ))
    }
}
