//! Holds out part of the training set.

use regraft_base::random::{Draws, Purpose};

use super::{Catalogue, CatalogueError, Sample};

/// The fraction held out if class folders lie directly in the data folder.
pub const FLAT_FRACTION: f64 = 0.2;
/// The fraction of `train` held out if there is no validation folder.
pub const TRAIN_FRACTION: f64 = 0.1;

/// How the validation set is held out if no folder holds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SplitOptions {
    /// The fraction of each class that is held out, from 0 (train on every image) to below 1. By
    /// default 0.2 if class folders lie directly in the data folder, and 0.1 of `train`.
    pub validation_fraction: Option<f64>,
    /// Seed of the split.
    pub seed: u64,
}

impl SplitOptions {
    /// Nothing is held out.
    pub const NOTHING: Self = Self { validation_fraction: Some(0.0), seed: 0 };
}

impl SplitOptions {
    pub(super) fn check(&self) -> Result<(), CatalogueError> {
        match self.validation_fraction {
            Some(fraction) if !(0.0..1.0).contains(&fraction) => {
                Err(CatalogueError::Fraction(fraction))
            }
            _ => Ok(()),
        }
    }
}

/// Moves a stratified part of `train` to `validation`, and adds a note.
pub fn hold_out(
    catalogue: &mut Catalogue,
    default_fraction: f64,
    origin: &str,
    options: &SplitOptions,
) {
    let fraction = options.validation_fraction.unwrap_or(default_fraction);
    if fraction == 0.0 {
        catalogue.held_out = Some(format!(
            "Training on all {} images of {origin}; nothing held out.",
            catalogue.train.len()
        ));
        return;
    }
    let mut train = Vec::with_capacity(catalogue.train.len());
    for samples in catalogue.train.chunk_by(|left, right| left.label == right.label) {
        let held_out = choose(samples, fraction, options.seed);
        for (sample, held_out) in samples.iter().zip(held_out) {
            (if held_out { &mut catalogue.validation } else { &mut train }).push(sample.clone());
        }
    }
    catalogue.train = train;
    let held_out_of = |label: u32| catalogue.validation.iter().any(|sample| sample.label == label);
    let alone: Vec<&str> = catalogue
        .classes
        .iter()
        .zip(0..)
        .filter(|&(_, label)| !held_out_of(label))
        .map(|(class, _)| class.as_str())
        .collect();
    if !alone.is_empty() {
        catalogue.notes.push(format!(
            "The validation set lacks these classes, whose only image is trained on: {}.",
            alone.join(", ")
        ));
    }
    catalogue.held_out = Some(format!(
        "Training on {} images of {origin}; {} held out as the validation set ({fraction} of each \
         class, drawn with seed {}).",
        catalogue.train.len(),
        catalogue.validation.len(),
        options.seed
    ));
}

/// Which images of one class are held out: the rounded fraction, at least one, but never the only
/// image.
fn choose(samples: &[Sample], fraction: f64, seed: u64) -> Vec<bool> {
    let count = ((samples.len() as f64 * fraction).round() as usize).max(1).min(samples.len() - 1);
    let mut order: Vec<usize> = (0..samples.len()).collect();
    Draws::new(seed, Purpose::Split, 0, samples[0].label).shuffle(&mut order);
    let mut held_out = vec![false; samples.len()];
    order[..count].iter().for_each(|&place| held_out[place] = true);
    held_out
}
