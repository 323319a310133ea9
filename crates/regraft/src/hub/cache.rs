//! The cache on disk. Python's `huggingface_hub` has the same layout, so each program uses the
//! other's files:
//!
//! ```text
//! models--OWNER--NAME/refs/main              the commit of a branch or tag
//! models--OWNER--NAME/snapshots/COMMIT/FILE  a link to the blob, or the file itself
//! models--OWNER--NAME/blobs/ETAG             the content
//! models--OWNER--NAME/.no_exist/COMMIT/FILE  marks that the commit has no such file
//! ```

#[cfg(feature = "fetch")]
use super::error::{HubError, at};
use super::source::{HubSource, is_commit};
#[cfg(feature = "fetch")]
use crate::atomic_file::{self, AtomicFileError};
use crate::hub_config::WEIGHT_NAMES;
use std::fs;
#[cfg(feature = "fetch")]
use std::fs::File;
#[cfg(feature = "fetch")]
use std::io;
use std::path::{Path, PathBuf};

/// A repository's folder in the cache.
#[derive(Clone, Debug)]
pub(super) struct RepositoryCache {
    folder: PathBuf,
}

impl RepositoryCache {
    pub fn of(cache: &Path, source: &HubSource) -> Self {
        let name = source.repository().replace('/', "--");
        Self { folder: cache.join(format!("models--{name}")) }
    }

    /// The commit that a revision was when it was last asked for.
    pub fn commit_of(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// A file at a commit, if it is there.
    pub fn file(&self, commit: &str, name: &str) -> Option<PathBuf> {
        Some(self.place(commit, name)).filter(|path| path.is_file())
    }

    /// The weight file at a commit, if one is there.
    pub fn weights(&self, commit: &str) -> Option<PathBuf> {
        WEIGHT_NAMES.iter().find_map(|name| self.file(commit, name))
    }

    fn place(&self, commit: &str, name: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit).join(name)
    }
}

#[cfg(feature = "fetch")]
impl RepositoryCache {
    /// Whether the commit is known to have no such file.
    pub fn lacks(&self, commit: &str, name: &str) -> bool {
        self.folder.join(".no_exist").join(commit).join(name).is_file()
    }

    /// Remembers that the commit has no such file.
    pub fn remember_lack(&self, commit: &str, name: &str) -> Result<(), HubError> {
        write(&self.folder.join(".no_exist").join(commit).join(name), b"")
    }

    /// Remembers the commit of a branch or tag.
    pub fn remember_commit(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if revision == commit || self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        make_folder_of(&path)?;
        atomic_file::write(&path, commit.as_bytes()).map_err(not_written)
    }

    /// The ETag of a file at a commit, if it is a link to its blob.
    pub fn etag(&self, commit: &str, name: &str) -> Option<String> {
        let target = fs::read_link(self.place(commit, name)).ok()?;
        target.file_name()?.to_str().map(str::to_owned)
    }

    /// Where the content with an ETag lies.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// The file that guards a blob while it is written; `huggingface_hub` locks the same.
    pub fn lock_file(&self, etag: &str) -> Option<PathBuf> {
        let name = self.folder.file_name()?;
        Some(self.folder.parent()?.join(".locks").join(name).join(format!("{etag}.lock")))
    }

    /// Makes a blob a file of a commit: by a relative link or, without links, by moving it if it is
    /// new and copying it otherwise.
    pub fn link(
        &self,
        etag: &str,
        commit: &str,
        name: &str,
        is_new: bool,
        symlinks: bool,
    ) -> Result<PathBuf, HubError> {
        let (blob, place) = (self.blob(etag), self.place(commit, name));
        if place.is_file() {
            return Ok(place);
        }
        make_folder_of(&place)?;
        // A link whose blob was removed.
        if place.symlink_metadata().is_ok() {
            fs::remove_file(&place).map_err(at(&place))?;
        }
        let upwards = "../".repeat(2 + name.matches('/').count());
        if symlinks && symlink(&format!("{upwards}blobs/{etag}"), &place).is_ok() {
            return Ok(place);
        }
        if is_new {
            fs::rename(&blob, &place).map_err(at(&place))?;
        } else {
            let mut blob = File::open(&blob).map_err(at(&blob))?;
            atomic_file::write_with(&place, |file| io::copy(&mut blob, file).map(drop))
                .map_err(not_written)?;
        }
        Ok(place)
    }
}

