//! The input of the steps: images, or the features of a backbone that is frozen throughout.

use super::TrainError;
use super::observer::{Halt, Observer};
use crate::config::TrainConfig;
use crate::evaluate::{Scored, Scorer, agreed, evaluate};
use crate::features::{
    FeatureStore, Features, FeaturesError, HeadEngine, LIMIT_BYTES, features, trunk_fingerprint,
    trunk_output,
};
use crate::note::{Note, NoteKind};
use crate::pictures::Pictures;
use crate::progress::{Part, Stage};
use crate::ranks::Ranks;
use crate::transfer;
use regraft_data::augmentation::AugmentationKind;
use regraft_data::catalogue::Sample;
use regraft_data::loader::{self, Loader, LoaderOptions, Transform};
use regraft_data::source::cache_folder;
use regraft_nn::engine::{Engine, Input, Normalisation};
use std::sync::Arc;
use std::time::Duration;

/// The source of a run's batches.
pub(super) struct Feed<'a> {
    config: &'a TrainConfig,
    pictures: &'a Pictures,
    loading: &'a LoaderOptions,
    store: Option<FeatureStore>,
    /// The whole network, if the engine that learns is a [`HeadEngine`].
    trunk: Option<Box<dyn Engine>>,
    /// Features of the images as in evaluation, by [`Part`].
    evaluated: [Option<Features>; 3],
    /// Features of the training views in memory, by the view's number.
    views: Vec<Option<Features>>,
}

/// Features of training views that take more bytes are computed again in each epoch.
const MOST_VIEW_BYTES: u64 = 2 << 30;

impl<'a> Feed<'a> {
    /// The feed of a run, and the engine that learns from it: `engine`, or its head if the backbone
    /// is frozen in all epochs.
    pub fn new(
        config: &'a TrainConfig,
        mut engine: Box<dyn Engine>,
        pictures: &'a Pictures,
        loading: &'a LoaderOptions,
        ranks: &Ranks,
    ) -> Result<(Self, Box<dyn Engine>), TrainError> {
        let graph = engine.graph();
        let last = config.epoch_count().saturating_sub(1);
        let frozen = config
            .freeze
            .as_ref()
            .map_or(Ok(0), |freeze| transfer::frozen_nodes(graph, freeze, last))?;
        // Mixed images have features of their own, which take the whole network.
        let mixes = config.mixup > 0.0 || config.cutmix > 0.0;
        let is_frozen = frozen == graph.backbone() && config.feature_cache && !mixes;
        let mut feed = Self {
            config,
            pictures,
            loading,
            store: None,
            trunk: None,
            evaluated: [None, None, None],
            views: Vec::new(),
        };
        if config.feature_cache
            && (is_frozen || config.head_start() == crate::config::HeadStart::Fit)
        {
            let fingerprint = trunk_fingerprint(&mut *engine, &loading.preprocessing)?;
            feed.store = cache_folder()
                .map(|folder| FeatureStore::new(&folder, fingerprint, LIMIT_BYTES).of_ranks(ranks));
        }
        if !is_frozen {
            return Ok((feed, engine));
        }
        let (_, channels) = trunk_output(engine.graph())?;
        let head = HeadEngine::new(&*engine, &config.device, config.threads, ranks)?;
        feed.trunk = Some(engine);
        let views = view_count(config).unwrap_or(0).min(config.epoch_count());
        let bytes =
            (pictures.train.len() as u64 * channels as u64 * 4).saturating_mul(u64::from(views));
        if bytes <= MOST_VIEW_BYTES {
            feed.views = (0..views).map(|_| None).collect();
        }
        Ok((feed, Box::new(head)))
    }

    fn view_loading(&self, epoch: u32) -> LoaderOptions {
        let transform =
            Transform::Train { seed: self.config.seed, epoch: view(self.config, epoch) };
        LoaderOptions { transform, ..self.loading.clone() }
    }

