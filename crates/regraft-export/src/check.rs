//! Compares the answers of an exported file in rten with those of Regraft's own engine.

use crate::onnx::{Input, OnnxOptions, StorageType};
use crate::runtime::{Answers, Runtime, RuntimeError};
use regraft::config::PrecisionChoice;
use regraft::data::RgbImage;
use regraft::data::decode::{DecodeOptions, decode_file};
use regraft::data::preprocessing::{Preprocessing, ResizeMode, evaluation_pixels};
use regraft::data::shown::shown;
use regraft::engines::DeviceChoice;
use regraft::error_kind::{Classified, ErrorKind};
use regraft::inference::{self, InferenceError};
use regraft::metrics::softmax;
use regraft::model::{Model, keys};
use regraft::nn::engine::{self, Engine, EngineError};
use regraft::ranks::Ranks;
use serde::Serialize;
use std::path::PathBuf;

/// How closely a file agrees with its model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Images that both engines answered for.
    pub images: usize,
    /// Images whose most probable class differs.
    pub classes_differ: usize,
    /// The largest difference of a class's probability, from 0 to 1.
    pub probability_difference: f32,
    /// The largest difference of a logit.
    pub logit_difference: f32,
    /// The largest difference between two logits of one image, to which
    /// [`Agreement::logit_difference`] is compared.
    pub logit_range: f32,
    /// The allowed differences.
    pub tolerance: Tolerance,
    /// Images that were left out of the check, with the reason.
    pub left_out: Vec<String>,
    /// Large JPEGs, which `regraft predict` decodes at reduced size; here both engines got the
    /// full-size image.
    pub reducible: usize,
}

/// The allowed differences of answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tolerance {
    /// For probabilities, from 0 to 1.
    pub probability: f32,
    /// For logits, as a share of their range.
    pub logit_share: f32,
}

impl Agreement {
    /// Whether all differences are within the tolerance. NaN is not.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.probability_difference <= self.tolerance.probability
            && self.logit_difference <= self.tolerance.logit_share * self.logit_range
    }
}

/// A file that the check did not confirm.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The first four are the errors of the parts that they are named after.
pub enum CheckError {
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Inference(#[from] InferenceError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The file's metadata differs from the model's.
    #[error("the file's metadata {key} differs from the model's")]
    Metadata {
        /// The entry.
        key: &'static str,
    },
    /// No image could be used.
    #[error("none of the {count} images could be used for the check: {reason}")]
    NoImages {
        /// Number of images.
        count: usize,
        /// Why the first image was left out.
        reason: String,
    },
    /// The file answers differently.
    #[error(
        "the exported file does not answer as the model does, so it was not written: over {} \
         images, probabilities differ by up to {:.1e} \
         ({:.1e} is allowed), logits by up to {:.1e} of a range of {:.1} ({:.1e} is allowed), and \
             {} images get another class{}",
        .0.images, .0.probability_difference, .0.tolerance.probability, .0.logit_difference,
            .0.logit_range,
        .0.tolerance.logit_share * .0.logit_range, .0.classes_differ, remedy(.0)
    )]
    Disagrees(Agreement),
}

impl Classified for CheckError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoImages { .. } => ErrorKind::Input,
            Self::Inference(error) => error.kind(),
            _ => ErrorKind::Failure,
        }
    }
}

/// If weights are in f16, those are probably the cause; otherwise it is a bug.
fn remedy(found: &Agreement) -> &'static str {
    if found.tolerance == tolerance(StorageType::F16) {
        "; try --weights f32"
    } else {
        concat!("; please report it to ", env!("CARGO_PKG_REPOSITORY"), "/issues")
    }
}

/// The allowed differences.
///
/// rten and Regraft sum in different orders, and with the cubic filter a few pixels in 100,000 are
/// one level off, which gives about 1e-5 of the logits' range. Weights in f16 have 11 significant
/// bits, which gives up to 4e-3. A mistake in the order of colours, their mean or the filter gives
/// 2e-2 or more.
#[must_use]
pub fn tolerance(weights: StorageType) -> Tolerance {
    match weights {
        StorageType::F32 => Tolerance { probability: 2e-3, logit_share: 1e-3 },
        StorageType::F16 => Tolerance { probability: 5e-2, logit_share: 1.5e-2 },
    }
}

