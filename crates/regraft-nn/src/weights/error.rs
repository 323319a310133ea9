//! Errors of weight files.

use super::NonFinite;
use std::fmt::Write as _;

/// A tensor with an unexpected shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeDifference {
    /// The tensor's name in the architecture.
    pub name: String,
    /// The shape in the file.
    pub found: Vec<usize>,
    /// The shape that the architecture needs.
    pub expected: Vec<usize>,
}

/// Why a weight file was refused or could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightError {
    /// The operating system could not read the file.
    #[error("cannot read the weight file {origin}: {source}")]
    Read {
        /// The file.
        origin: String,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The operating system could not write the file.
    #[error("cannot write the weight file {path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The file is not a weight file.
    #[error("{origin} holds no weights: it is {found}; {advice}")]
    NotWeights {
        /// The file.
        origin: String,
        /// Its apparent kind.
        found: String,
        /// Advice.
        advice: String,
    },
    /// The file is truncated, or its parts contradict each other.
    #[error("{origin} is damaged or truncated: {reason}; download or copy it again")]
    Damaged {
        /// The file.
        origin: String,
        /// The contradiction.
        reason: String,
    },
    /// The file is well formed, but it or its content is not supported.
    #[error("{origin} is not supported: {reason}; {advice}")]
    Unsupported {
        /// The file.
        origin: String,
        /// The unsupported content.
        reason: String,
        /// Advice.
        advice: String,
    },
    /// The file's pickle asks for a call that does not belong in a weight file. The call was not
    /// made.
    #[error(
        "{origin} is refused: it asks for a call of {callable}, which does not belong in a weight \
            file (nothing was executed); \
         do not open it in Python, and get the weights from a source you trust"
    )]
    Hostile {
        /// The file.
        origin: String,
        /// The Python name that it would call.
        callable: String,
    },
    /// The file's tensors are not those of the architecture.
    #[error(
        "{origin} does not fit the model:{}",
        list_differences(missing, unexpected, wrong_shape)
    )]
    Mismatch {
        /// The file.
        origin: String,
        /// Names that the architecture has and the file lacks.
        missing: Vec<String>,
        /// Names that the file has and the architecture lacks.
        unexpected: Vec<String>,
        /// Tensors with another shape.
        wrong_shape: Vec<ShapeDifference>,
    },
    /// Elements that no trained network has.
    #[error(
        "{origin} is from a diverged training or is damaged: it has elements that are NaN or \
            infinite{}\nuse another file",
        list_tensors(tensors)
    )]
    NotFinite {
        /// The file.
        origin: String,
        /// The tensors that contain them.
        tensors: Vec<NonFinite>,
    },
    /// Two tensors have the same name.
    #[error(
        "{origin}: more than one tensor is named {name}; rename one of them or save the state \
         dict again"
    )]
    Duplicate {
        /// The file, or the file to be written.
        origin: String,
        /// The name.
        name: String,
    },
    /// A value that f16 cannot hold.
    #[error(
        "cannot store {path} as f16: {value} in tensor {name} is outside of f16's range of \
         ±65504; store it as f32"
    )]
    HalfRange {
        /// The file to be written.
        path: String,
        /// The tensor.
        name: String,
        /// The value.
        value: f32,
    },
    /// A tensor to be written has a shape that does not match its number of values.
    #[error(
        "cannot write {path}: tensor {name} has {values} values, which do not fill its shape \
         {shape:?}"
    )]
    ValueCount {
        /// The file to be written.
        path: String,
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The number of its values.
        values: usize,
    },
}

impl WeightError {
    pub(super) fn not_weights(origin: &str, found: &str, advice: &str) -> Self {
        Self::NotWeights {
            origin: origin.to_string(),
            found: found.to_string(),
            advice: advice.to_string(),
        }
    }

    pub(super) fn damaged(origin: &str, reason: impl ToString) -> Self {
        Self::Damaged { origin: origin.to_string(), reason: reason.to_string() }
    }

    pub(super) fn unsupported(origin: &str, reason: impl ToString, advice: &str) -> Self {
        Self::Unsupported {
            origin: origin.to_string(),
            reason: reason.to_string(),
            advice: advice.to_string(),
        }
    }
}

/// The most names of a group that an error message prints. The error value itself holds all of
/// them.
const PRINTED_NAMES: usize = 20;

fn list_differences(
    missing: &[String],
    unexpected: &[String],
    wrong_shape: &[ShapeDifference],
) -> String {
    let mut text = String::new();
    list_group(&mut text, "missing from the file", missing.iter().cloned());
    list_group(&mut text, "in the file but not in the model", unexpected.iter().cloned());
    let shapes = wrong_shape.iter().map(|difference| {
        format!(
            "{}: {:?} in the file, {:?} in the model",
            difference.name, difference.found, difference.expected
        )
    });
    list_group(&mut text, "of the wrong shape", shapes);
    text.push_str(
        "\nchoose the architecture that the file was made for, or the file made for \
        this architecture",
    );
    text
}

fn list_tensors(tensors: &[NonFinite]) -> String {
    let mut text = String::new();
    list_group(&mut text, "tensors hold them", tensors.iter().map(ToString::to_string));
    text
}

fn list_group(text: &mut String, heading: &str, lines: impl ExactSizeIterator<Item = String>) {
    let count = lines.len();
    if count == 0 {
        return;
    }
    // Writing to a String cannot fail.
    let _ = write!(text, "\n{count} {heading}:");
    for line in lines.take(PRINTED_NAMES) {
        let _ = write!(text, "\n  {line}");
    }
    if count > PRINTED_NAMES {
        let _ = write!(text, "\n  and {} more", count - PRINTED_NAMES);
    }
}
