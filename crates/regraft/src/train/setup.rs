//! Checks and prepares everything that a run needs before it writes anything: options, source
//! model, images, and the engine with the grafted network.

use super::data_list::DataList;
use super::identity::Identity;
use super::observer::{Halt, Observer};
use super::together::same_images;
use super::{Event, TrainError};
use crate::config::{BatchNormMode, Freeze, HeadStart, Resize, TrainConfig, Weights, cores_or};
use crate::engines;
use crate::evaluate::EVALUATION_BATCH;
use crate::features::trunk_output;
use crate::memory_check::{self, Purpose, check_batch};
use crate::model::{DEFAULT_ARCHITECTURE, Model, json, keys};
use crate::note::{Note, NoteKind};
use crate::pictures::{self, Pictures, PicturesError};
use crate::progress::from_any_thread;
use crate::ranks::Ranks;
use crate::transfer;
use crate::transfer::head::{Graft, HeadPrior, graft};
use crate::transfer::labels::LabelMatch;
use regraft_data::augmentation::Augmentation;
use regraft_data::cache::DecodedCache;
use regraft_data::loader::LoaderOptions;
use regraft_data::preprocessing::Preprocessing;
use regraft_nn::engine::{Engine, State};
use regraft_nn::ops::NormStatistics;
use std::sync::Arc;

/// How far running statistics move from scratch, unless asked otherwise: PyTorch's default. With
/// EfficientNet's 0.01 they would still be near their start after the few hundred steps of such a
/// run, and the network useless in evaluation.
const SCRATCH_MOMENTUM: f32 = 0.1;

/// A run that could begin or be resumed.
pub(super) struct Setup {
    /// The configuration, with everything filled in that follows from the source model.
    pub config: TrainConfig,
    /// The source model in words.
    pub source: String,
    pub pictures: Pictures,
    pub data_list: DataList,
    /// Notes on the source, the images and the new head.
    pub notes: Vec<Note>,
    pub identity: Identity,
    pub loading: LoaderOptions,
    /// The grafted network, ready for its first step.
    pub engine: Box<dyn Engine>,
    /// The model as its file describes it, without tensors.
    pub model: Model,
    /// Parameters that learn, and all.
    pub parameters: (usize, usize),
    /// The source rows that each class's row of the head starts from, if rows are reused.
    pub matches: Vec<LabelMatch>,
    /// The prior that the source's head gives a fitted head.
    pub prior: Option<HeadPrior>,
}

/// The images of a run, all of which can be read, and their list.
pub(super) struct CheckedPictures {
    pub pictures: Pictures,
    pub data_list: DataList,
}

/// Checks everything that can be wrong with a run, and changes nothing on disk. Decoded images are
/// kept in `cache`. Images that are `checked` already, for a configuration with the same data and
/// augmentation, are not checked again.
pub(super) fn set_up(
    config: &TrainConfig,
    cache: Option<&Arc<DecodedCache>>,
    checked: Option<CheckedPictures>,
    observer: &mut Observer<'_>,
) -> Result<Setup, Halt> {
    let described = observer.agree(describe(config, cache, observer.ranks))?;
    let pictures = match checked {
        Some(checked) => checked,
        None => check_pictures(&described.config, &described.loading, observer)?,
    };
    let made = make(described, pictures, observer.ranks);
    observer.agree(made)
}

/// A run as far as it is known before its images are read.
struct Described {
    config: TrainConfig,
    source: Model,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    /// Nodes that are frozen in the first epoch, and in the last.
    frozen: [usize; 2],
    loading: LoaderOptions,
}

fn describe(
    config: &TrainConfig,
    cache: Option<&Arc<DecodedCache>>,
    ranks: &Ranks,
) -> Result<Described, TrainError> {
    config.check()?;
    let source = Model::source(config.model.as_deref(), config.weights.as_ref(), config.seed)?;
    let (config, preprocessing, augmentation) =
        resolve(config, source.architecture(), &source.preprocessing)?;
    let freeze = config.freeze.as_ref().unwrap_or(&Freeze::None);
    let frozen = transfer::frozen_nodes(&source.graph, freeze, 0)?;
    let learning =
        transfer::frozen_nodes(&source.graph, freeze, config.epoch_count().saturating_sub(1))?;
    source.graph.shapes(preprocessing.image_size as usize)?;
    let source = source.for_image_size(preprocessing.image_size as usize);
    let loading = LoaderOptions {
        cache: cache.cloned(),
        workers: ranks.threads(config.workers),
        ..loading(&config, &preprocessing, &augmentation)
    };
    let frozen = [frozen, learning];
    Ok(Described { config, source, preprocessing, augmentation, frozen, loading })
}