    /// The batches of an epoch in this order, which names training images by their place.
    pub fn batches(
        &mut self,
        epoch: u32,
        order: Vec<u32>,
        observer: &mut Observer<'_>,
    ) -> Result<Batches<'_>, Halt> {
        let loading = self.view_loading(epoch);
        let view = view(self.config, epoch) as usize;
        let batch_size = self.config.batch_size;
        if view < self.views.len() {
            if self.views[view].is_none() {
                let computed = self.compute(None, Part::Training, &loading, observer)?;
                self.views[view] = Some(computed);
            }
            if let Some(features) = &self.views[view] {
                let samples = &self.pictures.train;
                return Ok(Batches::Kept { features, samples, order, next: 0, batch_size });
            }
        }
        let normalisation = loading.preprocessing.normalisation();
        let options = LoaderOptions {
            batch_size,
            share: observer.ranks.share(),
            with_previous: self.config.mixup > 0.0 || self.config.cutmix > 0.0,
            ..loading
        };
        let loader = Loader::start(Arc::clone(&self.pictures.train), order, options);
        match &mut self.trunk {
            Some(trunk) => {
                let (node, _) = trunk_output(trunk.graph())?;
                Ok(Batches::Trunk { loader, normalisation, trunk: &mut **trunk, node })
            }
            None => Ok(Batches::Pictures(loader, normalisation)),
        }
    }

    /// Scores a part's images with an engine as it is; `None` if there are none.
    pub fn score(
        &mut self,
        engine: &mut dyn Engine,
        part: Part,
        observer: &mut Observer<'_>,
    ) -> Result<Option<Scored>, Halt> {
        let samples = Arc::clone(self.pictures.part(part));
        if samples.is_empty() {
            return Ok(None);
        }
        let classes = &self.pictures.classes;
        if self.trunk.is_none() {
            let total = samples.len();
            let mut progress = |done| observer.progress(Stage::Scoring(part), done, total);
            return Ok(Some(evaluate(
                engine,
                &samples,
                classes,
                self.loading.clone(),
                &mut progress,
            )?));
        }
        let batch = self.loading.batch_size;
        let features = self.evaluated(None, part, observer)?;
        let mut scorer = Scorer::new(classes, samples.len());
        for (rows, samples) in
            features.values.chunks(batch * features.channels).zip(samples.chunks(batch))
        {
            scorer.add(&engine.evaluate(Input::values(rows), samples.len())?, samples.iter());
        }
        Ok(Some(scorer.finish()?))
    }

    /// Features of a part's images as in evaluation. `engine` computes them if the feed has no
    /// backbone of its own.
    pub fn evaluated(
        &mut self,
        engine: Option<&mut dyn Engine>,
        part: Part,
        observer: &mut Observer<'_>,
    ) -> Result<&Features, Halt> {
        let place = part as usize;
        let features = match self.evaluated[place].take() {
            Some(features) => features,
            None => {
                let loading = self.loading.clone();
                self.compute(engine, part, &loading, observer)?
            }
        };
        Ok(self.evaluated[place].insert(features))
    }

    /// Features of the training images in each augmented view that the configuration asks for.
    pub fn augmented(
        &mut self,
        mut engine: Option<&mut dyn Engine>,
        observer: &mut Observer<'_>,
    ) -> Result<Vec<Features>, Halt> {
        let views = match self.config.augment {
            AugmentationKind::None => 0,
            _ => self.config.views.map_or(0, std::num::NonZeroU32::get),
        };
        let mut found = Vec::new();
        for view in 0..views {
            let loading = self.view_loading(view);
            let engine = engine.as_mut().map(|engine| &mut **engine as &mut dyn Engine);
            found.push(self.compute(engine, Part::Training, &loading, observer)?);
        }
        Ok(found)
    }

    /// Features of the training images in the plain view and in each that the configuration names,
    /// by the engine's backbone as it is now. None of them are kept.
    pub fn fresh(
        &mut self,
        engine: &mut dyn Engine,
        observer: &mut Observer<'_>,
    ) -> Result<Vec<Features>, Halt> {
        let plain = self.plain(engine, Part::Training, observer)?;
        let store = self.store.take();
        let augmented = self.augmented(Some(engine), observer);
        self.store = store;
        Ok(std::iter::once(plain).chain(augmented?).collect())
    }

    /// Features of a part's images in the plain view, likewise.
    pub fn plain(
        &mut self,
        engine: &mut dyn Engine,
        part: Part,
        observer: &mut Observer<'_>,
    ) -> Result<Features, Halt> {
        let store = self.store.take();
        let loading = self.loading.clone();
        let found = self.compute(Some(engine), part, &loading, observer);
        self.store = store;
        found
    }

    fn compute(
        &mut self,
        engine: Option<&mut dyn Engine>,
        part: Part,
        loading: &LoaderOptions,
        observer: &mut Observer<'_>,
    ) -> Result<Features, Halt> {
        let samples = self.pictures.part(part);
        let total = samples.len();
        let mut progress = |done| observer.progress(Stage::Features(part), done, total);
        let trunk: &mut dyn Engine = match (&mut self.trunk, engine) {
            (Some(trunk), _) => &mut **trunk,
            (None, Some(engine)) => engine,
            (None, None) => {
                return Err(FeaturesError::NoTrunk { architecture: "the network".into() }.into());
            }
        };
        let found = features(trunk, samples, loading, self.store.as_mut(), &mut progress)?;
        for error in self.store.iter_mut().flat_map(FeatureStore::take_errors) {
            observer.note(Note::new(NoteKind::Other, error.to_string()));
        }
        Ok(found)
    }
}

