//! Makes catalogues from folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::class_names::composed;
use super::layout::{self, DataFolder, Kind, Part, Purpose};
use super::tables::SplitsOf;
use super::{
    Catalogue, CatalogueError, Labelled, Layout, Sample, detection, metadata, split, tables,
};
use crate::folder::{self, Entries, Walk, sort_by_bytes};
use crate::shown::shown;
use crate::split_name::Split;

const OUTSIDE: &str = "outside any class folder";
const BESIDE: &str = "beside the folders of the splits";

/// A data folder to train on.
pub fn train(data: &Path, walk: &mut Walk<'_>) -> Result<(Catalogue, Layout), CatalogueError> {
    let mut notes = Vec::new();
    let DataFolder { folder, entries, kind } =
        layout::find(data, Purpose::Train, walk, &mut notes)?;
    let (mut catalogue, origins) = match kind {
        Kind::Table(table) => {
            let (mut catalogue, origins) = tables::train(&table, &metadata::splits_of_paths)?;
            let samples =
                catalogue.train.iter().chain(&catalogue.validation).chain(&catalogue.test);
            metadata::note_rest(&folder, &table, samples, walk, &mut catalogue.notes)?;
            (catalogue, origins)
        }
        Kind::Classes => {
            let classes = list_classes(&folder, entries, Purpose::Train, walk)?;
            let train = "the class folders".to_owned();
            (
                into_catalogue(classes),
                Layout { train, validation: None, test: None, fraction: split::FLAT_FRACTION },
            )
        }
        Kind::Splits(parts) => train_splits(&folder, entries, &parts, walk)?,
    };
    notes.append(&mut catalogue.notes);
    catalogue.notes = notes;
    Ok((catalogue, origins))
}

fn train_splits(
    data: &Path,
    entries: Entries,
    parts: &[Part],
    walk: &mut Walk<'_>,
) -> Result<(Catalogue, Layout), CatalogueError> {
    let of = |split| parts.iter().find(|part| part.split == split);
    let Some(train) = of(Split::Train) else {
        return Err(CatalogueError::NoTrain {
            path: data.to_path_buf(),
            found: layout::names_of(parts),
        });
    };
    ignore_beside(entries, parts, walk);
    let mut catalogue = into_catalogue(list_part(train, Purpose::Train, walk)?);
    let mut origins = Layout {
        train: folder::lossy_name(&train.named),
        validation: None,
        test: None,
        fraction: split::TRAIN_FRACTION,
    };
    for split in [Split::Validation, Split::Test] {
        let Some(part) = of(split) else { continue };
        let found = list_part(part, Purpose::Score, walk)?.labelled_by(&catalogue.classes)?;
        catalogue.notes.extend(found.notes);
        let (samples, origin) = match split {
            Split::Test => (&mut catalogue.test, &mut origins.test),
            _ => (&mut catalogue.validation, &mut origins.validation),
        };
        (*samples, *origin) = (found.samples, Some(shown(&part.folder).to_string()));
    }
    catalogue.notes.extend(parts_note(parts));
    Ok((catalogue, origins))
}

/// A folder of images to score a model on.
pub fn labelled(data: &Path, walk: &mut Walk<'_>) -> Result<Labelled, CatalogueError> {
    let mut notes = Vec::new();
    let DataFolder { folder, entries, kind } =
        layout::find(data, Purpose::Score, walk, &mut notes)?;
    let mut labelled = match kind {
        Kind::Table(table) => list_table(&folder, &table, &metadata::splits_of_paths, walk)?,
        Kind::Classes => list_classes(&folder, entries, Purpose::Score, walk)?,
        Kind::Splits(parts) => {
            let Some(test) = parts.iter().find(|part| part.split == Split::Test) else {
                let named = parts[0].named.clone();
                return Err(CatalogueError::NoTest {
                    path: folder,
                    found: layout::names_of(&parts),
                    named,
                });
            };
            let named = shown(&test.folder);
            notes.push(format!("{} holds splits: scoring the test set, {named}.", shown(&folder)));
            ignore_beside(entries, &parts, walk);
            list_part(test, Purpose::Score, walk)?
        }
    };
    notes.append(&mut labelled.notes);
    Ok(Labelled { notes, ..labelled })
}

fn ignore_beside(entries: Entries, parts: &[Part], walk: &mut Walk<'_>) {
    let is_part = |folder: &PathBuf| parts.iter().any(|part| part.named == *folder);
    let outside =
        entries.folders.into_iter().filter(|folder| !is_part(folder)).chain(entries.files);
    outside.for_each(|path| walk.ignore(path, BESIDE));
}