/// The grafted network, ready for its first step.
fn make(
    described: Described,
    CheckedPictures { pictures, data_list }: CheckedPictures,
    ranks: &Ranks,
) -> Result<Setup, TrainError> {
    let Described { config, source, preprocessing, augmentation, frozen, loading } = described;
    let [frozen, learning] = frozen;
    let (origin, mut source_notes) = (source.origin.clone(), source.notes.clone());
    if !source_notes.is_empty() && preprocessing != source.preprocessing {
        let [own, other] =
            [&preprocessing, &source.preprocessing].map(Preprocessing::size_in_words);
        source_notes
            .push(format!("this run prepares images with {own}, not with the source's {other}"));
    }
    let Graft { mut graph, state, matches, note, prior } = graft(
        source,
        &pictures.classes,
        config.seed,
        config.head_start(),
        config.head_map.as_ref(),
    )?;
    let of_head = note.into_iter().chain(matches.iter().map(ToString::to_string));
    let typed = |kind| move |text| Note::new(kind, text);
    let notes = (source_notes.into_iter().map(typed(NoteKind::Source)))
        .chain(pictures.notes.iter().cloned().map(typed(NoteKind::Data)))
        .chain(of_head.map(typed(NoteKind::Head)))
        .chain(data_list.notes().into_iter().map(typed(NoteKind::Data)))
        .collect();
    graph.set_norm_statistics(match config.batch_norm {
        Some(BatchNormMode::Running) => NormStatistics::Running,
        Some(BatchNormMode::Batch) | None if config.sync_batch_norm => NormStatistics::WholeBatch,
        Some(BatchNormMode::Batch) | None => NormStatistics::Batch,
    });
    if let Some(momentum) = config.batch_norm_momentum {
        graph.set_batch_norm_momentum(momentum);
    }
    if let Some(dropout) = config.head_dropout {
        graph.set_head_dropout(dropout);
    }
    if config.head_start() == HeadStart::Fit {
        // The head was fitted to features without noise.
        graph.scale_stochastic_depth(0.0);
    }
    let (size, precision) =
        (preprocessing.image_size as usize, config.precision.resolve(&config.device));
    let mut engine =
        engines::open(&config.device, graph.clone(), size, precision, config.threads, ranks)?;
    check_memory(&config, &*engine, &pictures, learning)?;
    engine.load_state(&state)?;
    engine.freeze(frozen);
    let identity = Identity::of(&config, &data_list, &*engine);
    let parameters = transfer::parameter_counts(&graph, learning);
    let model = Model {
        graph,
        state: State::new(),
        classes: pictures.classes.clone(),
        aliases: Vec::new(),
        preprocessing,
        origin: "the run's model".into(),
        metadata: [(keys::AUGMENTATION.to_owned(), json(&augmentation))].into(),
        has_head: true,
        notes: Vec::new(),
    };
    Ok(Setup {
        config,
        source: origin,
        pictures,
        data_list,
        notes,
        identity,
        loading,
        engine,
        model,
        parameters,
        matches,
        prior,
    })
}

