//! Finds problems in a folder of images before a network learns from it.
//!
//! Files are judged by [`regraft_data::audit`]: which cannot be read, which show the same image,
//! which are odd. With the embedded model's features two more questions are asked: whose label do
//! the others contradict, and which images are unlike all others (`outliers`).

mod document;
mod fix_list;
mod model_checks;
mod outliers;
mod thumbnails;

pub use crate::suspect_labels::SuspectLabel;
pub use document::{audit_document, audit_page};
pub use fix_list::{FixList, fix_list};

use crate::config::cores_or;
use crate::engines::DeviceChoice;
use crate::error_kind::{Classified, ErrorKind};
use crate::pictures::ignored_note;
use crate::progress::{Progress, Stage};
use crate::ranks::Ranks;
use regraft_data::audit::copies::CopyProgress;
use regraft_data::audit::{CopyGroup, CopyKind, Facts, Oddity, copies, inspect};
use regraft_data::catalogue::{self, CatalogueError, Sample, ScanOptions, SplitOptions};
use regraft_data::decode::DecodeOptions;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The data to audit, and how to audit it.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// The data folder, table or archive, laid out as for training.
    pub data: PathBuf,
    /// A table of images to pass over.
    pub exclude: Option<PathBuf>,
    /// Whether the embedded model is asked too.
    pub with_model: bool,
    /// The limits within which a file counts as a readable image.
    pub decode: DecodeOptions,
    /// Threads that compute; 0 is one for each core.
    pub threads: usize,
    /// The device that computes features.
    pub device: DeviceChoice,
    /// Threads that read and compare images; 0 is one for each core.
    pub workers: usize,
    /// Seed of the division into parts that are held out in turn.
    pub seed: u64,
    /// The ranks that share the computation of features.
    pub ranks: Ranks,
}

/// An audit that could not be finished.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each is the error of the part that it is named after.
pub enum AuditError {
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    #[error(transparent)]
    Inference(#[from] crate::inference::InferenceError),
    #[error(transparent)]
    Features(#[from] crate::features::FeaturesError),
    #[error(transparent)]
    Regression(#[from] crate::logistic_regression::RegressionError),
    #[error("cannot start the threads that compute: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

impl Classified for AuditError {
    fn is_of_peer(&self) -> bool {
        match self {
            Self::Inference(error) => error.is_of_peer(),
            Self::Features(error) => error.is_of_peer(),
            _ => false,
        }
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::failure_if(matches!(self, Self::Features(_) | Self::Regression(_)))
    }
}

/// The findings. Described in docs/json.md; paths are those of the catalogue.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// Files that are no readable image.
    pub unreadable: Vec<Unreadable>,
    /// Files that show the same image.
    pub duplicates: Vec<Duplicates>,
    /// Images of a later part that are also in an earlier one.
    pub leakage: Vec<Leak>,
    /// Duplicates of different classes.
    pub label_conflicts: Vec<LabelConflict>,
    /// Images that are likely of another class, the likeliest first; `null` where no model was
    /// asked.
    pub suspect_labels: Option<Vec<SuspectLabel>>,
    /// Images of each class and part.
    pub counts: Vec<ClassCount>,
    /// Training images of the largest class for each of the smallest.
    pub imbalance: Option<f64>,
    /// Readable images with something odd about them.
    pub oddities: Vec<OddPicture>,
    /// Images far from all others, the farthest first; `null` where no model was asked.
    pub outliers: Option<Vec<Outlier>>,
    /// Files in all.
    pub images: usize,
    /// Other notes.
    pub notes: Vec<String>,
    /// Version of the program.
    pub regraft_version: &'static str,
}

/// A file that is no readable image.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)] // Said in docs/json.md.
pub struct Unreadable {
    pub path: String,
    pub reason: String,
}

/// Files that show the same image.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Duplicates {
    pub paths: Vec<String>,
    pub kind: &'static str,
}

/// An image that is learned from and scored on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Leak {
    pub train: String,
    pub eval: String,
    pub kind: &'static str,
}

/// The same image under different classes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct LabelConflict {
    pub paths: Vec<String>,
    pub labels: Vec<String>,
    pub kind: &'static str,
}

