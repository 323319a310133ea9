//! A classifier: a network's tensors with its classes and how its images are prepared; its file;
//! and where source models come from.

mod error;

pub use error::ModelError;

use crate::class_names::ClassNames;
use crate::config::Weights;
use crate::hub::{self, HubSettings, Need};
use crate::hub_config::{HubConfig, WEIGHT_NAMES};
use crate::run_folder;
use regraft_data::preprocessing::{Interpolation, Preprocessing, ResizeMode};
use regraft_nn::architectures::{self, Architecture, SourceInterpolation};
use regraft_nn::engine::State;
use regraft_nn::graph::Graph;
use regraft_nn::initialize::{HeadInitialization, from_scratch};
use regraft_nn::parameters::{Role, parameters};
use regraft_nn::weights::{
    self, ExpectedTensor, HeadMatch, NamedTensor, StorageType, WeightFile, positions,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The architecture that is used where neither `--model` nor a weight file names one.
pub const DEFAULT_ARCHITECTURE: &str = "efficientnet_lite0";

/// Whether this build has [`DEFAULT_ARCHITECTURE`]'s weights inside.
pub const HAS_EMBEDDED: bool = cfg!(feature = "embedded");

/// Keys of a model file's metadata.
pub mod keys {
    /// Name of the architecture.
    pub const ARCHITECTURE: &str = "regraft.architecture";
    /// JSON list of the class names, in the order of the logits.
    pub const CLASSES: &str = "regraft.classes";
    /// JSON of [`regraft_data::preprocessing::Preprocessing`].
    pub const PREPROCESSING: &str = "regraft.preprocessing";
    /// JSON of [`regraft_data::augmentation::Augmentation`] that the model was trained with.
    pub const AUGMENTATION: &str = "regraft.augmentation";
    /// JSON of [`crate::model::Metrics`].
    pub const METRICS: &str = "regraft.metrics";
    /// JSON of the [`crate::metrics::Temperature`] that calibrates the model's probabilities.
    pub const TEMPERATURE: &str = "regraft.temperature";
    /// The same, if the head's weights are already divided by it.
    pub const CALIBRATED: &str = "regraft.calibrated";
    /// Version of Regraft that wrote the file.
    pub const VERSION: &str = "regraft.version";
}

/// The accuracy of a model, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Metrics {
    /// The epoch that the weights are from, counted from 1.
    pub epoch: u32,
    /// Share of validation images that it gets right.
    pub val_accuracy: Option<f64>,
    /// Share of test images that it gets right.
    pub test_accuracy: Option<f64>,
}

/// A classifier.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its network, with as many logits as classes.
    pub graph: Graph,
    /// Every tensor, by PyTorch's name.
    pub state: State,
    /// Class names in the order of the logits. Empty where the weight file did not say
    /// (torchvision's and timm's do not).
    pub classes: Vec<String>,
    /// Other names of each class, by which its folder may be called; empty where no class has any.
    pub aliases: Vec<Vec<String>>,
    /// How images are prepared.
    pub preprocessing: Preprocessing,
    /// Where it came from, in words.
    pub origin: String,
    /// The other metadata of its file.
    pub metadata: BTreeMap<String, String>,
    /// Whether the head's weights belong to the classes (and are not merely initial values).
    pub has_head: bool,
    /// Choices that were made when reading it, one sentence each, for the user.
    pub notes: Vec<String>,
}

/// The architecture of that name.
///
/// # Errors
/// If there is none.
pub fn architecture(name: &str) -> Result<&'static Architecture, ModelError> {
    architectures::find(name)
        .ok_or_else(|| ModelError::UnknownArchitecture { name: name.to_owned() })
}

/// How the source model of an architecture prepares its images.
#[must_use]
pub fn source_preprocessing(architecture: &Architecture) -> Preprocessing {
    Preprocessing {
        image_size: architecture.image_size,
        resize: ResizeMode::Crop { short_side: architecture.resize_side },
        interpolation: match architecture.interpolation {
            SourceInterpolation::Bilinear => Interpolation::Bilinear,
            SourceInterpolation::Bicubic => Interpolation::Bicubic,
        },
        mean: architecture.mean,
        std: architecture.std,
    }
}

