//! Types of options whose values are words.

use super::ConfigError;
use super::stored_path::StoredPath;
use crate::engines::{self, DeviceChoice};
use crate::hub::{self, HubError, HubSource};
use regraft_data::cache::DecodedCache;
use regraft_data::memory;
use regraft_data::preprocessing::ResizeMode;
use regraft_nn::precision::Precision;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

/// A named set of defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipe {
    /// The options that did best on held-out images; see `docs/recipes.md`.
    Default,
    /// The textbook's recipe to the letter (d2l.ai, "Fine-Tuning").
    D2l,
}

impl Recipe {
    /// Its word in `config.toml` and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::D2l => "d2l",
        }
    }
}

/// The source of the backbone's weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredPath", into = "StoredPath")]
pub enum Weights {
    /// Those inside the program: `embedded`.
    Embedded,
    /// Random ones, to train from scratch: `none`.
    None,
    /// Those of a weight file, a model file or a run folder.
    File(PathBuf),
    /// Those of a repository on a hub: `hub:OWNER/NAME[@REVISION]`.
    Hub(HubSource),
}

impl Weights {
    /// The weights that text or a path names.
    ///
    /// # Errors
    /// [`HubError::Name`] if it begins with `hub:` and does not name a repository.
    pub fn named(path: PathBuf) -> Result<Self, HubError> {
        match path.to_str() {
            Some(text) if text.starts_with(hub::PREFIX) => text.parse().map(Self::Hub),
            _ => Ok(path.into()),
        }
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => formatter.write_str("embedded"),
            Self::None => formatter.write_str("none"),
            Self::File(path) => path.display().fmt(formatter),
            Self::Hub(source) => source.fmt(formatter),
        }
    }
}

impl From<PathBuf> for Weights {
    fn from(path: PathBuf) -> Self {
        match path.to_str() {
            Some("embedded") => Self::Embedded,
            Some("none") => Self::None,
            text => match text.and_then(|text| text.parse().ok()) {
                Some(source) => Self::Hub(source),
                None => Self::File(path),
            },
        }
    }
}

impl TryFrom<StoredPath> for Weights {
    type Error = HubError;

    fn try_from(stored: StoredPath) -> Result<Self, HubError> {
        Self::named(stored.into())
    }
}

impl From<Weights> for StoredPath {
    fn from(weights: Weights) -> Self {
        match &weights {
            Weights::File(path) => path.as_path().into(),
            weights => Self::Text(weights.to_string()),
        }
    }
}

/// The start of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadStart {
    /// Random values (Glorot and Bengio 2010).
    New,
    /// Random values as in PyTorch's `Linear`: uniform within one over the square root of the
    /// number of inputs.
    PyTorch,
    /// The source's rows for classes that the name of a new class means, and random values for the
    /// others.
    Reuse,
    /// The logistic regression that fits the backbone's features best.
    Fit,
}

/// Layers that are not trained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Freeze {
    /// A trial decides whether all layers learn or only the head: `auto`. A run that has begun
    /// never has this.
    Auto,
    /// All layers learn: `none`.
    None,
    /// Only the head learns: `backbone`, or `trunk` in files of earlier versions.
    Backbone,
    /// The layers up to and with this one are frozen: `through=LAYER`.
    Through(String),
    /// The backbone at first; every few epochs one more of its stages learns, from the head
    /// down: `gradual=EPOCHS`.
    Gradual(NonZeroU32),
}

impl TryFrom<String> for Freeze {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        let found = match text.split_once('=') {
            None if text == "auto" => Some(Self::Auto),
            None if text == "none" => Some(Self::None),
            None if text == "backbone" || text == "trunk" => Some(Self::Backbone),
            Some(("through", layer)) if !layer.is_empty() => Some(Self::Through(layer.into())),
            Some(("gradual", epochs)) => epochs.parse().ok().map(Self::Gradual),
            _ => None,
        };
        let allowed = "auto, none, backbone, through=LAYER or gradual=EPOCHS".into();
        found.ok_or(ConfigError::Value { option: "freeze", value: text, allowed })
    }
}

impl From<Freeze> for String {
    fn from(freeze: Freeze) -> Self {
        match freeze {
            Freeze::Auto => "auto".into(),
            Freeze::None => "none".into(),
            Freeze::Backbone => "backbone".into(),
            Freeze::Through(layer) => format!("through={layer}"),
            Freeze::Gradual(epochs) => format!("gradual={epochs}"),
        }
    }
}