/// Images of a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct ClassCount {
    pub class: String,
    pub train: usize,
    pub val: usize,
    pub test: usize,
}

/// A readable image with something odd about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct OddPicture {
    pub path: String,
    pub kind: &'static str,
    pub detail: String,
}

/// An image far from all others.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Outlier {
    pub path: String,
    pub class: String,
    pub score: f64,
}

/// The files of a folder: those that train, then those that choose the epoch, then those that are
/// scored.
struct Files {
    samples: Vec<Sample>,
    classes: Vec<String>,
    /// Where the second and the third part begin.
    starts: [usize; 2],
}

impl Files {
    /// 0 trains, 1 chooses the epoch, 2 is scored.
    fn part(&self, file: usize) -> usize {
        self.starts.iter().filter(|&&start| file >= start).count()
    }

    fn path(&self, file: usize) -> String {
        self.samples[file].path.to_string_lossy().into_owned()
    }

    fn class(&self, file: usize) -> &str {
        &self.classes[self.samples[file].label as usize]
    }
}

/// Audits a data folder. `report` is called from any thread.
///
/// # Errors
/// If the folder cannot be used, or the model cannot be asked.
pub fn audit(
    options: &AuditOptions,
    report: &(dyn Fn(Progress) + Sync),
) -> Result<Audit, AuditError> {
    let scan = ScanOptions {
        split: SplitOptions::NOTHING,
        exclude: options.exclude.clone(),
        ..ScanOptions::default()
    };
    let found = catalogue::scan_with(&options.data, &scan, &mut |done| {
        report(Progress::so_far(Stage::Listing, done));
    })?;
    let starts = [found.train.len(), found.train.len() + found.validation.len()];
    // How a run would hold out images is not of interest here.
    let notes = found.notes.into_iter().chain(ignored_note(&found.ignored));
    let samples = [found.train, found.validation, found.test].concat();
    let notes = notes.chain(unnameable_note(&samples)).collect();
    let files = Files { samples, classes: found.classes, starts };

    let workers = cores_or(options.workers);
    let paths: Vec<&Path> = files.samples.iter().map(|sample| sample.path.as_path()).collect();
    let total = paths.len();
    let facts = inspect(&paths, workers, &options.decode, &|done| {
        report(Progress::of(Stage::Reading, done, total))
    });
    let groups = copies(&paths, &facts, workers, &options.decode, &|progress| {
        report(match progress {
            CopyProgress::LookingUp { done, total } => Progress::of(Stage::LookingUp, done, total),
            CopyProgress::Comparing { done, total } => Progress::of(Stage::Comparing, done, total),
        });
    });
    let checked = if options.with_model {
        Some(model_checks::ask(&files, &facts, options, report)?)
    } else {
        None
    };
    let (suspect_labels, outliers) = checked.unzip();
    let counts = counts(&files);
    let sizes = || counts.iter().map(|count| count.train);
    let imbalance = sizes().max().zip(sizes().min()).filter(|&(_, least)| least > 0);
    Ok(Audit {
        unreadable: unreadable(&files, &facts),
        duplicates: groups.iter().map(|group| duplicates(&files, group)).collect(),
        leakage: groups.iter().flat_map(|group| leaks(&files, &facts, group)).collect(),
        label_conflicts: groups.iter().filter_map(|group| conflict(&files, group)).collect(),
        suspect_labels,
        imbalance: imbalance.map(|(most, least)| most as f64 / least as f64),
        counts,
        oddities: oddities(&files, &facts),
        outliers,
        images: files.samples.len(),
        notes,
        regraft_version: env!("CARGO_PKG_VERSION"),
    })
}

