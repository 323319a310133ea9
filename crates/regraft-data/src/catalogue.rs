//! The pictures of a folder, their classes, and which of them train, choose the epoch and are scored at the end.

mod split;

use std::path::{Path, PathBuf};

use crate::folder::{self, Entries};

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

/// The pictures of one folder of class folders, labelled by a model's classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluationFolder {
    /// By class, then by path in byte order.
    pub samples: Vec<Sample>,
    /// What was left out.
    pub ignored: Vec<Ignored>,
}

/// A folder that cannot be used as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CatalogueError {
    /// There is no such folder.
    #[error("{}: there is no such folder; check the path", .path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// A file where a folder is needed.
    #[error("{}: is a file, but a folder with a folder for each class is needed", .path.display())]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// A folder that could not be listed.
    #[error("{}: cannot be read ({message}); check that you may read it", .path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// Too many folders inside each other.
    #[error("{}: lies too many folders deep; is there a link that leads back to its own parent?", .path.display())]
    TooDeep {
        /// The folder.
        path: PathBuf,
    },
    /// A class folder's name is not UTF-8.
    #[error("{}: its name is not valid UTF-8, so it cannot name a class; rename the folder", .path.display())]
    NameNotText {
        /// The folder.
        path: PathBuf,
    },
    /// Parts without a train part.
    #[error("{}: has {found} but no train folder; add DATA/train/<class>/ or name a folder that holds class folders", .path.display())]
    NoTrain {
        /// The data folder.
        path: PathBuf,
        /// The parts that are there.
        found: String,
    },
    /// Two folders for the validation part.
    #[error("{}: has both {first} and {second}, which both mean the validation part; keep one", .path.display())]
    TwoValidations {
        /// The data folder.
        path: PathBuf,
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// Fewer than two classes.
    #[error("{}: needs a folder for each of at least two classes, but has {}", .path.display(), class_folders(.found))]
    TooFewClasses {
        /// The folder.
        path: PathBuf,
        /// The class folders that are there.
        found: Vec<String>,
    },
    /// A class without a picture to train on.
    #[error("{}: holds no picture, so its class cannot be learned; add pictures or remove the folder", .path.display())]
    EmptyClass {
        /// The class folder.
        path: PathBuf,
    },
    /// No picture at all.
    #[error("{}: holds no picture in any class folder; put pictures into a folder for each class, or remove it", .path.display())]
    NoPictures {
        /// The folder.
        path: PathBuf,
    },
    /// A class that was not trained.
    #[error("{}: the class {class:?} is unknown: {}; rename the folder or remove it", .path.display(), known_classes(.known))]
    UnknownClass {
        /// The class folder.
        path: PathBuf,
        /// The class.
        class: String,
        /// The classes that are known.
        known: Vec<String>,
    },
    /// A fraction that splits nothing.
    #[error("the validation fraction is {0}: choose one above 0 and below 1, such as 0.2")]
    Fraction(f64),
    /// An input that names nothing.
    #[error("{0}: no such file or folder, and no file matches it; check the path")]
    NoInput(String),
    /// A pattern that is none.
    #[error("{pattern}: is no valid pattern ({message}); quote it, or name the files")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
}

fn class_folders(found: &[String]) -> String {
    if found.is_empty() { "none".to_owned() } else { format!("only {}", found.join(", ")) }
}

fn known_classes(known: &[String]) -> String {
    const SHOWN: usize = 12;
    let more = if known.len() > SHOWN { format!(" and {} more", known.len() - SHOWN) } else { String::new() };
    format!("the classes are {}{more}", known[..known.len().min(SHOWN)].join(", "))
}

const VALIDATION_NAMES: [&str; 3] = ["val", "valid", "validation"];