impl Model {
    /// The source model that `--model` and `--weights` name. Weights of a hub must be in the cache,
    /// into which
    /// [`SourceModel::located`](crate::source_model::SourceModel::located) brings them.
    ///
    /// # Errors
    /// If the name is unknown, no weights are to be had for it, or the weight file is wrong.
    pub fn source(
        model: Option<&str>,
        weights: Option<&Weights>,
        seed: u64,
    ) -> Result<Self, ModelError> {
        let named = || architecture(model.unwrap_or(DEFAULT_ARCHITECTURE));
        match weights {
            Some(Weights::File(path)) => Self::load(path, model),
            Some(Weights::Hub(source)) => {
                let found = hub::find_cached(source, Need::Weights, &HubSettings::from_env())?;
                let mut loaded = Self::load(&found.file, model)?;
                loaded.origin = format!("{} (hub)", found.source.short());
                let is_ours = loaded.metadata.contains_key(keys::PREPROCESSING);
                if !is_ours && HubConfig::of_folder(&found.folder)?.is_none() {
                    loaded.notes.push(format!(
                        "{} has no config.json that is understood here; images are prepared as \
                         for the usual weights of {}",
                        loaded.origin,
                        loaded.architecture()
                    ));
                }
                Ok(loaded)
            }
            Some(Weights::None) => Ok(Self::scratch(named()?, seed)),
            Some(Weights::Embedded) | None => match named()? {
                named if named.name == DEFAULT_ARCHITECTURE => Self::embedded(),
                named => Err(ModelError::NoWeights {
                    architecture: named.name.into(),
                    files: named.weights.replace("--weights ", ""),
                }),
            },
        }
    }

    /// The model that is inside the program: EfficientNet-Lite0 with its ImageNet classes.
    ///
    /// # Errors
    /// If the program was built without it.
    #[cfg(feature = "embedded")]
    pub fn embedded() -> Result<Self, ModelError> {
        let named = architecture(DEFAULT_ARCHITECTURE)?;
        let file =
            weights::read_safetensors(regraft_lite0::WEIGHTS, "the embedded efficientnet_lite0")?;
        let mut model = Self::from_file(file, named, None)?;
        model.classes = regraft_lite0::class_names().into_iter().map(str::to_owned).collect();
        model.aliases = imagenet_aliases();
        Ok(model)
    }

    /// The model that is inside the program: not in this build.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "embedded"))]
    pub fn embedded() -> Result<Self, ModelError> {
        Err(ModelError::NotEmbedded)
    }

    /// A network with initial weights.
    fn scratch(architecture: &'static Architecture, seed: u64) -> Self {
        let graph = architecture.graph();
        Self {
            state: from_scratch(&graph, seed, HeadInitialization::PyTorch),
            graph,
            classes: Vec::new(),
            aliases: Vec::new(),
            preprocessing: source_preprocessing(architecture),
            origin: format!("{} from scratch", architecture.name),
            metadata: BTreeMap::new(),
            has_head: false,
            notes: Vec::new(),
        }
    }

    /// Loads a weight file of torchvision or timm, a model file of Regraft, a run folder's model,
    /// or the weights in a folder that timm made for the Hugging Face Hub, whose `config.json` is
    /// followed.
    ///
    /// # Errors
    /// If the file cannot be read, does not fit `model`, or does not say its architecture and
    /// `model` does not either.
    pub fn load(path: &Path, model: Option<&str>) -> Result<Self, ModelError> {
        let file_path = model_path(path);
        if path.is_dir() && !file_path.exists() {
            return Err(ModelError::NotARunFolder { path: path.to_owned() });
        }
        let file = weights::read(&file_path)?;
        let asked = model.map(architecture).transpose()?;
        let said =
            file.metadata.get(keys::ARCHITECTURE).map(|name| architecture(name)).transpose()?;
        let hub = if said.is_some() { None } else { HubConfig::beside(&file_path)? };
        let found = said.or(hub.as_ref().map(|hub| hub.architecture));
        let origin = || file.origin.clone();
        match (asked, found) {
            (Some(asked), Some(found)) if asked.name != found.name => {
                Err(ModelError::OtherArchitecture {
                    origin: origin(),
                    asked: asked.name.into(),
                    found: found.name.into(),
                })
            }
            (Some(named), _) | (None, Some(named)) => Self::from_file(file, named, hub),
            (None, None) => Err(ModelError::NoArchitecture { origin: origin() }),
        }
    }

