//! Runs an exported ONNX file as a classifier, in rten, on files and on labelled folders.

use crate::onnx::{INPUT_KEY, Input};
use crate::runtime::{Runtime, RuntimeError};
use regraft::class_names::{ClassNames, labelled_folder};
use regraft::data::RgbImage;
use regraft::data::decode::{DecodeError, DecodeOptions, decode};
use regraft::data::loader::LoaderOptions;
use regraft::data::named_file;
use regraft::data::preprocessing::{Preprocessing, evaluation_pixels};
use regraft::data::verify::Verified;
use regraft::error_kind::{Classified, ErrorKind};
use regraft::evaluate::{EvaluateError, Scorer};
use regraft::evaluate_folder::FolderEvaluation;
use regraft::inference::{InferenceError, InferenceOptions};
use regraft::metrics::top_k;
use regraft::model::keys;
use regraft::pictures::{check, ignored_note, left_out_notes, truncated_note};
use regraft::predict::{Guess, Prediction, Predictions};
use regraft::progress::{Progress, Stage, from_any_thread};
use regraft::ranks::Ranks;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

/// The size limit of ONNX files, 2 GiB.
const MOST_BYTES: u64 = 1 << 31;

/// An exported file that cannot be used or fails.
#[derive(Debug, thiserror::Error)]
pub enum ClassifierError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// It is not an ONNX file that Regraft exported.
    #[error("{}: {reason}; only ONNX files that `regraft export` wrote can be used", path.display(
        ))]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// The missing or wrong part.
        reason: String,
    },
    /// Running it failed.
    #[error("{}: {source}", path.display())]
    Runtime {
        /// The file.
        path: PathBuf,
        /// The error.
        source: RuntimeError,
    },
    /// An image, or the folder, cannot be used.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// An image can no longer be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Classified for ClassifierError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } | Self::NotOurs { .. } => ErrorKind::Input,
            Self::Runtime { .. } | Self::Decode(_) => ErrorKind::Failure,
            Self::Inference(error) => error.kind(),
        }
    }
}

/// An exported file, loaded.
pub struct Classifier {
    runtime: Runtime,
    path: PathBuf,
    input: Input,
    /// Class names in the order of the logits.
    pub classes: Vec<String>,
    /// How images are prepared, inside the file or before it.
    pub preprocessing: Preprocessing,
    /// Name of the architecture.
    pub architecture: String,
    /// Whether its logits are divided by the temperature of its run.
    pub is_calibrated: bool,
}

impl Classifier {
    /// Loads a file to run on `threads` threads (0: one for each core).
    ///
    /// # Errors
    /// If it cannot be read, or `regraft export` did not write it.
    pub fn open(path: &Path, threads: usize) -> Result<Self, ClassifierError> {
        let read = |source| ClassifierError::Read { path: path.to_owned(), source };
        let not_ours = |reason: String| ClassifierError::NotOurs { path: path.to_owned(), reason };
        let file = named_file::read(path, MOST_BYTES).map_err(read)?;
        let runtime = Runtime::load(&file, threads).map_err(|error| not_ours(error.to_string()))?;
        let entry = |key: &str| {
            runtime
                .metadata(key)
                .map(str::to_owned)
                .ok_or_else(|| not_ours(format!("its metadata has no {key}")))
        };
        let parsed = |key: &str, error: serde_json::Error| {
            not_ours(format!("its metadata {key} cannot be read ({error})"))
        };
        let input = match entry(INPUT_KEY)?.as_str() {
            "pixels" => Input::Pixels,
            "tensor" => Input::Tensor,
            other => return Err(not_ours(format!("its metadata {INPUT_KEY} is {other:?}"))),
        };
        let classes: Vec<String> = serde_json::from_str(&entry(keys::CLASSES)?)
            .map_err(|error| parsed(keys::CLASSES, error))?;
        let preprocessing: Preprocessing = serde_json::from_str(&entry(keys::PREPROCESSING)?)
            .map_err(|error| parsed(keys::PREPROCESSING, error))?;
        preprocessing.check().map_err(|error| not_ours(error.to_string()))?;
        let architecture = entry(keys::ARCHITECTURE)?;
        let is_calibrated = runtime.metadata(keys::CALIBRATED).is_some();
        Ok(Self {
            runtime,
            path: path.to_owned(),
            input,
            classes,
            preprocessing,
            architecture,
            is_calibrated,
        })
    }

    /// A description of the engine.
    #[must_use]
    pub fn device(&self) -> String {
        "cpu (rten, f32)".to_owned()
    }

    /// The logits `[classes]` for an unprepared image.
    ///
    /// # Errors
    /// If the file fails, or the number of logits is not the number of classes.
    pub fn logits(&self, image: &RgbImage) -> Result<Vec<f32>, ClassifierError> {
        let answers = match self.input {
            Input::Pixels => self.runtime.pixels(image),
            Input::Tensor => {
                let square = evaluation_pixels(image, &self.preprocessing);
                let mut normalised = vec![0.0; square.pixels.len()];
                self.preprocessing.normalisation().apply(&square.pixels, &mut normalised);
                let planes = (0..3)
                    .flat_map(|channel| normalised.iter().copied().skip(channel).step_by(3))
                    .collect();
                self.runtime.tensor(planes, self.preprocessing.image_size as usize)
            }
        };
        let logits = answers
            .map_err(|source| ClassifierError::Runtime { path: self.path.clone(), source })?
            .logits;
        if logits.len() == self.classes.len() {
            return Ok(logits);
        }
        let reason = format!("it gives {} logits for {} classes", logits.len(), self.classes.len());
        Err(ClassifierError::NotOurs { path: self.path.clone(), reason })
    }

