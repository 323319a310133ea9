//! The pictures of a folder, their classes, and which of them train, choose the epoch and are scored at the end.

mod error;
mod exclude;
mod split;
mod tables;

use std::path::{Path, PathBuf};

use crate::folder::{self, Entries, Walk};
use crate::source::{self, Source, unpack_folder};

pub use error::CatalogueError;
pub use split::SplitOptions;

/// One picture file and its class.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// Place of its class in the list of classes.
    pub label: u32,
}

/// An entry that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The file or folder.
    pub path: PathBuf,
    /// Why.
    pub reason: &'static str,
}

/// The pictures of a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    /// Class names: the names of the class folders, in byte order.
    pub classes: Vec<String>,
    /// Pictures that train; by class, then by path in byte order, as in the other two lists.
    pub train: Vec<Sample>,
    /// Pictures that choose the best epoch; may be empty.
    pub validation: Vec<Sample>,
    /// Pictures that are scored once, at the end; may be empty.
    pub test: Vec<Sample>,
    /// What was left out: hidden entries, files that are no pictures by their name, files outside any class folder.
    pub ignored: Vec<Ignored>,
    /// How the parts were made, a sentence each.
    pub notes: Vec<String>,
}

/// Pictures labelled by names: those of a folder of class folders, or those of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// The names, in byte order.
    pub names: Vec<String>,
    /// Where each name stands: its folder, or the table.
    pub origins: Vec<PathBuf>,
    /// By name, then by path in byte order. A label is a place in `names`.
    pub samples: Vec<Sample>,
    /// What was left out.
    pub ignored: Vec<Ignored>,
    /// What is to be said, a sentence each.
    pub notes: Vec<String>,
}

/// The pictures of one folder or table, labelled by a model's classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluationFolder {
    /// By class, then by path in byte order.
    pub samples: Vec<Sample>,
    /// What was left out.
    pub ignored: Vec<Ignored>,
    /// What is to be said, a sentence each.
    pub notes: Vec<String>,
}

/// How a data folder is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanOptions {
    /// How the pictures that choose the epoch are split off.
    pub split: SplitOptions,
    /// A table whose column `path` names pictures to leave out, before anything is split off.
    pub exclude: Option<PathBuf>,
    /// Where archives are unpacked.
    pub cache: PathBuf,
}

impl Default for ScanOptions {
    /// Nothing is left out; archives are unpacked in [`unpack_folder`].
    fn default() -> Self {
        Self { split: SplitOptions::default(), exclude: None, cache: unpack_folder() }
    }
}

const VALIDATION_NAMES: [&str; 3] = ["val", "valid", "validation"];

/// Lists the pictures of a data folder: `DATA/train` with `DATA/val` (or `valid`, `validation`) and/or `DATA/test`, each with a
/// folder for each class; or class folders directly under `DATA`. DATA may also be a table (CSV, TSV or JSON lines with the
/// columns `path`, `label` and `split`), or a ZIP archive of any of these. What is missing for choosing the epoch is split off,
/// stratified and seeded, as the options say. No picture is opened: whether a file is one shows when it is decoded.
///
/// # Errors
///
/// When the folder is missing, has fewer than two classes, a class without pictures to train on, or a class in the validation or
/// test part that is not in train.
pub fn scan(data: &Path, options: &SplitOptions) -> Result<Catalogue, CatalogueError> {
    scan_with(data, &ScanOptions { split: options.clone(), ..ScanOptions::default() }, &mut |_| {})
}

/// As [`scan`]; `report` is called now and then with the number of files found so far.
///
/// # Errors
///
/// As [`scan`]; and when the list of what is to be left out cannot be used.
pub fn scan_with(data: &Path, options: &ScanOptions, report: &mut dyn FnMut(usize)) -> Result<Catalogue, CatalogueError> {
    options.split.check()?;
    let mut notes = Vec::new();
    let mut walk = Walk::new(report);
    let (mut catalogue, layout) = match source::open(data, &options.cache, &mut notes)? {
        Source::Folder(folder) => list_folder(&folder, &mut walk)?,
        Source::Table(table) => tables::train(&table)?,
        Source::File(path) => return Err(CatalogueError::NotAFolder { path }),
    };
    notes.append(&mut catalogue.notes);
    catalogue.notes = notes;
    catalogue.ignored = walk.ignored;
    if let Some(list) = &options.exclude {
        exclude::leave_out(&mut catalogue, list, data)?;
    }
    catalogue.notes.extend(names_note(&catalogue.classes));
    for (samples, folder, purpose) in [
        (&catalogue.validation, &layout.validation, "choose the epoch"),
        (&catalogue.test, &layout.test, "are scored at the end"),
    ] {
        if let Some(origin) = folder {
            catalogue.notes.push(format!("{} pictures from {origin} {purpose}.", samples.len()));
        }
    }
    if layout.validation.is_none() {
        split::hold_out(&mut catalogue, layout.fraction, layout.train, &options.split);
    }
    Ok(catalogue)
}

