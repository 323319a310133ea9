//! Hugging Face's image folders: `metadata.csv` or `metadata.jsonl` beside the images that it
//! labels.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use super::{CatalogueError, Sample};
use crate::folder::{self, Entries, Walk};
use crate::shown::shown;
use crate::split_name::Split;
use crate::table::{self, METADATA_NAMES, Row};

/// The table in a folder that labels its images, if there is one. A table without a label column
/// (captions, boxes) does not count. If such a table is broken and lies beside folders, which may
/// be classes, a note says so.
///
/// # Errors
///
/// If a table with columns of paths and labels cannot be used, whether or not there are folders
/// beside it: reading the folders' names instead would change the labels. Without folders beside
/// it, any broken table is an error.
pub fn table_in(
    folder: &Path,
    entries: &Entries,
    notes: &mut Vec<String>,
) -> Result<Option<PathBuf>, CatalogueError> {
    let mut found = None;
    for path in METADATA_NAMES.map(|name| folder.join(name)) {
        if !path.is_file() {
            continue;
        }
        match table::read(&path) {
            Ok(read) if read.rows.iter().any(|row| row.label.is_some()) => {}
            Ok(_) | Err(CatalogueError::NoColumn { .. }) => continue,
            Err(error) if !entries.folders.is_empty() && !table::names_labels(&path) => {
                notes.push(format!(
                    "{error}. The table is not used. The folders' names are used as labels instead."
                ));
                continue;
            }
            Err(error) => return Err(error),
        }
        if let Some(first) = found.replace(path.clone()) {
            return Err(CatalogueError::TwoTables { first, second: path });
        }
    }
    Ok(found)
}

/// The split from each row's path: like Hugging Face, from the first folder (`train/0001.png`). The
/// folders are judged together, like those of a data folder.
pub fn splits_of_paths(rows: &[Row]) -> Vec<Option<Split>> {
    let firsts: Vec<Option<&str>> = rows.iter().map(|row| first_folder(&row.path)).collect();
    let distinct: BTreeSet<&str> = firsts.iter().copied().flatten().collect();
    let names: Vec<String> = distinct.iter().map(|&name| name.to_owned()).collect();
    let splits: HashMap<&str, Option<Split>> =
        distinct.into_iter().zip(Split::of_all(&names)).collect();
    firsts.into_iter().map(|first| splits.get(first?).copied().flatten()).collect()
}

/// The first folder of a path; `None` if the path is only a file name.
fn first_folder(path: &str) -> Option<&str> {
    let mut names = path.split(['/', '\\']).filter(|name| !name.is_empty() && *name != ".");
    let first = names.next()?;
    names.next().map(|_| first)
}

/// Adds notes on what a table leaves out: images that it does not list, and the names of class
/// folders.
pub fn note_rest<'a>(
    folder: &Path,
    table: &Path,
    samples: impl Iterator<Item = &'a Sample>,
    walk: &mut Walk<'_>,
    notes: &mut Vec<String>,
) -> Result<(), CatalogueError> {
    let plain = |path: &Path| {
        path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>()
    };
    let named: HashSet<PathBuf> = samples.map(|sample| plain(&sample.path)).collect();
    for file in walk.files_below(folder)? {
        if !named.contains(&plain(&file)) {
            walk.ignore(file, "not listed in the table that labels its folder");
        }
    }
    walk.uses(table);
    let folders = folder::peek(folder)?.folders;
    let names: Vec<String> = folders.iter().map(|folder| folder::lossy_name(folder)).collect();
    let names = if Split::of_all(&names).contains(&None) {
        "; the names of the folders beside it do not count"
    } else {
        ""
    };
    notes.push(format!("{} labels the images in {}{names}.", shown(table), shown(folder)));
    Ok(())
}
