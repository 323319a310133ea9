//! The folder that an archive is unpacked into, with its rules on names and sizes.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::error::{ArchiveError, file_error};
use super::names;
use super::{ArchiveKind, UnpackLimits};

/// The reason if the file system treats two names as one.
const SAME: &str = "is the same file or folder as another entry on this file system, which does \
    not tell \
                    their names apart (letter case or the form of accents); rename one, or unpack \
                        it elsewhere";

/// Limit on the bytes of a name: no system opens longer ones (`PATH_MAX` on Linux).
const MAX_NAME: usize = 4096;

/// A folder that is filled with an archive's entries.
pub struct Target<'a> {
    archive: &'a Path,
    folder: &'a Path,
    limits: &'a UnpackLimits,
    /// Bytes that may still be written.
    left: u64,
    entries: usize,
    files: HashSet<PathBuf>,
    folders: HashSet<PathBuf>,
    /// Number of names that were not UTF-8, and the first of them.
    guessed: (usize, String),
}

/// An entry whose name was checked.
pub struct Entry {
    pub name: String,
    relative: PathBuf,
}

impl<'a> Target<'a> {
    pub fn new(
        archive: &'a Path,
        folder: &'a Path,
        limits: &'a UnpackLimits,
    ) -> Result<Self, ArchiveError> {
        fs::create_dir_all(folder).map_err(|error| file_error(folder, &error))?;
        let (files, folders) = (HashSet::new(), HashSet::new());
        Ok(Self {
            archive,
            folder,
            limits,
            left: limits.bytes,
            entries: 0,
            files,
            folders,
            guessed: (0, String::new()),
        })
    }

    pub fn damaged(&self, message: String) -> ArchiveError {
        ArchiveError::Damaged { path: self.archive.to_path_buf(), message }
    }

    pub fn refused(&self, entry: &str, why: &'static str) -> ArchiveError {
        ArchiveError::Entry { path: self.archive.to_path_buf(), entry: entry.to_owned(), why }
    }

    pub fn unsupported(&self, entry: &str, what: String) -> ArchiveError {
        ArchiveError::Unsupported {
            path: self.archive.to_path_buf(),
            entry: entry.to_owned(),
            what,
        }
    }

    pub fn too_large(&self) -> ArchiveError {
        ArchiveError::TooLarge { path: self.archive.to_path_buf(), limits: *self.limits }
    }

    /// Checks the next entry's name.
    pub fn entry(&mut self, name: &[u8]) -> Result<Entry, ArchiveError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(self.too_large());
        }
        if name.len() > MAX_NAME {
            let start = String::from_utf8_lossy(&name[..40]);
            return Err(self.refused(&format!("{start}..."), "has a name longer than 4,096 bytes"));
        }
        let (name, guessed) = names::decode(name);
        if guessed {
            self.guessed.0 += 1;
            if self.guessed.0 == 1 {
                self.guessed.1 = name.clone().into_owned();
            }
        }
        let relative = names::inside(&name).map_err(|why| self.refused(&name, why))?;
        Ok(Entry { name: name.into_owned(), relative })
    }

    /// Creates an entry that is a folder, and its parent folders.
    pub fn folder(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        self.make(entry, &entry.relative)
    }

    /// Creates one folder at a time. If a folder exists that was not created here, it belongs to
    /// another entry, whose name the file system treats as the same.
    fn make(&mut self, entry: &Entry, relative: &Path) -> Result<(), ArchiveError> {
        let known = |path: &&Path| !path.as_os_str().is_empty() && !self.folders.contains(*path);
        let missing: Vec<&Path> = relative.ancestors().take_while(known).collect();
        for relative in missing.into_iter().rev() {
            if self.files.contains(relative) {
                return Err(self.refused(&entry.name, "is both a file and a folder"));
            }
            let path = self.folder.join(relative);
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(self.refused(&entry.name, SAME));
                }
                Err(error) => return Err(file_error(&path, &error)),
            }
            self.folders.insert(relative.to_path_buf());
        }
        Ok(())
    }

    /// Writes an entry that is a file.
    pub fn file(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), ArchiveError> {
        let relative = &entry.relative;
        if relative.as_os_str().is_empty() {
            return Err(self.refused(&entry.name, "has no name"));
        }
        if self.folders.contains(relative) {
            return Err(self.refused(&entry.name, "is both a file and a folder"));
        }
        if !self.files.insert(relative.clone()) {
            return Err(self.refused(&entry.name, "occurs twice"));
        }
        self.make(entry, relative.parent().unwrap_or(Path::new("")))?;
        let path = self.folder.join(relative);
        let file = match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(self.refused(&entry.name, SAME));
            }
            Err(error) => return Err(file_error(&path, &error)),
        };
        let mut writer = BufWriter::new(file);
        let (written, read_failed) =
            copy(content, &mut writer, self.left).map_err(|error| file_error(&path, &error))?;
        writer.flush().map_err(|error| file_error(&path, &error))?;
        if let Some(error) = read_failed {
            return Err(self.damaged(format!("{}: {error}", entry.name)));
        }
        self.left = self.left.checked_sub(written).ok_or_else(|| self.too_large())?;
        Ok(())
    }

    /// Notes for the user, one sentence each.
    pub fn notes(self, kind: ArchiveKind) -> Vec<String> {
        let advice = match kind {
            ArchiveKind::Zip => {
                "unpack it yourself (`unzip -O GBK`, `unzip -O SHIFT_JIS`) and name the folder"
            }
            // Tar programs do not convert names.
            ArchiveKind::Tar | ArchiveKind::TarGz => {
                "unpack it yourself with tar, convert the names (`convmv -r --notest -f latin1 -t \
                 utf8 FOLDER`) and name the folder"
            }
        };
        match self.guessed {
            (0, _) => Vec::new(),
            (count, first) => vec![format!(
                "Names in {} that are not UTF-8 were read as code page 437 ({count}, such as \
                 {first:?}). If they \
                 look wrong, {advice}.",
                self.archive.display()
            )],
        }
    }
}

/// Copies at most one byte more than `limit`. Returns the bytes written, and the error of the
/// source if it failed.
fn copy(
    source: &mut dyn Read,
    target: &mut dyn Write,
    limit: u64,
) -> io::Result<(u64, Option<io::Error>)> {
    let mut source = source.take(limit.saturating_add(1));
    let mut buffer = [0; 1 << 14];
    let mut written = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok((written, None)),
            Ok(length) => {
                target.write_all(&buffer[..length])?;
                written += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok((written, Some(error))),
        }
    }
}
