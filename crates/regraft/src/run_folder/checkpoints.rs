//! Names of checkpoints.

use super::RunFolderError;
use super::files_of;
use std::path::{Path, PathBuf};

/// The checkpoints in a folder, oldest first; none if the folder is missing. Their names say how
/// far the run was, so that no clock decides which one is the newest.
///
/// # Errors
/// If the folder cannot be read.
pub fn checkpoint_files(folder: &Path) -> Result<Vec<PathBuf>, RunFolderError> {
    let mut found = files_of(folder, |path| checkpoint_place(path).is_some())?;
    found.sort_by_key(|path| checkpoint_place(path));
    Ok(found)
}

/// The name of a checkpoint after that many epochs and images of the next one.
#[must_use]
pub fn checkpoint_name(epochs: u32, images: usize) -> String {
    format!("epoch-{epochs:06}-image-{images:09}.safetensors")
}

/// Epochs, and images of the next one, by a checkpoint's name.
#[must_use]
pub fn checkpoint_place(path: &Path) -> Option<(u32, usize)> {
    let name = path.file_name()?.to_str()?;
    let (epochs, images) =
        name.strip_prefix("epoch-")?.strip_suffix(".safetensors")?.split_once("-image-")?;
    Some((epochs.parse().ok()?, images.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn checkpoints_are_in_the_order_of_training() {
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
}