    /// The `top` most probable classes of each file, like [`regraft::predict::predict_files`].
    /// Images are decoded at full size.
    ///
    /// # Errors
    /// If a file cannot be read and the options say to stop, or if the network gives no finite
    /// numbers.
    pub fn predict_files(
        &self,
        paths: &[PathBuf],
        top: usize,
        options: &InferenceOptions,
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Predictions, ClassifierError> {
        let (readable, Verified { unreadable: skipped, truncated, .. }) =
            self.check(paths, options, report)?;
        let mut predictions = Vec::with_capacity(readable.len());
        self.each(&readable, options, report, &mut |path, logits| {
            let guesses = top_k(&logits, top).into_iter();
            let guesses = guesses.map(|(class, probability)| Guess {
                class: self.classes[class].clone(),
                probability,
            });
            predictions.push(Prediction { path: path.clone(), top: guesses.collect() });
        })?;
        Ok(Predictions { predictions, skipped, truncated, reduced: 0 })
    }

    /// Scores the file on a labelled folder, like [`regraft::evaluate_folder::evaluate_folder`].
    /// Images are decoded at full size.
    ///
    /// # Errors
    /// If the folder or an image cannot be used, or a folder's name is not a class of the file.
    pub fn evaluate_folder(
        &self,
        folder: &Path,
        options: &InferenceOptions,
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<FolderEvaluation, ClassifierError> {
        let names = ClassNames { names: &self.classes, aliases: &[] };
        let mut listed = labelled_folder(folder, names).map_err(InferenceError::from)?;
        let paths: Vec<PathBuf> = listed.samples.iter().map(|sample| sample.path.clone()).collect();
        let (readable, Verified { unreadable: skipped, truncated, .. }) =
            self.check(&paths, options, report)?;
        let kept: HashSet<&PathBuf> = readable.iter().collect();
        listed.samples.retain(|sample| kept.contains(&sample.path));
        let mut scorer = Scorer::new(&self.classes, readable.len());
        let mut samples = listed.samples.iter();
        self.each(&readable, options, report, &mut |_, logits| {
            scorer.add(&logits, samples.by_ref().take(1))
        })?;
        let scored = scorer.finish().map_err(InferenceError::from)?;
        let notes = listed
            .notes
            .into_iter()
            .chain(ignored_note(&listed.ignored))
            .chain(left_out_notes(&skipped));
        let notes = notes.chain(truncated_note(&truncated)).collect();
        Ok(FolderEvaluation { scored, skipped, notes, device: self.device() })
    }

    /// Decodes every file once, and returns the readable ones and the findings.
    fn check(
        &self,
        paths: &[PathBuf],
        options: &InferenceOptions,
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(Vec<PathBuf>, Verified), ClassifierError> {
        let loading = LoaderOptions {
            workers: match options.workers {
                0 => std::thread::available_parallelism().map_or(1, usize::from),
                workers => workers,
            },
            decode: options.decode,
            full_decode: true,
            ..LoaderOptions::new(self.preprocessing.clone(), 1)
        };
        let tell = from_any_thread(report);
        let all: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let found =
            check(&all, &loading, options.on_bad_image, &Ranks::default(), &|done, total| {
                tell(Progress::of(Stage::Checking, done, total));
            });
        let found = found.map_err(InferenceError::from)?;
        let bad: HashSet<&Path> =
            found.unreadable.iter().map(|error| error.path.as_path()).collect();
        let readable = paths.iter().filter(|path| !bad.contains(path.as_path())).cloned().collect();
        Ok((readable, found))
    }

    /// Passes on the logits of each file.
    fn each(
        &self,
        paths: &[PathBuf],
        options: &InferenceOptions,
        report: &mut (dyn FnMut(Progress) + Send),
        take: &mut dyn FnMut(&PathBuf, Vec<f32>),
    ) -> Result<(), ClassifierError> {
        let decoding = DecodeOptions { least_side: None, ..options.decode };
        let mut not_finite: Vec<&PathBuf> = Vec::new();
        for (done, path) in paths.iter().enumerate() {
            report(Progress::of(Stage::Running, done, paths.len()));
            let logits = self.logits(&decode(path, &decoding)?)?;
            if top_k(&logits, 1).is_empty() {
                not_finite.push(path);
            }
            take(path, logits);
        }
        match not_finite.first() {
            None => Ok(()),
            Some(first) => {
                let error = EvaluateError::NotFinite {
                    path: (*first).clone(),
                    count: not_finite.len(),
                    total: paths.len(),
                };
                Err(InferenceError::from(error).into())
            }
        }
    }
}
