//! Decides whether the folders in a data folder are classes or splits that hold the classes.

use std::path::{Path, PathBuf};

use super::{CatalogueError, detection, metadata};
use crate::folder::{self, Entries, Walk};
use crate::shown::shown;
use crate::split_name::{Split, is_filler};

/// The purpose of listing a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To train, which needs a training set of at least two classes.
    Train,
    /// To score a model, whose classes decide later whether `train` is one of them.
    Score,
}

/// A data folder whose layout is known.
#[derive(Debug)]
pub struct DataFolder {
    /// The data folder, or the only folder in it.
    pub folder: PathBuf,
    /// The folders and files in it.
    pub entries: Entries,
    /// Its layout.
    pub kind: Kind,
}

/// The layouts of a data folder.
#[derive(Debug)]
pub enum Kind {
    /// A table in the folder labels its images.
    Table(PathBuf),
    /// Each folder is a class.
    Classes,
    /// Folders are splits, at most one of each kind.
    Splits(Vec<Part>),
}

/// A folder that is a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The split.
    pub split: Split,
    /// The folder in the data folder.
    pub named: PathBuf,
    /// The folder that holds its classes or images: `named`, or a folder in it that only wraps
    /// them.
    pub folder: PathBuf,
    content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Class folders, or a table of labels.
    Labelled,
    /// Images without class folders.
    Images,
    Nothing,
}

/// The most nested wrapping folders that are opened. More must be a mistake, such as a cycle of
/// links.
const MAX_WRAPPERS: usize = 16;

/// Finds out how a data folder is laid out, and adds notes for the user to `notes`.
pub fn find(
    data: &Path,
    purpose: Purpose,
    walk: &mut Walk<'_>,
    notes: &mut Vec<String>,
) -> Result<DataFolder, CatalogueError> {
    let mut folder = data.to_path_buf();
    let mut entries = walk.list(&folder)?;
    for _ in 0..MAX_WRAPPERS {
        if let Some(table) = metadata::table_in(&folder, &entries, notes)? {
            return Ok(DataFolder { folder, entries, kind: Kind::Table(table) });
        }
        detection::refuse(&folder, &entries)?;
        let Some(inner) = wrapped(&entries, purpose)? else {
            let kind =
                recognise(&folder, &entries, purpose, notes)?.map_or(Kind::Classes, Kind::Splits);
            return Ok(DataFolder { folder, entries, kind });
        };
        notes.push(format!(
            "{} holds only the folder {}, which is read instead.",
            shown(&folder),
            shown(&inner)
        ));
        entries = walk.list(&inner)?;
        folder = inner;
    }
    Err(CatalogueError::TooDeep { path: folder })
}

/// The only folder in a data folder, if it is the actual data folder.
fn wrapped(entries: &Entries, purpose: Purpose) -> Result<Option<PathBuf>, CatalogueError> {
    let ([only], []) = (&entries.folders[..], &entries.files[..]) else { return Ok(None) };
    if Split::of(&folder::lossy_name(only)).is_some() {
        return Ok(None);
    }
    let inner = folder::peek(only)?;
    let opens = match purpose {
        _ if metadata::table_in(only, &inner, &mut Vec::new())?.is_some() => true,
        // One folder cannot be a class, because training needs two.
        Purpose::Train => inner.files.is_empty() && !inner.folders.is_empty(),
        // A single folder may be the only class to score, unless its folders are splits or its name
        // says nothing.
        Purpose::Score => {
            let parts =
                named_splits(&inner.folders).into_iter().map(|(split, folder)| part(split, folder));
            parts
                .collect::<Result<Vec<_>, _>>()?
                .iter()
                .any(|part| part.content == Content::Labelled)
                || is_filler(&folder::lossy_name(only))
                    && inner.files.is_empty()
                    && !inner.folders.is_empty()
        }
    };
    Ok(opens.then(|| only.clone()))
}

/// The folders whose names are splits, in order.
fn named_splits(folders: &[PathBuf]) -> Vec<(Split, &PathBuf)> {
    let names: Vec<String> = folders.iter().map(|folder| folder::lossy_name(folder)).collect();
    Split::of_all(&names)
        .into_iter()
        .zip(folders)
        .filter_map(|(split, folder)| Some((split?, folder)))
        .collect()
}

