//! Files that are either the old one or the whole new one, whatever happens in between.
//!
//! A file is written under another name in the same folder, synced to the disk, and renamed. A
//! crash, a full disk or a reader at the wrong moment never meets half a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// How names of files in the making end.
const UNFINISHED: &str = ".unfinished";

/// Whether a file of this name was left by a write that was cut off (by a crash, say). It may be
/// removed if nothing is being written.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(UNFINISHED)
}

/// A file that could not be written; the one that was there before is unchanged.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}; check that its folder exists, may be written to and has \
    space left", path = path.display())]
pub struct AtomicFileError {
    /// The file that was to be written.
    pub path: PathBuf,
    /// The operating system's error.
    pub source: io::Error,
}

/// Writes `contents` to `path`, replacing a file that is there. A symbolic link is kept and the
/// file it points to replaced.
///
/// # Errors
/// [`AtomicFileError`] where a step fails or `path` is something else than a file. The old file is
/// then untouched.
pub fn write(path: &Path, contents: &[u8]) -> Result<(), AtomicFileError> {
    write_with(path, |file| file.write_all(contents))
}

/// As [`write()`], with the contents written piece by piece, for files that are better not held in
/// memory whole.
///
/// # Errors
/// As [`write()`]; an error of `write_contents` is one of them.
pub fn write_with(
    path: &Path,
    write_contents: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), AtomicFileError> {
    replace(path, write_contents)
        .map_err(|source| AtomicFileError { path: path.to_owned(), source })
}

fn replace(
    path: &Path,
    write_contents: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let target = match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::canonicalize(path)?,
        Ok(_) => path.to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    // A rename would replace a device or a pipe by a file.
    if fs::metadata(&target).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("it is there and is not a file"));
    }
    let unfinished = unfinished_path(&target)?;
    let outcome = write_and_rename(&unfinished, &target, write_contents);
    if outcome.is_err() {
        // The first error is the one to report; a left-over that cannot be removed either adds
        // nothing to it.
        let _ = fs::remove_file(&unfinished);
    }
    outcome
}

/// A name in the same folder (a rename cannot cross file systems) that no other write uses at the
/// same time.
fn unfinished_path(target: &Path) -> io::Result<PathBuf> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let file_name = target
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    let mut name = std::ffi::OsString::from(".");
    name.push(file_name);
    name.push(format!(
        ".{}-{}{UNFINISHED}",
        std::process::id(),
        WRITES.fetch_add(1, Ordering::Relaxed)
    ));
    Ok(target.with_file_name(name))
}

fn write_and_rename(
    unfinished: &Path,
    target: &Path,
    write_contents: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    // Not create_new: a crashed process of the same number may have left its file behind.
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(unfinished)?;
    let mut writer = BufWriter::new(file);
    write_contents(&mut writer)?;
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    drop(file);
    fs::rename(unfinished, target)?;
    sync_folder_of(target)
}

/// Makes the file renamed to `target`, or the folder made there, durable. Only Unix lets a folder
/// be opened for this.
#[cfg(unix)]
pub(crate) fn sync_folder_of(target: &Path) -> io::Result<()> {
    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some network file systems do not offer it, and a folder may be closed to readers; the
        // file itself is in place.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput
                    | io::ErrorKind::Unsupported
                    | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

#[cfg(not(unix))]
pub(crate) fn sync_folder_of(_target: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(folder: &Path) -> Vec<String> {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn writes_and_replaces_leaving_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        write(&path, b"first and longer").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names_in(folder.path()), ["summary.json"]);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        write(&path, b"old").unwrap();
        let error = write_with(&path, |file| {
            file.write_all(b"half of the new")?;
            Err(io::Error::other("the disk is full"))
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot write {}: the disk is full; check that its folder exists, may be written \
                 to and has space left",
                path.display()
            )
        );
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names_in(folder.path()), ["model.safetensors"]);
    }

    #[test]
    fn a_missing_folder_and_a_folder_in_the_way_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing").join("config.toml");
        assert_eq!(write(&missing, b"").unwrap_err().path, missing);
        let in_the_way = folder.path().join("config.toml");
        fs::create_dir(&in_the_way).unwrap();
        assert!(write(&in_the_way, b"").unwrap_err().to_string().contains("is not a file"));
        assert!(write(Path::new(".."), b"").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real.csv");
        let link = folder.path().join("link.csv");
        write(&real, b"old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write(&link, b"new").unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn simultaneous_writes_leave_one_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        std::thread::scope(|scope| {
            for byte in b'a'..b'e' {
                let path = &path;
                scope.spawn(move || write(path, &[byte; 10_000]).unwrap());
            }
        });
        let contents = fs::read(&path).unwrap();
        assert_eq!(contents.len(), 10_000);
        assert!(contents.iter().all(|byte| *byte == contents[0]));
        assert_eq!(names_in(folder.path()), ["metrics.csv"]);
    }
}
