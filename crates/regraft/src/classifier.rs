//! A trained classifier, ready for images.

use crate::evaluate::EVALUATION_BATCH;
use crate::features::{FeaturesError, trunk_output};
use crate::inference::{self, InferenceError, InferenceOptions};
use crate::metrics::top_k;
use crate::model::{Model, ModelError};
use crate::predict::Guess;
use crate::ranks::Ranks;
use regraft_data::RgbImage;
use regraft_data::decode::{DecodeError, DecodeOptions, DecodeReason, decode_bytes, decode_file};
use regraft_data::loader::LoaderOptions;
use regraft_data::preprocessing::evaluation_pixels;
use regraft_nn::engine::{Engine, EngineError, Input};
use std::path::{Path, PathBuf};

/// A model on its device. It takes images as they are: the preprocessing is the model's.
///
/// ```no_run
/// # fn main() -> Result<(), regraft::classifier::ClassifierError> {
/// let mut classifier = regraft::Classifier::load("runs/photos")?;
/// let classes = classifier.predict("new.jpg")?;
/// println!("{}: {:.1} %", classes.best().class, 100.0 * classes.best().probability);
/// # Ok(())
/// # }
/// ```
pub struct Classifier {
    model: Model,
    engine: Box<dyn Engine>,
    decode: DecodeOptions,
}

/// An image to classify.
#[derive(Clone, Copy, Debug)]
pub enum Image<'a> {
    /// A file in any supported format.
    File(&'a Path),
    /// The content of such a file.
    Encoded(&'a [u8]),
    /// `[height, width, 3]` levels in memory.
    Rgb(&'a RgbImage),
}

impl<'a> From<&'a Path> for Image<'a> {
    fn from(path: &'a Path) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a PathBuf> for Image<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a str> for Image<'a> {
    fn from(path: &'a str) -> Self {
        Self::File(Path::new(path))
    }
}

impl<'a> From<&'a [u8]> for Image<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Encoded(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Image<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Encoded(bytes)
    }
}

impl<'a> From<&'a RgbImage> for Image<'a> {
    fn from(image: &'a RgbImage) -> Self {
        Self::Rgb(image)
    }
}

/// The classes of an image by probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    guesses: Vec<Guess>,
}

impl Classification {
    /// The most probable class.
    #[must_use]
    pub fn best(&self) -> &Guess {
        &self.guesses[0]
    }

    /// All classes, the most probable first. There is at least one.
    #[must_use]
    pub fn guesses(&self) -> &[Guess] {
        &self.guesses
    }
}

