//! `regraft train`'s options of a run, which `regraft show` has too, and how they become a
//! configuration.

use super::shared::{
    BadImageArguments, CacheArguments, DeviceArguments, PrecisionArguments, PreparationArguments,
    ReadingArguments, SourceArguments, ThreadArguments,
};
use super::{at_least_one, number, one_of, text};
use crate::failure::Failure;
use clap::Args;
use regraft::config::{
    Balance, BatchNormMode, Freeze, HeadStart, Interval, LossReduction, OnNan, OptimizerName,
    Recipe, Schedule, TrainConfig, differences, options,
};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// What the configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The run as it stands. Options of steps are an error if it makes none.
    Steps,
    /// Something that does without steps, or plans them later.
    Other,
}

/// Options of a run. What is not given comes from --config, or else from the recipe.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Leave out the pictures that this table names in its column `path`
    #[arg(long, value_name = "FILE")]
    pub exclude: Option<PathBuf>,
    /// Take every option from the config.toml of a run; flags given beside it win
    #[arg(long, value_name = "FILE", conflicts_with = "recipe")]
    pub config: Option<PathBuf>,
    /// Named set of defaults
    #[arg(long, value_parser = one_of::<Recipe>(&["default", "d2l"]))]
    pub recipe: Option<Recipe>,
    /// How often a checkpoint is written within an epoch, such as 90s or 1h; there is one after
    /// each epoch besides [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = text::<Interval, _>)]
    pub checkpoint_every: Option<Interval>,

    #[command(flatten)]
    pub source: SourceArguments,

    /// What the head starts from: the logistic regression that fits best (fit), which on a frozen
    /// trunk needs no epochs; random values (new: Xavier's; pytorch: those of PyTorch's Linear); or
    /// rows of the source's head for classes that the source has by name, synonym or kind (reuse)
    /// [default: fit; new in the textbook's recipe and from scratch]
    #[arg(long, value_parser = one_of::<HeadStart>(&["fit", "new", "pytorch", "reuse"]),
        help_heading = "Transfer")]
    pub head: Option<HeadStart>,
    /// Which of the source's classes each class starts from, as TOML: "hot dog" = ["hotdog",
    /// "bun"]; implies --head reuse
    #[arg(long, value_name = "FILE", help_heading = "Transfer")]
    pub head_map: Option<PathBuf>,
    /// Layers that stay as they are: backbone, none, through=LAYER (names from `regraft inspect`),
    /// gradual=EPOCHS (the backbone at first, and a stage less of it every so many epochs), or
    /// auto: a short trial on held-out images decides between backbone and none [default: auto;
    /// backbone if --epochs is given; none in the textbook's recipe and from scratch]
    #[arg(long, value_name = "LAYERS", value_parser = text::<Freeze, _>, help_heading = "Transfer")]
    pub freeze: Option<Freeze>,
    /// The head's learning rate is this many times the trunk's [default: 1 for a fitted head, or
    /// 10]
    #[arg(long, value_parser = number, value_name = "FACTOR", help_heading = "Transfer")]
    pub head_lr_mult: Option<f32>,
    /// Each stage of the trunk learns at this many times the rate of the stage above it, such as
    /// 0.75
    #[arg(long, value_parser = number, value_name = "FACTOR", help_heading = "Transfer")]
    pub layer_decay: Option<f32>,
    /// Augmented views of each training picture, taken in turn, in place of a new one in each
    /// epoch: a frozen trunk then computes each once. A fitted head is fitted to them and the plain
    /// view
    #[arg(long, value_parser = at_least_one, value_name = "N", help_heading = "Transfer")]
    pub views: Option<NonZeroU32>,
    /// Compute a frozen trunk's features anew in each epoch instead of keeping them for the next
    /// and for later runs; changes no result
    #[arg(long, help_heading = "Transfer")]
    pub no_feature_cache: bool,

    /// Fit the head again to all images, held-out ones included, once the epoch is chosen; --freeze
    /// auto does that by itself
    #[arg(long, help_heading = "Transfer")]
    pub refit: bool,

    /// Passes over the training images [default: none for a fitted head on a frozen backbone, or 5]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub epochs: Option<u32>,
    /// Images in a batch, at most 65536; no batch has more than there are
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub batch_size: Option<usize>,
    /// Learning rate of the backbone [default: measured from the curvature of the loss if the head
    /// was fitted; otherwise 3e-3, or 5e-5 in the textbook's recipe]
    #[arg(long, value_parser = number, value_name = "RATE", help_heading = "Training")]
    pub lr: Option<f32>,
    /// Optimiser
    #[arg(long, value_parser = one_of::<OptimizerName>(&["sgd", "adamw"]),
        help_heading = "Training")]
    pub optimizer: Option<OptimizerName>,
    /// Momentum of sgd
    #[arg(long, value_parser = number, value_name = "SHARE", help_heading = "Training")]
    pub momentum: Option<f32>,
    /// Weight decay
    #[arg(long, value_parser = number, value_name = "RATE", help_heading = "Training")]
    pub weight_decay: Option<f32>,
    /// No weight decay of biases and of batch norms' weights
    #[arg(long, help_heading = "Training")]
    pub no_decay_bias_norm: bool,
    /// What batch norm normalises with in training: the batch's statistics, or the source model's
    /// running ones, which then stay [default: running; batch in the textbook's recipe and from
    /// scratch]
    #[arg(long, value_parser = one_of::<BatchNormMode>(&["batch", "running"]),
        help_heading = "Training")]
    pub batch_norm: Option<BatchNormMode>,
    /// How far running statistics of batch norm move towards a batch's [default: the
    /// architecture's; 0.1 from scratch]
    #[arg(long, value_parser = number, value_name = "SHARE", help_heading = "Training")]
    pub batch_norm_momentum: Option<f32>,
    /// How the learning rate moves after the warm-up
    #[arg(long, value_parser = one_of::<Schedule>(&["constant", "cosine"]),
        help_heading = "Training")]
    pub schedule: Option<Schedule>,
    /// Epochs over which the learning rate rises at the start; fractions are allowed
    #[arg(long, value_parser = number, value_name = "EPOCHS", help_heading = "Training")]
    pub warmup: Option<f32>,
    /// Share of the target that is spread over all classes
    #[arg(long, value_parser = number, value_name = "SHARE", help_heading = "Training")]
    pub label_smoothing: Option<f32>,
    /// How the losses of a batch become one
    #[arg(long, value_parser = one_of::<LossReduction>(&["mean", "sum"]),
        help_heading = "Training")]
    pub loss: Option<LossReduction>,
    /// What to do about a loss or gradient that is not finite: stop, or once go back to the epoch's
    /// start and on with half the rate [default: stop]
    #[arg(long, value_name = "ACTION", value_parser = one_of::<OnNan>(&["stop", "retry"]),
        help_heading = "Training")]
    pub on_nan: Option<OnNan>,
    /// Batches whose gradients make one step, at most 65536
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536),
        help_heading = "Training")]
    pub accumulate: Option<u32>,
    /// Scale a step's gradient down to this norm where it is larger
    #[arg(long, value_parser = number, value_name = "NORM", help_heading = "Training")]
    pub clip_gradient: Option<f32>,
    /// Score and keep a running average of the weights, which keeps this share of itself in a step,
    /// such as 0.99
    #[arg(long, value_parser = number, value_name = "SHARE", help_heading = "Training")]
    pub ema: Option<f32>,
    /// End the run when so many epochs in a row were not better than the best
    #[arg(long, value_parser = at_least_one, value_name = "EPOCHS", help_heading = "Training")]
    pub patience: Option<NonZeroU32>,
    /// Classes of different sizes: weigh pictures of rare classes more, or take as many pictures of
    /// each class in an epoch (one that comes twice in an epoch has the same crop); a fitted head
    /// weighs them either way
    #[arg(long, value_parser = one_of::<Balance>(&["none", "weights", "sampling"]),
        help_heading = "Training")]
    pub balance: Option<Balance>,

    /// Mix each picture with another one of its batch: both parameters of the beta distribution of
    /// the shares, such as 0.2
    #[arg(long, value_parser = number, value_name = "ALPHA", help_heading = "Regularisation")]
    pub mixup: Option<f32>,
    /// Replace a rectangle of each picture by another picture's: as for --mixup, such as 1. With
    /// both, half the batches have either
    #[arg(long, value_parser = number, value_name = "ALPHA", help_heading = "Regularisation")]
    pub cutmix: Option<f32>,
    /// Probability that a rectangle of a training picture is erased
    #[arg(long, value_parser = number, value_name = "SHARE", help_heading = "Regularisation")]
    pub random_erasing: Option<f32>,
    /// Probability that the head drops a feature in training [default: 0 if the head was fitted, or
    /// the architecture's]
    #[arg(long, value_parser = number, value_name = "SHARE", help_heading = "Regularisation")]
    pub head_dropout: Option<f32>,
    /// Seed of every random draw
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub seed: Option<u64>,

    #[command(flatten)]
    pub preparation: PreparationArguments,
    #[command(flatten)]
    pub bad_images: BadImageArguments,
    #[command(flatten)]
    pub reading: ReadingArguments,

    #[command(flatten)]
    pub threads: ThreadArguments,
    #[command(flatten)]
    pub cache: CacheArguments,
    #[command(flatten)]
    pub precision: PrecisionArguments,
    #[command(flatten)]
    pub device: DeviceArguments,
}