/// How the pictures lie.
struct Layout {
    /// What holds the pictures that train, in words.
    train: &'static str,
    /// What holds those that choose the epoch, if anything does.
    validation: Option<String>,
    /// What holds those that are scored at the end, if anything does.
    test: Option<String>,
    /// The part that is split off where nothing holds those that choose the epoch.
    fraction: f64,
}

fn list_folder(data: &Path, walk: &mut Walk<'_>) -> Result<(Catalogue, Layout), CatalogueError> {
    let entries = walk.list(data)?;
    let part = |names: &[&str]| -> Vec<&PathBuf> {
        entries
            .folders
            .iter()
            .filter(|folder| folder.file_name().is_some_and(|name| names.iter().any(|&part| name == part)))
            .collect()
    };
    let (train, test, validations) = (part(&["train"]), part(&["test"]), part(&VALIDATION_NAMES));
    // A class may be called "train": only a folder of folders is a part.
    let train = match train.first() {
        Some(train) if !Walk::new(&mut |_| {}).list(train)?.folders.is_empty() => Some(*train),
        _ => None,
    };
    if let [first, second, ..] = validations[..]
        && train.is_some()
    {
        let [first, second] = [folder::name(first)?, folder::name(second)?];
        return Err(CatalogueError::TwoValidations { path: data.to_path_buf(), first, second });
    }
    let parts = validations.iter().chain(&test).map(|folder| folder::name(folder)).collect::<Result<Vec<_>, _>>()?;
    if train.is_none() && !parts.is_empty() && parts.len() == entries.folders.len() {
        return Err(CatalogueError::NoTrain { path: data.to_path_buf(), found: parts.join(" and ") });
    }

    let Some(train) = train else {
        let catalogue = list_train(data, entries, walk)?;
        let layout = Layout { train: "the class folders", validation: None, test: None, fraction: split::FLAT_FRACTION };
        return Ok((catalogue, layout));
    };
    let is_part = |folder: &&PathBuf| *folder == train || validations.contains(folder) || test.contains(folder);
    let outside = entries.folders.iter().filter(|folder| !is_part(folder)).chain(&entries.files);
    outside.for_each(|path| walk.ignore(path.clone(), "beside train, validation and test"));
    let train_entries = walk.list(train)?;
    let mut catalogue = list_train(train, train_entries, walk)?;
    let mut layout = Layout { train: "train", validation: None, test: None, fraction: split::TRAIN_FRACTION };
    for (folders, is_test) in [(&validations, false), (&test, true)] {
        let Some(folder) = folders.first() else { continue };
        let found = list_labelled(folder, walk)?.labelled_by(&catalogue.classes)?;
        catalogue.notes.extend(found.notes);
        let (samples, origin) =
            if is_test { (&mut catalogue.test, &mut layout.test) } else { (&mut catalogue.validation, &mut layout.validation) };
        (*samples, *origin) = (found.samples, Some(folder.display().to_string()));
    }
    Ok((catalogue, layout))
}

/// Lists pictures with the names that a folder of class folders or a table gives them. Of a table with a column `split`, the
/// lines of the test part count, or where there are none those of the validation part. Archives are unpacked in `cache`.
///
/// # Errors
///
/// When the folder or table cannot be used or holds no picture.
pub fn scan_labelled(path: &Path, cache: &Path) -> Result<Labelled, CatalogueError> {
    let mut notes = Vec::new();
    let mut report = |_| {};
    let mut walk = Walk::new(&mut report);
    let mut labelled = match source::open(path, cache, &mut notes)? {
        Source::Folder(folder) => list_labelled(&folder, &mut walk)?,
        Source::Table(table) => tables::labelled(&table)?,
        Source::File(path) => return Err(CatalogueError::NotAFolder { path }),
    };
    notes.append(&mut labelled.notes);
    Ok(Labelled { ignored: walk.ignored, notes, ..labelled })
}

