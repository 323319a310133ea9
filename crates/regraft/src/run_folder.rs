//! The folder that a training run leaves its files in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The best epoch's weights, with everything needed to use them in the metadata.
pub const MODEL: &str = "model.safetensors";
/// Every resolved option of the run.
pub const CONFIG: &str = "config.toml";
/// One row for each epoch.
pub const METRICS: &str = "metrics.csv";
/// Loss and accuracies by epoch, as a picture.
pub const CURVES: &str = "curves.svg";
/// The outcome of the run.
pub const SUMMARY: &str = "summary.json";
/// Every file that a run writes, and so every file that `--force` may replace.
pub const WRITTEN_FILES: [&str; 5] = [MODEL, CONFIG, METRICS, CURVES, SUMMARY];

/// Why there is no folder for a run.
#[derive(Debug, thiserror::Error)]
pub enum RunFolderError {
    /// The named folder holds something already.
    #[error(
        "the output folder {path} is not empty: name another with --output, or replace an earlier run's files in it with --force",
        path = path.display()
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// Something that is not a folder has its name.
    #[error("{path} is not a folder, so no run can be written there: name another with --output", path = path.display())]
    NotAFolder {
        /// What is in the way.
        path: PathBuf,
    },
    /// A folder (or a device, a pipe) has the name of a file that the run writes.
    #[error("{path} is in the way of a file that the run writes and is not a file: move it away", path = path.display())]
    NotAFile {
        /// What is in the way.
        path: PathBuf,
    },
    /// The data folder has no name of its own that a run could take.
    #[error("{path} has no name that the run could take: name its folder with --output", path = path.display())]
    NoName {
        /// The data folder.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}; name another folder with --output", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A folder that exists and belongs to one training run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Finds the folder's faults early, before anything is read or trained, and creates nothing. `explicit` is the folder
    /// that the user named, if any; `parent` the one that gets a numbered folder otherwise.
    ///
    /// # Errors
    /// What [`RunFolder::create`] would refuse as things stand now.
    pub fn check(parent: &Path, explicit: Option<&Path>, force: bool) -> Result<(), RunFolderError> {
        let Some(folder) = explicit else {
            return folder_or_nothing(parent).map(|_| ());
        };
        if !folder_or_nothing(folder)? {
            return Ok(());
        }
        if force {
            return earlier_files(folder).map(|_| ());
        }
        let is_empty = fs::read_dir(folder).map_err(io_error("read the folder", folder))?.next().is_none();
        if is_empty { Ok(()) } else { Err(RunFolderError::NotEmpty { path: folder.to_owned() }) }
    }

    /// Makes the folder of a run. To be called right before training, once every input has been checked, so that a run
    /// refused leaves no empty folder behind.
    ///
    /// `explicit`, the folder the user named, is made where missing and must be empty; with `force` it may hold anything, an
    /// earlier run's [`WRITTEN_FILES`] are removed (so that files of two runs never stand side by side) and everything else is
    /// kept. Without it the run gets `parent/name`, or the first free one of `parent/name-2`, `parent/name-3` and so on, in
    /// which case a note for the user comes along. Two runs started together get two folders: creating it decides.
    ///
    /// # Errors
    /// [`RunFolderError`]; nothing has been removed then unless a removal itself failed.
    pub fn create(
        parent: &Path,
        name: &str,
        explicit: Option<&Path>,
        force: bool,
    ) -> Result<(Self, Option<String>), RunFolderError> {
        Self::check(parent, explicit, force)?;
        let Some(folder) = explicit else {
            return create_numbered(parent, name);
        };
        fs::create_dir_all(folder).map_err(io_error("create the folder", folder))?;
        if force {
            for file in earlier_files(folder)? {
                fs::remove_file(&file).map_err(io_error("replace", &file))?;
            }
        }
        Ok((Self { path: folder.to_owned() }, None))
    }

    /// A run's folder that is there already, to continue or to read; nothing is checked or created.
    pub fn existing(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where [`MODEL`] is.
    pub fn model(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// Where [`CONFIG`] is.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// Where [`METRICS`] is.
    pub fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// Where [`CURVES`] is.
    pub fn curves(&self) -> PathBuf {
        self.path.join(CURVES)
    }

    /// Where [`SUMMARY`] is.
    pub fn summary(&self) -> PathBuf {
        self.path.join(SUMMARY)
    }
}

/// The name of a run on this data folder: the folder's own, also where it is given as `.` or `photos/..`; of a table or archive, the name
/// without its extension. What is not Unicode in it is replaced.
///
/// # Errors
/// [`RunFolderError`] where the folder cannot be found or is the root.
pub fn run_name(data: &Path) -> Result<String, RunFolderError> {
    let canonical = match fs::canonicalize(data) {
        // A folder inside of an archive.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => data.to_owned(),
        found => found.map_err(|source| RunFolderError::Io { action: "find the data folder", path: data.to_owned(), source })?,
    };
    let name = if canonical.is_file() { canonical.file_stem() } else { canonical.file_name() };
    let name = name.ok_or_else(|| RunFolderError::NoName { path: data.to_owned() })?;
    Ok(name.to_string_lossy().into_owned())
}

fn create_numbered(parent: &Path, name: &str) -> Result<(RunFolder, Option<String>), RunFolderError> {
    fs::create_dir_all(parent).map_err(io_error("create the folder", parent))?;
    let wanted = parent.join(name);
    let mut folder = wanted.clone();
    let mut number = 1_u64;
    loop {
        match fs::create_dir(&folder) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number += 1;
                folder = parent.join(format!("{name}-{number}"));
            }
            Err(error) => return Err(io_error("create the folder", &folder)(error)),
        }
    }
    let note =
        (number > 1).then(|| format!("{} is there already: this run is written to {}", wanted.display(), folder.display()));
    Ok((RunFolder { path: folder }, note))
}

/// Whether a folder is there; an error where it is something else.
fn folder_or_nothing(path: &Path) -> Result<bool, RunFolderError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(true),
        Ok(_) => Err(RunFolderError::NotAFolder { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error("look at", path)(error)),
    }
}

