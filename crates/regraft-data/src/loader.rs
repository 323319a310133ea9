//! Batches, prepared ahead of the thread that uses them.
//!
//! Workers take one image at a time, in order, so all of them work on the batch that is needed
//! next. At most [`LoaderOptions::prefetch_batches`] batches are in progress or waiting; a worker
//! that would start another one sleeps. An image's pixels depend only on (seed, epoch, sample), and
//! each image has its place in its batch, so the number of workers changes nothing but the time.

mod options;

pub use options::LoaderOptions;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use regraft_base::random::{Draws, Purpose};
use regraft_base::share::Share;

use crate::augmentation::training_pixels;
use crate::cache::decoded;
use crate::catalogue::Sample;
use crate::decode::DecodeError;
use crate::preprocessing::evaluation_pixels;
use crate::shown::shown;
pub use crate::transform::Transform;

/// Images ready for the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[images of the share, image_size, image_size, 3]`: levels, which the engine normalises.
    pub pixels: Vec<u8>,
    /// `[N]` indices into the list of classes, of the whole batch.
    pub labels: Vec<u32>,
    /// `[N]` indices into the list of samples, of the whole batch.
    pub indices: Vec<u32>,
    /// The images of `pixels` that are the share, from the first up to the second; `None` if they
    /// are the whole batch.
    pub part: Option<[usize; 2]>,
}

/// Why there is no next batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoaderError {
    /// A file could not be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The operating system started no thread at all.
    #[error(
        "cannot start a thread that decodes ({0}): the system limits processes or memory; raise \
         the limit"
    )]
    NoThread(String),
    /// An image was decoded, but preparing the network's input from it failed, which is a bug in
    /// this program.
    #[error(
        "{}: preparing the network's input from it failed ({message}); please report this",
        shown(.path)
    )]
    Transform {
        /// The file.
        path: std::path::PathBuf,
        /// The message of the panic.
        message: String,
    },
}

/// An iterator over the batches of one pass through the samples. It ends after an error.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// The error if there are no workers, until it has been returned.
    no_worker: Option<LoaderError>,
    waited: Duration,
}

#[derive(Debug)]
struct Shared {
    samples: Arc<[Sample]>,
    order: Vec<u32>,
    /// The positions in `order` whose images are loaded, batch by batch.
    loaded: Vec<usize>,
    /// Where each batch begins in `loaded`, and the end.
    starts: Vec<usize>,
    options: LoaderOptions,
    state: Mutex<State>,
    /// Signals that a batch is complete.
    complete: Condvar,
    /// Signals that there may be work.
    work: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Batches in order; the front one is returned next.
    pending: VecDeque<Arc<Pending>>,
    /// Entries of `loaded` that workers have taken.
    taken: usize,
    /// The batch of the next entry.
    batch: usize,
    /// Batches that were returned.
    delivered: usize,
    /// Memory of recycled batches.
    spare: Vec<Vec<u8>>,
    stopped: bool,
}

/// A batch in progress.
#[derive(Debug)]
struct Pending {
    content: Mutex<Content>,
}

#[derive(Debug)]
struct Content {
    pixels: Vec<u8>,
    /// Images still missing.
    missing: usize,
    /// The error of the first image that failed, with its position.
    failed: Option<(usize, LoaderError)>,
}

