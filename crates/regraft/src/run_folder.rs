//! The folder that a training run leaves its files in.

use crate::atomic_file;
use crate::file_error::FileError;
use regraft_nn::weights;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
/// Every picture that the run was given, with a hash of its content.
pub const DATA: &str = "data.csv";
/// What the finished model says of each test picture (of each validation picture, where there are
/// none).
pub const PREDICTIONS: &str = "predictions.csv";
/// What heads that did not see a training image say of it, for a fitted head of a run that holds
/// nothing out.
pub const OUT_OF_FOLD: &str = "predictions_out_of_fold.csv";
/// Every file that a run writes, and so every file that `--force` may replace.
pub const WRITTEN_FILES: [&str; 8] =
    [MODEL, CONFIG, METRICS, CURVES, SUMMARY, DATA, PREDICTIONS, OUT_OF_FOLD];
/// The folder of what an interrupted run goes on from.
pub const CHECKPOINTS: &str = "checkpoints";
/// The file that a run locks while it goes on. It stays, empty, so that no other process can lock a
/// file of the same name in between.
pub const LOCK: &str = ".lock";

/// Why there is no folder for a run.
#[derive(Debug, thiserror::Error)]
pub enum RunFolderError {
    /// The named folder holds something already.
    #[error(
        "the output folder {path} is not empty: name another with --output, or replace an earlier \
         run's files in it with --force",
        path = path.display()
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// Something that is not a folder has its name.
    #[error("{path} is not a folder, so no run can be written there: name another with --output",
        path = path.display())]
    NotAFolder {
        /// What is in the way.
        path: PathBuf,
    },
    /// A folder (or a device, a pipe) has the name of a file that the run writes.
    #[error("{path} is in the way of a file that the run writes and is not a file: move it away",
        path = path.display())]
    NotAFile {
        /// What is in the way.
        path: PathBuf,
    },
    /// Another process writes to it.
    #[error("{path} is in use by another run: wait until it has ended, or name another folder \
        with --output", path = path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// What should go on is not there.
    #[error("{path} is no run folder: it has no {CONFIG}; name the folder that `regraft train` \
        wrote", path = path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// The data folder has no name of its own that a run could take.
    #[error("{path} has no name that the run could take: name its folder with --output",
        path = path.display())]
    NoName {
        /// The data folder.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{0}; name another folder with --output")]
    Io(#[from] FileError),
}

/// A folder that exists and belongs to one training run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    /// Held, and so locked, until the last copy is dropped or the process ends, however it ends.
    _lock: Option<Arc<File>>,
}

impl RunFolder {
    /// Finds the folder's faults early, before anything is read or trained, and creates nothing.
    /// `explicit` is the folder that the user named, if any; `parent` the one that gets a numbered
    /// folder otherwise.
    ///
    /// # Errors
    /// What [`RunFolder::create`] would refuse as things stand now.
    pub fn check(
        parent: &Path,
        explicit: Option<&Path>,
        force: bool,
    ) -> Result<(), RunFolderError> {
        let Some(folder) = explicit else {
            return folder_or_nothing(parent).map(|_| ());
        };
        if !folder_or_nothing(folder)? {
            return Ok(());
        }
        if force {
            return earlier_files(folder).map(|_| ());
        }
        if is_empty(folder)? {
            Ok(())
        } else {
            Err(RunFolderError::NotEmpty { path: folder.to_owned() })
        }
    }