    /// Fits a weight file, with the hub's configuration beside it, to an architecture.
    fn from_file(
        file: WeightFile,
        architecture: &'static Architecture,
        mut hub: Option<HubConfig>,
    ) -> Result<Self, ModelError> {
        let (origin, metadata, mut notes) =
            (file.origin.clone(), file.metadata.clone(), file.notes.clone());
        let preprocessing: Option<Preprocessing> =
            from_metadata(&metadata, keys::PREPROCESSING, &origin)?;
        let preprocessing = preprocessing
            .or_else(|| hub.as_ref().map(|hub| hub.preprocessing.clone()))
            .unwrap_or_else(|| source_preprocessing(architecture));
        preprocessing
            .check()
            .map_err(|source| ModelError::Preprocessing { origin: origin.clone(), source })?;
        let graph = Graph { image_size: preprocessing.image_size as usize, ..architecture.graph() };
        let matched = weights::match_to(file, &expected_tensors(&graph))?;
        let mut classes: Option<Vec<String>> = from_metadata(&metadata, keys::CLASSES, &origin)?;
        let head_classes = match matched.head {
            HeadMatch::Same => Some(graph.classes()),
            HeadMatch::OtherClassCount { found, .. } => Some(found),
            HeadMatch::Absent => None,
        };
        if let (Some(classes), Some(count)) = (&classes, head_classes)
            && classes.len() != count
        {
            let reason = format!("names {} classes where the head has {count}", classes.len());
            return Err(ModelError::Metadata { origin, key: keys::CLASSES, reason });
        }
        if let (Some(hub), Some(count), None) = (&mut hub, head_classes, &classes) {
            classes = hub.class_names(count)?;
        }
        notes.extend(hub.into_iter().flat_map(|hub| hub.notes));
        notes.extend(matched.resampled.map(interpolated));
        if !matched.left_out.is_empty() {
            notes.push(format!(
                "left out of {origin}, because no classifier uses it: {}",
                matched.left_out.join(", ")
            ));
        }
        Ok(Self {
            graph: graph.with_classes(head_classes.unwrap_or(0)),
            state: matched
                .tensors
                .into_iter()
                .map(|(name, tensor)| (name, tensor.values))
                .collect(),
            classes: classes.unwrap_or_default(),
            aliases: Vec::new(),
            preprocessing,
            origin,
            metadata,
            has_head: head_classes.is_some(),
            notes,
        })
    }

    /// The same model for square images of `size` pixels: position embeddings, if it has any, are
    /// interpolated, and a note says so. Its preprocessing stays.
    #[must_use]
    pub(crate) fn for_image_size(mut self, size: usize) -> Self {
        let before = parameters(&self.graph);
        self.graph.image_size = size;
        for (before, after) in before.iter().zip(parameters(&self.graph)) {
            let [from, to] = [before.length(), after.length()];
            let Some(values) = self.state.get_mut(&after.name).filter(|_| from != to) else {
                continue;
            };
            let channels = after.shape.last().copied().unwrap_or(1);
            // The lengths differ only for embeddings of a grid, before and after.
            let grids = [from, to].map(|length| positions::grid(length / channels));
            if let (Some(resampled), [Some((from, _)), Some((to, _))]) =
                (positions::resample(values, channels, to / channels), grids)
            {
                *values = resampled;
                self.notes.push(interpolated([from, to]));
            }
        }
        self
    }

