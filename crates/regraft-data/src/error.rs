//! Why a folder, table or archive cannot be used.

use std::path::{Path, PathBuf};

use crate::archive::ArchiveError;
use crate::file_kind::FileKind;
use crate::shown::shown;
use crate::split_name::Split;

/// A folder, table or archive that cannot be used as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CatalogueError {
    /// The path does not exist.
    #[error("{}: no such file or folder; check the path", shown(.path))]
    Missing {
        /// The file or folder.
        path: PathBuf,
    },
    /// A file instead of a folder.
    #[error(
        "{}: is a file, but neither a table (.csv, .tsv, .jsonl) nor an archive (.zip, .tar, \
         .tar.gz); name one of \
         these, or a folder with a folder for each class",
        shown(.path)
    )]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// A folder that could not be listed.
    #[error("{}: cannot be read ({message}); check what it is and that you may read it", shown(
        .path))]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// The operating system's message.
        message: String,
    },
    /// Too many folders inside each other.
    #[error("{}: is nested too deeply; is there a link that leads back to its own parent?",
        shown(.path))]
    TooDeep {
        /// The folder.
        path: PathBuf,
    },
    /// A class folder's name is not UTF-8.
    #[error("{}: its name is not valid UTF-8, so it cannot name a class; rename the folder", shown(
        .path))]
    NameNotText {
        /// The folder.
        path: PathBuf,
    },
    /// Splits without a training set.
    #[error("{}: has {found} but no training set; add {}/train/<class>/, or name a folder that \
        holds class folders", shown(.path), shown(.path))]
    NoTrain {
        /// The data folder.
        path: PathBuf,
        /// The splits that exist.
        found: String,
    },
    /// Splits without a test set to score.
    #[error("{}: holds splits ({found}) but no test set; name the folder to score, such as {}",
        shown(.path), shown(.named))]
    NoTest {
        /// The data folder.
        path: PathBuf,
        /// The splits that exist.
        found: String,
        /// One of them.
        named: PathBuf,
    },
    /// Two folders for one split.
    #[error("{}: has both {first} and {second}, which both mean the {set}; keep one, or rename \
        the other{}", shown(.path), eval_advice(.eval.as_deref()))]
    TwoParts {
        /// The data folder.
        path: PathBuf,
        /// The first folder.
        first: String,
        /// The second folder.
        second: String,
        /// The split that both mean: the training, validation or test set.
        set: &'static str,
        /// The folder that is called `eval`, if one of the two is.
        eval: Option<String>,
    },
    /// A folder that may be a split or a class.
    #[error("{}", split_or_class(.path, .name, *.split, .others))]
    SplitOrClass {
        /// The data folder.
        path: PathBuf,
        /// The folder's name.
        name: String,
        /// The split that its name means.
        split: Split,
        /// Folders beside it that hold images and are not splits.
        others: Vec<String>,
    },
    /// Splits in a split.
    #[error("{}: its folders ({found}) are named like splits, not classes; name the folder that \
        holds the splits, or rename them if they are classes", shown(.path))]
    SplitsInSplit {
        /// The split's folder.
        path: PathBuf,
        /// The folders in it.
        found: String,
    },
    /// Splits in a class folder.
    #[error("{}: holds the splits {found}, but a class folder lies in a split: move the images to \
        train/{}/ and so on", shown(.path), .path.file_name().unwrap_or_default().display())]
    SplitsInClass {
        /// The class folder.
        path: PathBuf,
        /// The splits in it.
        found: String,
    },
    /// Images without class folders.
    #[error("{}", unlabelled(.path, *.images, .starts, .tables))]
    Unlabelled {
        /// The folder.
        path: PathBuf,
        /// Number of files in it that may be images.
        images: usize,
        /// First words of the file names, if they may be classes.
        starts: Vec<String>,
        /// Files that may be tables of labels but hold none.
        tables: Vec<String>,
    },
    /// Files of boxes instead of labels.
    #[error(
        "{}: looks like a data set for object detection: {} says where objects are, as {writer}'s \
         files do, but not the class of an image; put each image into a folder named after its \
         class, or name a table with \
             the columns path and label",
        shown(.path), shown(.file)
    )]
    Detection {
        /// The folder.
        path: PathBuf,
        /// One of the files of boxes.
        file: PathBuf,
        /// The program or data set that writes such files.
        writer: &'static str,
    },
    /// Two tables that label the same images.
    #[error("{} and {}: both label the images in their folder; keep one", shown(.first), shown(
        .second))]
    TwoTables {
        /// The first table.
        first: PathBuf,
        /// The second table.
        second: PathBuf,
    },
    /// Fewer than two classes.
    #[error("{}: needs a folder for each of at least two classes, but has {}", shown(.path),
        class_folders(.found))]
    TooFewClasses {
        /// The folder.
        path: PathBuf,
        /// The class folders that exist.
        found: Vec<String>,
    },
    /// A table of one class.
    #[error("{}: all images to train on are labelled {label:?}; add images with another label, \
        because training needs at least two", shown(.path))]
    OneLabel {
        /// The table.
        path: PathBuf,
        /// The label.
        label: String,
    },
    /// A class without an image to train on.
    #[error("{}: holds no image, so its class cannot be learned; add images or remove the folder",
        shown(.path))]
    EmptyClass {
        /// The class folder.
        path: PathBuf,
    },
    /// No image at all.
    #[error("{}: holds no image in any class folder; put images into a folder for each class, or \
        remove it", shown(.path))]
    NoPictures {
        /// The folder.
        path: PathBuf,
    },
    /// No image in a folder of unlabelled images.
    #[error("{}: neither it nor any folder in it holds an image; name a folder that does", shown(
        .path))]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A class that the model does not know.
    #[error("{}: the class {class:?} is unknown: {}; rename the folder or remove it", shown(.path),
        known_classes(.known))]
    UnknownClass {
        /// The class folder.
        path: PathBuf,
        /// The class.
        class: String,
        /// The classes that are known.
        known: Vec<String>,
    },
    /// An invalid validation fraction, or one that leaves nothing to train on.
    #[error("the validation fraction is {0:?}: choose one from 0 to below 1, such as 0.2")]
    Fraction(f64),
    /// A table whose header lacks a column.
    #[error(
        "{}: has no column of {wanted}; its first line must name the columns, such as \
         path,label,split (it has {found}){}{hint}",
        shown(.path),
        if .hint.is_empty() { "" } else { "; " }
    )]
    NoColumn {
        /// The table.
        path: PathBuf,
        /// The column that is missing.
        wanted: &'static str,
        /// The columns that exist.
        found: String,
        /// Advice, if the columns tell where the table comes from; otherwise empty.
        hint: &'static str,
    },
    /// A list of paths without labels.
    #[error(
        "{}: lists paths without labels; write a table with the columns path and label (.csv, \
         .tsv or .jsonl)",
        shown(.path)
    )]
    NoLabels {
        /// The list.
        path: PathBuf,
    },
    /// A file of an unsupported kind.
    #[error("{}: {kind}", shown(.path))]
    NotData {
        /// The file.
        path: PathBuf,
        /// The kind.
        kind: FileKind,
    },
    /// A line of a table or list that cannot be used.
    #[error("{}, line {line}: {message}", shown(.path))]
    Line {
        /// The table or list.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The fault.
        message: String,
    },
    /// A table without rows, or without rows to train on.
    #[error("{}: lists no image{}; add lines to it", shown(.path), .what)]
    EmptyTable {
        /// The table.
        path: PathBuf,
        /// The kind of image that is missing, or empty.
        what: &'static str,
    },
    /// An exclusion that leaves no image of a class.
    #[error("{}: excludes every image of class {class}; a class needs at least one", shown(.path))]
    AllExcluded {
        /// The list of excluded images.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// A class of a table that the model does not know.
    #[error(
        "{}, line {line}: the class {class:?} is unknown: {}; correct the label or remove the line",
        shown(.path),
        known_classes(.known)
    )]
    UnknownLabel {
        /// The table.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The class.
        class: String,
        /// The classes that are known.
        known: Vec<String>,
    },
    /// An archive that cannot be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// An input that matches no file.
    #[error("{0}: no such file or folder, and no file matches it; check the path")]
    NoInput(String),
    /// An invalid pattern.
    #[error("{pattern}: is not a valid pattern ({message}); quote it, or name the files")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The fault.
        message: String,
    },
}

