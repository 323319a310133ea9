//! Displays paths in messages: a file of an unpacked archive is shown by the archive and its path
//! inside, as the user would name it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// Folders into which this process unpacked archives, or found them unpacked, each with its
/// archive. This is a fact about the disk rather than a state of the program, so it is global
/// instead of travelling with each path.
static UNPACKED: RwLock<Vec<(PathBuf, PathBuf)>> = RwLock::new(Vec::new());

/// From now on, paths in `folder` are shown as paths in `archive`.
pub fn is_unpacked(folder: &Path, archive: &Path) {
    let mut known = UNPACKED.write().unwrap_or_else(PoisonError::into_inner);
    known.retain(|(other, _)| other != folder);
    known.push((folder.to_path_buf(), archive.to_path_buf()));
}

/// A path for messages: `photos.zip/train/cat/1.jpg` instead of the location of the unpacked file.
#[must_use]
pub fn shown(path: &Path) -> Shown<'_> {
    Shown(path)
}

/// The return type of [`shown`].
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = UNPACKED.read().unwrap_or_else(PoisonError::into_inner);
        for (folder, archive) in &*known {
            if let Ok(inner) = self.0.strip_prefix(folder) {
                let whole = if inner.as_os_str().is_empty() {
                    archive.clone()
                } else {
                    archive.join(inner)
                };
                return fmt::Display::fmt(&whole.display(), formatter);
            }
        }
        fmt::Display::fmt(&self.0.display(), formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_an_unpacked_archive_is_shown_in_the_archive() {
        let folder = Path::new("cache").join("unpacked").join("photos-0123");
        assert_eq!(
            shown(&folder.join("cat")).to_string(),
            folder.join("cat").display().to_string()
        );
        is_unpacked(&folder, Path::new("old.zip"));
        is_unpacked(&folder, Path::new("photos.zip"));
        assert_eq!(shown(&folder).to_string(), "photos.zip");
        assert_eq!(
            shown(&folder.join("cat")).to_string(),
            Path::new("photos.zip").join("cat").display().to_string()
        );
        let other = Path::new("cache").join("unpacked").join("photos-0123b");
        assert_eq!(shown(&other).to_string(), other.display().to_string());
    }
}
