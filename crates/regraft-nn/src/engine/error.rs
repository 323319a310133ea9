//! Requests that an engine refuses.

use crate::graph::GraphError;

/// A request that an engine cannot fulfil.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// The images' size does not fit the network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A slice does not have the length that the batch requires.
    #[error("{what} has {found} elements, but the network needs {expected}")]
    Length {
        /// The name of the slice.
        what: String,
        /// Its length.
        found: usize,
        /// The required length.
        expected: usize,
    },
    /// The operating system refuses the memory for a batch.
    #[error(
        "a batch of {batch} images of {image_size} x {image_size} pixels needs {bytes} bytes, \
         which the system refuses; {}",
        smaller(*.fits)
    )]
    Memory {
        /// Images in the batch.
        batch: usize,
        /// Side of the images in pixels.
        image_size: usize,
        /// Bytes that the batch takes.
        bytes: u64,
        /// A smaller batch that fits, if the engine knows one.
        fits: Option<usize>,
    },
    /// A device failed.
    #[error("{device} failed: {why}")]
    Device {
        /// The device.
        device: String,
        /// The driver's message.
        why: String,
    },
    /// The engine cannot compute this.
    #[error("{device} {what}")]
    Unsupported {
        /// The device.
        device: String,
        /// The missing ability and an alternative, as the rest of a sentence.
        what: &'static str,
    },
    /// The state lacks a tensor.
    #[error("the state lacks {0}")]
    Missing(String),
    /// An update without gradients.
    #[error("{0} has no gradient: compute gradients before an update")]
    NoGradient(String),
    /// A network for a part of this one cannot be created.
    #[error("cannot compute a layer's inner output: {0}")]
    Inner(String),
    /// Another rank could not compute its share of a step, and reports the reason itself.
    #[error("another engine of this run could not compute its share of the step")]
    Peer,
    /// The operating system started no thread for a rank.
    #[error(
        "cannot start a thread for each device ({0}): the system limits processes or memory; \
         raise the limit"
    )]
    NoThread(String),
    /// An engine that already consists of several ranks cannot become a rank.
    #[error("an engine on several devices cannot be one of several engines")]
    Joined,
    /// A result was fetched from an engine that did not run the step.
    #[error("this engine did not run that step")]
    NotAsked,
    /// Labels for a loss of numbers.
    #[error("squared error needs a number for each output, not a label")]
    LabelsForNumbers,
    /// A label that is not a class.
    #[error("label {label} is not one of the {classes} classes")]
    Label {
        /// The label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
}

fn smaller(fits: Option<usize>) -> String {
    match fits {
        Some(batch) => format!("a batch of {batch} fits"),
        None => "choose a smaller batch or image size".to_owned(),
    }
}

impl EngineError {
    /// Whether it only says that another rank failed.
    #[must_use]
    pub fn is_of_peer(&self) -> bool {
        *self == Self::Peer
    }

    /// Refuses a slice that does not have the required length.
    ///
    /// # Errors
    /// [`EngineError::Length`].
    pub fn check_length(what: &str, found: usize, expected: usize) -> Result<(), Self> {
        if found == expected {
            Ok(())
        } else {
            Err(Self::Length { what: what.to_owned(), found, expected })
        }
    }
}