    /// The name of its architecture.
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.graph.architecture
    }

    /// The names of its classes.
    #[must_use]
    pub fn class_names(&self) -> ClassNames<'_> {
        ClassNames { names: &self.classes, aliases: &self.aliases }
    }

    /// The model as a classifier: with a head, and a name for every class (its number where the
    /// file had none).
    ///
    /// # Errors
    /// If it has no head.
    pub fn into_classifier(mut self) -> Result<Self, ModelError> {
        if !self.has_head {
            return Err(ModelError::NoHead { origin: self.origin });
        }
        if self.classes.is_empty() {
            self.classes =
                (0..self.graph.classes()).map(|class| format!("class {class}")).collect();
        }
        Ok(self)
    }

    /// Writes the model file: safetensors in f32 under PyTorch's names, the rest in its metadata.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        self.save_with(&self.state, path)
    }

    /// As [`Model::save`], with other tensors than its own.
    pub(crate) fn save_with(&self, state: &State, path: &Path) -> Result<(), ModelError> {
        let tensors: Vec<NamedTensor> = parameters(&self.graph)
            .into_iter()
            .filter_map(|parameter| {
                let values = state.get(&parameter.name)?.clone();
                Some(NamedTensor { name: parameter.name, shape: parameter.shape, values })
            })
            .collect();
        weights::write_safetensors(path, &tensors, &self.file_metadata(), StorageType::F32)?;
        Ok(())
    }

    /// The metadata of this model's file, by [`keys`].
    #[must_use]
    pub fn file_metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = self.metadata.clone();
        metadata.insert(keys::ARCHITECTURE.into(), self.architecture().into());
        metadata.insert(keys::CLASSES.into(), json(&self.classes));
        metadata.insert(keys::PREPROCESSING.into(), json(&self.preprocessing));
        metadata.insert(keys::VERSION.into(), env!("CARGO_PKG_VERSION").into());
        metadata
    }
}

/// The note about interpolated position embeddings.
fn interpolated([from, to]: [usize; 2]) -> String {
    format!("the position embeddings of {from} x {from} patches are interpolated to {to} x {to}")
}

/// The other names of ImageNet's classes: each of a class's words, without the part that tells it
/// from a namesake in brackets, and its WordNet identifier.
#[cfg(feature = "embedded")]
fn imagenet_aliases() -> Vec<Vec<String>> {
    let classes = regraft_lite0::class_names().into_iter().zip(regraft_lite0::synsets());
    let words = |class: &str| -> Vec<String> {
        class.split(", ").map(|word| word.split(" (").next().unwrap_or(word).to_owned()).collect()
    };
    classes
        .map(|(class, synset)| words(class).into_iter().chain([synset.to_owned()]).collect())
        .collect()
}

/// The tensors that a weight file of this architecture has.
#[must_use]
pub fn expected_tensors(graph: &Graph) -> Vec<ExpectedTensor> {
    let head = graph.backbone();
    let expected = |parameter: regraft_nn::parameters::ParameterInfo| ExpectedTensor {
        head: parameter.node >= head,
        is_positions: parameter.role == Role::Positions,
        name: parameter.name,
        shape: parameter.shape,
    };
    parameters(graph).into_iter().map(expected).collect()
}

/// JSON of a value that always has one.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value)
        .unwrap_or_else(|error| unreachable!("plain data has a form in JSON: {error}"))
}

/// An entry of a file's metadata that is JSON.
pub(crate) fn from_metadata<T: serde::de::DeserializeOwned>(
    metadata: &BTreeMap<String, String>,
    key: &'static str,
    origin: &str,
) -> Result<Option<T>, ModelError> {
    let damaged = |error: serde_json::Error| ModelError::Metadata {
        origin: origin.into(),
        key,
        reason: error.to_string(),
    };
    metadata.get(key).map(|text| serde_json::from_str(text)).transpose().map_err(damaged)
}

/// The model file that a user means: the file itself, or the one in a run folder or a hub's folder.
#[must_use]
pub fn model_path(path: &Path) -> PathBuf {
    if !path.is_dir() {
        return path.to_owned();
    }
    let found = WEIGHT_NAMES.iter().map(|name| path.join(name)).find(|file| file.exists());
    found.unwrap_or_else(|| path.join(run_folder::MODEL))
}