    /// Makes the folder of a run. To be called right before training, once every input has been
    /// checked, so that a run refused leaves no empty folder behind.
    ///
    /// `explicit`, the folder the user named, is made where missing and must be empty; with `force`
    /// it may hold anything, an earlier run's [`WRITTEN_FILES`] are removed (so that files of two
    /// runs never stand side by side) and everything else is kept. Without it the run gets
    /// `parent/name`, or the first free one of `parent/name-2`, `parent/name-3` and so on, in which
    /// case a note for the user comes along. Two runs started together get two folders: creating it
    /// decides. The folder is locked until the run ends, so that no other run writes to it.
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
        fs::create_dir_all(folder).map_err(FileError::when("create the folder", folder))?;
        let locked = Self::locked(folder)?;
        // Another run may have come and gone since the check.
        Self::check(parent, explicit, force)?;
        locked.remove_unfinished()?;
        if force {
            for file in earlier_files(folder)? {
                fs::remove_file(&file).map_err(FileError::when("replace", &file))?;
            }
        }
        Ok((locked, None))
    }

    /// A run's folder that is there already, to read; nothing is checked or created.
    pub fn existing(path: &Path) -> Self {
        Self { path: path.to_owned(), _lock: None }
    }

    /// A run's folder that is there already, to go on in. It is locked as that of a new run, and
    /// what writes that were cut off left behind is removed.
    ///
    /// # Errors
    /// When it is no run's folder, or a run is writing to it.
    pub fn resume(path: &Path) -> Result<Self, RunFolderError> {
        Self::check_run(path)?;
        let folder = Self::locked(path)?;
        folder.remove_unfinished()?;
        Ok(folder)
    }

    /// Removes what writes that were cut off left behind. The folder must be locked: nothing is
    /// being written then.
    fn remove_unfinished(&self) -> Result<(), RunFolderError> {
        [self.path.clone(), self.checkpoints()]
            .iter()
            .try_for_each(|folder| remove_unfinished(folder))
    }

    /// Whether a run could go on in a folder, which nothing is done to.
    ///
    /// # Errors
    /// When it is no run's folder.
    pub fn check_run(path: &Path) -> Result<(), RunFolderError> {
        match folder_or_nothing(path)? && path.join(CONFIG).is_file() {
            true => Ok(()),
            false => Err(RunFolderError::NoRun { path: path.to_owned() }),
        }
    }

    /// The folder, locked by this process.
    pub(crate) fn locked(folder: &Path) -> Result<Self, RunFolderError> {
        let path = folder.join(LOCK);
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = options.map_err(FileError::when("create the file", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RunFolderError::Busy { path: folder.to_owned() });
            }
            // Some network file systems have no locks; a run there is better than none.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => {
                return Err(FileError::when("lock", &path)(error).into());
            }
        }
        // A power cut must not take the folder away from the files in it.
        for made in folder.ancestors().take(2) {
            atomic_file::sync_folder_of(made)
                .map_err(FileError::when("sync the folder of", made))?;
        }
        Ok(Self { path: folder.to_owned(), _lock: Some(Arc::new(file)) })
    }

    /// Makes the folder of [`CHECKPOINTS`], where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_checkpoints(&self) -> Result<(), RunFolderError> {
        let folder = self.checkpoints();
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {
                return Ok(());
            }
            made => made.map_err(FileError::when("create the folder", &folder))?,
        }
        atomic_file::sync_folder_of(&folder)
            .map_err(FileError::when("sync the folder of", &folder))?;
        Ok(())
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

    /// Where [`PREDICTIONS`] is.
    pub fn predictions(&self) -> PathBuf {
        self.path.join(PREDICTIONS)
    }

    /// Where [`OUT_OF_FOLD`] is.
    pub fn out_of_fold(&self) -> PathBuf {
        self.path.join(OUT_OF_FOLD)
    }

    /// Where [`SUMMARY`] is.
    pub fn summary(&self) -> PathBuf {
        self.path.join(SUMMARY)
    }

    /// Where [`DATA`] is.
    pub fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Where [`CHECKPOINTS`] are.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }
}

/// The name of a run on this data folder: the folder's own, also where it is given as `.` or
/// `photos/..`; of a table or archive, the name without its extension. What is not Unicode in it is
/// replaced.
///
/// # Errors
/// [`RunFolderError`] where the folder cannot be found or is the root.
pub fn run_name(data: &Path) -> Result<String, RunFolderError> {
    let canonical = match fs::canonicalize(data) {
        // A folder inside of an archive.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => data.to_owned(),
        found => found.map_err(FileError::when("find the data folder", data))?,
    };
    let name = if canonical.is_file() { canonical.file_stem() } else { canonical.file_name() };
    let name = name.ok_or_else(|| RunFolderError::NoName { path: data.to_owned() })?;
    Ok(name.to_string_lossy().into_owned())
}

fn create_numbered(
    parent: &Path,
    name: &str,
) -> Result<(RunFolder, Option<String>), RunFolderError> {
    fs::create_dir_all(parent).map_err(FileError::when("create the folder", parent))?;
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
            Err(error) => return Err(FileError::when("create the folder", &folder)(error).into()),
        }
    }
    let note = (number > 1).then(|| {
        format!(
            "{} is there already: this run is written to {}",
            wanted.display(),
            folder.display()
        )
    });
    Ok((RunFolder::locked(&folder)?, note))
}