/// Lists the pictures of a data folder: `DATA/train` with `DATA/val` (or `valid`, `validation`) and/or `DATA/test`, each with a folder
/// for each class; or class folders directly under `DATA`. What is missing for choosing the epoch is split off, stratified and seeded,
/// as `options` say. No file is opened: whether it is a picture shows when it is decoded.
///
/// # Errors
///
/// When the folder is missing, has fewer than two classes, a class without pictures to train on, or a class in the validation or test
/// part that is not in train.
pub fn scan(data: &Path, options: &SplitOptions) -> Result<Catalogue, CatalogueError> {
    options.check()?;
    let mut ignored = Vec::new();
    let entries = folders_of(data, &mut ignored)?;
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
        Some(train) if !folder::list(train, &mut Vec::new())?.folders.is_empty() => Some(*train),
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
        let mut catalogue = scan_train(data, entries, ignored)?;
        split::hold_out(&mut catalogue, split::FLAT_FRACTION, "the class folders", options);
        return Ok(catalogue);
    };
    let is_part = |folder: &&PathBuf| *folder == train || validations.contains(folder) || test.contains(folder);
    let outside = entries.folders.iter().filter(|folder| !is_part(folder)).chain(&entries.files);
    ignored.extend(outside.map(|path| Ignored { path: path.clone(), reason: "beside train, validation and test" }));
    let train_entries = folders_of(train, &mut ignored)?;
    let mut catalogue = scan_train(train, train_entries, ignored)?;
    for (folders, is_test) in [(&validations, false), (&test, true)] {
        let Some(folder) = folders.first() else { continue };
        let mut found = scan_evaluation(folder, &catalogue.classes)?;
        catalogue.ignored.append(&mut found.ignored);
        catalogue.notes.push(format!(
            "{} pictures from {} {}.",
            found.samples.len(),
            folder.display(),
            if is_test { "are scored at the end" } else { "choose the epoch" }
        ));
        *(if is_test { &mut catalogue.test } else { &mut catalogue.validation }) = found.samples;
    }
    if validations.is_empty() {
        split::hold_out(&mut catalogue, split::TRAIN_FRACTION, "train", options);
    }
    Ok(catalogue)
}

/// The names of the class folders in a folder, in byte order.
///
/// # Errors
///
/// When the folder is missing or cannot be read, or a name in it is not UTF-8.
pub fn class_folder_names(folder: &Path) -> Result<Vec<String>, CatalogueError> {
    folders_of(folder, &mut Vec::new())?.folders.iter().map(|folder| folder::name(folder)).collect()
}

/// Lists the pictures of a folder with a folder for each class, labelled by a model's classes. Classes may be absent.
///
/// # Errors
///
/// When the folder is missing, holds a folder that is no class of the model, or no picture.
pub fn scan_evaluation(folder: &Path, classes: &[String]) -> Result<EvaluationFolder, CatalogueError> {
    let mut ignored = Vec::new();
    let entries = folders_of(folder, &mut ignored)?;
    let mut samples = Vec::new();
    for class_folder in &entries.folders {
        let class = folder::name(class_folder)?;
        let Some(label) = classes.iter().position(|known| *known == class) else {
            return Err(CatalogueError::UnknownClass { path: class_folder.clone(), class, known: classes.to_vec() });
        };
        let label = label as u32;
        samples.extend(folder::walk(class_folder, &mut ignored)?.into_iter().map(|path| Sample { path, label }));
    }
    ignored.extend(entries.files.into_iter().map(outside_any_class));
    if samples.is_empty() {
        return Err(CatalogueError::NoPictures { path: folder.to_path_buf() });
    }
    samples.sort_by_key(|sample| sample.label);
    Ok(EvaluationFolder { samples, ignored })
}

fn folders_of(folder: &Path, ignored: &mut Vec<Ignored>) -> Result<Entries, CatalogueError> {
    match std::fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => folder::list(folder, ignored),
        Ok(_) => Err(CatalogueError::NotAFolder { path: folder.to_path_buf() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(CatalogueError::Missing { path: folder.to_path_buf() }),
        Err(error) => Err(CatalogueError::Unreadable { path: folder.to_path_buf(), message: error.to_string() }),
    }
}

/// Takes every folder for a class and every picture for training.
fn scan_train(folder: &Path, entries: Entries, mut ignored: Vec<Ignored>) -> Result<Catalogue, CatalogueError> {
    let classes = entries.folders.iter().map(|folder| folder::name(folder)).collect::<Result<Vec<_>, _>>()?;
    if classes.len() < 2 {
        return Err(CatalogueError::TooFewClasses { path: folder.to_path_buf(), found: classes });
    }
    ignored.extend(entries.files.into_iter().map(outside_any_class));
    let mut pictures = Vec::with_capacity(classes.len());
    for class_folder in &entries.folders {
        pictures.push(folder::walk(class_folder, &mut ignored)?);
    }
    if pictures.iter().all(Vec::is_empty) {
        return Err(CatalogueError::NoPictures { path: folder.to_path_buf() });
    }
    if let Some(empty) = pictures.iter().position(Vec::is_empty) {
        return Err(CatalogueError::EmptyClass { path: entries.folders[empty].clone() });
    }
    let labelled =
        pictures.into_iter().zip(0..).flat_map(|(paths, label)| paths.into_iter().map(move |path| Sample { path, label }));
    let train = labelled.collect();
    Ok(Catalogue { classes, train, validation: Vec::new(), test: Vec::new(), ignored, notes: Vec::new() })
}

fn outside_any_class(path: PathBuf) -> Ignored {
    Ignored { path, reason: "outside any class folder" }
}
