//! Hugging Face's image folders: `metadata.csv` or `metadata.jsonl` beside the images that it labels.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use super::{CatalogueError, Sample};
use crate::folder::{self, Entries, Walk};
use crate::split_name::Split;
use crate::table::{self, METADATA_NAMES, Row};

/// The table in a folder that labels its images. One without labels (captions, boxes) is none; nor is one that cannot be read
/// where there are class folders, which do without it.
pub fn table_in(folder: &Path, entries: &Entries) -> Result<Option<PathBuf>, CatalogueError> {
    let mut found = None;
    for path in METADATA_NAMES.map(|name| folder.join(name)) {
        if !path.is_file() {
            continue;
        }
        match table::read(&path) {
            Ok(read) if !read.rows.is_empty() && read.rows.iter().all(|row| is_labelled(row, entries)) => {}
            Ok(_) | Err(CatalogueError::NoColumn { .. }) => continue,
            Err(_) if !entries.folders.is_empty() => continue,
            Err(error) => return Err(error),
        }
        if let Some(first) = found.replace(path.clone()) {
            return Err(CatalogueError::TwoTables { first, second: path });
        }
    }
    Ok(found)
}

/// Whether a row has a label. Without class folders an empty one counts, too, and becomes an error with its line.
fn is_labelled(row: &Row, entries: &Entries) -> bool {
    row.label.as_ref().is_some_and(|label| !label.trim().is_empty() || entries.folders.is_empty())
}

/// The split that a row's path says: Hugging Face takes it from the folder (`train/0001.png`).
pub fn split_of_path(path: &str) -> Option<Split> {
    let mut folders = path.split(['/', '\\']).filter(|name| !name.is_empty() && *name != ".");
    let first = folders.next()?;
    folders.next().and_then(|_| Split::of(first))
}

/// Notes what a table leaves out: images that it does not name, and the names of class folders.
pub fn note_rest<'a>(
    folder: &Path,
    table: &Path,
    samples: impl Iterator<Item = &'a Sample>,
    walk: &mut Walk<'_>,
    notes: &mut Vec<String>,
) -> Result<(), CatalogueError> {
    let plain = |path: &Path| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    let named: HashSet<PathBuf> = samples.map(|sample| plain(&sample.path)).collect();
    for file in walk.files_below(folder)? {
        if !named.contains(&plain(&file)) {
            walk.ignore(file, "not in the table that labels its folder");
        }
    }
    walk.uses(table);
    let folders = folder::peek(folder)?.folders;
    let is_class = |folder: &PathBuf| Split::of(&folder::lossy_name(folder)).is_none();
    let names = if folders.iter().any(is_class) { "; the names of the folders beside it do not count" } else { "" };
    notes.push(format!("{} labels the images in {}{names}.", table.display(), folder.display()));
    Ok(())
}