/// Refuses a run whose batches or features cannot fit into this machine. The last epoch trains the
/// nodes after `frozen`.
fn check_memory(
    config: &TrainConfig,
    engine: &dyn Engine,
    pictures: &Pictures,
    frozen: usize,
) -> Result<(), TrainError> {
    let images = pictures.train.len();
    let size = config.image_size.unwrap_or(0);
    if config.epoch_count() > 0 {
        check_batch(
            engine,
            size,
            config.batch_size.min(images),
            Purpose::Train { frozen },
            "batch size",
        )?;
    }
    let batch = EVALUATION_BATCH * engine.share().size;
    check_batch(engine, size, batch, Purpose::Evaluate, "model")?;
    if let (HeadStart::Fit, Some(views)) = (config.head_start(), config.views) {
        let (_, channels) = trunk_output(engine.graph())?;
        // The plain view and the augmented ones, and a copy of all of them for the regression.
        let numbers = (u64::from(views.get()) + 1) * 2 * images as u64 * channels as u64;
        let what = format!("the features of {images} images in {views} views each");
        memory_check::check(what, numbers.saturating_mul(4), "choose fewer views".into())?;
    }
    Ok(())
}

/// How a run's images are loaded for evaluation, without a cache.
pub(super) fn loading(
    config: &TrainConfig,
    preprocessing: &Preprocessing,
    augmentation: &Augmentation,
) -> LoaderOptions {
    LoaderOptions {
        workers: cores_or(config.workers),
        augmentation: augmentation.clone(),
        decode: config.decode_options(),
        full_decode: config.full_decode,
        ..LoaderOptions::new(preprocessing.clone(), EVALUATION_BATCH)
    }
}

/// Fills in the options that follow from the source model: from its architecture and preprocessing.
pub(super) fn resolve(
    config: &TrainConfig,
    architecture: &str,
    source: &Preprocessing,
) -> Result<(TrainConfig, Preprocessing, Augmentation), TrainError> {
    let mut config = config.clone();
    let embedded = architecture == DEFAULT_ARCHITECTURE && config.weights.is_none();
    config.model = Some(architecture.to_owned());
    if embedded {
        config.weights = Some(Weights::Embedded);
    }
    config.head = Some(config.head_start());
    config.epochs = Some(config.epoch_count());
    let from_scratch = config.is_from_scratch();
    if matches!(config.freeze, None | Some(Freeze::Auto)) {
        config.freeze = Some(if from_scratch { Freeze::None } else { Freeze::Backbone });
    }
    if !config.measures_rate() {
        config.lr = Some(config.learning_rate());
    }
    if config.head_start() == HeadStart::Fit {
        config.head_dropout.get_or_insert(0.0);
    }
    config.head_lr_mult = Some(config.head_rate_multiplier());
    config.batch_norm.get_or_insert(if from_scratch {
        BatchNormMode::Batch
    } else {
        BatchNormMode::Running
    });
    if from_scratch {
        config.batch_norm_momentum.get_or_insert(SCRATCH_MOMENTUM);
    }
    let preprocessing = transfer::target_preprocessing(source, config.image_size, config.resize);
    config.device = config.device.resolve()?;
    config.precision = config.precision.resolve(&config.device).into();
    config.image_size = Some(preprocessing.image_size);
    config.resize = Some(Resize::of(preprocessing.resize));
    preprocessing.check()?;
    let augmentation = Augmentation {
        kind: config.augment,
        crop_scale: config.crop_scale,
        erasing_probability: config.random_erasing,
        ..Augmentation::default()
    };
    augmentation.check()?;
    Ok((config, preprocessing, augmentation))
}

fn check_pictures(
    config: &TrainConfig,
    loading: &LoaderOptions,
    observer: &mut Observer<'_>,
) -> Result<CheckedPictures, Halt> {
    let ranks = observer.ranks;
    let listed = {
        let tell = from_any_thread(observer.report);
        pictures::list(config, &|progress| tell(Event::Progress(progress)))
    };
    let listed = observer.agree(listed.map_err(PicturesError::from))?;
    same_images(ranks, &config.data, &listed)?;
    let pictures = {
        let tell = from_any_thread(observer.report);
        pictures::prepare(config, loading, listed, ranks, &|progress| {
            tell(Event::Progress(progress));
        })
    };
    let pictures = observer.agree(pictures)?;
    let share = ranks.share().of(DataList::count(&pictures));
    let own = observer.agree(DataList::of_range(&pictures, share, loading.workers))?;
    let data_list =
        if ranks.is_alone() { own } else { DataList::joined(ranks.exchange_values(&own)) };
    Ok(CheckedPictures { pictures, data_list })
}