fn eval_advice(eval: Option<&str>) -> String {
    eval.map_or_else(String::new, |name| {
        format!(" ({name} means the test set; rename it val if it is the validation set)")
    })
}

fn split_or_class(path: &Path, name: &str, split: Split, others: &[String]) -> String {
    let [path, others] = [shown(path).to_string(), some_of(others)];
    let remedy = match split {
        Split::Train => format!("move {others} out of {path}"),
        _ => format!("move the class folders into {path}/train"),
    };
    let set = split.set();
    format!(
        "{path}: is {name} the {set}, or a class like {others}? if it is the {set}, {remedy}; if \
         it is a class, rename it"
    )
}

fn unlabelled(path: &Path, images: usize, starts: &[String], tables: &[String]) -> String {
    let path = shown(path);
    let files = if images == 1 { "1 file".to_owned() } else { format!("{images} files") };
    let mut text = format!(
        "{path}: holds {files} but no class folders, so their labels are unknown; put each image \
         into a folder named after its class \
         ({path}/<class>/), or name a table with the columns path and label"
    );
    if !starts.is_empty() {
        text += &format!(
            " (the files' names start with {}, which may be the classes)",
            starts.join(", ")
        );
    }
    if !tables.is_empty() {
        text += &format!(
            " ({} gives no labels: it must be metadata.csv or metadata.jsonl with the columns \
             file_name and label)",
            tables.join(", ")
        );
    }
    text
}

/// The first names of a list, and the number of the others.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let more = if names.len() > SHOWN {
        format!(" and {} more", names.len() - SHOWN)
    } else {
        String::new()
    };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}

fn class_folders(found: &[String]) -> String {
    if found.is_empty() {
        "none".to_owned()
    } else {
        format!("only the folder {:?}", found.join(", "))
    }
}

fn known_classes(known: &[String]) -> String {
    const SHOWN: usize = 12;
    let more = if known.len() > SHOWN {
        format!(" and {} more", known.len() - SHOWN)
    } else {
        String::new()
    };
    format!("the classes are {}{more}", known[..known.len().min(SHOWN)].join(", "))
}
