//! Batches, made ahead of the thread that uses them.
//!
//! Workers take one picture at a time, in order, so that all of them work on the batch that is
//! needed next. At most [`LoaderOptions::prefetch_batches`] batches are in the making or waiting; a
//! worker that would start another one sleeps. A picture's pixels depend on (seed, epoch, sample)
//! alone, and each has its place in its batch: the number of workers changes nothing but the time.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use regraft_base::random::{Draws, Purpose};

use crate::augmentation::{Augmentation, training_pixels};
use crate::cache::{DecodedCache, decoded};
use crate::catalogue::Sample;
use crate::decode::{DecodeError, DecodeOptions};
use crate::detail::least_side;
use crate::preprocessing::{Preprocessing, evaluation_pixels};
use crate::shown::shown;
pub use crate::transform::Transform;

/// What a loader makes of its pictures, and how far ahead.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// Pictures in a batch; the last one may have fewer.
    pub batch_size: usize,
    /// Threads that decode and transform.
    pub workers: usize,
    /// Batches that may be in the making or waiting at a time.
    pub prefetch_batches: usize,
    /// Training or evaluation.
    pub transform: Transform,
    /// What the network expects.
    pub preprocessing: Preprocessing,
    /// How training pictures are varied.
    pub augmentation: Augmentation,
    /// What is taken for a readable picture. [`DecodeOptions::least_side`] is set by `full_decode`.
    pub decode: DecodeOptions,
    /// Whether large JPEGs are decoded whole, not at a part of their size that leaves more detail
    /// than `transform` needs.
    pub full_decode: bool,
    /// Where decoded pictures are kept from epoch to epoch.
    pub cache: Option<Arc<DecodedCache>>,
}

impl LoaderOptions {
    /// Evaluation in batches of `batch_size`, two batches ahead, without a cache, on as many
    /// threads as the machine has cores.
    #[must_use]
    pub fn new(preprocessing: Preprocessing, batch_size: usize) -> Self {
        Self {
            batch_size,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            prefetch_batches: 2,
            transform: Transform::Evaluate,
            preprocessing,
            augmentation: Augmentation::default(),
            decode: DecodeOptions::default(),
            full_decode: false,
            cache: None,
        }
    }

    /// How files are decoded for `transform`.
    #[must_use]
    pub fn decode_options(&self) -> DecodeOptions {
        let needed = || least_side(self.transform, &self.preprocessing, &self.augmentation);
        DecodeOptions { least_side: (!self.full_decode).then(needed), ..self.decode }
    }
}

/// Pictures ready for the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[N, image_size, image_size, 3]`: levels, which the engine normalises.
    pub pixels: Vec<u8>,
    /// `[N]` places in the list of classes.
    pub labels: Vec<u32>,
    /// `[N]` places in the list of samples.
    pub indices: Vec<u32>,
}

/// Why there is no next batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoaderError {
    /// A file could not be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The system started no thread at all.
    #[error(
        "cannot start a thread that decodes ({0}): the system limits processes or memory; raise \
         the limit"
    )]
    NoThread(String),
    /// A picture was decoded, but making the network's input of it failed: a fault of this program.
    #[error("{}: making the network's input of it failed ({message}); please report this", shown(
        .path))]
    Transform {
        /// The file.
        path: std::path::PathBuf,
        /// What went wrong.
        message: String,
    },
}

/// An iterator over the batches of one pass through the samples. After an error it ends.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Why there are no workers, until it has been returned.
    no_worker: Option<LoaderError>,
    waited: Duration,
}

#[derive(Debug)]
struct Shared {
    samples: Arc<[Sample]>,
    order: Vec<u32>,
    options: LoaderOptions,
    state: Mutex<State>,
    /// Signalled when a batch is complete.
    complete: Condvar,
    /// Signalled when there may be work.
    work: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Batches in order; the front one is the next to be handed out.
    pending: VecDeque<Arc<Pending>>,
    /// Places in `order` that workers have taken.
    taken: usize,
    /// Batches handed out.
    delivered: usize,
    /// Memory of batches that were given back.
    spare: Vec<Vec<u8>>,
    stopped: bool,
}

/// A batch in the making.
#[derive(Debug)]
struct Pending {
    content: Mutex<Content>,
}

#[derive(Debug)]
struct Content {
    pixels: Vec<u8>,
    /// Pictures still missing.
    missing: usize,
    /// The error of the first picture that failed, with its place.
    failed: Option<(usize, LoaderError)>,
}

impl Loader {
    /// Starts the workers. `order` names the samples to go through, by their place in `samples`.
    ///
    /// # Panics
    ///
    /// When the batch size is 0, or `order` names a sample that is not there.
    #[must_use]
    pub fn start(samples: Arc<[Sample]>, order: Vec<u32>, options: LoaderOptions) -> Self {
        assert!(options.batch_size > 0, "a batch has at least one picture");
        assert!(
            order.iter().all(|&index| (index as usize) < samples.len()),
            "the order names samples that are not there"
        );
        let count = options.workers.clamp(1, order.len().max(1));
        let options =
            LoaderOptions { prefetch_batches: options.prefetch_batches.max(1), ..options };
        let shared = Arc::new(Shared {
            samples,
            order,
            options,
            state: Mutex::default(),
            complete: Condvar::new(),
            work: Condvar::new(),
        });
        // Fewer threads than asked for change nothing but the time.
        let (mut workers, mut no_worker) = (Vec::with_capacity(count), None);
        while workers.len() < count {
            let shared = Arc::clone(&shared);
            match std::thread::Builder::new().spawn(move || shared.run_worker()) {
                Ok(worker) => workers.push(worker),
                Err(error) => {
                    no_worker =
                        workers.is_empty().then(|| LoaderError::NoThread(error.to_string()));
                    break;
                }
            }
        }
        Self { shared, workers, no_worker, waited: Duration::ZERO }
    }