impl Loader {
    /// Starts the workers. `order` lists the samples to go through, by their index in `samples`.
    ///
    /// # Panics
    ///
    /// If the batch size is 0, or if an index in `order` is out of range.
    #[must_use]
    pub fn start(samples: Arc<[Sample]>, order: Vec<u32>, options: LoaderOptions) -> Self {
        assert!(options.batch_size > 0, "a batch has at least one image");
        assert!(
            order.iter().all(|&index| (index as usize) < samples.len()),
            "the order names samples that do not exist"
        );
        let (mut loaded, mut starts) = (Vec::new(), vec![0]);
        for start in (0..order.len()).step_by(options.batch_size) {
            let count = options.batch_size.min(order.len() - start);
            loaded.extend(options.loaded(count).map(|place| start + place));
            starts.push(loaded.len());
        }
        let count = options.workers.clamp(1, loaded.len().max(1));
        let options =
            LoaderOptions { prefetch_batches: options.prefetch_batches.max(1), ..options };
        let shared = Arc::new(Shared {
            samples,
            order,
            loaded,
            starts,
            options,
            state: Mutex::default(),
            complete: Condvar::new(),
            work: Condvar::new(),
        });
        // With fewer threads than requested only the time changes.
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

    /// Returns a batch's memory for reuse in a later batch.
    pub fn recycle(&self, batch: Batch) {
        let mut state = self.shared.lock();
        if state.spare.len() < self.shared.options.prefetch_batches {
            state.spare.push(batch.pixels);
        }
    }

    /// How long `next` has waited for images so far.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// The number of batches in total.
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
            if shared.images(state.delivered) == 0 {
                break Content { pixels: Vec::new(), missing: 0, failed: None };
            }
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
        let part = (shared.options.share != Share::WHOLE).then(|| {
            let own = shared.options.share.of(indices.len()).len();
            let images = content.pixels.len() / shared.options.preprocessing.input_length();
            [images - own, images]
        });
        Some(Ok(Batch { pixels: content.pixels, labels, indices, part }))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker's panic has already been returned as an error.
            let _ = worker.join();
        }
    }
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the content out if no image is missing.
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

    /// The number of images that are loaded for a batch.
    fn images(&self, batch: usize) -> usize {
        self.starts[batch + 1] - self.starts[batch]
    }

    /// The positions in `order` that a batch covers.
    fn batch_range(&self, batch: usize) -> std::ops::Range<usize> {
        let start = batch * self.options.batch_size;
        start..start.saturating_add(self.options.batch_size).min(self.order.len())
    }

    fn run_worker(&self) {
        while let Some((place, slot, pending)) = self.take_picture() {
            let outcome = self.pixels(place);
            let mut content = pending.lock();
            match outcome {
                Ok(pixels) => {
                    let length = self.options.preprocessing.input_length();
                    content.pixels[slot * length..(slot + 1) * length].copy_from_slice(&pixels);
                }
                // The first error in order is reported, whichever worker was first.
                Err(error) if content.failed.as_ref().is_none_or(|&(failed, _)| place < failed) => {
                    content.failed = Some((place, error))
                }
                Err(_) => {}
            }
            content.missing -= 1;
            if content.missing == 0 {
                drop(content);
                // The consumer checks under this lock. If it were not taken here, the consumer
                // could miss the signal.
                drop(self.lock());
                self.complete.notify_all();
            }
        }
    }

    /// Waits for the next image to work on: its position, its place in the batch, and the batch.
    /// `None` if there is none left or the loader was dropped.
    fn take_picture(&self) -> Option<(usize, usize, Arc<Pending>)> {
        let mut state = self.lock();
        loop {
            if state.stopped || state.taken == self.loaded.len() {
                return None;
            }
            while self.starts[state.batch + 1] == state.taken {
                state.batch += 1;
            }
            let batch = state.batch;
            if batch < state.delivered + self.options.prefetch_batches {
                let taken = state.taken;
                state.taken += 1;
                // Batches without images of the share have a place in the queue too.
                while state.delivered + state.pending.len() <= batch {
                    let missing = self.images(state.delivered + state.pending.len());
                    let mut pixels = state.spare.pop().unwrap_or_default();
                    pixels.resize(missing * self.options.preprocessing.input_length(), 0);
                    state.pending.push_back(Arc::new(Pending {
                        content: Mutex::new(Content { pixels, missing, failed: None }),
                    }));
                }
                let pending = Arc::clone(&state.pending[batch - state.delivered]);
                return Some((self.loaded[taken], taken - self.starts[batch], pending));
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The square image at a position in the order. A panic is caught here, because it must not
    /// leave the consumer waiting.
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