/// The files of an earlier run that a folder holds; an error where something else has the name of one.
fn earlier_files(folder: &Path) -> Result<Vec<PathBuf>, RunFolderError> {
    let mut found = Vec::new();
    for name in WRITTEN_FILES {
        let path = folder.join(name);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() || metadata.is_symlink() => found.push(path),
            Ok(_) => return Err(RunFolderError::NotAFile { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("look at", &path)(error)),
        }
    }
    Ok(found)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunFolderError {
    let path = path.to_owned();
    move |source| RunFolderError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_next_free_number_is_taken_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().join("runs");
        let (first, note) = RunFolder::create(&parent, "photos", None, false).unwrap();
        assert_eq!((first.path(), note), (&*parent.join("photos"), None));
        let (second, note) = RunFolder::create(&parent, "photos", None, false).unwrap();
        assert_eq!(second.path(), parent.join("photos-2"));
        let expected = format!("{} is there already: this run is written to {}", first.path().display(), second.path().display());
        assert_eq!(note, Some(expected));
        fs::remove_dir(second.path()).unwrap();
        fs::write(parent.join("photos-3"), "a file in the way counts as taken").unwrap();
        assert_eq!(RunFolder::create(&parent, "photos", None, false).unwrap().0.path(), parent.join("photos-2"));
        assert_eq!(RunFolder::create(&parent, "photos", None, true).unwrap().0.path(), parent.join("photos-4"));
    }

    #[test]
    fn runs_started_together_get_folders_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().join("runs");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| RunFolder::create(&parent, "x", None, false).unwrap());
            }
        });
        assert_eq!(names_in(&parent), ["x", "x-2", "x-3", "x-4", "x-5", "x-6", "x-7", "x-8"]);
    }

    #[test]
    fn a_named_folder_is_made_with_its_parents_and_an_empty_one_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("a").join("b");
        for _ in 0..2 {
            let (run, note) = RunFolder::create(Path::new("unused"), "unused", Some(&named), false).unwrap();
            assert_eq!((run.path(), note), (&*named, None));
        }
        assert_eq!(RunFolder::existing(&named).summary(), named.join("summary.json"));
    }

    #[test]
    fn a_folder_with_anything_in_it_is_refused_without_force() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        let error = RunFolder::create(Path::new("unused"), "unused", Some(folder.path()), false).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the output folder {} is not empty: name another with --output, or replace an earlier run's files in it with --force",
                folder.path().display()
            )
        );
        assert_eq!(names_in(folder.path()), ["notes.txt"]);
    }

    #[test]
    fn force_removes_only_files_that_a_run_writes() {
        let folder = tempfile::tempdir().unwrap();
        for name in WRITTEN_FILES.iter().chain(&["notes.txt", "model.safetensors.bak"]) {
            fs::write(folder.path().join(name), "old").unwrap();
        }
        fs::create_dir(folder.path().join("pictures")).unwrap();
        RunFolder::check(Path::new("unused"), Some(folder.path()), true).unwrap();
        assert_eq!(names_in(folder.path()).len(), 8);
        RunFolder::create(Path::new("unused"), "unused", Some(folder.path()), true).unwrap();
        assert_eq!(names_in(folder.path()), ["model.safetensors.bak", "notes.txt", "pictures"]);
    }

    #[test]
    fn force_removes_nothing_where_a_folder_is_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MODEL), "old").unwrap();
        fs::create_dir(folder.path().join(SUMMARY)).unwrap();
        let error = RunFolder::create(Path::new("unused"), "unused", Some(folder.path()), true).unwrap_err();
        assert!(matches!(error, RunFolderError::NotAFile { path } if path.ends_with(SUMMARY)));
        assert_eq!(names_in(folder.path()), [MODEL, SUMMARY]);
    }

    #[test]
    fn a_check_refuses_early_and_creates_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().join("runs");
        RunFolder::check(&parent, None, false).unwrap();
        RunFolder::check(Path::new("unused"), Some(&folder.path().join("new")), false).unwrap();
        assert_eq!(names_in(folder.path()), [""; 0]);
        fs::write(&parent, "not a folder").unwrap();
        for (parent, explicit) in [(&*parent, None), (Path::new("unused"), Some(&*parent))] {
            let error = RunFolder::check(parent, explicit, true).unwrap_err();
            assert!(matches!(error, RunFolderError::NotAFolder { .. }), "{error}");
        }
    }

    #[test]
    fn a_run_is_named_after_the_data_folder_itself() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("hot dogs");
        fs::create_dir_all(data.join("train")).unwrap();
        assert_eq!(run_name(&data).unwrap(), "hot dogs");
        assert_eq!(run_name(&data.join("train").join("..")).unwrap(), "hot dogs");
        assert_eq!(run_name(&data.join(".")).unwrap(), "hot dogs");
        assert!(matches!(run_name(Path::new("/")).unwrap_err(), RunFolderError::NoName { .. }));
        assert!(matches!(run_name(&data.join("missing")).unwrap_err(), RunFolderError::Io { .. }));
    }
}
