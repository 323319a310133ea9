//! The images of a folder, their classes, and their split into training, validation and test set.

mod class_names;
mod detection;
mod exclude;
mod folders;
mod label_notes;
mod layout;
mod metadata;
mod split;
mod tables;

use std::path::{Path, PathBuf};

use crate::file_kind::FileKind;
use crate::folder::Walk;
use crate::source::{self, Source, unpack_folder};

pub use crate::error::CatalogueError;
pub use crate::folder::Ignored;
pub use crate::table::LINE_BREAKS;
pub use class_names::composed;
pub use split::SplitOptions;

/// An image file and its class.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// Index of its class in the list of classes.
    pub label: u32,
}

/// The images of a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    /// Class names: the names of the class folders, in byte order.
    pub classes: Vec<String>,
    /// Training set, sorted by class and then by path in byte order, like the other two lists.
    pub train: Vec<Sample>,
    /// Validation set, which decides the epoch to keep; may be empty.
    pub validation: Vec<Sample>,
    /// Test set, which is scored once, at the end; may be empty.
    pub test: Vec<Sample>,
    /// Entries that were left out: hidden entries, files whose names say that they are not images,
    /// files outside any class folder.
    pub ignored: Vec<Ignored>,
    /// How the sets were made, one sentence each.
    pub notes: Vec<String>,
    /// How a part of the training set was held out, or that none was; `None` if the data has a
    /// validation set.
    pub held_out: Option<String>,
}

/// Images labelled by names, from a folder of class folders or from a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// The names, in byte order.
    pub names: Vec<String>,
    /// The origin of each name: its folder, or the table.
    pub origins: Vec<PathBuf>,
    /// If the names are from a table, the first line of each, counted from 1; otherwise empty.
    pub lines: Vec<u64>,
    /// Sorted by name, then by path in byte order. A label is an index into `names`.
    pub samples: Vec<Sample>,
    /// Entries that were left out.
    pub ignored: Vec<Ignored>,
    /// Notes for the user, one sentence each.
    pub notes: Vec<String>,
}

/// The images of one folder or table, labelled by a model's classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluationFolder {
    /// Sorted by class, then by path in byte order.
    pub samples: Vec<Sample>,
    /// Entries that were left out.
    pub ignored: Vec<Ignored>,
    /// Notes for the user, one sentence each.
    pub notes: Vec<String>,
}

/// How a data folder is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanOptions {
    /// How the validation set is held out.
    pub split: SplitOptions,
    /// A table whose column `path` names images to leave out before anything is held out.
    pub exclude: Option<PathBuf>,
    /// Where archives are unpacked.
    pub cache: PathBuf,
}

impl Default for ScanOptions {
    /// Leaves nothing out; archives are unpacked in [`unpack_folder`].
    fn default() -> Self {
        Self { split: SplitOptions::default(), exclude: None, cache: unpack_folder() }
    }
}

/// Lists the images of a data folder.
///
/// The folder holds splits (`DATA/train` with `DATA/val` and/or `DATA/test`, or other names that
/// [`Split::of`](crate::split_name::Split::of) knows), each with a folder for each class, or class
/// folders directly. A `metadata.csv` or `metadata.jsonl` with the columns `file_name` and `label`
/// may label a folder's images, as in Hugging Face's image folders. DATA may also be a table (CSV,
/// TSV or JSON lines with the columns `path`, `label` and `split`), or an archive of any of these.
/// If there is no validation set, part of the training set is held out, stratified and seeded, as
/// the options say. No image is opened, so a file that is not an image is found only when it is
/// decoded.
///
/// # Errors
///
/// If the folder is missing, if it is unclear which folders are splits and which are classes, if
/// there are fewer than two classes, if a class has no image to train on, or if the validation or
/// test set has a class that the training set lacks.
pub fn scan(data: &Path, options: &SplitOptions) -> Result<Catalogue, CatalogueError> {
    scan_with(data, &ScanOptions { split: options.clone(), ..ScanOptions::default() }, &mut |_| {})
}

