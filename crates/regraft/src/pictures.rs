//! The pictures of a run: the catalogue of the folder, every file checked once, and what is left out.

use crate::config::{OnBadImage, TrainConfig};
use regraft_data::cache::DecodedCache;
use regraft_data::catalogue::{self, Catalogue, CatalogueError, Sample, SplitOptions};
use regraft_data::decode::{DEFAULT_MAX_PIXELS, DecodeError};
use regraft_data::verify::verify;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Memory for decoded pictures, in bytes: those that fit are decoded once.
pub const CACHE_BYTES: usize = 1 << 30;

/// The pictures of a run, all of which could be read.
#[derive(Debug)]
pub struct Pictures {
    /// Class names in the order of the labels.
    pub classes: Vec<String>,
    /// Pictures to learn from.
    pub train: Arc<[Sample]>,
    /// Pictures that pick the best epoch.
    pub validation: Arc<[Sample]>,
    /// Pictures that are scored once, at the end.
    pub test: Arc<[Sample]>,
    /// Pictures left out because they could not be read.
    pub skipped: Vec<DecodeError>,
    /// What is to be said about the folder, such as how it was split and what was ignored.
    pub notes: Vec<String>,
    /// Decoded pictures, as far as they fit.
    pub cache: Arc<DecodedCache>,
}

/// Pictures that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PicturesError {
    /// The folder is not laid out as it should be.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// Some files cannot be read.
    #[error("{}", list_unreadable(.0))]
    Unreadable(Vec<DecodeError>),
    /// Leaving out what cannot be read leaves a class without pictures.
    #[error("class {class} has no readable picture to train on: {reason}")]
    NothingLeft {
        /// The class.
        class: String,
        /// The first error of the class.
        reason: String,
    },
}

/// How many files an error lists.
const LISTED: usize = 20;

fn list_unreadable(errors: &[DecodeError]) -> String {
    let mut text = match errors {
        [error] => format!("a picture cannot be read: {error}"),
        _ => format!("{} pictures cannot be read:", errors.len()),
    };
    if errors.len() > 1 {
        for error in errors.iter().take(LISTED) {
            let _ = write!(text, "\n  {error}");
        }
        if errors.len() > LISTED {
            let _ = write!(text, "\n  and {} more", errors.len() - LISTED);
        }
    }
    text.push_str("\nmend or remove the files, or leave them out with --on-bad-image skip");
    text
}

/// Scans the folder and decodes every file once. `progress` is called with the files done and their number.
///
/// # Errors
/// When the folder is not laid out as it should be, or a file cannot be read and the configuration says to stop.
pub fn prepare(
    config: &TrainConfig,
    workers: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Pictures, PicturesError> {
    let split = SplitOptions { validation_fraction: config.val_fraction, seed: config.seed, hold_out: config.hold_out };
    let Catalogue { classes, mut train, mut validation, mut test, ignored, mut notes } = catalogue::scan(&config.data, &split)?;
    notes.extend(ignored_note(&ignored));
    let cache = Arc::new(DecodedCache::new(CACHE_BYTES));
    let skipped = {
        let paths: Vec<&Path> = [&train, &validation, &test].into_iter().flatten().map(|sample| sample.path.as_path()).collect();
        let count = paths.len();
        verify(&paths, workers, DEFAULT_MAX_PIXELS, Some(&cache), &|done| progress(done, count))
    };
    if !skipped.is_empty() {
        if config.on_bad_image == OnBadImage::Stop {
            return Err(PicturesError::Unreadable(skipped));
        }
        let bad: HashSet<PathBuf> = skipped.iter().map(|error| error.path.clone()).collect();
        for part in [&mut train, &mut validation, &mut test] {
            part.retain(|sample| !bad.contains(&sample.path));
        }
        for (label, class) in classes.iter().enumerate() {
            if !train.iter().any(|sample| sample.label as usize == label) {
                let reason = skipped.iter().map(ToString::to_string).next().unwrap_or_default();
                return Err(PicturesError::NothingLeft { class: class.clone(), reason });
            }
        }
        notes.extend(skipped.iter().map(|error| format!("left out: {error}")));
    }
    Ok(Pictures { classes, train: train.into(), validation: validation.into(), test: test.into(), skipped, notes, cache })
}

/// One note that names what was ignored in a folder.
#[must_use]
pub fn ignored_note(ignored: &[catalogue::Ignored]) -> Option<String> {
    let (first, rest) = ignored.split_at(ignored.len().min(LISTED));
    let names: Vec<String> = first.iter().map(|ignored| format!("{} ({})", ignored.path.display(), ignored.reason)).collect();
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    (!names.is_empty()).then(|| format!("ignored: {}{more}", names.join(", ")))
}
