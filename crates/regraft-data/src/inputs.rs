//! The pictures that a user names one by one: files, folders and patterns.

use std::path::{Path, PathBuf};

use crate::catalogue::{CatalogueError, Ignored};
use crate::folder;

/// The files that a user's words stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// In the order of the words; a folder's and a pattern's files in byte order.
    pub paths: Vec<PathBuf>,
    /// What was left out inside folders.
    pub ignored: Vec<Ignored>,
}

/// Turns files, folders (with all folders inside) and patterns (`*`, `?`, `[a-z]`, `**`) into a list of files. A file that is named is
/// taken whatever its name; in a folder, hidden entries and files that are no pictures by their name are left out.
///
/// # Errors
///
/// When a word names nothing, or a folder cannot be read.
pub fn expand(words: &[String]) -> Result<Inputs, CatalogueError> {
    let mut inputs = Inputs { paths: Vec::new(), ignored: Vec::new() };
    for word in words {
        // A file whose name has a bracket in it is that file, not a pattern.
        if Path::new(word).exists() {
            add(Path::new(word), &mut inputs)?;
            continue;
        }
        let invalid =
            |error: glob::PatternError| CatalogueError::Pattern { pattern: word.clone(), message: error.msg.to_owned() };
        let before = inputs.paths.len();
        for path in glob::glob(word).map_err(invalid)? {
            let unreadable = |error: glob::GlobError| CatalogueError::Unreadable {
                path: error.path().to_path_buf(),
                message: error.error().to_string(),
            };
            add(&path.map_err(unreadable)?, &mut inputs)?;
        }
        if inputs.paths.len() == before {
            return Err(CatalogueError::NoInput(word.clone()));
        }
    }
    Ok(inputs)
}

fn add(path: &Path, inputs: &mut Inputs) -> Result<(), CatalogueError> {
    if path.is_dir() {
        let files = folder::walk(path, &mut inputs.ignored)?;
        if files.is_empty() {
            return Err(CatalogueError::NoPictures { path: path.to_path_buf() });
        }
        inputs.paths.extend(files);
    } else {
        inputs.paths.push(path.to_path_buf());
    }
    Ok(())
}
