//! The images of a run: the catalogue of the folder, every file checked once, and the files that
//! are left out.

use crate::config::{OnBadImage, TrainConfig};
use crate::progress::{Part, Progress, Stage};
use crate::ranks::Ranks;
use regraft_data::catalogue::{self, Catalogue, CatalogueError, Sample, ScanOptions, SplitOptions};
use regraft_data::decode::{DecodeError, DecodeReason};
use regraft_data::loader::{LoaderOptions, Transform};
use regraft_data::shown::shown;
use regraft_data::verify::{Verified, verify};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The images of a run, all of which could be read.
#[derive(Debug)]
pub struct Pictures {
    /// Class names in the order of the labels.
    pub classes: Vec<String>,
    /// Images to learn from.
    pub train: Arc<[Sample]>,
    /// Images that pick the best epoch.
    pub validation: Arc<[Sample]>,
    /// Images that are scored once, at the end.
    pub test: Arc<[Sample]>,
    /// Images left out because they could not be read.
    pub skipped: Vec<DecodeError>,
    /// Notes on the folder, such as how it was split and which entries were ignored.
    pub notes: Vec<String>,
}

impl Pictures {
    /// The images of training, validation and test.
    #[must_use]
    pub fn parts(&self) -> [&[Sample]; 3] {
        [&self.train, &self.validation, &self.test]
    }

    /// The images of a part.
    #[must_use]
    pub fn part(&self, part: Part) -> &Arc<[Sample]> {
        match part {
            Part::Training => &self.train,
            Part::Validation => &self.validation,
            Part::Test => &self.test,
        }
    }
}

/// Images that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PicturesError {
    /// The folder is not laid out as it should be.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// Some files cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableFiles),
    /// Without the files that cannot be read, a class has no images.
    #[error("class {class} has no readable image to train on: {reason}")]
    NothingLeft {
        /// The class.
        class: String,
        /// The first error of the class.
        reason: String,
    },
}

/// Files that cannot be read, where that stops everything.
#[derive(Debug, thiserror::Error)]
#[error("{}", list_unreadable(.0))]
pub struct UnreadableFiles(pub Vec<DecodeError>);

/// How many files an error lists.
const LISTED: usize = 20;

fn list_unreadable(errors: &[DecodeError]) -> String {
    let mut text = match errors {
        [error] => format!("an image cannot be read: {error}"),
        _ => format!("{} images cannot be read:", errors.len()),
    };
    if errors.len() > 1 {
        for error in errors.iter().take(LISTED) {
            let _ = write!(text, "\n  {error}");
        }
        if errors.len() > LISTED {
            let _ = write!(text, "\n  and {} more", errors.len() - LISTED);
        }
    }
    text
}