/// How classes of different sizes are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Balance {
    /// Nothing.
    #[default]
    None,
    /// Gradients of rare classes weigh more: an image weighs `images / (classes x images of its
    /// class)`.
    Weights,
    /// Each epoch has the same number of images of every class, which take turns.
    Sampling,
}

/// The optimiser by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerName {
    /// Stochastic gradient descent.
    Sgd,
    /// AdamW.
    AdamW,
}

/// How the learning rate moves over the run, after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls to zero along half a cosine.
    Cosine,
}

/// The statistics that batch norms of trained layers normalise with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchNormMode {
    /// The batch's statistics; the running ones follow them.
    Batch,
    /// The source model's running statistics, which stay as they are; weights and biases learn.
    Running,
}

/// The number format of feature maps, their gradients and matrix products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionChoice {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with f32's range; sums, statistics, losses and the weights that learn stay f32.
    Bf16,
    /// 16 bits with a smaller range and finer steps, on GPUs.
    F16,
    /// `Bf16` if the CPU computes and its instruction set multiplies it, or else `F32`.
    Auto,
}

impl PrecisionChoice {
    /// The precision on a device of this machine.
    #[must_use]
    pub fn resolve(self, device: &DeviceChoice) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
            Self::F16 => Precision::F16,
            Self::Auto => engines::fastest_precision(device),
        }
    }
}

impl From<Precision> for PrecisionChoice {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
            Precision::F16 => Self::F16,
        }
    }
}

/// How the losses of a batch are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossReduction {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
}

/// The epoch whose weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The one with the best validation accuracy, and among equals the lowest validation loss.
    Best,
    /// The last.
    Last,
}

/// How an image becomes a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Short side resized, centre cut out.
    Crop,
    /// Both sides resized.
    Squash,
    /// Long side resized, the rest filled.
    Letterbox,
}

impl Resize {
    /// The word for a way of resizing.
    #[must_use]
    pub fn of(mode: ResizeMode) -> Self {
        match mode {
            ResizeMode::Crop { .. } => Self::Crop,
            ResizeMode::Squash => Self::Squash,
            ResizeMode::Letterbox => Self::Letterbox,
        }
    }
}

/// The response to an image that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadImage {
    /// The run stops before the first epoch.
    Stop,
    /// The image is left out and listed.
    Skip,
}

/// The response to a loss or gradient that is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnNan {
    /// The run stops.
    Stop,
    /// Once, the run goes back to the end of the previous epoch and continues with half the
    /// learning rate.
    Retry,
}

/// Memory for decoded images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CacheImages {
    /// A quarter of the memory that is available at the start: `auto`.
    Auto,
    /// None: every epoch decodes every file: `off`.
    Off,
    /// This number of bytes: `512M`, `2G`.
    Bytes(u64),
}

/// The size of `auto` if the system does not say how much memory is available.
const AUTO_BYTES: u64 = 1 << 30;

impl CacheImages {
    /// The cache, if there is to be one.
    #[must_use]
    pub fn cache(self) -> Option<Arc<DecodedCache>> {
        let bytes = match self {
            Self::Auto => memory::available().map_or(AUTO_BYTES, |available| available / 4),
            Self::Off => return None,
            Self::Bytes(bytes) => bytes,
        };
        Some(Arc::new(DecodedCache::new(usize::try_from(bytes).unwrap_or(usize::MAX))))
    }
}

impl TryFrom<String> for CacheImages {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        let bytes = || {
            let (digits, factor) = match text.to_ascii_uppercase().trim_end_matches('B') {
                number if number.ends_with('K') => {
                    (number.trim_end_matches('K').to_owned(), 1 << 10)
                }
                number if number.ends_with('M') => {
                    (number.trim_end_matches('M').to_owned(), 1 << 20)
                }
                number if number.ends_with('G') => {
                    (number.trim_end_matches('G').to_owned(), 1 << 30)
                }
                number => (number.to_owned(), 1),
            };
            digits.parse::<u64>().ok()?.checked_mul(factor)
        };
        match text.as_str() {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => bytes().map(Self::Bytes).ok_or(ConfigError::Value {
                option: "cache_images",
                value: text,
                allowed: "auto, off, or a size such as 512M or 2G".into(),
            }),
        }
    }
}

impl From<CacheImages> for String {
    fn from(cache: CacheImages) -> Self {
        match cache {
            CacheImages::Auto => "auto".into(),
            CacheImages::Off => "off".into(),
            CacheImages::Bytes(bytes) => bytes.to_string(),
        }
    }
}
