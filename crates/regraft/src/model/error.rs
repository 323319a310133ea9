//! Why a model cannot be had.

use crate::error_kind::{Classified, ErrorKind};
use crate::hub::HubError;
use crate::hub_config::HubConfigError;
use crate::run_folder;
use regraft_data::preprocessing::PreprocessingError;
use regraft_nn::architectures;
use regraft_nn::weights::WeightError;
use std::path::PathBuf;

/// A model that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No architecture has the name.
    #[error("there is no model {name}{}; `regraft models` lists all names", did_you_mean(name))]
    UnknownArchitecture {
        /// The name that was asked for.
        name: String,
    },
    /// The architecture's weights are not inside the program.
    #[error("{architecture} needs a weight file, because its ImageNet weights are not embedded")]
    NoWeights {
        /// The architecture.
        architecture: String,
        /// Names of the usual files.
        files: String,
    },
    /// The architecture's usual weights cannot be downloaded.
    #[error("{architecture} needs weights: {error}")]
    NoDownload {
        /// The architecture.
        architecture: String,
        /// Names of the usual files.
        files: String,
        /// Why not.
        error: Box<HubError>,
    },
    /// Two sources of weights are named.
    #[error("{model} names weights, and so does {weights}")]
    TwoSources {
        /// The weights that `--model` names.
        model: String,
        /// The other ones.
        weights: String,
    },
    /// The program was built without its embedded model.
    #[error("this build has no embedded weights for efficientnet_lite0 (feature `embedded`)")]
    NotEmbedded,
    /// A weight file of the world does not say of which architecture it is.
    #[error(
        "{origin} does not name its architecture, which may be one of those that `regraft models` \
         lists"
    )]
    NoArchitecture {
        /// The file.
        origin: String,
    },
    /// A model file is of another architecture than the one asked for.
    #[error("{origin} is a {found}, but {asked} is asked for")]
    OtherArchitecture {
        /// The file.
        origin: String,
        /// The architecture asked for.
        asked: String,
        /// The architecture that the file names.
        found: String,
    },
    /// The hub's `config.json` beside the weights cannot be used.
    #[error(transparent)]
    HubConfig(#[from] HubConfigError),
    /// Weights of a hub cannot be had.
    #[error(transparent)]
    Hub(Box<HubError>),
    /// A folder is no run folder.
    #[error(
        "{} holds no {}: name a run folder, whose training has finished an epoch, a model file, \
         or a folder from the Hugging Face \
         Hub",
        path.display(),
        run_folder::MODEL
    )]
    NotARunFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A model file's metadata is damaged.
    #[error("{origin} is damaged: its metadata {key} {reason}; use another copy of the file")]
    Metadata {
        /// The file.
        origin: String,
        /// Which entry.
        key: &'static str,
        /// The problem with it.
        reason: String,
    },
    /// The file has no head that could classify.
    #[error("{origin} has no head: it can be a source of training, but classifies nothing itself")]
    NoHead {
        /// The file.
        origin: String,
    },
    /// The file has no temperature.
    #[error(
        "{origin} has no temperature: its run held out no images after the network had learned \
         from the others, or an earlier version wrote it"
    )]
    NoTemperature {
        /// The file.
        origin: String,
    },
    /// The weight file is wrong.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// The preprocessing is impossible.
    #[error("{origin}: {source}")]
    Preprocessing {
        /// The file.
        origin: String,
        /// The problem.
        source: PreprocessingError,
    },
}

impl From<HubError> for ModelError {
    fn from(error: HubError) -> Self {
        Self::Hub(Box::new(error))
    }
}

impl Classified for ModelError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Hub(error) | Self::NoDownload { error, .. } => error.kind(),
            error => {
                ErrorKind::failure_if(matches!(error, Self::Weights(WeightError::Write { .. })))
            }
        }
    }
}

/// The names that may have been meant, as a question in brackets.
fn did_you_mean(name: &str) -> String {
    let words = match &architectures::similar(name)[..] {
        [] => return String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    };
    format!(" (did you mean {words}?)")
}