/// Whether all folders have names of splits, so that they can hardly be classes.
pub fn all_are_splits(folders: &[PathBuf]) -> bool {
    !folders.is_empty() && named_splits(folders).len() == folders.len()
}

/// The splits of a data folder; `None` if its folders are classes.
///
/// A vehicle data set has a class `train`, so a name alone does not decide. The content of the
/// folder and of its neighbours does. If both readings remain possible, the user must rename a
/// folder.
fn recognise(
    data: &Path,
    entries: &Entries,
    purpose: Purpose,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<Part>>, CatalogueError> {
    let mut parts = named_splits(&entries.folders)
        .into_iter()
        .map(|(split, folder)| part(split, folder))
        .collect::<Result<Vec<_>, _>>()?;
    parts.sort_by_key(|part| part.split);
    open_wrappers(&mut parts)?;
    let any_labelled = parts.iter().any(|part| part.content == Content::Labelled);
    if parts.is_empty() || purpose == Purpose::Score && !any_labelled {
        return Ok(None);
    }
    if let Some([first, second]) = parts.windows(2).find(|pair| pair[0].split == pair[1].split) {
        let names = [first, second].map(|part| folder::lossy_name(&part.named));
        let eval = names.iter().find(|name| Split::is_eval(name)).cloned();
        let [first_name, second_name] = names;
        return Err(CatalogueError::TwoParts {
            path: data.to_path_buf(),
            first: first_name,
            second: second_name,
            set: first.split.set(),
            eval,
        });
    }
    let mut others = Vec::new();
    for folder in
        entries.folders.iter().filter(|folder| parts.iter().all(|part| part.named != **folder))
    {
        if folder::holds_images(folder)? {
            others.push(folder::lossy_name(folder));
        }
    }
    let ambiguous = |part: &Part, others: Vec<String>| {
        let name = folder::lossy_name(&part.named);
        CatalogueError::SplitOrClass { path: data.to_path_buf(), name, split: part.split, others }
    };
    let Some(train) = parts.iter().find(|part| part.split == Split::Train) else {
        return match (others.is_empty(), purpose) {
            (true, Purpose::Score) => Ok(Some(parts)),
            (true, Purpose::Train) => {
                Err(CatalogueError::NoTrain { path: data.to_path_buf(), found: names_of(&parts) })
            }
            // An empty class folder, which is refused later.
            (false, _) if parts.iter().all(|part| part.content == Content::Nothing) => Ok(None),
            (false, _) => Err(ambiguous(&parts[0], others)),
        };
    };
    let alone = parts.len() == 1;
    match (train.content, others.is_empty()) {
        (Content::Labelled, false) if alone => Err(ambiguous(train, others)),
        (Content::Images, false) if alone => {
            let named = shown(&train.named);
            notes.push(format!(
                "{named} is a class like the folders beside it: it holds images \
                and no class folders."
            ));
            Ok(None)
        }
        (Content::Images, false) => Err(ambiguous(train, others)),
        (Content::Images, true) if purpose == Purpose::Train => Err(unlabelled(&train.folder)?),
        // An empty class folder, which is refused later.
        (Content::Nothing, false) if alone => Ok(None),
        _ => Ok(Some(parts)),
    }
}

/// Opens a folder that is alone in a split and holds only folders, as in `train/images/<class>/`. A
/// training set needs more than one class, so there that folder is not a class. In the other splits
/// a class may be alone, so the folder is opened unless the training set has a class of its name.
/// If there is no training set, the folder's name must be one that says nothing, such as `images`.
fn open_wrappers(parts: &mut [Part]) -> Result<(), CatalogueError> {
    let is_train = |part: &&mut Part| part.split == Split::Train;
    let mut classes = None;
    if let Some(train) = parts.iter_mut().find(is_train) {
        open_wrapper(train, &|_| true)?;
        let folders = folder::peek(&train.folder)?.folders;
        classes = Some(
            folders
                .iter()
                .map(|class| folder::lossy_name(class).to_lowercase())
                .collect::<Vec<_>>(),
        );
    }
    let is_no_class = |name: &str| match &classes {
        Some(classes) => !classes.contains(&name.to_lowercase()),
        None => is_filler(name),
    };
    parts
        .iter_mut()
        .filter(|part| !is_train(part))
        .try_for_each(|part| open_wrapper(part, &is_no_class))
}

fn open_wrapper(part: &mut Part, is_no_class: &dyn Fn(&str) -> bool) -> Result<(), CatalogueError> {
    for _ in 0..MAX_WRAPPERS {
        let Some(inner) =
            wrapper_in(&part.folder)?.filter(|inner| is_no_class(&folder::lossy_name(inner)))
        else {
            break;
        };
        part.folder = inner;
    }
    Ok(())
}

/// The folder that is alone in a split and holds only folders.
fn wrapper_in(folder: &Path) -> Result<Option<PathBuf>, CatalogueError> {
    let entries = folder::peek(folder)?;
    let ([only], []) = (&entries.folders[..], &entries.files[..]) else { return Ok(None) };
    if Split::of(&folder::lossy_name(only)).is_some()
        || metadata::table_in(folder, &entries, &mut Vec::new())?.is_some()
    {
        return Ok(None);
    }
    let inner = folder::peek(only)?;
    let is_wrapper = inner.files.is_empty() && !inner.folders.is_empty()
        || metadata::table_in(only, &inner, &mut Vec::new())?.is_some();
    Ok(is_wrapper.then(|| only.clone()))
}

/// The names of splits, in words.
pub fn names_of(parts: &[Part]) -> String {
    parts.iter().map(|part| folder::lossy_name(&part.named)).collect::<Vec<_>>().join(" and ")
}

/// A folder with the name of a split, and its content. Some archives nest a folder of the same name
/// in each: `seg_train/seg_train/`.
fn part(split: Split, named: &Path) -> Result<Part, CatalogueError> {
    let mut folder = named.to_path_buf();
    let mut entries = folder::peek(&folder)?;
    for _ in 0..MAX_WRAPPERS {
        let ([only], []) = (&entries.folders[..], &entries.files[..]) else { break };
        let name = folder::lossy_name(only);
        if Split::of(&name) != Some(split)
            && name.to_lowercase() != folder::lossy_name(&folder).to_lowercase()
        {
            break;
        }
        folder = only.clone();
        entries = folder::peek(&folder)?;
    }
    let content = if !entries.folders.is_empty()
        || metadata::table_in(&folder, &entries, &mut Vec::new())?.is_some()
    {
        Content::Labelled
    } else if !entries.files.is_empty() {
        Content::Images
    } else {
        Content::Nothing
    };
    Ok(Part { split, named: named.to_path_buf(), folder, content })
}

/// The error for a folder of images without class folders, with classes that the file names
/// suggest.
pub fn unlabelled(folder: &Path) -> Result<CatalogueError, CatalogueError> {
    let files = folder::peek(folder)?.files;
    detection::refuse_images(folder)?;
    let mut starts: Vec<String> =
        files.iter().filter_map(|file| Some(start(file.file_stem()?.to_str()?))).collect();
    starts.sort();
    let counts: Vec<(String, usize)> = starts
        .chunk_by(|left, right| left == right)
        .map(|group| (group[0].clone(), group.len()))
        .collect();
    // As in `cat.0.jpg`, `dog.1.jpg`. If all names start with the same word, or each with another,
    // they suggest no classes.
    let tells = (2..=20).contains(&counts.len())
        && counts.iter().all(|(word, count)| !word.is_empty() && *count > 1);
    let starts =
        if tells { counts.into_iter().map(|(word, _)| word).collect() } else { Vec::new() };
    let others = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| folder::lossy_name(&entry.path()));
    let mut tables: Vec<String> =
        others.filter(|name| name.to_lowercase().starts_with("metadata.")).collect();
    tables.sort();
    Ok(CatalogueError::Unlabelled {
        path: folder.to_path_buf(),
        images: files.len(),
        starts,
        tables,
    })
}

/// The letters that a file's name starts with.
fn start(stem: &str) -> String {
    let end = stem.find(|letter: char| !letter.is_alphabetic()).unwrap_or(stem.len());
    stem[..end].to_lowercase()
}
