//! Every option of a training run, resolved: what `config.toml` holds and `regraft train --config`
//! takes back.

mod difference;
mod error;
mod interval;
mod not_given;
mod stored_path;
mod words;

pub(crate) use difference::shown;
pub use difference::{Difference, WITHOUT_EFFECT, differences, options};
pub use error::ConfigError;
pub(crate) use error::TO_MAKE_STEPS;
pub use interval::Interval;
pub(crate) use not_given::EPOCHS;
pub(crate) use stored_path::escaped;
pub use words::{
    Balance, BatchNormMode, CacheImages, Freeze, HeadStart, Keep, LossReduction, OnBadImage, OnNan,
    OptimizerName, PrecisionChoice, Recipe, Resize, Schedule, Weights,
};

use crate::engines::DeviceChoice;
use regraft_data::augmentation::{Augmentation, AugmentationKind};
use regraft_data::decode::{DEFAULT_MAX_PIXELS, DecodeOptions, MOST_MAX_PIXELS};
use regraft_data::named_file::{MAX_OPTIONS_BYTES, read_text};
use regraft_data::preprocessing::MAX_SIDE;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// All options of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The folder of pictures.
    #[serde(with = "stored_path")]
    pub data: PathBuf,
    /// A table whose column `path` names pictures to leave out.
    #[serde(default, with = "stored_path::optional")]
    pub exclude: Option<PathBuf>,
    /// The recipe that gave the defaults.
    pub recipe: Recipe,
    /// The architecture; unless given, that of the weight file, or `efficientnet_lite0`.
    pub model: Option<String>,
    /// Where the trunk's weights come from; unless given, the embedded ones.
    pub weights: Option<Weights>,
    /// Side of the network's square input in pixels; unless given, the source model's.
    pub image_size: Option<u32>,
    /// How a picture becomes a square in evaluation; unless given, the source model's way.
    pub resize: Option<Resize>,
    /// Whether training pictures are varied.
    pub augment: AugmentationKind,
    /// Smallest and largest part of the picture's area that a training crop covers.
    pub crop_scale: [f32; 2],
    /// The part of each class that is held out where there is no validation folder; with 0 every
    /// training picture trains. Unless given, 0.2 of class folders that lie directly in the data
    /// folder and 0.1 of `train`, or nothing where no epoch is to be chosen.
    pub val_fraction: Option<f64>,
    /// What is done about a picture that cannot be read.
    pub on_bad_image: OnBadImage,
    /// Pictures of more pixels are refused.
    #[serde(default = "default_max_pixels")]
    pub max_pixels: u64,
    /// Whether a JPEG that is cut off or damaged is taken as far as it goes.
    #[serde(default)]
    pub allow_truncated: bool,
    /// Whether large JPEGs are decoded whole, not at a part of their size that leaves more detail
    /// than the network sees.
    #[serde(default)]
    pub full_decode: bool,
    /// How much memory decoded pictures may take.
    #[serde(default = "default_cache_images")]
    pub cache_images: CacheImages,
    /// Which layers stay as they are; unless given, the trunk, or none where there is no source
    /// model.
    pub freeze: Option<Freeze>,
    /// What the head starts from; unless given, the regression that fits best, or random values
    /// where there is no source model.
    #[serde(default)]
    pub head: Option<HeadStart>,
    /// For [`HeadStart::Reuse`]: the source's classes by new class, in place of what the names say.
    #[serde(default)]
    pub head_map: Option<BTreeMap<String, Vec<String>>>,
    /// How many augmented views each training picture has: epochs go through them in turn, and a
    /// fitted head is fitted to them and the plain view. Unless given, each epoch has a new one,
    /// and the head is fitted to the plain view alone.
    #[serde(default)]
    pub views: Option<NonZeroU32>,
    /// Whether features of a frozen trunk are computed once and kept for the next epochs and runs.
    /// It changes no result.
    #[serde(default = "yes")]
    pub feature_cache: bool,
    /// Whether the head is fitted again to all images, held-out ones included, once the epoch is
    /// chosen.
    #[serde(default)]
    pub refit: bool,
    /// Passes over the training pictures; 0 leaves the fitted head as it is. Unless given, 5, or 0
    /// where a fitted head on a frozen trunk has nothing to learn.
    #[serde(default)]
    pub epochs: Option<u32>,
    /// Pictures in a step.
    pub batch_size: usize,
    /// Learning rate of the backbone. Unless given, 3e-3; if the head was fitted and the backbone
    /// learns by SGD, it is measured, and with other fitted heads it is 3e-4.
    #[serde(default)]
    pub lr: Option<f32>,
    /// The head's learning rate is this many times the trunk's; unless given, 10, or 1 for a fitted
    /// head, which is where it should be already.
    #[serde(default)]
    pub head_lr_mult: Option<f32>,
    /// Each stage of the trunk learns at this many times the rate of the stage above it; the
    /// uppermost one at `lr`.
    #[serde(default = "one")]
    pub layer_decay: f32,
    /// The optimiser.
    pub optimizer: OptimizerName,
    /// Momentum of `sgd`.
    pub momentum: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Whether weight decay applies to biases, and weights of batch norms, too.
    #[serde(default = "yes")]
    pub decay_bias_norm: bool,
    /// What batch norms of layers that learn normalise with in training; unless given, the source
    /// model's running statistics, or the batch's where there is no source model.
    pub batch_norm: Option<BatchNormMode>,
    /// How far running statistics of batch norm move towards a batch's (PyTorch's sense); unless
    /// given, as the architecture has it, and 0.1 from scratch.
    pub batch_norm_momentum: Option<f32>,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// Epochs over which the learning rate rises to its value at the start; fractions are allowed.
    pub warmup: f32,
    /// The share of the target that is spread over all classes.
    pub label_smoothing: f32,
    /// How the losses of a batch become one.
    pub loss: LossReduction,
    /// What is done about classes of different sizes.
    #[serde(default)]
    pub balance: Balance,
    /// Batches whose gradients make one step.
    #[serde(default = "one_batch")]
    pub accumulate: u32,
    /// The largest norm of a step's gradient; a larger one is scaled down to it.
    #[serde(default)]
    pub clip_gradient: Option<f32>,
    /// Share of itself that the running average of the weights keeps in a step. The average is what
    /// is scored and kept.
    #[serde(default)]
    pub ema: Option<f32>,
    /// Both parameters of the beta distribution from which mixup draws how much of a second picture
    /// is mixed into each; 0 mixes nothing.
    #[serde(default)]
    pub mixup: f32,
    /// Likewise for CutMix: how much of each picture is replaced by a rectangle of a second one.
    /// With both, half the batches have either.
    #[serde(default)]
    pub cutmix: f32,
    /// The probability that a rectangle of a training picture is erased.
    #[serde(default)]
    pub random_erasing: f32,
    /// The probability that the head drops a feature in training; unless given, 0 for a fitted
    /// head, or as the architecture has it.
    #[serde(default)]
    pub head_dropout: Option<f32>,
    /// The run ends when so many epochs in a row have not been better than the best.
    #[serde(default)]
    pub patience: Option<NonZeroU32>,
    /// Which epoch is kept.
    pub keep: Keep,
    /// Whether the test pictures are scored after each epoch too, for show only.
    pub test_each_epoch: bool,
    /// What is done where a loss or the gradient is not finite.
    pub on_nan: OnNan,
    /// How often a checkpoint is written within an epoch; there is one after each epoch besides.
    pub checkpoint_every: Interval,
    /// Seed of every random draw.
    pub seed: u64,
    /// What maps and their gradients are stored as.
    #[serde(default)]
    pub precision: PrecisionChoice,
    /// Threads that compute; 0 is one for each core.
    pub threads: usize,
    /// Threads that decode and transform pictures; 0 is one for each core.
    pub workers: usize,
    /// What computes. A run writes the devices that it found.
    #[serde(default)]
    pub device: DeviceChoice,
}