fn list_labelled(folder: &Path, walk: &mut Walk<'_>) -> Result<Labelled, CatalogueError> {
    let entries = walk.list(folder)?;
    let (mut names, mut origins, mut samples, mut notes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, class_folder) in class_names(&entries)?.into_iter().zip(entries.folders) {
        let files = walk.files_below(&class_folder)?;
        if files.is_empty() {
            // Not even a class that the model does not know matters where it has no picture.
            notes.push(format!("{} holds no picture: nothing is said of its class.", class_folder.display()));
            continue;
        }
        let label = names.len() as u32;
        samples.extend(files.into_iter().map(|path| Sample { path, label }));
        names.push(name);
        origins.push(class_folder);
    }
    entries.files.into_iter().for_each(|path| walk.ignore(path, OUTSIDE));
    if samples.is_empty() {
        return Err(CatalogueError::NoPictures { path: folder.to_path_buf() });
    }
    Ok(Labelled { names, origins, samples, ignored: Vec::new(), notes })
}

impl Labelled {
    /// The pictures by the places of their names in `classes`, all of which need not be there.
    ///
    /// # Errors
    ///
    /// When a name is none of them.
    pub fn labelled_by(self, classes: &[String]) -> Result<EvaluationFolder, CatalogueError> {
        let place = |(name, origin): (&String, &PathBuf)| {
            let label = classes.iter().position(|known| known == name).map(|label| label as u32);
            label.ok_or_else(|| CatalogueError::UnknownClass {
                path: origin.clone(),
                class: name.clone(),
                known: classes.to_vec(),
            })
        };
        let labels = self.names.iter().zip(&self.origins).map(place).collect::<Result<Vec<_>, _>>()?;
        Ok(self.with_labels(&labels))
    }

    /// The pictures with the label `labels[place]` for each place in `names`.
    ///
    /// # Panics
    ///
    /// When there are fewer labels than names.
    #[must_use]
    pub fn with_labels(self, labels: &[u32]) -> EvaluationFolder {
        let Self { mut samples, ignored, notes, .. } = self;
        samples.iter_mut().for_each(|sample| sample.label = labels[sample.label as usize]);
        samples.sort_by_key(|sample| sample.label);
        EvaluationFolder { samples, ignored, notes }
    }
}

/// Takes every folder for a class and every picture for training.
fn list_train(folder: &Path, entries: Entries, walk: &mut Walk<'_>) -> Result<Catalogue, CatalogueError> {
    let classes = class_names(&entries)?;
    if classes.len() < 2 {
        return Err(CatalogueError::TooFewClasses { path: folder.to_path_buf(), found: classes });
    }
    entries.files.into_iter().for_each(|path| walk.ignore(path, OUTSIDE));
    let mut pictures = Vec::with_capacity(classes.len());
    for class_folder in &entries.folders {
        pictures.push(walk.files_below(class_folder)?);
    }
    if pictures.iter().all(Vec::is_empty) {
        return Err(CatalogueError::NoPictures { path: folder.to_path_buf() });
    }
    if let Some(empty) = pictures.iter().position(Vec::is_empty) {
        return Err(CatalogueError::EmptyClass { path: entries.folders[empty].clone() });
    }
    let labelled =
        pictures.into_iter().zip(0..).flat_map(|(paths, label)| paths.into_iter().map(move |path| Sample { path, label }));
    Ok(Catalogue { train: labelled.collect(), ..Catalogue::empty(classes) })
}

impl Catalogue {
    fn empty(classes: Vec<String>) -> Self {
        Self { classes, train: Vec::new(), validation: Vec::new(), test: Vec::new(), ignored: Vec::new(), notes: Vec::new() }
    }
}

const OUTSIDE: &str = "outside any class folder";

fn class_names(entries: &Entries) -> Result<Vec<String>, CatalogueError> {
    entries.folders.iter().map(|folder| folder::name(folder)).collect()
}

/// Names that are numbers invite the thought that they are the places of the classes, which they are not.
fn names_note(classes: &[String]) -> Option<String> {
    const SHOWN: usize = 20;
    let numbers = classes.iter().all(|class| class.bytes().all(|byte| byte.is_ascii_digit()));
    if !numbers || classes.iter().enumerate().all(|(place, class)| *class == place.to_string()) {
        return None;
    }
    let map: Vec<String> = classes.iter().enumerate().take(SHOWN).map(|(place, class)| format!("{place} is {class:?}")).collect();
    let more = if classes.len() > SHOWN { format!(" and {} more", classes.len() - SHOWN) } else { String::new() };
    Some(format!(
        "The classes' names are numbers. Wherever a class is named, it is by its own name; its place among the model's outputs is another: {}{more}.",
        map.join(", ")
    ))
}