/// Runs `file`, written from `model` with `options`, on `images` in rten, and compares its answers
/// with those of Regraft's engine in f32. `progress` is called with the number of images done.
///
/// # Errors
/// If the file does not run, if its metadata or answers differ from the model's, or if no image can
/// be used.
pub fn check(
    file: &[u8],
    model: &Model,
    options: OnnxOptions,
    images: &[PathBuf],
    threads: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Agreement, CheckError> {
    let runtime = Runtime::load(file, threads)?;
    let metadata = model.file_metadata();
    for key in [keys::ARCHITECTURE, keys::CLASSES, keys::PREPROCESSING] {
        if runtime.metadata(key) != metadata.get(key).map(String::as_str) {
            return Err(CheckError::Metadata { key });
        }
    }
    let mut engine = inference::engine(
        model,
        &DeviceChoice::Auto,
        threads,
        PrecisionChoice::F32,
        &Ranks::default(),
    )?;
    let mut found = Agreement {
        images: 0,
        classes_differ: 0,
        probability_difference: 0.0,
        logit_difference: 0.0,
        logit_range: 0.0,
        tolerance: tolerance(options.weights),
        left_out: Vec::new(),
        reducible: 0,
    };
    for (done, path) in images.iter().enumerate() {
        progress(done);
        let decoded = match decode_file(path, &DecodeOptions::default()) {
            Ok(decoded) => decoded,
            Err(error) => {
                found.left_out.push(error.to_string());
                continue;
            }
        };
        let image = decoded.image;
        if options.input == Input::Pixels && !fits(&image, &model.preprocessing) {
            let (width, height) = (image.width, image.height);
            found.left_out.push(format!(
                "{}: rten has no 64-bit numbers, which {width} x {height} pixels need",
                shown(path)
            ));
            continue;
        }
        found.reducible +=
            usize::from(decoded.reducible_side / 2 >= least_side(&model.preprocessing));
        let ours = our_logits(&mut *engine, model, &image)?;
        let theirs = their_answers(&runtime, model, options.input, &image)?;
        found.add(&ours, &theirs);
    }
    progress(images.len());
    match (found.images, found.left_out.first()) {
        (0, reason) => {
            let reason = reason.cloned().unwrap_or_else(|| "there are none".to_owned());
            Err(CheckError::NoImages { count: images.len(), reason })
        }
        _ if found.holds() => Ok(found),
        _ => Err(CheckError::Disagrees(found)),
    }
}

impl Agreement {
    /// Adds an image's answers.
    fn add(&mut self, ours: &[f32], theirs: &Answers) {
        let probabilities = softmax(ours);
        self.images += 1;
        self.classes_differ += usize::from(first_largest(ours) != first_largest(&theirs.logits));
        self.probability_difference = largest(
            self.probability_difference,
            differences(&probabilities, &theirs.probabilities),
        );
        self.logit_difference = largest(self.logit_difference, differences(ours, &theirs.logits));
        let extreme =
            |start: f32, choose: fn(f32, f32) -> f32| ours.iter().copied().fold(start, choose);
        self.logit_range =
            self.logit_range.max(extreme(f32::MIN, f32::max) - extreme(f32::MAX, f32::min));
    }
}

fn differences<'a>(first: &'a [f32], second: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
    // If a list is too short, that is a difference.
    let missing = (first.len() != second.len()).then_some(f32::INFINITY);
    first.iter().zip(second).map(|(first, second)| (first - second).abs()).chain(missing)
}

/// The largest number; NaN if there is one, which `f32::max` would hide.
fn largest(start: f32, numbers: impl Iterator<Item = f32>) -> f32 {
    numbers.fold(
        start,
        |largest, number| if largest.is_nan() || number <= largest { largest } else { number },
    )
}

fn first_largest(numbers: &[f32]) -> Option<usize> {
    (0..numbers.len()).rev().max_by(|&first, &second| numbers[first].total_cmp(&numbers[second]))
}

fn our_logits(
    engine: &mut dyn Engine,
    model: &Model,
    image: &RgbImage,
) -> Result<Vec<f32>, CheckError> {
    let square = evaluation_pixels(image, &model.preprocessing);
    Ok(engine
        .evaluate(engine::Input::pixels(&square.pixels, model.preprocessing.normalisation()), 1)?)
}