/// Like [`scan`]; `report` is called from time to time with the number of files found so far.
///
/// # Errors
///
/// Like [`scan`], and if the list of excluded images cannot be used.
pub fn scan_with(
    data: &Path,
    options: &ScanOptions,
    report: &mut dyn FnMut(usize),
) -> Result<Catalogue, CatalogueError> {
    options.split.check()?;
    let mut notes = Vec::new();
    let mut walk = Walk::new(report);
    let (mut catalogue, layout) = match source::open(data, &options.cache, &mut notes)? {
        Source::Folder(folder) => folders::train(&folder, &mut walk)?,
        Source::Table(table) => tables::train(&table, &tables::no_splits)?,
        Source::File(path) => return Err(not_a_folder(path)),
    };
    notes.append(&mut catalogue.notes);
    catalogue.notes = notes;
    catalogue.ignored = walk.into_ignored();
    if let Some(list) = &options.exclude {
        exclude::leave_out(&mut catalogue, list, data)?;
    }
    catalogue.notes.extend(class_names::numbers_note(&catalogue.classes));
    catalogue.notes.extend(class_names::similar_note(&catalogue.classes));
    for (samples, folder, set) in [
        (&catalogue.validation, &layout.validation, "validation set"),
        (&catalogue.test, &layout.test, "test set"),
    ] {
        if let Some(origin) = folder {
            let images = if samples.len() == 1 {
                "1 image".to_owned()
            } else {
                format!("{} images", samples.len())
            };
            catalogue.notes.push(format!("The {set} is {images} from {origin}."));
        }
    }
    if layout.validation.is_none() {
        split::hold_out(&mut catalogue, layout.fraction, &layout.train, &options.split);
    }
    Ok(catalogue)
}

/// The error for a file that is neither a table nor an archive.
fn not_a_folder(path: PathBuf) -> CatalogueError {
    const EMPTY: FileKind = FileKind {
        what: "an empty file",
        advice: "get it again, or check what should have written it",
    };
    match path.metadata() {
        Ok(metadata) if metadata.is_file() && metadata.len() == 0 => {
            CatalogueError::NotData { path, kind: EMPTY }
        }
        _ => CatalogueError::NotAFolder { path },
    }
}

/// The origin of each set of images.
struct Layout {
    /// The origin of the training set, in words.
    train: String,
    /// The origin of the validation set, if there is one.
    validation: Option<String>,
    /// The origin of the test set, if there is one.
    test: Option<String>,
    /// The fraction to hold out if there is no validation set.
    fraction: f64,
}

/// Lists images with the names that class folders or a table give them. If a folder holds splits,
/// its test set is listed. If a table has a column `split`, the lines of its test set count or, if
/// there are none, those of its validation set. Archives are unpacked in `cache`.
///
/// # Errors
///
/// If the folder or table cannot be used or holds no image, or if it holds splits but no test set.
pub fn scan_labelled(path: &Path, cache: &Path) -> Result<Labelled, CatalogueError> {
    let mut notes = Vec::new();
    let mut report = |_| {};
    let mut walk = Walk::new(&mut report);
    let mut labelled = match source::open(path, cache, &mut notes)? {
        Source::Folder(folder) => folders::labelled(&folder, &mut walk)?,
        Source::Table(table) => tables::labelled(&table, &tables::no_splits)?,
        Source::File(path) => return Err(not_a_folder(path)),
    };
    notes.append(&mut labelled.notes);
    Ok(Labelled { ignored: walk.into_ignored(), notes, ..labelled })
}

impl Labelled {
    /// Labels the images by the index of their names in `classes`; not all classes need to occur.
    ///
    /// # Errors
    ///
    /// If a name is not one of the classes.
    pub fn labelled_by(self, classes: &[String]) -> Result<EvaluationFolder, CatalogueError> {
        let place = |(at, name): (usize, &String)| {
            let label = classes.iter().position(|known| known == name).map(|label| label as u32);
            label.ok_or_else(|| {
                let (path, class, known) =
                    (self.origins[at].clone(), name.clone(), classes.to_vec());
                match self.lines.get(at) {
                    Some(&line) => CatalogueError::UnknownLabel { path, line, class, known },
                    None => CatalogueError::UnknownClass { path, class, known },
                }
            })
        };
        let labels = self.names.iter().enumerate().map(place).collect::<Result<Vec<_>, _>>()?;
        Ok(self.with_labels(&labels))
    }

    /// Labels the images with `labels[index]` for each index into `names`.
    ///
    /// # Panics
    ///
    /// If there are fewer labels than names.
    #[must_use]
    pub fn with_labels(self, labels: &[u32]) -> EvaluationFolder {
        let Self { mut samples, ignored, notes, .. } = self;
        samples.iter_mut().for_each(|sample| sample.label = labels[sample.label as usize]);
        samples.sort_by_key(|sample| sample.label);
        EvaluationFolder { samples, ignored, notes }
    }
}

impl Catalogue {
    fn empty(classes: Vec<String>) -> Self {
        Self {
            classes,
            train: Vec::new(),
            validation: Vec::new(),
            test: Vec::new(),
            ignored: Vec::new(),
            notes: Vec::new(),
            held_out: None,
        }
    }
}