/// How many views each training image has; `None` if every epoch has a new one.
fn view_count(config: &TrainConfig) -> Option<u32> {
    match config.augment {
        AugmentationKind::None => Some(1),
        _ => config.views.map(std::num::NonZeroU32::get),
    }
}

/// The view of the training images in an epoch, both counted from 0. Random crops are drawn for it.
pub(super) fn view(config: &TrainConfig, epoch: u32) -> u32 {
    view_count(config).map_or(epoch, |views| epoch % views)
}

/// The input of steps.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Images as the loader made them, and which of them are this rank's share, if there are
    /// several ranks.
    Pixels(Vec<u8>, Normalisation, Option<[usize; 2]>),
    /// Features in their place, `[N, channels]`.
    Features(Vec<f32>),
}

/// A batch of images, or of their features.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub content: Content,
    /// `[N]` places in the list of classes.
    pub labels: Vec<u32>,
    /// `[N]` places in the list of samples.
    pub indices: Vec<u32>,
}

impl Batch {
    /// The input as the engine reads it.
    pub fn input(&self) -> Input<'_> {
        match &self.content {
            Content::Pixels(pixels, normalisation, part) => {
                Input { part: *part, ..Input::pixels(pixels, *normalisation) }
            }
            Content::Features(features) => Input::values(features),
        }
    }
}

/// The batches of an epoch.
pub(super) enum Batches<'a> {
    /// Of images.
    Pictures(Loader, Normalisation),
    /// Of features that the backbone computes on the way.
    Trunk { loader: Loader, normalisation: Normalisation, trunk: &'a mut dyn Engine, node: usize },
    /// Of features in memory.
    Kept {
        features: &'a Features,
        samples: &'a [Sample],
        order: Vec<u32>,
        next: usize,
        batch_size: usize,
    },
}

impl Batches<'_> {
    pub fn next(&mut self) -> Option<Result<Batch, TrainError>> {
        match self {
            Self::Pictures(loader, normalisation) => loader.next().map(|batch| {
                let loader::Batch { pixels, labels, indices, part } = batch?;
                let content = Content::Pixels(pixels, *normalisation, part);
                Ok(Batch { content, labels, indices })
            }),
            Self::Trunk { loader, normalisation, trunk, node } => {
                let batch = match agreed(&mut **trunk, loader.next()?) {
                    Ok(batch) => batch,
                    Err(error) => return Some(Err(error.into())),
                };
                let input =
                    Input { part: batch.part, ..Input::pixels(&batch.pixels, *normalisation) };
                let features = trunk.features(input, batch.labels.len(), *node);
                let (labels, indices) = (batch.labels.clone(), batch.indices.clone());
                loader.recycle(batch);
                let content = features.map(Content::Features).map_err(TrainError::from);
                Some(content.map(|content| Batch { content, labels, indices }))
            }
            Self::Kept { features, samples, order, next, batch_size } => {
                let indices = order
                    .get(*next..order.len().min(*next + *batch_size))
                    .filter(|rest| !rest.is_empty())?
                    .to_vec();
                *next += indices.len();
                let rows = indices
                    .iter()
                    .flat_map(|&index| features.row(index as usize))
                    .copied()
                    .collect();
                let labels = indices.iter().map(|&index| samples[index as usize].label).collect();
                Some(Ok(Batch { content: Content::Features(rows), labels, indices }))
            }
        }
    }

    /// Gives a batch's memory back.
    pub fn recycle(&self, batch: Batch) {
        if let (
            Self::Pictures(loader, _),
            Batch { content: Content::Pixels(pixels, _, part), labels, indices },
        ) = (self, batch)
        {
            loader.recycle(loader::Batch { pixels, labels, indices, part });
        }
    }

    /// How long `next` has waited for images so far.
    pub fn waited(&self) -> Duration {
        match self {
            Self::Pictures(loader, _) | Self::Trunk { loader, .. } => loader.waited(),
            Self::Kept { .. } => Duration::ZERO,
        }
    }
}
