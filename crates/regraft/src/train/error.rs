//! Why a run fails.

use crate::atomic_file;
use crate::config::ConfigError;
use crate::evaluate::EvaluateError;
use crate::model::ModelError;
use crate::pictures::PicturesError;
use crate::report::{curves, epochs, summary};
use crate::run_folder::RunFolderError;
use regraft_data::augmentation::AugmentationError;
use regraft_data::loader::LoaderError;
use regraft_data::preprocessing::PreprocessingError;
use regraft_nn::cpu::CpuError;
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
    Cpu(#[from] CpuError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Loader(#[from] LoaderError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
    #[error(transparent)]
    File(#[from] atomic_file::AtomicFileError),
    #[error(transparent)]
    Epochs(#[from] epochs::EpochsError),
    #[error(transparent)]
    Curves(#[from] curves::CurvesError),
    #[error(transparent)]
    Summary(#[from] summary::SummaryError),
    /// A loss or the gradient is not finite.
    #[error(transparent)]
    Diverged(Box<Divergence>),
}

/// A step whose losses or gradient are not finite. It was not applied.
#[derive(Debug, thiserror::Error)]
#[error(
    "the training diverged in epoch {epoch}, step {step}: {what}. The step was not applied. {} Lower --lr (it is {learning_rate:?}), or \
     lengthen --warmup. The pictures of the step:{}",
    kept.as_ref().map_or_else(
        || "No epoch was finished, so no model was saved.".to_owned(),
        |(path, epoch)| format!("{} holds epoch {epoch}.", path.display())
    ),
    pictures.iter().map(|path| format!("\n  {}", path.display())).collect::<String>()
)]
pub struct Divergence {
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// The step of the run, counted from 1.
    pub step: u64,
    /// What is not finite, in words.
    pub what: String,
    /// The pictures of the step.
    pub pictures: Vec<PathBuf>,
    /// The rate that was asked for.
    pub learning_rate: f32,
    /// The model file and its epoch, where there is one.
    pub kept: Option<(PathBuf, u32)>,
}

impl TrainError {
    /// Whether the run failed under way, rather than being asked for something impossible.
    #[must_use]
    pub fn is_failure_under_way(&self) -> bool {
        matches!(
            self,
            Self::Diverged(_)
                | Self::Engine(_)
                | Self::Evaluate(_)
                | Self::File(_)
                | Self::Epochs(_)
                | Self::Curves(_)
                | Self::Summary(_)
        )
    }
}
