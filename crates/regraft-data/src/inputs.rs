//! Expands the images that a user names one by one: files, folders and patterns.

use std::path::{Path, PathBuf};

use crate::error::CatalogueError;
use crate::folder::{Ignored, Walk};
use crate::source::{self, Source};
use crate::table;

/// The files that a user's arguments name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Sorted by argument; the files of a folder or a pattern in byte order.
    pub paths: Vec<PathBuf>,
    /// Entries that were left out inside folders.
    pub ignored: Vec<Ignored>,
    /// Notes for the user, one sentence each.
    pub notes: Vec<String>,
}

/// Expands files, folders (recursively), patterns (`*`, `?`, `[a-z]`, `**`), lists (`.txt` with a
/// path on each line, or a table with a column of paths) and archives (ZIP, tar) into a list of
/// files. Any other named file is in the list, whatever its name. In a folder, hidden entries and
/// files whose names say that they are not images are left out. Archives are unpacked in `cache`.
///
/// # Errors
///
/// If an argument matches nothing, a folder cannot be read, or a file is of a kind that is known
/// not to be an image.
pub fn expand<P: AsRef<Path>>(words: &[P], cache: &Path) -> Result<Inputs, CatalogueError> {
    let mut inputs = Inputs { paths: Vec::new(), ignored: Vec::new(), notes: Vec::new() };
    for word in words.iter().map(AsRef::as_ref) {
        // If a file has a bracket in its name, the argument means that file and is not a pattern.
        match source::open(word, cache, &mut inputs.notes) {
            Ok(found) => {
                add(found, &mut inputs)?;
                continue;
            }
            Err(CatalogueError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        // A path that is not text cannot be a pattern.
        let Some(pattern) = word.to_str() else {
            return Err(CatalogueError::NoInput(word.display().to_string()));
        };
        let invalid = |error: glob::PatternError| CatalogueError::Pattern {
            pattern: pattern.to_owned(),
            message: error.msg.to_owned(),
        };
        let before = inputs.paths.len();
        for path in glob::glob(pattern).map_err(invalid)? {
            let unreadable = |error: glob::GlobError| CatalogueError::Unreadable {
                path: error.path().to_path_buf(),
                message: error.error().to_string(),
            };
            let found = source::open(&path.map_err(unreadable)?, cache, &mut inputs.notes)?;
            add(found, &mut inputs)?;
        }
        if inputs.paths.len() == before {
            return Err(CatalogueError::NoInput(pattern.to_owned()));
        }
    }
    Ok(inputs)
}

fn add(found: Source, inputs: &mut Inputs) -> Result<(), CatalogueError> {
    match found {
        Source::Folder(folder) => {
            let mut report = |_| {};
            let mut walk = Walk::new(&mut report);
            let files = walk.files_below(&folder)?;
            inputs.ignored.extend(walk.into_ignored());
            if files.is_empty() {
                return Err(CatalogueError::EmptyFolder { path: folder });
            }
            inputs.paths.extend(files);
        }
        Source::Table(table) => {
            let read = table::read(&table)?;
            if read.rows.is_empty() {
                return Err(CatalogueError::EmptyTable { path: table, what: "" });
            }
            inputs.notes.extend(read.notes);
            inputs.paths.extend(read.rows.iter().map(|row| row.file(&table)));
        }
        Source::File(path) => inputs.paths.push(path),
    }
    Ok(())
}
