//! Walks folders and lists the entries that may be images, in an order that depends only on names.

mod skipped;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::CatalogueError;
use skipped::{is_hidden, is_known_non_image, skipped_folder};

/// The deepest nesting of folders that is walked. Deeper folders are a mistake, and the stack is
/// finite.
const MAX_DEPTH: usize = 64;

/// Files between two reports of progress.
const REPORT_EVERY: usize = 500;

/// An entry that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The file or folder.
    pub path: PathBuf,
    /// The reason.
    pub reason: &'static str,
}

/// One folder's entries, sorted by the bytes of their names.
#[derive(Debug)]
pub struct Entries {
    pub folders: Vec<PathBuf>,
    pub files: Vec<PathBuf>,
}

/// The state of a walk.
pub struct Walk<'a> {
    ignored: Vec<Ignored>,
    /// Files found so far.
    found: usize,
    /// Called from time to time with the number of files found so far.
    report: &'a mut dyn FnMut(usize),
}

impl<'a> Walk<'a> {
    pub fn new(report: &'a mut dyn FnMut(usize)) -> Self {
        Self { ignored: Vec::new(), found: 0, report }
    }

    pub fn ignore(&mut self, path: PathBuf, reason: &'static str) {
        self.ignored.push(Ignored { path, reason });
    }

    /// The ignored entries. A folder that was listed twice is named once.
    pub fn into_ignored(self) -> Vec<Ignored> {
        let mut seen = HashSet::new();
        self.ignored.into_iter().filter(|ignored| seen.insert(ignored.path.clone())).collect()
    }

    /// Removes a file from the ignored ones, because it is read after all.
    pub fn uses(&mut self, path: &Path) {
        self.ignored.retain(|ignored| ignored.path != path);
    }

    fn count(&mut self, files: usize) {
        let before = self.found / REPORT_EVERY;
        self.found += files;
        if self.found / REPORT_EVERY > before {
            (self.report)(self.found);
        }
    }

    /// Lists a folder. Hidden entries, files whose names say that they are not images, and entries
    /// that are neither files nor folders are recorded as ignored.
    pub fn list(&mut self, folder: &Path) -> Result<Entries, CatalogueError> {
        let (mut entries, files) = list_all(folder, self)?;
        for path in files {
            if is_known_non_image(&path) {
                self.ignore(path, "not an image, judging by its name")
            } else {
                entries.files.push(path)
            }
        }
        self.count(entries.files.len());
        Ok(entries)
    }

    /// All files below a folder that may be images, sorted by the bytes of their paths.
    pub fn files_below(&mut self, folder: &Path) -> Result<Vec<PathBuf>, CatalogueError> {
        let real = folder.canonicalize().map_err(|error| unreadable(folder, &error))?;
        let mut below = Below { root: real.clone(), walked: HashSet::new(), files: Vec::new() };
        self.walk(folder, real, MAX_DEPTH, &mut below)?;
        sort_by_bytes(&mut below.files);
        Ok(below.files)
    }

    /// `real` is the folder's path without links.
    fn walk(
        &mut self,
        folder: &Path,
        real: PathBuf,
        depth: usize,
        below: &mut Below,
    ) -> Result<(), CatalogueError> {
        if depth == 0 {
            return Err(CatalogueError::TooDeep { path: folder.to_path_buf() });
        }
        let entries = self.list(folder)?;
        below.files.extend(entries.files);
        below.walked.insert(real.clone());
        for folder in entries.folders {
            let inner = if folder.is_symlink() {
                folder.canonicalize().map_err(|error| unreadable(&folder, &error))?
            } else {
                real.join(folder.file_name().unwrap_or_default())
            };
            if below.root.starts_with(&inner) {
                self.ignore(folder, "a link back to a parent folder");
            } else if below.walked.contains(&inner) {
                self.ignore(folder, "a link to a folder that is already listed");
            } else {
                self.walk(&folder, inner, depth - 1, below)?;
            }
        }
        Ok(())
    }
}

/// The state of a walk below one folder.
struct Below {
    /// The folder itself, with links resolved.
    root: PathBuf,
    /// Folders that were walked, with links resolved: each is walked once, so cycles of links end.
    walked: HashSet<PathBuf>,
    files: Vec<PathBuf>,
}

/// The folders in a folder, and all its files that are not hidden, whatever their names.
pub fn list_all(
    folder: &Path,
    walk: &mut Walk<'_>,
) -> Result<(Entries, Vec<PathBuf>), CatalogueError> {
    let mut listed = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        listed.push((entry.path(), entry.file_type().map_err(|error| unreadable(folder, &error))?));
    }
    listed.sort_by(|(left, _), (right, _)| name_bytes(left).cmp(name_bytes(right)));
    let mut entries = Entries { folders: Vec::new(), files: Vec::new() };
    let mut files = Vec::new();
    for (path, kind) in listed {
        // The target of a link must be looked up; for other entries the folder itself has the kind.
        let kind = if kind.is_symlink() {
            std::fs::metadata(&path).map(|metadata| metadata.file_type())
        } else {
            Ok(kind)
        };
        match kind {
            _ if is_hidden(&path) => walk.ignore(path, "hidden"),
            Ok(kind) if kind.is_dir() => match skipped_folder(&path) {
                Some(reason) => walk.ignore(path, reason),
                None => entries.folders.push(path),
            },
            Ok(kind) if kind.is_file() => files.push(path),
            Ok(_) => walk.ignore(path, "neither a file nor a folder"),
            Err(_) => walk.ignore(path, "a broken link"),
        }
    }
    Ok((entries, files))
}

fn unreadable(path: &Path, error: &std::io::Error) -> CatalogueError {
    CatalogueError::Unreadable { path: path.to_path_buf(), message: error.to_string() }
}

/// A folder's entries, without recording ignored ones.
pub fn peek(folder: &Path) -> Result<Entries, CatalogueError> {
    Walk::new(&mut |_| {}).list(folder)
}

/// Whether a folder holds files that may be images, at any depth.
pub fn holds_images(folder: &Path) -> Result<bool, CatalogueError> {
    Ok(!Walk::new(&mut |_| {}).files_below(folder)?.is_empty())
}

/// A folder's own name as text.
pub fn name(path: &Path) -> Result<String, CatalogueError> {
    let name = path.file_name().and_then(OsStr::to_str);
    name.map(str::to_owned).ok_or_else(|| CatalogueError::NameNotText { path: path.to_path_buf() })
}

/// A folder's own name; `�` replaces bytes that are not Unicode.
pub fn lossy_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Sorts paths by their bytes.
pub fn sort_by_bytes(paths: &mut [PathBuf]) {
    paths.sort_by(|left, right| {
        left.as_os_str().as_encoded_bytes().cmp(right.as_os_str().as_encoded_bytes())
    });
}

fn name_bytes(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_encoded_bytes()
}