    /// Gives a batch's memory back for one of the next.
    pub fn recycle(&self, batch: Batch) {
        let mut state = self.shared.lock();
        if state.spare.len() < self.shared.options.prefetch_batches {
            state.spare.push(batch.pixels);
        }
    }

    /// How long `next` has waited for pictures so far.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// How many batches there are in all.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.shared.order.len().div_ceil(self.shared.options.batch_size)
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, LoaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if state.stopped || state.delivered == self.batches() {
            return None;
        }
        if let Some(error) = self.no_worker.take() {
            state.stopped = true;
            return Some(Err(error));
        }
        let started = Instant::now();
        let content = loop {
            if let Some(content) = state.pending.front().and_then(|pending| pending.finished()) {
                break content;
            }
            state = shared.complete.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        self.waited += started.elapsed();
        let range = shared.batch_range(state.delivered);
        state.pending.pop_front();
        state.delivered += 1;
        state.stopped = content.failed.is_some();
        drop(state);
        shared.work.notify_all();
        if let Some((_, error)) = content.failed {
            return Some(Err(error));
        }
        let indices = shared.order[range].to_vec();
        let labels = indices.iter().map(|&index| shared.samples[index as usize].label).collect();
        Some(Ok(Batch { pixels: content.pixels, labels, indices }))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker's panic has been handed on as an error already.
            let _ = worker.join();
        }
    }
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the content out if no picture is missing.
    fn finished(&self) -> Option<Content> {
        let mut content = self.lock();
        (content.missing == 0).then(|| Content {
            pixels: std::mem::take(&mut content.pixels),
            missing: 0,
            failed: content.failed.take(),
        })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The places in `order` that a batch covers.
    fn batch_range(&self, batch: usize) -> std::ops::Range<usize> {
        let start = batch * self.options.batch_size;
        start..start.saturating_add(self.options.batch_size).min(self.order.len())
    }

    fn run_worker(&self) {
        while let Some((place, pending)) = self.take_picture() {
            let slot = place % self.options.batch_size;
            let outcome = self.pixels(place);
            let mut content = pending.lock();
            match outcome {
                Ok(pixels) => {
                    let length = self.options.preprocessing.input_length();
                    content.pixels[slot * length..(slot + 1) * length].copy_from_slice(&pixels);
                }
                // The first in order is reported, whichever worker came first.
                Err(error) if content.failed.as_ref().is_none_or(|&(failed, _)| place < failed) => {
                    content.failed = Some((place, error))
                }
                Err(_) => {}
            }
            content.missing -= 1;
            if content.missing == 0 {
                drop(content);
                // The consumer checks under this lock: without taking it, it could miss the signal.
                drop(self.lock());
                self.complete.notify_all();
            }
        }
    }

    /// Waits for the next picture to work on; `None` when there is none left or the loader was
    /// dropped.
    fn take_picture(&self) -> Option<(usize, Arc<Pending>)> {
        let mut state = self.lock();
        loop {
            if state.stopped || state.taken == self.order.len() {
                return None;
            }
            let batch = state.taken / self.options.batch_size;
            if batch < state.delivered + self.options.prefetch_batches {
                let place = state.taken;
                state.taken += 1;
                if place.is_multiple_of(self.options.batch_size) {
                    let missing = self.batch_range(batch).len();
                    let mut pixels = state.spare.pop().unwrap_or_default();
                    pixels.resize(missing * self.options.preprocessing.input_length(), 0);
                    state.pending.push_back(Arc::new(Pending {
                        content: Mutex::new(Content { pixels, missing, failed: None }),
                    }));
                }
                let pending = Arc::clone(&state.pending[batch - state.delivered]);
                return Some((place, pending));
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The square picture at a place in the order. A panic in here must not leave the consumer
    /// waiting.
    fn pixels(&self, place: usize) -> Result<Vec<u8>, LoaderError> {
        let index = self.order[place];
        let path = &self.samples[index as usize].path;
        let options = &self.options;
        let picture = decoded(path, &options.decode_options(), options.cache.as_deref())?;
        let transformed = catch_unwind(AssertUnwindSafe(|| match options.transform {
            Transform::Train { seed, epoch } => {
                let mut draws = Draws::new(seed, Purpose::Augment, epoch, index);
                training_pixels(&picture, &options.preprocessing, &options.augmentation, &mut draws)
            }
            Transform::Evaluate => evaluation_pixels(&picture, &options.preprocessing),
        }));
        match transformed {
            Ok(square) => Ok(square.pixels),
            Err(_) => Err(LoaderError::Transform {
                path: path.clone(),
                message: "see the panic's message above".to_owned(),
            }),
        }
    }
}
