//! Features of images: the input of the head, computed once for each image and view
//! and kept on disk.
//!
//! With a frozen backbone an image's features never change, so that a head learns from them at
//! thousands of images a second.

mod fingerprint;
mod head_engine;
mod store;

pub use fingerprint::{Fingerprint, trunk_fingerprint};
pub use head_engine::HeadEngine;
pub use regraft_data::source::cache_folder;
pub use store::{FeatureStore, LIMIT_BYTES, StoreError};

use crate::evaluate::{EvaluateError, agreed, shared_out};
use fingerprint::view_key;
use regraft_data::catalogue::Sample;
use regraft_data::decode::file;
use regraft_data::loader::{Loader, LoaderError, LoaderOptions};
use regraft_data::parallel;
use regraft_nn::engine::{Engine, Input};
use regraft_nn::graph::{Graph, Source};
use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// The features of a list of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// `[N, channels]`, in the order of the images.
    pub values: Vec<f32>,
    /// Features of an image.
    pub channels: usize,
    /// How many images' features came from the disk.
    pub found: usize,
}

impl Features {
    /// One image's features.
    #[must_use]
    pub fn row(&self, picture: usize) -> &[f32] {
        &self.values[picture * self.channels..(picture + 1) * self.channels]
    }
}

/// Features that could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum FeaturesError {
    /// An image could not be had, or does not fit the network.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The head does not stand on a node.
    #[error("{architecture} has no backbone: its head reads the image itself")]
    NoTrunk {
        /// The architecture.
        architecture: String,
    },
}

impl FeaturesError {
    /// Whether it only says that another rank failed.
    #[must_use]
    pub fn is_of_peer(&self) -> bool {
        matches!(self, Self::Evaluate(error) if error.is_of_peer())
    }
}

/// The place of the node whose output is the head's input, and how many values it has for a
/// image.
///
/// # Errors
/// If the head reads the image itself.
pub fn trunk_output(graph: &Graph) -> Result<(usize, usize), FeaturesError> {
    let no_trunk = || FeaturesError::NoTrunk { architecture: graph.architecture.clone() };
    match graph.head_input() {
        Source::Node(node) => Ok((node, graph.features())),
        Source::Image => Err(no_trunk()),
    }
}

/// The features of `samples` under the view that `loading` names: the evaluation's, or a training
/// view (`Transform::Train`, whose draws are those of training). Where a store is given, what it
/// holds is not computed, and what is computed goes in. If there are several ranks, each computes
/// its share, and all get all features. `progress` is called with the images done
/// and says whether to continue.
///
/// # Errors
/// If an image cannot be read, or `progress` says to stop, in any rank.
pub fn features(
    engine: &mut dyn Engine,
    samples: &Arc<[Sample]>,
    loading: &LoaderOptions,
    store: Option<&mut FeatureStore>,
    progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Features, FeaturesError> {
    let (node, channels) = trunk_output(engine.graph())?;
    let count = samples.len();
    let mut values = vec![0.0; count * channels];
    let mut store = store;
    // Each rank reads and keeps the features of its share.
    let kept = store.as_ref().map_or(0..0, |store| store.ranks().share().of(count));
    let keys = view_keys(samples, kept.clone(), loading);
    let keys = agreed(engine, keys)?;
    let mut missing: Vec<u32> = (0..count as u32).collect();
    if let Some(store) = &mut store {
        let mut is_found = vec![0.0; kept.len()];
        let own = &mut values[kept.start * channels..kept.end * channels];
        read_kept(store, channels, &keys, own, &mut is_found);
        let is_found = store.ranks().join_shares(count, 1, &is_found);
        if is_found.iter().any(|&found| found > 0.0) {
            let own = &values[kept.start * channels..kept.end * channels];
            values = store.ranks().join_shares(count, channels, own);
        }
        missing.retain(|&place| is_found[place as usize] == 0.0);
    }
    let found = count - missing.len();
    let mut done = found;
    let mut flow = progress(done);
    let normalisation = loading.preprocessing.normalisation();
    let options = shared_out(loading.clone(), engine.share());
    let mut loader = Loader::start(Arc::clone(samples), missing.clone(), options);
    while let Some(batch) = loader.next() {
        if engine.any_rank(flow.is_break()) {
            return Err(EvaluateError::Stopped.into());
        }
        let batch = agreed(engine, batch)?;
        let count = batch.indices.len();
        let input = Input { part: batch.part, ..Input::pixels(&batch.pixels, normalisation) };
        let rows = engine.features(input, count, node).map_err(EvaluateError::from)?;
        for (&place, row) in batch.indices.iter().zip(rows.chunks_exact(channels)) {
            let place = place as usize;
            values[place * channels..(place + 1) * channels].copy_from_slice(row);
        }
        done += count;
        flow = progress(done);
        loader.recycle(batch);
    }
    let features = Features { values, channels, found };
    if let Some(store) = store {
        let own = missing.iter().map(|&place| place as usize).filter(|place| kept.contains(place));
        let rows = own.map(|place| (keys[place - kept.start], features.row(place)));
        store.add(channels, &rows.collect::<Vec<_>>());
    }
    Ok(features)
}

/// Reads the rows that a store holds of these keys into `values`, and marks them in `is_found`.
fn read_kept(
    store: &mut FeatureStore,
    channels: usize,
    keys: &[[u8; 32]],
    values: &mut [f32],
    is_found: &mut [f32],
) {
    let places: HashMap<_, _> = keys.iter().enumerate().map(|(place, key)| (*key, place)).collect();
    store.read(channels, &places, &mut |place, row| {
        values[place * channels..(place + 1) * channels].copy_from_slice(row);
        is_found[place] = 1.0;
    });
    // The same image twice has one key, which names the last of them.
    for (place, key) in keys.iter().enumerate() {
        let named = places[key];
        if place != named && is_found[named] > 0.0 {
            values.copy_within(named * channels..(named + 1) * channels, place * channels);
            is_found[place] = 1.0;
        }
    }
}

/// The keys of some images' features in a backbone's store: hashes of the file's content and the
/// view.
fn view_keys(
    samples: &[Sample],
    range: Range<usize>,
    loading: &LoaderOptions,
) -> Result<Vec<[u8; 32]>, LoaderError> {
    let of_sample = |place: usize| {
        let place = range.start + place;
        let content = file::read(&samples[place].path, loading.decode.max_pixels)?;
        Ok(view_key(&content, place as u32, loading))
    };
    parallel::map(range.len(), loading.workers, &of_sample, &|_| {}).into_iter().collect()
}