/// A note that tells which folder is which split, unless all have the usual names.
fn parts_note(parts: &[Part]) -> Option<String> {
    let plain = |part: &Part| {
        let name = folder::lossy_name(&part.named);
        part.named == part.folder
            && ["train", "val", "valid", "validation", "test"].contains(&name.as_str())
    };
    if parts.iter().all(plain) {
        return None;
    }
    let roles: Vec<String> = parts
        .iter()
        .map(|part| format!("{} is the {}", shown(&part.folder), part.split.set()))
        .collect();
    let eval = parts.iter().find(|part| Split::is_eval(&folder::lossy_name(&part.named)));
    let advice = eval.map_or_else(String::new, |part| {
        format!(
            " If {} should decide which epoch to keep, rename it val.",
            folder::lossy_name(&part.named)
        )
    });
    Some(format!("{}.{advice}", roles.join(", ")))
}

fn list_part(
    part: &Part,
    purpose: Purpose,
    walk: &mut Walk<'_>,
) -> Result<Labelled, CatalogueError> {
    let mut folder = part.named.clone();
    // Entries that are ignored on the way down to the folder that holds the classes.
    while folder != part.folder {
        let Some(inner) = walk.list(&folder)?.folders.pop() else { break };
        folder = inner;
    }
    let entries = walk.list(&part.folder)?;
    let mut notes = Vec::new();
    if let Some(table) = metadata::table_in(&part.folder, &entries, &mut notes)? {
        let found = list_table(&part.folder, &table, &tables::no_splits, walk)?;
        return match (&found.names[..], purpose) {
            ([label], Purpose::Train) => {
                Err(CatalogueError::OneLabel { path: table, label: label.clone() })
            }
            _ => Ok(found),
        };
    }
    if entries.folders.len() > 1 && layout::all_are_splits(&entries.folders) {
        let found = entries
            .folders
            .iter()
            .map(|folder| folder::lossy_name(folder))
            .collect::<Vec<_>>()
            .join(" and ");
        return Err(CatalogueError::SplitsInSplit { path: part.folder.clone(), found });
    }
    let mut found = list_classes(&part.folder, entries, purpose, walk)?;
    found.notes.splice(..0, notes);
    Ok(found)
}

fn list_table(
    folder: &Path,
    table: &Path,
    splits_of: &SplitsOf<'_>,
    walk: &mut Walk<'_>,
) -> Result<Labelled, CatalogueError> {
    let mut labelled = tables::labelled(table, splits_of)?;
    metadata::note_rest(folder, table, labelled.samples.iter(), walk, &mut labelled.notes)?;
    Ok(labelled)
}

/// A class with its folders; it has more than one if their names differ only in Unicode form.
#[derive(Default)]
struct Class {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
    /// Whether a file lies directly in one of the folders.
    direct: bool,
    /// The folders in them that hold files.
    inner: Vec<String>,
}

/// Reads each folder as a class. An empty folder is an error in training and a note in scoring.
fn list_classes(
    folder: &Path,
    entries: Entries,
    purpose: Purpose,
    walk: &mut Walk<'_>,
) -> Result<Labelled, CatalogueError> {
    if entries.folders.is_empty() && !entries.files.is_empty() {
        return Err(layout::unlabelled(folder)?);
    }
    let mut classes: BTreeMap<String, Class> = BTreeMap::new();
    let mut decomposed = 0;
    for class_folder in entries.folders {
        let name = folder::name(&class_folder)?;
        let class = composed(&name);
        decomposed += usize::from(class != name);
        classes.entry(class).or_default().folders.push(class_folder);
    }
    if purpose == Purpose::Train && classes.len() < 2 {
        classes
            .values()
            .flat_map(|class| &class.folders)
            .try_for_each(|folder| detection::refuse_images(folder))?;
        return Err(CatalogueError::TooFewClasses {
            path: folder.to_path_buf(),
            found: classes.into_keys().collect(),
        });
    }
    entries.files.into_iter().for_each(|path| walk.ignore(path, OUTSIDE));
    for class in classes.values_mut() {
        for class_folder in &class.folders {
            let files = walk.files_below(class_folder)?;
            let inner = inner_folders(class_folder, &files);
            refuse_splits_inside(class_folder, &inner)?;
            class.direct |= files.iter().any(|file| file.parent() == Some(class_folder));
            class.inner.extend(inner);
            class.files.extend(files);
        }
        sort_by_bytes(&mut class.files);
    }
    if classes.values().all(|class| class.files.is_empty()) {
        return Err(CatalogueError::NoPictures { path: folder.to_path_buf() });
    }
    let mut notes = Vec::new();
    notes.extend(unicode_note(&classes, decomposed));
    if purpose == Purpose::Train {
        notes.extend(same_folders_note(&classes));
    }
    let mut labelled = Labelled {
        names: Vec::new(),
        origins: Vec::new(),
        lines: Vec::new(),
        samples: Vec::new(),
        ignored: Vec::new(),
        notes,
    };
    for (name, Class { folders, files, .. }) in classes {
        let origin = folders[0].clone();
        if files.is_empty() {
            if purpose == Purpose::Train {
                return Err(CatalogueError::EmptyClass { path: origin });
            }
            // An empty folder does not matter, even if the model does not know its class.
            labelled
                .notes
                .push(format!("{} holds no image, so its class is not scored.", shown(&origin)));
            continue;
        }
        let label = labelled.names.len() as u32;
        labelled.samples.extend(files.into_iter().map(|path| Sample { path, label }));
        labelled.names.push(name);
        labelled.origins.push(origin);
    }
    Ok(labelled)
}