fn yes() -> bool {
    true
}

fn one_batch() -> u32 {
    1
}

fn one() -> f32 {
    1.0
}

fn default_max_pixels() -> u64 {
    DEFAULT_MAX_PIXELS
}

fn default_cache_images() -> CacheImages {
    CacheImages::Auto
}

/// The most images in a batch, and the most batches in a step.
pub const MOST_BATCH: usize = 65_536;

/// The most passes over the training images. A run's files name them with six digits.
pub const MOST_EPOCHS: u32 = 999_999;

/// The most augmented views of each training image.
const MOST_VIEWS: u32 = 1000;

/// The largest whole number that TOML holds.
const MOST_IN_TOML: u64 = i64::MAX as u64;

/// The most threads of either kind. Far more than there are cores only takes memory, and minutes to
/// start.
pub const MOST_THREADS: usize = 1024;

/// As many threads as were asked for, or one for each core.
pub(crate) fn cores_or(asked: usize) -> usize {
    if asked > 0 { asked } else { std::thread::available_parallelism().map_or(1, usize::from) }
}

impl TrainConfig {
    /// The recipe's options for `data`.
    #[must_use]
    pub fn recipe(recipe: Recipe, data: &Path) -> Self {
        let augmentation = Augmentation::default();
        let d2l = Self {
            data: data.to_owned(),
            exclude: None,
            recipe,
            model: None,
            weights: None,
            image_size: None,
            resize: None,
            augment: AugmentationKind::Basic,
            crop_scale: augmentation.crop_scale,
            val_fraction: Some(0.0),
            on_bad_image: OnBadImage::Stop,
            max_pixels: DEFAULT_MAX_PIXELS,
            allow_truncated: false,
            full_decode: false,
            cache_images: CacheImages::Auto,
            freeze: Some(Freeze::None),
            head: Some(HeadStart::New),
            head_map: None,
            views: None,
            feature_cache: true,
            refit: false,
            epochs: None,
            batch_size: 128,
            lr: Some(5e-5),
            head_lr_mult: Some(10.0),
            layer_decay: 1.0,
            optimizer: OptimizerName::Sgd,
            momentum: 0.0,
            weight_decay: 1e-3,
            decay_bias_norm: true,
            batch_norm: Some(BatchNormMode::Batch),
            batch_norm_momentum: None,
            schedule: Schedule::Constant,
            warmup: 0.0,
            label_smoothing: 0.0,
            loss: LossReduction::Sum,
            balance: Balance::None,
            accumulate: 1,
            clip_gradient: None,
            ema: None,
            mixup: 0.0,
            cutmix: 0.0,
            random_erasing: 0.0,
            head_dropout: None,
            patience: None,
            keep: Keep::Last,
            test_each_epoch: true,
            on_nan: OnNan::Stop,
            checkpoint_every: Interval(Duration::from_secs(5 * 60)),
            seed: 0,
            precision: PrecisionChoice::F32,
            threads: 0,
            workers: 0,
            device: DeviceChoice::Auto,
        };
        match recipe {
            Recipe::D2l => d2l,
            // Chosen on held-out training pictures; docs/recipes.md has the measurements.
            Recipe::Default => Self {
                val_fraction: None,
                crop_scale: [0.35, 1.0],
                freeze: None,
                head: None,
                batch_size: 32,
                lr: None,
                head_lr_mult: None,
                momentum: 0.9,
                weight_decay: 1e-4,
                batch_norm: None,
                schedule: Schedule::Cosine,
                warmup: 0.5,
                loss: LossReduction::Mean,
                keep: Keep::Best,
                test_each_epoch: false,
                ..d2l
            },
        }
    }