/// Files that a fix list, which is text, cannot name.
fn unnameable_note(samples: &[Sample]) -> Option<String> {
    let count = samples.iter().filter(|sample| sample.path.to_str().is_none()).count();
    let paths = if count == 1 { "1 path is" } else { &format!("{count} paths are") };
    let note = || {
        format!(
            "{paths} not UTF-8, so that a fix list cannot name the file; rename it to exclude it"
        )
    };
    (count > 0).then(note)
}

fn counts(files: &Files) -> Vec<ClassCount> {
    let mut counts: Vec<ClassCount> = files
        .classes
        .iter()
        .map(|class| ClassCount { class: class.clone(), train: 0, val: 0, test: 0 })
        .collect();
    for (file, sample) in files.samples.iter().enumerate() {
        let count = &mut counts[sample.label as usize];
        *[&mut count.train, &mut count.val, &mut count.test][files.part(file)] += 1;
    }
    counts
}

fn unreadable(files: &Files, facts: &[Facts]) -> Vec<Unreadable> {
    let reasons = facts
        .iter()
        .enumerate()
        .filter_map(|(file, facts)| Some((file, facts.unreadable.as_ref()?)));
    reasons
        .map(|(file, reason)| Unreadable { path: files.path(file), reason: reason.to_string() })
        .collect()
}

fn duplicates(files: &Files, group: &CopyGroup) -> Duplicates {
    Duplicates {
        paths: group.files.iter().map(|&file| files.path(file)).collect(),
        kind: group.kind.name(),
    }
}

/// For each file of the group one of an earlier part, the same byte for byte if there is one.
fn leaks(files: &Files, facts: &[Facts], group: &CopyGroup) -> Vec<Leak> {
    let leak = |&eval: &usize| {
        let earlier =
            || group.files.iter().copied().filter(|&file| files.part(file) < files.part(eval));
        let same = earlier().find(|&file| facts[file].sha256 == facts[eval].sha256);
        let kind = if same.is_some() { CopyKind::Exact } else { CopyKind::Near };
        let train = same.or_else(|| earlier().next())?;
        Some(Leak { train: files.path(train), eval: files.path(eval), kind: kind.name() })
    };
    group.files.iter().filter_map(leak).collect()
}

fn conflict(files: &Files, group: &CopyGroup) -> Option<LabelConflict> {
    let labels: Vec<String> =
        group.files.iter().map(|&file| files.class(file).to_owned()).collect();
    let differ = labels.iter().any(|label| *label != labels[0]);
    let Duplicates { paths, kind } = duplicates(files, group);
    differ.then_some(LabelConflict { paths, labels, kind })
}

fn oddities(files: &Files, facts: &[Facts]) -> Vec<OddPicture> {
    let size = |width: &u32, height: &u32| format!("{width} x {height} pixels");
    let described = |oddity: &Oddity| match oddity {
        Oddity::Tiny { width, height } => ("tiny", size(width, height)),
        Oddity::Huge { width, height } => ("huge", size(width, height)),
        Oddity::ExtremeRatio { width, height } => ("extreme ratio", size(width, height)),
        Oddity::Blank => ("blank", "one colour".to_owned()),
        Oddity::WrongExtension { extension, format } => {
            ("wrong extension", format!("is {format}, not {extension}"))
        }
        Oddity::Turned => ("turned", "by its metadata".to_owned()),
        Oddity::Truncated => ("truncated", "cut off or damaged, used as far as it goes".to_owned()),
    };
    let all = facts
        .iter()
        .enumerate()
        .flat_map(|(file, facts)| facts.oddities.iter().map(move |oddity| (file, oddity)));
    let odd = all.map(|(file, oddity)| {
        let (kind, detail) = described(oddity);
        OddPicture { path: files.path(file), kind, detail }
    });
    odd.collect()
}