fn into_catalogue(labelled: Labelled) -> Catalogue {
    let Labelled { names, samples, notes, .. } = labelled;
    Catalogue { train: samples, notes, ..Catalogue::empty(names) }
}

/// The folders directly in a class folder that hold files. The files are sorted by the bytes of
/// their paths.
fn inner_folders(class_folder: &Path, files: &[PathBuf]) -> Vec<String> {
    let start = class_folder.as_os_str().len();
    let mut names: Vec<String> = Vec::new();
    for file in files {
        let rest = file.as_os_str().as_encoded_bytes().get(start..).unwrap_or_default();
        let mut pieces = rest
            .split(|&byte| std::path::is_separator(byte.into()))
            .filter(|piece| !piece.is_empty());
        if let (Some(first), Some(_)) = (pieces.next(), pieces.next()) {
            let name = String::from_utf8_lossy(first);
            if names.last().is_none_or(|last| *last != name) {
                names.push(name.into_owned());
            }
        }
    }
    names
}

/// Refuses `cat/train/` and `cat/test/`: training on both would be training on the test set.
fn refuse_splits_inside(class_folder: &Path, names: &[String]) -> Result<(), CatalogueError> {
    let splits = Split::of_all(names);
    let is_other = |split: &Option<Split>| split.is_some_and(|split| split != Split::Train);
    if splits.contains(&Some(Split::Train)) && splits.iter().any(is_other) {
        let found = names
            .iter()
            .zip(&splits)
            .filter(|(_, split)| split.is_some())
            .map(|(name, _)| name.as_str());
        let found = found.collect::<Vec<_>>().join(" and ");
        return Err(CatalogueError::SplitsInClass { path: class_folder.to_path_buf(), found });
    }
    Ok(())
}

/// A note if all folders hold the same class folders, because they may be splits with unknown names
/// (`fold1`, or another language).
fn same_folders_note(classes: &BTreeMap<String, Class>) -> Option<String> {
    let same = &classes.values().next()?.inner;
    if same.len() < 2 || classes.values().any(|class| class.direct || class.inner != *same) {
        return None;
    }
    let shown = same.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
    let names = classes.keys().take(4).cloned().collect::<Vec<_>>().join(", ");
    Some(format!(
        "Every class folder ({names}) holds folders of the same names ({shown}) and no image \
         beside them. If the outer folders are \
         splits and the inner ones are the classes, rename the outer ones train, val and test."
    ))
}

/// A note that names were composed, which lists the folders that became one class.
fn unicode_note(classes: &BTreeMap<String, Class>, decomposed: usize) -> Option<String> {
    if decomposed == 0 {
        return None;
    }
    let joined: Vec<String> = classes
        .iter()
        .filter(|(_, class)| class.folders.len() > 1)
        .map(|(name, class)| {
            let folders: Vec<String> =
                class.folders.iter().map(|folder| shown(folder).to_string()).collect();
            format!(" {} are one class, {name:?}.", folders.join(" and "))
        })
        .collect();
    Some(format!(
        "{decomposed} class folder{} in decomposed Unicode (NFD), as macOS writes names; the \
         classes are named in composed form \
         (NFC).{}",
        if decomposed == 1 { " is named" } else { "s are named" },
        joined.concat()
    ))
}
