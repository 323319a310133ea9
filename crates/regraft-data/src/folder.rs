//! Walking folders: which entries may be pictures, in an order that depends on names alone.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::catalogue::{CatalogueError, Ignored};

/// Folders inside folders that are still walked. Deeper ones are taken for a link that leads back to its own parent (Linux itself gives
/// up after 40 links).
const MAX_DEPTH: usize = 32;

/// Extensions of files that lie beside pictures and are none.
const NON_PICTURES: [&str; 50] = [
    "7z",
    "avi",
    "cfg",
    "csv",
    "db",
    "doc",
    "docx",
    "gz",
    "h5",
    "htm",
    "html",
    "ini",
    "ipynb",
    "js",
    "json",
    "jsonl",
    "lnk",
    "lock",
    "log",
    "mat",
    "md",
    "mkv",
    "mov",
    "mp3",
    "mp4",
    "npy",
    "npz",
    "onnx",
    "parquet",
    "pdf",
    "pickle",
    "pkl",
    "pt",
    "pth",
    "py",
    "rar",
    "rst",
    "safetensors",
    "sh",
    "tar",
    "tgz",
    "toml",
    "tsv",
    "txt",
    "wav",
    "xls",
    "xlsx",
    "xml",
    "yaml",
    "zip",
];
/// Names of files that lie beside pictures and are none, in lower case.
const NON_PICTURE_NAMES: [&str; 10] =
    ["authors", "checksums", "citation", "copying", "license", "licence", "makefile", "notice", "readme", "sha256sums"];

/// One folder's entries, sorted by the bytes of their names.
pub struct Entries {
    pub folders: Vec<PathBuf>,
    pub files: Vec<PathBuf>,
}

/// Lists a folder. Hidden entries, files known to be no pictures and what is neither file nor folder go to `ignored`.
pub fn list(folder: &Path, ignored: &mut Vec<Ignored>) -> Result<Entries, CatalogueError> {
    let unreadable =
        |error: std::io::Error| CatalogueError::Unreadable { path: folder.to_path_buf(), message: error.to_string() };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort_by(|left, right| name_bytes(left).cmp(name_bytes(right)));
    let mut entries = Entries { folders: Vec::new(), files: Vec::new() };
    for path in paths {
        let reason = match std::fs::metadata(&path) {
            _ if is_hidden(&path) => "hidden",
            Ok(metadata) if metadata.is_dir() => {
                entries.folders.push(path);
                continue;
            }
            Ok(metadata) if metadata.is_file() && !is_known_non_picture(&path) => {
                entries.files.push(path);
                continue;
            }
            Ok(metadata) if metadata.is_file() => "not a picture by its name",
            Ok(_) => "neither a file nor a folder",
            Err(_) => "a link that leads nowhere",
        };
        ignored.push(Ignored { path, reason });
    }
    Ok(entries)
}

/// All files below a folder that may be pictures, sorted by the bytes of their path.
pub fn walk(folder: &Path, ignored: &mut Vec<Ignored>) -> Result<Vec<PathBuf>, CatalogueError> {
    let mut files = Vec::new();
    walk_into(folder, MAX_DEPTH, &mut files, ignored)?;
    files.sort_by(|left, right| left.as_os_str().as_encoded_bytes().cmp(right.as_os_str().as_encoded_bytes()));
    Ok(files)
}

fn walk_into(folder: &Path, depth: usize, files: &mut Vec<PathBuf>, ignored: &mut Vec<Ignored>) -> Result<(), CatalogueError> {
    if depth == 0 {
        return Err(CatalogueError::TooDeep { path: folder.to_path_buf() });
    }
    let entries = list(folder, ignored)?;
    files.extend(entries.files);
    entries.folders.iter().try_for_each(|folder| walk_into(folder, depth - 1, files, ignored))
}

/// A folder's own name as text.
pub fn name(path: &Path) -> Result<String, CatalogueError> {
    let name = path.file_name().and_then(OsStr::to_str);
    name.map(str::to_owned).ok_or_else(|| CatalogueError::NameNotText { path: path.to_path_buf() })
}

fn name_bytes(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_encoded_bytes()
}

/// Names that start with a dot, and the folder that macOS adds to archives.
fn is_hidden(path: &Path) -> bool {
    name_bytes(path).starts_with(b".") || name_bytes(path) == b"__MACOSX"
}

fn is_known_non_picture(path: &Path) -> bool {
    let lower = |text: Option<&OsStr>| text.map(|text| text.to_string_lossy().to_lowercase()).unwrap_or_default();
    match path.extension() {
        Some(extension) => NON_PICTURES.contains(&lower(Some(extension)).as_str()),
        None => NON_PICTURE_NAMES.contains(&lower(path.file_name()).as_str()),
    }
}