fn their_answers(
    runtime: &Runtime,
    model: &Model,
    input: Input,
    image: &RgbImage,
) -> Result<Answers, RuntimeError> {
    let size = model.preprocessing.image_size as usize;
    match input {
        Input::Pixels => runtime.pixels(image),
        Input::Tensor => {
            let normalised = normalised(model, image);
            let planes = (0..3)
                .flat_map(|channel| normalised.iter().copied().skip(channel).step_by(3))
                .collect();
            runtime.tensor(planes, size)
        }
    }
}

/// The network's input for an image, `[S, S, 3]`.
fn normalised(model: &Model, image: &RgbImage) -> Vec<f32> {
    let square = evaluation_pixels(image, &model.preprocessing);
    let mut normalised = vec![0.0; square.pixels.len()];
    model.preprocessing.normalisation().apply(&square.pixels, &mut normalised);
    normalised
}

/// The least short side that evaluation needs, in pixels.
fn least_side(preprocessing: &Preprocessing) -> u32 {
    match preprocessing.resize {
        ResizeMode::Crop { short_side } => short_side,
        ResizeMode::Squash | ResizeMode::Letterbox => preprocessing.image_size,
    }
}

/// Whether the integers in the file's resize fit into rten's 32 bits. (The file has 64.)
fn fits(image: &RgbImage, preprocessing: &Preprocessing) -> bool {
    let (width, height) = (f64::from(image.width), f64::from(image.height));
    let side = f64::from(preprocessing.image_size);
    let [to_width, to_height] = match preprocessing.resize {
        ResizeMode::Squash => [side, side],
        ResizeMode::Crop { short_side } => {
            [width, height].map(|length| length * f64::from(short_side) / width.min(height))
        }
        ResizeMode::Letterbox => {
            [width, height].map(|length| (length * side / width.max(height)).max(1.0))
        }
    };
    let axis = |source: f64, target: f64| {
        let centres = 4.0 * source * target;
        let sums = 2.0 * source.max(target) * (source / target).max(1.0) + 2.0 * source.max(target);
        centres.max(sums * 2048.0) < f64::from(i32::MAX)
    };
    axis(width, to_width) && axis(height, to_height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft::data::preprocessing::Interpolation;

    #[test]
    fn nothing_hides_a_nan() {
        let mut agreement = Agreement {
            images: 0,
            classes_differ: 0,
            probability_difference: 0.0,
            logit_difference: 0.0,
            logit_range: 0.0,
            tolerance: Tolerance { probability: 0.1, logit_share: 0.1 },
            left_out: Vec::new(),
            reducible: 0,
        };
        let answers =
            |logits: [f32; 2]| Answers { logits: logits.to_vec(), probabilities: softmax(&logits) };
        agreement.add(&[1.0, 3.0], &answers([1.001, 3.0]));
        assert!(agreement.holds() && agreement.classes_differ == 0 && agreement.logit_range == 2.0);
        let mut nan = agreement.clone();
        nan.add(&[1.0, 3.0], &answers([f32::NAN, 3.0]));
        nan.add(&[1.0, 3.0], &answers([1.0, 3.0]));
        assert!(!nan.holds());
        let mut short = agreement.clone();
        short.add(&[1.0, 3.0], &Answers { logits: vec![1.0], probabilities: vec![1.0] });
        assert!(!short.holds());
        // Probabilities near 1 hide differences of logits.
        agreement.add(&[0.0, 30.0], &answers([0.0, 20.0]));
        assert!(agreement.probability_difference < 0.1 && !agreement.holds());
    }

    #[test]
    fn photos_fit_into_32_bits_and_banners_do_not() {
        let preprocessing = |resize| Preprocessing {
            image_size: 224,
            resize,
            interpolation: Interpolation::Bilinear,
            mean: [0.5; 3],
            std: [0.5; 3],
        };
        let fits = |width, height, resize| {
            fits(&RgbImage { width, height, pixels: Vec::new() }, &preprocessing(resize))
        };
        let modes =
            [ResizeMode::Crop { short_side: 256 }, ResizeMode::Squash, ResizeMode::Letterbox];
        for mode in modes {
            assert!(
                fits(1, 1, mode) && fits(6000, 8000, mode) && fits(3000, 400, mode),
                "{mode:?}"
            );
            assert!(!fits(60_000, 1, mode), "{mode:?}");
        }
    }
}