#[cfg(unix)]
#[cfg(feature = "fetch")]
fn symlink(target: &str, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
#[cfg(feature = "fetch")]
fn symlink(target: &str, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target.replace('/', "\\"), link)
}

/// Makes the folder in which a file will lie.
#[cfg(feature = "fetch")]
pub(super) fn make_folder_of(path: &Path) -> Result<(), HubError> {
    path.parent().map_or(Ok(()), |folder| fs::create_dir_all(folder).map_err(at(folder)))
}

#[cfg(feature = "fetch")]
fn not_written(AtomicFileError { path, source }: AtomicFileError) -> HubError {
    at(path)(source)
}

/// Writes a small file and its folder.
#[cfg(feature = "fetch")]
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), HubError> {
    make_folder_of(path)?;
    fs::write(path, content).map_err(at(path))
}

/// Marks the cache, so that programs that make backups leave it out
/// (<https://bford.info/cachedir/>).
#[cfg(feature = "fetch")]
pub(super) fn tag(cache: &Path) -> Result<(), HubError> {
    let path = cache.join("CACHEDIR.TAG");
    if path.exists() {
        return Ok(());
    }
    write(&path, b"Signature: 8a477f597d28d172789f06886806bc55\n")
}

#[cfg(all(test, feature = "fetch"))]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_huggingface_hub() {
        let folder = tempfile::tempdir().expect("a folder");
        let source: HubSource = "hub:timm/net.a1".parse().expect("a name");
        let cache = RepositoryCache::of(folder.path(), &source);
        let commit = "0123456789".repeat(4);
        assert_eq!(cache.commit_of("main"), None);
        cache.remember_commit("refs/pr/1", &commit).expect("written");
        assert_eq!(cache.commit_of("refs/pr/1"), Some(commit.clone()));
        assert_eq!(cache.commit_of(&commit), Some(commit.clone()));
        write(&cache.blob("etag"), b"content").expect("written");
        let place = cache.link("etag", &commit, "model.safetensors", false, true).expect("linked");
        let base = folder.path().join("models--timm--net.a1");
        assert_eq!(place, base.join("snapshots").join(&commit).join("model.safetensors"));
        assert_eq!(fs::read(&place).expect("read"), b"content");
        assert_eq!(cache.weights(&commit), Some(place.clone()));
        #[cfg(unix)]
        {
            assert_eq!(cache.etag(&commit, "model.safetensors").as_deref(), Some("etag"));
            let target = fs::read_link(&place).expect("a link");
            assert_eq!(target, Path::new("../../blobs/etag"));
            // A link whose blob is gone counts as nothing, and is replaced.
            fs::remove_file(cache.blob("etag")).expect("removed");
            assert_eq!(cache.weights(&commit), None);
            write(&cache.blob("other"), b"more").expect("written");
            cache.link("other", &commit, "model.safetensors", false, true).expect("linked");
            assert_eq!(fs::read(&place).expect("read"), b"more");
        }
        // Without links, a new blob moves, and another is copied.
        write(&cache.blob("a"), b"a").expect("written");
        cache.link("a", &commit, "a", true, false).expect("moved");
        write(&cache.blob("b"), b"b").expect("written");
        cache.link("b", &commit, "b", false, false).expect("copied");
        assert!(!cache.blob("a").exists() && cache.blob("b").exists());
        assert_eq!(cache.file(&commit, "b").map(fs::read).expect("there").expect("read"), b"b");
        assert!(!cache.lacks(&commit, "c"));
        cache.remember_lack(&commit, "c").expect("written");
        assert!(cache.lacks(&commit, "c"));
    }
}
