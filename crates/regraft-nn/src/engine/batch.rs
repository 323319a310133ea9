//! A batch of images and the outputs that the network should give for them.

use super::EngineError;
use regraft_base::mix::Mix;
use regraft_base::normalisation::Normalisation;
use std::ops::Range;

/// How a batch's losses are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean, as is usual.
    Mean,
    /// Their sum, as d2l's training function does.
    Sum,
}

/// How a network's outputs are scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Softmax cross-entropy: one class for each image.
    SoftmaxCrossEntropy {
        /// The share of the target that is spread evenly over all classes.
        label_smoothing: f32,
    },
    /// The mean of the outputs' sigmoid cross-entropies: several labels for each image.
    SigmoidCrossEntropy,
    /// The mean of the outputs' squared errors, for regression.
    SquaredError,
}

/// A loss, and how those of a batch are combined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossSettings {
    /// The loss of an image.
    pub loss: Loss,
    /// How the images' losses are combined.
    pub reduction: Reduction,
}

/// The desired outputs for a batch.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// `[N]`: each image's class, for the cross-entropies.
    Labels(&'a [u32]),
    /// `[N, outputs]`: for softmax cross-entropy rows with sum 1; for sigmoid cross-entropy the
    /// degree of each label, from 0 to 1; for squared error the numbers.
    Values(&'a [f32]),
}

impl Target<'_> {
    /// Number of images in the batch, for a network with this many outputs.
    #[must_use]
    pub fn images(&self, outputs: usize) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::Values(values) => values.len() / outputs.max(1),
        }
    }

    /// Refuses a target that does not fit the loss, `count` images or the network's outputs.
    ///
    /// # Errors
    /// [`EngineError::LabelsForNumbers`], [`EngineError::Label`] or [`EngineError::Length`].
    pub fn check(&self, loss: Loss, count: usize, outputs: usize) -> Result<(), EngineError> {
        match (self, loss) {
            (Self::Labels(_), Loss::SquaredError) => Err(EngineError::LabelsForNumbers),
            (Self::Labels(labels), _) => {
                match labels.iter().find(|&&label| label as usize >= outputs) {
                    Some(&label) => Err(EngineError::Label { label, classes: outputs }),
                    None => Ok(()),
                }
            }
            (Self::Values(values), _) => {
                EngineError::check_length("the list of targets", values.len(), count * outputs)
            }
        }
    }
}

/// The elements of a batch's images, `[N, H, W, C]`.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Numbers that the network reads directly: normalised images, or features.
    Values(&'a [f32]),
    /// The levels of images of three channels, which the engine normalises.
    Pixels(&'a [u8], Normalisation),
}

impl Content<'_> {
    /// The number of elements.
    #[must_use]
    pub fn length(&self) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Pixels(pixels, _) => pixels.len(),
        }
    }
}

/// The input of a network: a batch of images, or of features instead.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The images.
    pub content: Content<'a>,
    /// How the engine mixes each image with the one before it, and the first with the last.
    pub mix: Option<Mix>,
    /// The images that the network reads, from the first index up to the second; all of them if
    /// `None`.
    pub part: Option<[usize; 2]>,
}

impl<'a> Input<'a> {
    /// The range of elements of the images that the network reads, of `length` elements each.
    ///
    /// # Errors
    /// If their number is not `count`.
    pub fn images(&self, length: usize, count: usize) -> Result<Range<usize>, EngineError> {
        let found = self.content.length();
        let [first, end] = self.part.unwrap_or([0, count]);
        // A part lies within whole images; otherwise all elements are read.
        let expected = match self.part {
            Some(_)
                if end.checked_sub(first) == Some(count)
                    && found.is_multiple_of(length)
                    && found >= end * length =>
            {
                found
            }
            Some(_) => end * length,
            None => count * length,
        };
        EngineError::check_length("the batch of images", found, expected)?;
        Ok(first..end)
    }

    /// Numbers that the network reads directly.
    #[must_use]
    pub fn values(values: &'a [f32]) -> Self {
        Self { content: Content::Values(values), mix: None, part: None }
    }

    /// Levels that the engine normalises.
    #[must_use]
    pub fn pixels(pixels: &'a [u8], normalisation: Normalisation) -> Self {
        Self { content: Content::Pixels(pixels, normalisation), mix: None, part: None }
    }
}

/// Images to learn from, with the keys of the step's random draws.
#[derive(Clone, Copy, Debug)]
pub struct TrainBatch<'a> {
    /// The images.
    pub input: Input<'a>,
    /// The desired outputs.
    pub target: Target<'a>,
    /// `[N]`: factors of the images' gradients; 1 if not given. The returned losses are not
    /// multiplied.
    pub weights: Option<&'a [f32]>,
    /// Seed of dropout and stochastic depth.
    pub seed: u64,
    /// The epoch, for their draws.
    pub epoch: u32,
    /// Position of the batch's first image in the epoch, for their draws.
    pub position: u32,
}