    /// What is taken for a readable picture.
    #[must_use]
    pub fn decode_options(&self) -> DecodeOptions {
        DecodeOptions {
            max_pixels: self.max_pixels,
            allow_truncated: self.allow_truncated,
            ..DecodeOptions::default()
        }
    }

    /// Checks every value that has a range.
    ///
    /// # Errors
    /// Names the option and the values that are allowed.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong =
            |option, value: String, allowed| Err(ConfigError::Value { option, value, allowed });
        let positive = |value: f32| value > 0.0 && value.is_finite();
        let not_negative = |value: f32| value >= 0.0 && value.is_finite();
        let epochs = self.epoch_count();
        if epochs == 0 && self.head_start() != HeadStart::Fit {
            return wrong("epochs", "0".into(), "1 or more, or 0 with --head fit");
        }
        if self.head_map.is_some() && self.head_start() != HeadStart::Reuse {
            return Err(ConfigError::HeadMapWithoutReuse);
        }
        if self.freeze == Some(Freeze::Auto) && self.head_start() != HeadStart::Fit {
            return wrong(
                "freeze",
                "auto".into(),
                "none, backbone, through=LAYER or gradual=EPOCHS, or auto with --head fit",
            );
        }
        if self.refit && self.head_start() != HeadStart::Fit {
            return wrong("refit", "true".into(), "a choice for a fitted head: add --head fit");
        }
        if self.refit && self.views.is_some() {
            return wrong("refit", "true".into(), "a choice without --views");
        }
        if epochs > MOST_EPOCHS {
            return wrong("epochs", epochs.to_string(), "1 to 999999");
        }
        if !(1..=MOST_BATCH).contains(&self.batch_size) {
            return wrong("batch-size", self.batch_size.to_string(), "1 to 65536");
        }
        if let Some(size) = self.image_size.filter(|size| !(1..=MAX_SIDE).contains(size)) {
            return wrong("image-size", size.to_string(), "1 to 16384 pixels");
        }
        if let Some(views) = self.views.filter(|views| views.get() > MOST_VIEWS) {
            return wrong("views", views.to_string(), "1 to 1000");
        }
        if self.seed > MOST_IN_TOML {
            let allowed = "at most 9223372036854775807, the largest number that config.toml holds";
            return wrong("seed", self.seed.to_string(), allowed);
        }
        if !(1..=MOST_MAX_PIXELS).contains(&self.max_pixels) {
            return wrong("max-pixels", self.max_pixels.to_string(), "1 to 4294967296");
        }
        if !positive(self.learning_rate()) {
            return wrong("lr", self.learning_rate().to_string(), "a number above 0, such as 5e-5");
        }
        if !not_negative(self.head_rate_multiplier()) {
            return wrong(
                "head-lr-mult",
                self.head_rate_multiplier().to_string(),
                "a number from 0, such as 10",
            );
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return wrong("momentum", self.momentum.to_string(), "from 0 to below 1");
        }
        if !not_negative(self.weight_decay) {
            return wrong(
                "weight-decay",
                self.weight_decay.to_string(),
                "a number from 0, such as 1e-3",
            );
        }
        if let Some(momentum) = self.batch_norm_momentum
            && !(0.0..=1.0).contains(&momentum)
        {
            return wrong("batch-norm-momentum", momentum.to_string(), "from 0 to 1, such as 0.1");
        }
        if !(self.layer_decay > 0.0 && self.layer_decay <= 1.0) {
            return wrong(
                "layer-decay",
                self.layer_decay.to_string(),
                "above 0 and up to 1, such as 0.75",
            );
        }
        if !not_negative(self.warmup) || epochs > 0 && self.warmup >= epochs as f32 {
            return wrong(
                "warmup",
                self.warmup.to_string(),
                "a number of epochs from 0 to below --epochs",
            );
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return wrong("label-smoothing", self.label_smoothing.to_string(), "from 0 to below 1");
        }
        if !(1..=MOST_BATCH).contains(&(self.accumulate as usize)) {
            return wrong("accumulate", self.accumulate.to_string(), "1 to 65536");
        }
        if let Some(norm) = self.clip_gradient.filter(|norm| !positive(*norm)) {
            return wrong("clip-gradient", norm.to_string(), "a number above 0, such as 1");
        }
        if let Some(share) = self.ema.filter(|share| !(0.0..1.0).contains(share)) {
            return wrong("ema", share.to_string(), "from 0 to below 1, such as 0.99");
        }
        for (option, parameter) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            if !not_negative(parameter) {
                return wrong(option, parameter.to_string(), "a number from 0, such as 0.2");
            }
        }
        if let Some(probability) =
            self.head_dropout.filter(|probability| !(0.0..1.0).contains(probability))
        {
            return wrong(
                "head-dropout",
                probability.to_string(),
                "from 0 to below 1, such as 0.2",
            );
        }
        if self.patience.is_some() && self.keep == Keep::Last {
            return Err(ConfigError::PatienceWithoutBest);
        }
        for (option, threads) in [("threads", self.threads), ("workers", self.workers)] {
            if threads > MOST_THREADS {
                return wrong(option, threads.to_string(), "1 to 1024, or 0 for one for each core");
            }
        }
        self.device.resolve()?;
        Ok(())
    }

    /// Reads a `config.toml`.
    ///
    /// # Errors
    /// When the file cannot be read or has an option that is unknown, missing or wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path, MAX_OPTIONS_BYTES)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Reads a file for [`TrainConfig::head_map`]: TOML with a list of the source's classes for
    /// each new class.
    ///
    /// # Errors
    /// When the file cannot be read or is no such map.
    pub fn read_head_map(path: &Path) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
        let text = read_text(path, MAX_OPTIONS_BYTES)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::HeadMap {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// The text of a `config.toml`.
    ///
    /// # Errors
    /// When a value has no form in TOML.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        let version = env!("CARGO_PKG_VERSION");
        let text = toml::to_string(self).map_err(|source| ConfigError::Write(Box::new(source)))?;
        Ok(format!(
            "# Every option of this run, as Regraft {version} resolved it.\n# `regraft train \
             --config` with this file repeats it.\n\n{text}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::Device;

    #[test]
    fn a_configuration_comes_back_as_it_was_written() {
        for recipe in [Recipe::Default, Recipe::D2l] {
            let mut config = TrainConfig::recipe(recipe, Path::new("photos"));
            config.check().expect("recipes are possible");
            config.freeze = Some(Freeze::Through("layer3".into()));
            config.weights = Some(Weights::File("a.pth".into()));
            config.image_size = Some(160);
            config.head = Some(HeadStart::Reuse);
            config.head_map =
                Some([("hot dog".to_owned(), vec!["hotdog".to_owned(), "bun".to_owned()])].into());
            config.views = NonZeroU32::new(2);
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("config.toml");
            std::fs::write(&path, config.to_toml().expect("TOML")).expect("written");
            assert_eq!(TrainConfig::read(&path).expect("read"), config);
        }
    }

    #[test]
    fn the_textbooks_recipe_is_kept_to_the_letter() {
        let config = TrainConfig::recipe(Recipe::D2l, Path::new("photos"));
        assert_eq!(
            (config.optimizer, config.momentum, config.learning_rate(), config.weight_decay),
            (OptimizerName::Sgd, 0.0, 5e-5, 1e-3)
        );
        assert_eq!(
            (config.batch_size, config.epoch_count(), config.schedule),
            (128, 5, Schedule::Constant)
        );
        assert_eq!(
            (config.loss, config.head_lr_mult, config.val_fraction),
            (LossReduction::Sum, Some(10.0), Some(0.0))
        );
        assert_eq!(
            (config.test_each_epoch, config.keep, config.freeze),
            (true, Keep::Last, Some(Freeze::None))
        );
    }

    #[test]
    fn impossible_values_are_named() {
        let base = TrainConfig {
            head: Some(HeadStart::New),
            ..TrainConfig::recipe(Recipe::Default, Path::new("photos"))
        };
        let error = |change: &dyn Fn(&mut TrainConfig)| {
            let mut config = base.clone();
            change(&mut config);
            config.check().expect_err("impossible").to_string()
        };
        assert!(error(&|config| config.lr = Some(-1.0)).starts_with("--lr -1 is not possible"));
        assert!(error(&|config| config.warmup = 99.0).contains("--warmup 99"));
        assert!(
            error(&|config| config.label_smoothing = f32::NAN).contains("--label-smoothing NaN")
        );
        let gpu = error(&|config| config.device = DeviceChoice::Listed(vec![Device::Gpu(1)]));
        assert!(gpu.starts_with("--device gpu:1 cannot be used: "), "{gpu}");
        let freeze = Freeze::try_from("layer3".to_owned()).expect_err("no such word").to_string();
        assert_eq!(
            freeze,
            "--freeze layer3 is not possible; use auto, none, backbone, through=LAYER or \
             gradual=EPOCHS"
        );
        assert!(
            Freeze::try_from("gradual=0".to_owned()).is_err()
                && Freeze::try_from("trunk=1".to_owned()).is_err()
        );
    }
}