impl RunOptions {
    /// The configuration that the flags stand for, for images in `data`. It starts from that of the
    /// run folder `run`, from --config, or from the recipe.
    pub fn resolve(
        &self,
        data: Option<&Path>,
        run: Option<&Path>,
        use_of: Use,
    ) -> Result<TrainConfig, Failure> {
        let mut config = match self.config.as_deref().or(run) {
            Some(path) => TrainConfig::read(path).map_err(Failure::input)?,
            None => TrainConfig::recipe(
                self.recipe.unwrap_or(Recipe::Default),
                data.unwrap_or("".as_ref()),
            ),
        };
        let base = options(&config);
        // `--weights X` alone must not keep the model name of a configuration, which X may
        // contradict; nor the other way round.
        let SourceArguments { model, weights } = &self.source;
        if self.config.is_some() && weights.is_some() && model.is_none() {
            config.model = None;
        }
        if self.config.is_some() && model.is_some() && weights.is_none() {
            config.weights = None;
        }
        set(&mut config.data, data.map(Path::to_path_buf).as_ref());
        set_some(&mut config.exclude, self.exclude.as_ref());
        set_some(&mut config.model, model.as_ref());
        set_some(&mut config.weights, self.source.weights().as_ref());
        set_some(&mut config.freeze, self.freeze.as_ref());
        set_some(&mut config.head, self.head.as_ref());
        if let Some(path) = &self.head_map {
            config.head_map = Some(TrainConfig::read_head_map(path).map_err(Failure::input)?);
            if self.head.is_none() {
                config.head = Some(HeadStart::Reuse);
            }
        }
        set(&mut config.layer_decay, self.layer_decay.as_ref());
        set_some(&mut config.views, self.views.as_ref());
        config.feature_cache &= !self.no_feature_cache;
        config.refit |= self.refit;
        config.decay_bias_norm &= !self.no_decay_bias_norm;
        set_some(&mut config.head_lr_mult, self.head_lr_mult.as_ref());
        set_some(&mut config.epochs, self.epochs.as_ref());
        set(&mut config.batch_size, self.batch_size.as_ref());
        set_some(&mut config.lr, self.lr.as_ref());
        set(&mut config.optimizer, self.optimizer.as_ref());
        set(&mut config.momentum, self.momentum.as_ref());
        set(&mut config.weight_decay, self.weight_decay.as_ref());
        set_some(&mut config.batch_norm, self.batch_norm.as_ref());
        set_some(&mut config.batch_norm_momentum, self.batch_norm_momentum.as_ref());
        set(&mut config.schedule, self.schedule.as_ref());
        set(&mut config.warmup, self.warmup.as_ref());
        set(&mut config.label_smoothing, self.label_smoothing.as_ref());
        set(&mut config.loss, self.loss.as_ref());
        set(&mut config.on_nan, self.on_nan.as_ref());
        set(&mut config.checkpoint_every, self.checkpoint_every.as_ref());
        set(&mut config.accumulate, self.accumulate.as_ref());
        set_some(&mut config.clip_gradient, self.clip_gradient.as_ref());
        set_some(&mut config.ema, self.ema.as_ref());
        set_some(&mut config.patience, self.patience.as_ref());
        set(&mut config.balance, self.balance.as_ref());
        set(&mut config.mixup, self.mixup.as_ref());
        set(&mut config.cutmix, self.cutmix.as_ref());
        set(&mut config.random_erasing, self.random_erasing.as_ref());
        set_some(&mut config.head_dropout, self.head_dropout.as_ref());
        set(&mut config.seed, self.seed.as_ref());
        set_some(&mut config.image_size, self.preparation.image_size.as_ref());
        set_some(&mut config.resize, self.preparation.resize.as_ref());
        set(&mut config.augment, self.preparation.augment.as_ref());
        set(&mut config.crop_scale, self.preparation.crop_scale.as_ref());
        set_some(&mut config.val_fraction, self.preparation.val_fraction.as_ref());
        set(&mut config.on_bad_image, self.bad_images.on_bad_image.as_ref());
        set(&mut config.max_pixels, self.reading.max_pixels.as_ref());
        config.allow_truncated |= self.reading.allow_truncated;
        config.full_decode |= self.reading.full_decode;
        set(&mut config.cache_images, self.cache.cache_images.as_ref());
        set(&mut config.threads, self.threads.threads.as_ref());
        set(&mut config.workers, self.threads.workers.as_ref());
        set(&mut config.precision, self.precision.precision.as_ref());
        set(&mut config.device, self.device.device.as_ref());
        config.check().map_err(Failure::input)?;
        if use_of == Use::Steps {
            let changed = differences(&base, &options(&config));
            config
                .check_given(changed.iter().map(|difference| difference.name.as_str()))
                .map_err(Failure::input)?;
        }
        Ok(config)
    }
}

fn set<T: Clone>(option: &mut T, given: Option<&T>) {
    if let Some(value) = given {
        *option = value.clone();
    }
}

fn set_some<T: Clone>(option: &mut Option<T>, given: Option<&T>) {
    if given.is_some() {
        *option = given.cloned();
    }
}