/// Whether a folder holds nothing but what a run leaves that was killed before it had written a
/// file.
fn is_empty(folder: &Path) -> Result<bool, RunFolderError> {
    for entry in fs::read_dir(folder).map_err(FileError::when("read the folder", folder))? {
        let name = entry.map_err(FileError::when("read the folder", folder))?.file_name();
        if name != LOCK && !is_unfinished(&name.to_string_lossy()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_unfinished(name: &str) -> bool {
    atomic_file::is_unfinished(name) || weights::is_unfinished(name)
}

/// What writes that were cut off left in a folder; nothing where there is no folder.
fn unfinished_files(folder: &Path) -> Result<Vec<PathBuf>, RunFolderError> {
    files_of(folder, |path| is_unfinished(&path.file_name().unwrap_or_default().to_string_lossy()))
}

/// Removes what writes that were cut off left in a folder, in which nothing is being written.
pub(crate) fn remove_unfinished(folder: &Path) -> Result<(), RunFolderError> {
    for unfinished in unfinished_files(folder)? {
        fs::remove_file(&unfinished)
            .map_err(FileError::when("remove the left-over", &unfinished))?;
    }
    Ok(())
}

/// What is in a folder that is `wanted`; nothing where there is no folder.
fn files_of(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, RunFolderError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(FileError::when("read the folder", folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(FileError::when("read the folder", folder))?.path();
        if wanted(&path) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Whether a folder is there; an error where it is something else.
fn folder_or_nothing(path: &Path) -> Result<bool, RunFolderError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(true),
        Ok(_) => Err(RunFolderError::NotAFolder { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::when("look at", path)(error).into()),
    }
}

/// The checkpoints in a folder, oldest first; none where there is no folder. Their names tell how
/// far the run was, so that no clock decides which is the newest.
///
/// # Errors
/// When the folder cannot be read.
pub fn checkpoint_files(folder: &Path) -> Result<Vec<PathBuf>, RunFolderError> {
    let mut found = files_of(folder, |path| checkpoint_place(path).is_some())?;
    found.sort_by_key(|path| checkpoint_place(path));
    Ok(found)
}

/// The name of a checkpoint after so many epochs and so many pictures of the next one.
#[must_use]
pub fn checkpoint_name(epochs: u32, images: usize) -> String {
    format!("epoch-{epochs:06}-image-{images:09}.safetensors")
}

/// Epochs and pictures of the next one that a checkpoint's name tells.
#[must_use]
pub fn checkpoint_place(path: &Path) -> Option<(u32, usize)> {
    let name = path.file_name()?.to_str()?;
    let (epochs, images) =
        name.strip_prefix("epoch-")?.strip_suffix(".safetensors")?.split_once("-image-")?;
    Some((epochs.parse().ok()?, images.parse().ok()?))
}

/// The files of an earlier run that a folder holds; an error where something else has the name of
/// one.
fn earlier_files(folder: &Path) -> Result<Vec<PathBuf>, RunFolderError> {
    let mut found = Vec::new();
    for name in WRITTEN_FILES {
        let path = folder.join(name);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() || metadata.is_symlink() => found.push(path),
            Ok(_) => return Err(RunFolderError::NotAFile { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(FileError::when("look at", &path)(error).into()),
        }
    }
    found.extend(checkpoint_files(&folder.join(CHECKPOINTS))?);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
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
        let expected = format!(
            "{} is there already: this run is written to {}",
            first.path().display(),
            second.path().display()
        );
        assert_eq!(note, Some(expected));
        fs::remove_dir_all(second.path()).unwrap();
        fs::write(parent.join("photos-3"), "a file in the way counts as taken").unwrap();
        assert_eq!(
            RunFolder::create(&parent, "photos", None, false).unwrap().0.path(),
            parent.join("photos-2")
        );
        assert_eq!(
            RunFolder::create(&parent, "photos", None, true).unwrap().0.path(),
            parent.join("photos-4")
        );
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
            // The second time it holds the lock's file alone.
            let (run, note) =
                RunFolder::create(Path::new("unused"), "unused", Some(&named), false).unwrap();
            assert_eq!((run.path(), note), (&*named, None));
        }
        assert_eq!(RunFolder::existing(&named).summary(), named.join("summary.json"));
    }

    #[test]
    fn what_a_killed_run_left_before_its_first_file_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for name in [LOCK, ".config.toml.4711-0.unfinished"] {
            fs::write(folder.path().join(name), "half").unwrap();
        }
        RunFolder::create(Path::new("unused"), "unused", Some(folder.path()), false).unwrap();
        assert_eq!(names_in(folder.path()), [LOCK]);
    }

    #[test]
    fn a_folder_with_anything_in_it_is_refused_without_force() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        let error = RunFolder::create(Path::new("unused"), "unused", Some(folder.path()), false)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the output folder {} is not empty: name another with --output, or replace an \
                 earlier run's files in it with --force",
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
        let checkpoints = folder.path().join(CHECKPOINTS);
        fs::create_dir(&checkpoints).unwrap();
        for name in [&*checkpoint_name(3, 64), "mine.safetensors", "epoch-1.safetensors"] {
            fs::write(checkpoints.join(name), "old").unwrap();
        }
        RunFolder::check(Path::new("unused"), Some(folder.path()), true).unwrap();
        assert_eq!(names_in(folder.path()).len(), WRITTEN_FILES.len() + 4);
        RunFolder::create(Path::new("unused"), "unused", Some(folder.path()), true).unwrap();
        assert_eq!(
            names_in(folder.path()),
            [LOCK, CHECKPOINTS, "model.safetensors.bak", "notes.txt", "pictures"]
        );
        assert_eq!(names_in(&checkpoints), ["epoch-1.safetensors", "mine.safetensors"]);
    }

    #[test]
    fn a_folder_is_locked_as_long_as_its_run_lives() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("run");
        let open = || RunFolder::create(Path::new("unused"), "unused", Some(&named), true);
        let (run, _) = open().unwrap();
        let copy = run.clone();
        drop(run);
        let error = open().unwrap_err();
        assert!(matches!(&error, RunFolderError::Busy { path } if *path == named), "{error}");
        fs::write(named.join(CONFIG), "").unwrap();
        assert!(matches!(RunFolder::resume(&named), Err(RunFolderError::Busy { .. })));
        drop(copy);
        assert!(RunFolder::resume(&named).is_ok());
        assert!(open().is_ok());
    }

    #[test]
    fn going_on_needs_a_runs_folder_and_removes_what_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        for path in [&folder.path().join("nowhere"), folder.path()] {
            assert!(matches!(RunFolder::resume(path), Err(RunFolderError::NoRun { .. })));
        }
        assert_eq!(names_in(folder.path()), [""; 0]);
        fs::create_dir(folder.path().join(CHECKPOINTS)).unwrap();
        for name in [
            CONFIG,
            ".metrics.csv.17-3.unfinished",
            ".regraft-Ab3.partial",
            "checkpoints/.regraft-x.partial",
            "checkpoints/mine",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        RunFolder::resume(folder.path()).unwrap();
        assert_eq!(names_in(folder.path()), [LOCK, CHECKPOINTS, CONFIG]);
        assert_eq!(names_in(&folder.path().join(CHECKPOINTS)), ["mine"]);
    }

    #[test]
    fn checkpoints_are_ordered_by_what_they_are_of() {
        let folder = tempfile::tempdir().unwrap();
        assert!(checkpoint_files(&folder.path().join("none")).unwrap().is_empty());
        let places = [(0, 128), (2, 0), (1, 64), (1, 1_000_000_000), (10, 0)];
        for (epochs, images) in places {
            fs::write(folder.path().join(checkpoint_name(epochs, images)), "").unwrap();
        }
        fs::write(folder.path().join(".epoch-000001-image-000000000.safetensors.partial"), "")
            .unwrap();
        let files = checkpoint_files(folder.path()).unwrap();
        let found: Vec<_> = files.iter().filter_map(|path| checkpoint_place(path)).collect();
        assert_eq!(found, [(0, 128), (1, 64), (1, 1_000_000_000), (2, 0), (10, 0)]);
    }

    #[test]
    fn force_removes_nothing_where_a_folder_is_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MODEL), "old").unwrap();
        fs::create_dir(folder.path().join(SUMMARY)).unwrap();
        let error = RunFolder::create(Path::new("unused"), "unused", Some(folder.path()), true)
            .unwrap_err();
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
        assert!(matches!(run_name(&data.join("missing")).unwrap_err(), RunFolderError::Io(_)));
    }
}
