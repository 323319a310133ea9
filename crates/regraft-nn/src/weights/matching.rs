//! Compares the tensors of a weight file with those that an architecture expects.

use super::{NamedTensor, ShapeDifference, WeightError, WeightFile, non_finite, strip_prefixes};
use super::{
    positions, translate_efficientnet_names, translate_torchvision_names,
    translate_transformer_names,
};
use std::collections::BTreeMap;

/// One tensor that an architecture needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedTensor {
    /// Its name in torchvision or timm.
    pub name: String,
    /// Its shape in PyTorch's order.
    pub shape: Vec<usize>,
    /// Whether it belongs to the head; its first dimension is then the number of classes.
    pub head: bool,
    /// Whether it has the embeddings of positions, which may be those of another image size.
    pub is_positions: bool,
}

/// How the head in the file compares with the expected head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadMatch {
    /// Every tensor of the head has the expected shape (or no head was expected).
    Same,
    /// The head has another number of classes. Its tensors are returned unchanged.
    OtherClassCount {
        /// Classes in the file.
        found: usize,
        /// Classes expected.
        expected: usize,
    },
    /// The file has no tensor of the head.
    Absent,
}

/// A weight file matched to an architecture.
#[derive(Debug, Clone, PartialEq)]
pub struct Matched {
    /// The tensors by their expected names. It has all of the backbone; for the head's tensors see
    /// [`Matched::head`].
    pub tensors: BTreeMap<String, NamedTensor>,
    /// How the head compares.
    pub head: HeadMatch,
    /// The prefix that was removed from the file's names (`module.backbone.`); empty if there was
    /// none.
    pub prefix_stripped: String,
    /// Whether the names were translated to timm's, from those of the old `efficientnet_pytorch`
    /// code, of torchvision, of transformers, or of DINOv2's own files.
    pub names_translated: bool,
    /// If position embeddings were interpolated, the sides of the file's grid of patches and of the
    /// expected one.
    pub resampled: Option<[usize; 2]>,
    /// Integer tensors in the file that nothing here uses.
    pub ignored: Vec<String>,
    /// Tensors of another library's model that no classifier uses, such as the token for masked
    /// patches.
    pub left_out: Vec<String>,
}

/// Matches the tensors of a file with those of an architecture by name and shape.
///
/// Prefixes are removed by [`strip_prefixes`], and names other than timm's are translated by
/// [`translate_efficientnet_names`], [`translate_torchvision_names`] and
/// [`translate_transformer_names`]. The head may be absent or
/// have another number of classes, and position embeddings are interpolated to the expected number;
/// everything else must agree exactly.
///
/// # Errors
///
/// [`WeightError::Mismatch`] with every name that is missing, unexpected or of the wrong shape;
/// [`WeightError::Duplicate`] if two names are equal without their prefix; and
/// [`WeightError::NotFinite`] if elements are NaN or infinite.
pub fn match_to(file: WeightFile, expected: &[ExpectedTensor]) -> Result<Matched, WeightError> {
    let WeightFile { origin, mut tensors, ignored, .. } = file;
    let prefix_stripped = strip_prefixes(&mut tensors);
    let mut left_out = Vec::new();
    let names_translated = translate_names(&mut tensors, &mut left_out);
    let mut found = BTreeMap::new();
    for tensor in tensors {
        if let Some(twice) = found.insert(tensor.name.clone(), tensor) {
            return Err(WeightError::Duplicate { origin, name: twice.name });
        }
    }

    let class_counts = class_counts(&found, expected);
    let head_absent = expected
        .iter()
        .filter(|tensor| tensor.head)
        .all(|tensor| !found.contains_key(&tensor.name));
    let mut missing = Vec::new();
    let mut wrong_shape = Vec::new();
    let mut matched = BTreeMap::new();
    let mut resampled = None;
    for tensor in expected {
        let Some(mut candidate) = found.remove(&tensor.name) else {
            if !(tensor.head && head_absent) {
                missing.push(tensor.name.clone());
            }
            continue;
        };
        if tensor.is_positions
            && let Some(sides) = fit_positions(&mut candidate, &tensor.shape)
        {
            resampled = Some(sides);
        }
        let fits = candidate.shape == tensor.shape
            || tensor.head
                && class_counts.is_some_and(|(classes, _)| {
                    is_for_classes(&candidate.shape, &tensor.shape, classes)
                });
        if fits {
            matched.insert(tensor.name.clone(), candidate);
        } else {
            wrong_shape.push(ShapeDifference {
                name: tensor.name.clone(),
                found: candidate.shape,
                expected: tensor.shape.clone(),
            });
        }
    }
    let unexpected: Vec<String> = found.into_keys().collect();
    if !(missing.is_empty() && unexpected.is_empty() && wrong_shape.is_empty()) {
        return Err(WeightError::Mismatch { origin, missing, unexpected, wrong_shape });
    }
    let not_finite = non_finite(matched.values());
    if !not_finite.is_empty() {
        return Err(WeightError::NotFinite { origin, tensors: not_finite });
    }
    let has_head = expected.iter().any(|tensor| tensor.head);
    let head = match class_counts {
        _ if has_head && head_absent => HeadMatch::Absent,
        Some((found, expected)) if found != expected => {
            HeadMatch::OtherClassCount { found, expected }
        }
        _ => HeadMatch::Same,
    };
    Ok(Matched {
        tensors: matched,
        head,
        prefix_stripped,
        names_translated,
        resampled,
        ignored,
        left_out,
    })
}

/// Translates names other than timm's, of whichever kind they are, and returns whether they were.
/// Names of tensors that no classifier uses are moved to `left_out`.
pub(super) fn translate_names(tensors: &mut Vec<NamedTensor>, left_out: &mut Vec<String>) -> bool {
    translate_efficientnet_names(tensors)
        || translate_torchvision_names(tensors)
        || translate_transformer_names(tensors, left_out)
}

/// Interpolates position embeddings `[1, positions, channels]` to another number; returns the sides
/// of both grids if that was necessary and possible.
fn fit_positions(found: &mut NamedTensor, expected: &[usize]) -> Option<[usize; 2]> {
    let ([1, before, channels], [1, after, same]) = (&found.shape[..], expected) else {
        return None;
    };
    if before == after || channels != same {
        return None;
    }
    let sides = [positions::grid(*before)?.0, positions::grid(*after)?.0];
    found.values = positions::resample(&found.values, *channels, *after)?;
    found.shape = expected.to_vec();
    Some(sides)
}

/// The number of classes in the file and the expected number, if every tensor of the head agrees on
/// the first.
fn class_counts(
    found: &BTreeMap<String, NamedTensor>,
    expected: &[ExpectedTensor],
) -> Option<(usize, usize)> {
    let mut counts = expected.iter().filter(|tensor| tensor.head).filter_map(|tensor| {
        Some((*found.get(&tensor.name)?.shape.first()?, *tensor.shape.first()?))
    });
    let first = counts.next()?;
    (first.0 > 0 && counts.all(|other| other == first)).then_some(first)
}

/// Whether a head tensor has the expected shape except for the number of classes.
fn is_for_classes(found: &[usize], expected: &[usize], classes: usize) -> bool {
    found.len() == expected.len() && found.first() == Some(&classes) && found[1..] == expected[1..]
}
