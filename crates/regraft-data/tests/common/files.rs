//! Data folders of files that are never opened.
#![allow(dead_code, missing_docs)]

use std::path::{Path, PathBuf};

use regraft_data::catalogue::{Catalogue, CatalogueError, Sample, SplitOptions, scan};
use tempfile::TempDir;

/// A folder with these files, of one byte each. A name that ends with `/` is an empty folder.
pub fn folder(files: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    files.iter().for_each(|file| write(folder.path(), file, "x"));
    folder
}

pub fn write(root: &Path, file: &str, content: &str) {
    let path = root.join(file);
    if file.ends_with('/') {
        std::fs::create_dir_all(path).unwrap();
    } else {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

/// The paths below `root`.
pub fn names<'a>(root: &Path, paths: impl IntoIterator<Item = &'a PathBuf>) -> Vec<String> {
    let name =
        |path: &PathBuf| path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
    paths.into_iter().map(name).collect()
}

/// The paths of samples below `root`.
pub fn files(root: &Path, samples: &[Sample]) -> Vec<String> {
    names(root, samples.iter().map(|sample| &sample.path))
}

/// The catalogue with nothing held out.
pub fn scanned(files: &[&str]) -> Result<Catalogue, CatalogueError> {
    scan(folder(files).path(), &SplitOptions::NOTHING)
}

/// Number of images in the training, validation and test set.
pub fn counts(catalogue: &Catalogue) -> [usize; 3] {
    [catalogue.train.len(), catalogue.validation.len(), catalogue.test.len()]
}