/// Lists the images of a run, and holds out some as the configuration says. No file is opened.
/// `progress` is called from any thread.
///
/// # Errors
/// If the folder is not laid out as it should be.
pub fn list(
    config: &TrainConfig,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Catalogue, CatalogueError> {
    let split =
        SplitOptions { validation_fraction: config.validation_fraction(), seed: config.seed };
    let options = ScanOptions { split, exclude: config.exclude.clone(), ..ScanOptions::default() };
    catalogue::scan_with(&config.data, &options, &mut |found| {
        progress(Progress::so_far(Stage::Listing, found))
    })
}

/// Decodes every listed file once, as `loading` will; of several ranks, each decodes its share.
/// `progress` is called from any thread.
///
/// # Errors
/// If a file cannot be read and the configuration says to stop.
pub fn prepare(
    config: &TrainConfig,
    loading: &LoaderOptions,
    listed: Catalogue,
    ranks: &Ranks,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Pictures, PicturesError> {
    let Catalogue { classes, mut train, mut validation, mut test, ignored, mut notes, held_out } =
        listed;
    notes.extend(held_out);
    notes.extend(ignored_note(&ignored));
    let total = train.len() + validation.len() + test.len();
    let mut verified = Verified::default();
    let mut before = 0;
    for (samples, transform) in [
        (&train, Transform::Train { seed: config.seed, epoch: 0 }),
        (&validation, Transform::Evaluate),
        (&test, Transform::Evaluate),
    ] {
        let paths: Vec<&Path> = samples.iter().map(|sample| sample.path.as_path()).collect();
        let loading = LoaderOptions { transform, ..loading.clone() };
        let found = verify_for(&paths, &loading, ranks, &|done| {
            progress(Progress::of(Stage::Checking, before + done, total))
        });
        verified.extend(found);
        before += paths.len();
    }
    let Verified { unreadable: skipped, truncated, reduced } =
        stop_or_skip(verified, config.on_bad_image)?;
    notes.extend(truncated_note(&truncated));
    notes.extend(reduced_note(reduced));
    if !skipped.is_empty() {
        let bad: HashMap<&Path, &DecodeError> =
            skipped.iter().map(|error| (error.path.as_path(), error)).collect();
        let all = train.clone();
        for part in [&mut train, &mut validation, &mut test] {
            part.retain(|sample| !bad.contains_key(sample.path.as_path()));
        }
        for (label, class) in classes.iter().enumerate() {
            if !train.iter().any(|sample| sample.label as usize == label) {
                let of_class = all.iter().filter(|sample| sample.label as usize == label);
                let first = of_class.filter_map(|sample| bad.get(sample.path.as_path())).next();
                let reason = first.map_or_else(|| "none is there".to_owned(), ToString::to_string);
                return Err(PicturesError::NothingLeft { class: class.clone(), reason });
            }
        }
        notes.extend(left_out_notes(&skipped));
    }
    Ok(Pictures {
        classes,
        train: train.into(),
        validation: validation.into(),
        test: test.into(),
        skipped,
        notes,
    })
}

/// Decodes every file once, as `loading` will, and returns the findings. Images that fit are
/// kept in its cache. `progress` is called with the files done and their number, from any thread.
///
/// # Errors
/// If a file cannot be read and `on_bad_image` says to stop.
pub fn check(
    paths: &[&Path],
    loading: &LoaderOptions,
    on_bad_image: OnBadImage,
    ranks: &Ranks,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Verified, UnreadableFiles> {
    let found = verify_for(paths, loading, ranks, &|done| progress(done, paths.len()));
    stop_or_skip(found, on_bad_image)
}

fn verify_for(
    paths: &[&Path],
    loading: &LoaderOptions,
    ranks: &Ranks,
    progress: &(dyn Fn(usize) + Sync),
) -> Verified {
    let own = &paths[ranks.share().of(paths.len())];
    let options = loading.decode_options();
    let size = ranks.size();
    let progress = |done: usize| progress((done * size).min(paths.len()));
    let found = verify(own, loading.workers, &options, loading.cache.as_deref(), &progress);
    if ranks.is_alone() { found } else { put_together(found, paths, ranks) }
}

/// What all ranks have found out about their shares of the same files.
fn put_together(own: Verified, paths: &[&Path], ranks: &Ranks) -> Verified {
    let places: HashMap<&Path, usize> = paths.iter().copied().zip(0..).collect();
    let place = |path: &Path| places.get(path).copied().unwrap_or(0);
    let unreadable = own.unreadable.iter();
    let message = (
        unreadable
            .map(|error| (place(&error.path), error.reason.to_string()))
            .collect::<Vec<(usize, String)>>(),
        own.truncated.iter().map(|path| place(path)).collect::<Vec<usize>>(),
        own.reduced,
    );
    let mut all = Verified::default();
    for (rank, found) in ranks.exchange_values(&message).into_iter().enumerate() {
        if rank == ranks.rank() {
            all.extend(own.clone());
            continue;
        }
        let (unreadable, truncated, reduced) = found;
        let error = |(place, reason): (usize, String)| DecodeError {
            path: paths[place].to_owned(),
            reason: DecodeReason::Elsewhere(reason),
        };
        all.extend(Verified {
            unreadable: unreadable.into_iter().map(error).collect(),
            truncated: truncated.into_iter().map(|place| paths[place].to_owned()).collect(),
            reduced,
        });
    }
    all
}

fn stop_or_skip(verified: Verified, on_bad_image: OnBadImage) -> Result<Verified, UnreadableFiles> {
    match on_bad_image {
        OnBadImage::Stop if !verified.unreadable.is_empty() => {
            Err(UnreadableFiles(verified.unreadable))
        }
        _ => Ok(verified),
    }
}

/// A note for each file that was left out.
pub fn left_out_notes(skipped: &[DecodeError]) -> impl Iterator<Item = String> {
    skipped.iter().map(|error| format!("left out: {error}"))
}

/// One note that names the images that are used though they are cut off or damaged.
#[must_use]
pub fn truncated_note(truncated: &[PathBuf]) -> Option<String> {
    let names = truncated.iter().map(|path| shown(path).to_string());
    some_of(names).map(|names| {
        format!(
            "used as far as they could be decoded, because they are truncated or damaged: {names}"
        )
    })
}

/// One note on images that are not decoded whole.
#[must_use]
pub fn reduced_note(reduced: usize) -> Option<String> {
    (reduced > 0).then(|| {
        format!(
            "{reduced} large JPEG{} decoded at a half, a quarter or an eighth of the size, which \
             leaves more detail than the network sees \
             (--full-decode decodes whole)",
            if reduced == 1 { " is" } else { "s are" }
        )
    })
}

/// One note that names the ignored entries of a folder.
#[must_use]
pub fn ignored_note(ignored: &[catalogue::Ignored]) -> Option<String> {
    let names =
        ignored.iter().map(|ignored| format!("{} ({})", shown(&ignored.path), ignored.reason));
    some_of(names).map(|names| format!("ignored: {names}"))
}

/// The first names of a list, and how many more there are; `None` if there is none.
fn some_of(names: impl ExactSizeIterator<Item = String>) -> Option<String> {
    let rest = names.len().saturating_sub(LISTED);
    let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    let first: Vec<String> = names.take(LISTED).collect();
    (!first.is_empty()).then(|| format!("{}{more}", first.join(", ")))
}
