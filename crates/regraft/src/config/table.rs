//! The table of options. To add one, add an entry here; its flag, its key in `config.toml`, its
//! check, its part in comparisons of runs and its documentation follow from that.

use super::spec::Range::{Above, AboveUpTo, Below, Between, From};
use super::spec::{Effect, Heading, OptionSpec, about};
use super::stored_path;
use super::value::OptionValue;
use super::words::{
    Balance, BatchNormMode, CacheImages, Freeze, HeadStart, Keep, LossReduction, OnBadImage, OnNan,
    OptimizerName, PrecisionChoice, Recipe, Resize, Schedule, Weights,
};
use super::{ConfigError, Interval, MOST_BATCH, MOST_EPOCHS, MOST_THREADS, MOST_VIEWS};
use crate::engines::DeviceChoice;
use regraft_data::augmentation::{Augmentation, AugmentationKind};
use regraft_data::decode::{DEFAULT_MAX_PIXELS, MOST_MAX_PIXELS};
use regraft_data::preprocessing::MAX_SIDE;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An entry: its documentation, then `name: type = default`, then `, textbook's default` if the
/// recipe `d2l` has another one, then `=>` and the rest of the facts [`about`] it.
macro_rules! options {
    ($(
        $(#[doc = $doc:literal])+
        $(#[serde($($serde:tt)+)])?
        $name:ident: $type:ty = $default:expr $(, $d2l:expr)? => $about:expr;
    )+) => {
        /// All options of a training run.
        ///
        /// [`TrainConfig::recipe`] gives every option its default; [`TrainConfig::builder`] and
        /// the fields change them.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default = "TrainConfig::missing")]
        #[non_exhaustive]
        pub struct TrainConfig {
            /// Folder, table or archive of images.
            #[serde(with = "stored_path")]
            pub data: PathBuf,
            /// Named set of defaults.
            pub recipe: Recipe,
            $(
                $(#[doc = $doc])+
                $(#[serde($($serde)+)])?
                pub $name: $type,
            )+
        }

        impl TrainConfig {
            /// The options of a recipe for the images in `data`.
            #[must_use]
            pub fn recipe(recipe: Recipe, data: &Path) -> Self {
                let mut config =
                    Self { data: data.to_owned(), recipe, $($name: $default,)+ };
                if recipe == Recipe::D2l {
                    $($(config.$name = $d2l;)?)+
                }
                config
            }
        }

        /// Builds a [`TrainConfig`]. Each method sets the option of its name.
        #[derive(Clone, Debug)]
        #[must_use]
        pub struct TrainConfigBuilder(TrainConfig);

        impl TrainConfigBuilder {
            $(
                $(#[doc = $doc])+
                pub fn $name(mut self, $name: impl Into<$type>) -> Self {
                    self.0.$name = $name.into();
                    self
                }
            )+

            /// The configuration.
            ///
            /// # Errors
            /// Names an option that is out of its range or contradicts another.
            pub fn build(self) -> Result<TrainConfig, ConfigError> {
                self.0.check()?;
                Ok(self.0)
            }

            pub(super) fn new(config: TrainConfig) -> Self {
                Self(config)
            }
        }

        /// Every option but the data and the recipe, in the order of `config.toml`.
        pub static OPTIONS: &[OptionSpec] = &[$(
            OptionSpec {
                name: stringify!($name),
                doc: &[$($doc),+],
                about: $about,
                words: <$type as OptionValue>::WORDS,
                is_switch: <$type as OptionValue>::IS_SWITCH,
                is_path: <$type as OptionValue>::IS_PATH,
                set: |config, text| {
                    config.$name = OptionValue::read(text)?;
                    Ok(())
                },
                shown: |config| config.$name.shown(),
                number: |config| config.$name.number(),
            },
        )+];
    };
}

options! {
    /// Table whose column `path` names images to leave out.
    #[serde(with = "stored_path::optional")]
    exclude: Option<PathBuf> = None =>
        about(Heading::Images).value("FILE").default_is("none").effect(Effect::Named);

    /// Architecture of the source model, whose usual weights are downloaded unless they are in the
    /// cache or --weights names others (`regraft models` lists the architectures); or
    /// `hub:OWNER/NAME[@REVISION]`, the weights of a repository on the Hugging Face Hub.
    model: Option<String> = None =>
        about(Heading::Source).value("NAME").common()
            .default_is("the weight file's, or efficientnet_lite0");

    /// Weights of the source model: a file (.safetensors, or .pth from torchvision or timm), a run
    /// folder, `hub:OWNER/NAME[@REVISION]`, `embedded`, or `none` to train from scratch.
    weights: Option<Weights> = None =>
        about(Heading::Source).value("FILE").common().effect(Effect::Named)
            .default_is("the architecture's usual ones");

    /// Side of the network's square input in pixels.
    image_size: Option<u32> = None =>
        about(Heading::Images).value("PIXELS").common()
            .range(Between(1.0, MAX_SIDE as f64)).default_is("the source model's");

    /// How an image becomes a square: the short side is resized and the centre cropped (crop), both
    /// sides are resized (squash), or the long side is resized and the rest padded (letterbox).
    resize: Option<Resize> = None =>
        about(Heading::Images).default_is("the source model's");

    /// Augmentation of training images: none; random crops and flips (basic); or these and
    /// TrivialAugment (trivial) or RandAugment (rand).
    augment: AugmentationKind = AugmentationKind::Basic =>
        about(Heading::Images).common().needs_views();

    /// Smallest and largest share of an image's area that a training crop covers.
    crop_scale: [f32; 2] = [0.35, 1.0], Augmentation::default().crop_scale =>
        about(Heading::Images).value("LOW,HIGH").needs_views();

    /// Share of each class that is held out as a validation set to choose the best epoch, unless
    /// the data has one. With 0, every image trains.
    val_fraction: Option<f64> = None, Some(0.0) =>
        about(Heading::Images).value("SHARE")
            .default_is("0.2 of class folders, 0.1 of `train`, 0 if there is no epoch to choose");

    /// Response to images that cannot be read: stop, or skip and list them.
    on_bad_image: OnBadImage = OnBadImage::Stop =>
        about(Heading::Images).value("ACTION");

    /// Refuse images with more pixels than this, judged by their headers.
    max_pixels: u64 = DEFAULT_MAX_PIXELS =>
        about(Heading::Images).value("N").range(Between(1.0, MOST_MAX_PIXELS as f64))
            .default_is("178956970, as in Pillow");

    /// Use JPEGs that are truncated or damaged as far as they can be decoded, and name each. The
    /// rest of such an image is grey.
    allow_truncated: bool = false =>
        about(Heading::Images);

    /// Decode large JPEGs at their full size. Otherwise they are decoded at a half, a quarter or an
    /// eighth of it if that leaves more detail than the network sees.
    full_decode: bool = false =>
        about(Heading::Images);

    /// Memory for decoded images, which then need no decoding in later epochs: auto (a quarter of
    /// the available memory), off, or a size such as 512M.
    cache_images: CacheImages = CacheImages::Auto =>
        about(Heading::Machine).value("SIZE").effect(Effect::Speed);

    /// Layers that are not trained: backbone (everything but the head), none, through=LAYER (all
    /// layers up to this one; `regraft inspect` lists them), gradual=EPOCHS (the backbone at first,
    /// and one stage less every few epochs), or auto (a short trial decides between backbone
    /// and none).
    freeze: Option<Freeze> = None, Some(Freeze::None) =>
        about(Heading::Transfer).value("LAYERS").common()
            .default_is("auto; backbone if --epochs is given; none from scratch");

    /// Start of the head: the logistic regression that fits the backbone's features best, which
    /// needs no epochs on a frozen backbone (fit); random weights, Xavier's (new) or those of
    /// PyTorch's Linear (pytorch); or the rows of the source's head for classes that it knows by
    /// name, synonym or kind (reuse).
    head: Option<HeadStart> = None, Some(HeadStart::New) =>
        about(Heading::Transfer).common().default_is("fit; new from scratch");

    /// TOML file that says which of the source's classes each class starts from, such as "hot dog"
    /// = ["hotdog", "bun"]. Implies --head reuse.
    head_map: Option<BTreeMap<String, Vec<String>>> = None =>
        about(Heading::Transfer).value("FILE").default_is("matched by name");

    /// Number of augmented views of each training image. Epochs take them in turn instead of
    /// drawing new ones, so a frozen backbone computes each of them only once. A fitted head is
    /// fitted to these views and the plain one.
    views: Option<NonZeroU32> = None =>
        about(Heading::Transfer).value("N").range(Between(1.0, MOST_VIEWS as f64))
            .default_is("a new view in each epoch");

    /// Whether the features of a frozen backbone are kept on disk for later epochs and runs. It
    /// changes no result.
    feature_cache: bool = true =>
        about(Heading::Machine).effect(Effect::Speed).negated(
            "Compute the features of a frozen backbone in every epoch instead of keeping them on \
             disk for later epochs and runs; changes no result");

    /// Fit the head again at the end, to all images including the held-out ones. --freeze auto
    /// does so by itself.
    refit: bool = false =>
        about(Heading::Transfer);

    /// Passes over the training images.
    epochs: Option<u32> = None =>
        about(Heading::Training).value("N").common().range(Between(0.0, MOST_EPOCHS as f64))
            .default_is("5, or 0 for a fitted head on a frozen backbone");

    /// Images per batch.
    batch_size: usize = 32, 128 =>
        about(Heading::Training).value("N").common().needs_steps()
            .range(Between(1.0, MOST_BATCH as f64));

    /// Learning rate of the backbone.
    lr: Option<f32> = None, Some(5e-5) =>
        about(Heading::Training).value("RATE").common().needs_steps()
            .range(Above(0.0)).such_as("5e-5")
            .default_is("measured from the curvature of the loss for a fitted head, or 3e-3");

    /// Factor by which the head's learning rate exceeds the backbone's.
    head_lr_mult: Option<f32> = None, Some(10.0) =>
        about(Heading::Training).value("FACTOR").needs_steps().range(From(0.0)).such_as("10")
            .default_is("1 for a fitted head, or 10");

    /// Factor from the learning rate of each stage of the backbone to that of the stage below it.
    layer_decay: f32 = 1.0 =>
        about(Heading::Training).value("FACTOR").needs_steps()
            .range(AboveUpTo(0.0, 1.0)).such_as("0.75");

    /// Optimiser.
    optimizer: OptimizerName = OptimizerName::Sgd =>
        about(Heading::Training).needs_steps();

    /// Momentum of SGD.
    momentum: f32 = 0.9, 0.0 =>
        about(Heading::Training).value("SHARE").needs_steps().range(Below(0.0, 1.0));

    /// Weight decay.
    weight_decay: f32 = 1e-4, 1e-3 =>
        about(Heading::Regularisation).value("RATE").needs_steps()
            .range(From(0.0)).such_as("1e-3");

    /// Whether weight decay also applies to biases and to the weights of batch norms.
    decay_bias_norm: bool = true =>
        about(Heading::Regularisation).needs_steps().negated(
            "Apply no weight decay to biases and to the weights of batch norms");

    /// Statistics that batch norms normalise with in training: the batch's, or the source model's
    /// running statistics, which then stay as they are.
    batch_norm: Option<BatchNormMode> = None, Some(BatchNormMode::Batch) =>
        about(Heading::Training).needs_steps().default_is("running; batch from scratch");

    /// Whether batch norms on several devices normalise with the statistics of the whole batch
    /// instead of those of each device's share.
    sync_batch_norm: bool = false =>
        about(Heading::Training).needs_steps();

    /// Weight of a new batch in the running statistics of batch norms, as in PyTorch.
    batch_norm_momentum: Option<f32> = None =>
        about(Heading::Training).value("SHARE").needs_steps()
            .range(Between(0.0, 1.0)).such_as("0.1")
            .default_is("the architecture's; 0.1 from scratch");

    /// Learning-rate schedule after the warm-up.
    schedule: Schedule = Schedule::Cosine, Schedule::Constant =>
        about(Heading::Training).needs_steps();

    /// Epochs over which the learning rate rises at the start; fractions are allowed.
    warmup: f32 = 0.5, 0.0 =>
        about(Heading::Training).value("EPOCHS").range(From(0.0)).such_as("0.5");

    /// Share of the target that is spread over all classes.
    label_smoothing: f32 = 0.0 =>
        about(Heading::Regularisation).value("SHARE").needs_steps()
            .range(Below(0.0, 1.0)).such_as("0.1");

    /// How the losses of a batch are combined.
    loss: LossReduction = LossReduction::Mean, LossReduction::Sum =>
        about(Heading::Training).needs_steps();

    /// How to treat classes of different sizes: as they are (none), with a loss that is weighted by
    /// class (weights), or with epochs that take as many images of each class (sampling). A fitted
    /// head is weighted in both cases.
    balance: Balance = Balance::None =>
        about(Heading::Training);

    /// Batches whose gradients are added up for one step.
    accumulate: u32 = 1 =>
        about(Heading::Training).value("N").needs_steps().range(Between(1.0, MOST_BATCH as f64));

    /// Largest norm of a step's gradient. A longer one is scaled down to it.
    clip_gradient: Option<f32> = None =>
        about(Heading::Training).value("NORM").needs_steps().range(Above(0.0)).such_as("1")
            .default_is("no limit");

    /// Score and keep a running average of the weights, which retains this share of itself in each
    /// step.
    ema: Option<f32> = None =>
        about(Heading::Regularisation).value("SHARE").needs_steps()
            .range(Below(0.0, 1.0)).such_as("0.99").default_is("no average");

    /// Parameter of the beta distribution from which mixup draws the weights of two images that it
    /// mixes; 0 turns it off.
    mixup: f32 = 0.0 =>
        about(Heading::Regularisation).value("ALPHA").needs_steps()
            .range(From(0.0)).such_as("0.2");

    /// The same parameter for CutMix, which replaces a rectangle of each image by that of another
    /// one. With mixup as well, each of them gets half the batches.
    cutmix: f32 = 0.0 =>
        about(Heading::Regularisation).value("ALPHA").needs_steps()
            .range(From(0.0)).such_as("1");

    /// Probability that a rectangle of a training image is erased.
    random_erasing: f32 = 0.0 =>
        about(Heading::Regularisation)
            .value("SHARE")
            .needs_views()
            .range(Between(0.0, 1.0))
            .such_as("0.25");

    /// Probability that the head drops a feature in training.
    head_dropout: Option<f32> = None =>
        about(Heading::Regularisation).value("SHARE").range(Below(0.0, 1.0)).such_as("0.2")
            .default_is("0 for a fitted head, or the architecture's");

    /// End the run after this many epochs that were not better than the best.
    patience: Option<NonZeroU32> = None =>
        about(Heading::Training).value("EPOCHS").needs_steps().default_is("train all epochs");

    /// The epoch whose weights are kept: the one with the best validation accuracy, and among
    /// equals the lowest validation loss, or the last one.
    keep: Keep = Keep::Best, Keep::Last =>
        about(Heading::Training).without_flag();

    /// Whether the test images are scored after each epoch. They never choose anything.
    test_each_epoch: bool = false, true =>
        about(Heading::Training).without_flag();

    /// Response to a loss or gradient that is not finite: stop, or go back once to the end of
    /// the previous epoch and continue with half the learning rate (retry).
    on_nan: OnNan = OnNan::Stop =>
        about(Heading::Training).value("ACTION").effect(Effect::Named);

    /// Time between the checkpoints within an epoch, such as 90s or 1h. There is also one after
    /// each epoch.
    checkpoint_every: Interval = Interval(Duration::from_secs(5 * 60)) =>
        about(Heading::Machine).value("TIME").effect(Effect::Speed);

    /// Seed of every random draw.
    seed: u64 = 0 =>
        about(Heading::Training).value("N").common().range(From(0.0));

    /// Number format of feature maps and matrix products: f32, bf16 (half the memory), f16 (the
    /// same, on a GPU), or auto (bf16 if the CPU computes and multiplies it, or else f32).
    precision: PrecisionChoice = PrecisionChoice::F32 =>
        about(Heading::Machine);

    /// Threads that compute; 0 for one per core.
    threads: usize = 0 =>
        about(Heading::Machine).value("N").effect(Effect::Speed)
            .range(Between(0.0, MOST_THREADS as f64)).default_is("one per core");

    /// Threads that decode and transform images; 0 for one per core.
    workers: usize = 0 =>
        about(Heading::Machine).value("N").effect(Effect::Speed)
            .range(Between(0.0, MOST_THREADS as f64)).default_is("one per core");

    /// Device that runs the network: auto (the processor), cpu, gpu, gpu:N, all, or a list such as
    /// gpu:0,gpu:1 or cpu*2. `regraft doctor` lists the devices.
    device: DeviceChoice = DeviceChoice::Auto =>
        about(Heading::Machine).value("DEVICE");
}
