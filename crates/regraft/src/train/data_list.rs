//! The list of a run's images with a hash of each: `data.csv`. It tells whether an interrupted
//! run finds the images that it began with, and which are others.

use crate::atomic_file::{self, AtomicFileError};
use crate::config::escaped;
use crate::data_checks::{Listed, quick_notes};
use crate::hashing::hexadecimal;
use crate::pictures::Pictures;
use crate::report::escape::csv_quoted;
use regraft_data::catalogue::{Catalogue, Sample};
use regraft_data::{named_file, parallel};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Bytes of an image's SHA-256 that are kept: enough that no two files ever share them.
const HASH_BYTES: usize = 16;

/// The images of a run, part by part, in the order in which the run numbers them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DataList {
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Row {
    part: String,
    class: String,
    bytes: u64,
    sha256: String,
    /// Below the folder that all images have in common, so that a data folder may be moved. Bytes
    /// that are not UTF-8 are escaped, so that no two files have the same path here.
    path: String,
}

/// A list that could not be made, written or read.
#[derive(Debug, thiserror::Error)]
pub enum DataListError {
    /// An image, which could be decoded a moment ago, cannot be read.
    #[error("cannot read {path}: {source}; it was there when the run began to check the images",
        path = path.display())]
    Picture {
        /// The image.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The file of the list cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicFileError),
    /// The file of the list cannot be used.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The problem.
        source: csv::Error,
    },
}

impl DataList {
    /// Reads every image of a run on `workers` threads and hashes it.
    ///
    /// # Errors
    /// [`DataListError::Picture`].
    pub fn of(pictures: &Pictures, workers: usize) -> Result<Self, DataListError> {
        let samples = numbered(pictures.parts());
        Self::of_range(pictures, 0..samples.len(), workers)
    }

    /// The rows of some images of the list.
    ///
    /// # Errors
    /// [`DataListError::Picture`].
    pub(super) fn of_range(
        pictures: &Pictures,
        range: Range<usize>,
        workers: usize,
    ) -> Result<Self, DataListError> {
        let samples = numbered(pictures.parts());
        let root = common_folder(samples.iter().map(|(_, sample)| sample.path.as_path()));
        let row = |place: usize| {
            let (part, sample) = samples[range.start + place];
            row_of(part, sample, &pictures.classes, &root)
        };
        let rows = parallel::map(range.len(), workers, &row, &|_| {});
        Ok(Self { rows: rows.into_iter().collect::<Result<_, _>>()? })
    }

    /// One list of several, one after the other.
    pub(super) fn joined(lists: Vec<Self>) -> Self {
        Self { rows: lists.into_iter().flat_map(|list| list.rows).collect() }
    }

    /// The number of images of a run.
    pub(super) fn count(pictures: &Pictures) -> usize {
        numbered(pictures.parts()).len()
    }

    /// Part, class and path of each image, without opening any.
    pub(super) fn names(listed: &Catalogue) -> Vec<String> {
        let Catalogue { train, validation, test, .. } = listed;
        let samples = numbered([train, validation, test]);
        let root = common_folder(samples.iter().map(|(_, sample)| sample.path.as_path()));
        let name = |(part, sample): &(&str, &Sample)| {
            let path = sample.path.strip_prefix(&root).unwrap_or(&sample.path);
            format!("{part} {} {}", sample.label, escaped(path))
        };
        samples.iter().map(name).collect()
    }

    /// SHA-256 of the list, in hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> String {
        hexadecimal(&Sha256::digest(self.text()))
    }

    /// Problems that the list shows without opening an image: copies in several parts or classes,
    /// classes of very different sizes.
    #[must_use]
    pub(super) fn notes(&self) -> Vec<String> {
        quick_notes(self.rows.iter().map(|row| Listed {
            part: &row.part,
            class: &row.class,
            hash: &row.sha256,
            path: &row.path,
        }))
    }

    fn text(&self) -> String {
        let mut text = "part,class,bytes,sha256,path\n".to_owned();
        for Row { part, class, bytes, sha256, path } in &self.rows {
            text.push_str(&format!(
                "{part},{},{bytes},{sha256},{}\n",
                csv_quoted(class),
                csv_quoted(path)
            ));
        }
        text
    }

    /// Writes the list as CSV.
    ///
    /// # Errors
    /// [`DataListError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), DataListError> {
        Ok(atomic_file::write(path, self.text().as_bytes())?)
    }

    /// Reads a list back.
    ///
    /// # Errors
    /// [`DataListError::Read`].
    pub fn read(path: &Path) -> Result<Self, DataListError> {
        let failed = |source| DataListError::Read { path: path.to_owned(), source };
        let rows =
            csv::Reader::from_reader(named_file::open(path).map_err(|error| failed(error.into()))?)
                .deserialize()
                .collect::<Result<_, _>>()
                .map_err(failed)?;
        Ok(Self { rows })
    }

    /// How the images of `now` differ from these, a line for each image.
    #[must_use]
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let by_path = |list: &'_ Self| -> BTreeMap<String, Row> {
            list.rows.iter().map(|row| (row.path.clone(), row.clone())).collect()
        };
        let (before, now) = (by_path(self), by_path(now));
        let mut found = Vec::new();
        for (path, row) in &before {
            match now.get(path) {
                None => found.push(format!("{path} is gone ({} image of {})", row.part, row.class)),
                Some(other) if other.sha256 != row.sha256 => {
                    found.push(format!("{path} has another content"))
                }
                Some(other) if other != row => {
                    let place = |row: &Row| format!("{}/{}", row.part, row.class);
                    found.push(format!("{path} was in {} and is in {}", place(row), place(other)));
                }
                Some(_) => {}
            }
        }
        let new = now.iter().filter(|(path, _)| !before.contains_key(*path));
        found.extend(
            new.map(|(path, row)| format!("{path} is new ({} image of {})", row.part, row.class)),
        );
        found
    }
}

fn row_of(
    part: &str,
    sample: &Sample,
    classes: &[String],
    root: &Path,
) -> Result<Row, DataListError> {
    let (bytes, hash) = hashed(&sample.path)
        .map_err(|source| DataListError::Picture { path: sample.path.clone(), source })?;
    Ok(Row {
        part: part.to_owned(),
        class: classes.get(sample.label as usize).cloned().unwrap_or_default(),
        bytes,
        sha256: hexadecimal(&hash[..HASH_BYTES]),
        path: sample.path.strip_prefix(root).map_or_else(|_| escaped(&sample.path), escaped),
    })
}

/// A file's length in bytes and its SHA-256, read piece by piece.
fn hashed(path: &Path) -> io::Result<(u64, [u8; 32])> {
    let mut hash = Sha256::new();
    let bytes = io::copy(&mut named_file::open(path)?, &mut hash)?;
    Ok((bytes, hash.finalize().into()))
}

/// The images of all parts, each with the name of its part.
fn numbered(parts: [&[Sample]; 3]) -> Vec<(&'static str, &Sample)> {
    ["train", "validation", "test"]
        .into_iter()
        .zip(parts)
        .flat_map(|(part, samples)| samples.iter().map(move |sample| (part, sample)))
        .collect()
}

/// The deepest folder that holds all files.
fn common_folder<'a>(mut paths: impl Iterator<Item = &'a Path>) -> PathBuf {
    let mut common =
        paths.next().and_then(Path::parent).unwrap_or_else(|| Path::new("")).to_owned();
    for path in paths {
        while !path.starts_with(&common) && common.pop() {}
    }
    common
}