/// A classifier that cannot be loaded, or an image that cannot be classified.
#[derive(Debug, thiserror::Error)]
pub enum ClassifierError {
    /// The model file is wrong.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The machine lacks something that the model needs.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] DecodeError),
    /// Bytes are not an image.
    #[error("image {number} cannot be read: it {reason}")]
    Bytes {
        /// Which image of the call, counted from 1.
        number: usize,
        /// The problem with it.
        reason: DecodeReason,
    },
    /// The size of an image in memory is not that of its pixels.
    #[error(
        "image {number} has {pixels} levels, but {width} x {height} pixels have three levels each"
    )]
    Pixels {
        /// Which image of the call, counted from 1.
        number: usize,
        /// Levels that it has.
        pixels: usize,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// The network failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The network has no features.
    #[error(transparent)]
    Features(#[from] FeaturesError),
    /// The network's output is NaN or infinite.
    #[error("the network's output for image {number} is not finite: its weights are too large")]
    NotFinite {
        /// Which image of the call, counted from 1.
        number: usize,
    },
}

impl Classifier {
    /// Loads a run folder, a model file, or a weight file that names its architecture and classes.
    ///
    /// # Errors
    /// If the file cannot be read, or does not hold a classifier.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ClassifierError> {
        let model = Model::load(path.as_ref(), None)?;
        Self::new(model, &InferenceOptions::default())
    }

    /// A model on a device, as `options` say.
    ///
    /// # Errors
    /// If the model has no head, or the machine cannot do as `options` say.
    pub fn new(model: Model, options: &InferenceOptions) -> Result<Self, ClassifierError> {
        let model = model.into_classifier()?;
        let engine = inference::engine(
            &model,
            &options.device,
            options.threads,
            options.precision,
            &Ranks::default(),
        )?;
        // As `regraft predict` decodes, so that both predict the same.
        let decode = LoaderOptions {
            decode: options.decode,
            full_decode: options.full_decode,
            ..LoaderOptions::new(model.preprocessing.clone(), EVALUATION_BATCH)
        }
        .decode_options();
        Ok(Self { model, engine, decode })
    }

    /// The model: its classes, architecture and preprocessing.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Classifies an image: a path, the bytes of a file, or an [`RgbImage`].
    ///
    /// # Errors
    /// If the image cannot be read, or the network's output is not finite.
    pub fn predict<'a>(
        &mut self,
        image: impl Into<Image<'a>>,
    ) -> Result<Classification, ClassifierError> {
        let [found] =
            self.predict_batch(&[image.into()])?.try_into().unwrap_or_else(|found: Vec<_>| {
                unreachable!("{} classifications of one image", found.len())
            });
        Ok(found)
    }

    /// Classifies images together, which is faster than one by one. The result is in their order.
    ///
    /// # Errors
    /// As [`Classifier::predict`], for the first image that cannot be classified.
    pub fn predict_batch(
        &mut self,
        images: &[Image<'_>],
    ) -> Result<Vec<Classification>, ClassifierError> {
        let classes = &self.model.classes;
        let mut found = Vec::with_capacity(images.len());
        let (engine, decode) = (&mut self.engine, &self.decode);
        for chunk in images.chunks(EVALUATION_BATCH) {
            let pixels = prepare(chunk, found.len(), &self.model, decode)?;
            let input = Input::pixels(&pixels, self.model.preprocessing.normalisation());
            for row in engine.evaluate(input, chunk.len())?.chunks_exact(classes.len()) {
                let top = top_k(row, classes.len());
                if top.is_empty() {
                    return Err(ClassifierError::NotFinite { number: found.len() + 1 });
                }
                let guesses = top.into_iter().map(|(class, probability)| Guess {
                    class: classes[class].clone(),
                    probability,
                });
                found.push(Classification { guesses: guesses.collect() });
            }
        }
        Ok(found)
    }

    /// The backbone's features of an image: the input of the head.
    ///
    /// # Errors
    /// If the image cannot be read.
    pub fn features<'a>(
        &mut self,
        image: impl Into<Image<'a>>,
    ) -> Result<Vec<f32>, ClassifierError> {
        self.features_batch(&[image.into()])
    }

    /// The features of images, `[N, channels]` in their order.
    ///
    /// # Errors
    /// As [`Classifier::features`], for the first image that cannot be read.
    pub fn features_batch(&mut self, images: &[Image<'_>]) -> Result<Vec<f32>, ClassifierError> {
        let (node, channels) = trunk_output(self.engine.graph())?;
        let mut found = Vec::with_capacity(images.len() * channels);
        let (engine, decode) = (&mut self.engine, &self.decode);
        for chunk in images.chunks(EVALUATION_BATCH) {
            let pixels = prepare(chunk, found.len() / channels, &self.model, decode)?;
            let input = Input::pixels(&pixels, self.model.preprocessing.normalisation());
            found.extend(engine.features(input, chunk.len(), node)?);
        }
        Ok(found)
    }
}

/// Decodes and resizes images to `[N, side, side, 3]`; `before` others of the call came earlier.
fn prepare(
    images: &[Image<'_>],
    before: usize,
    model: &Model,
    decode: &DecodeOptions,
) -> Result<Vec<u8>, ClassifierError> {
    let mut pixels = Vec::with_capacity(images.len() * model.preprocessing.input_length());
    for (image, number) in images.iter().zip(before + 1..) {
        let decoded;
        let rgb = match image {
            Image::Rgb(rgb) => {
                let RgbImage { width, height, pixels } = rgb;
                let expected = u64::from(*width) * u64::from(*height) * 3;
                if pixels.len() as u64 != expected || pixels.is_empty() {
                    let (width, height, pixels) = (*width, *height, pixels.len());
                    return Err(ClassifierError::Pixels { number, pixels, width, height });
                }
                *rgb
            }
            Image::File(path) => {
                decoded = decode_file(path, decode)?.image;
                &decoded
            }
            Image::Encoded(bytes) => {
                let reason = |reason| ClassifierError::Bytes { number, reason };
                decoded = decode_bytes(bytes, decode).map_err(reason)?.image;
                &decoded
            }
        };
        pixels.extend(evaluation_pixels(rgb, &model.preprocessing).pixels);
    }
    Ok(pixels)
}
