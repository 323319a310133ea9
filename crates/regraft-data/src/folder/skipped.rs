//! Entries of data folders that are not data: system folders, run folders, and files whose names say that they are not images.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Extensions of files that lie beside images and are not images.
const NON_IMAGES: [&str; 50] = [
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
/// Names of files that lie beside images and are not images, in lower case.
const NON_IMAGE_NAMES: [&str; 10] =
    ["authors", "checksums", "citation", "copying", "license", "licence", "makefile", "notice", "readme", "sha256sums"];

/// Folders that systems, network drives and programs leave beside images, in lower case.
const SYSTEM_FOLDERS: [&str; 14] = [
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "@eadir",
    "@recently-snapshot",
    "@recycle",
    "@tmp",
    "__macosx",
    "__pycache__",
    "lost+found",
    "network trash folder",
    "system volume information",
    "temporary items",
    "~snapshot",
];

/// Files of which a training run's folder holds at least one beside `config.toml`.
const RUN_FILES: [&str; 4] = ["data.csv", "metrics.csv", "model.safetensors", "summary.json"];

/// Names that start with a dot, such as `.ipynb_checkpoints` and `.Trash-1000`.
pub fn is_hidden(path: &Path) -> bool {
    path.file_name().unwrap_or_default().as_encoded_bytes().starts_with(b".")
}

/// Why a folder is skipped, if it is.
pub fn skipped_folder(path: &Path) -> Option<&'static str> {
    if SYSTEM_FOLDERS.contains(&lower(path.file_name()).as_str()) {
        Some("a system folder")
    } else if is_run_folder(path) {
        Some("a folder that regraft wrote")
    } else if holds_runs(path) {
        Some("a folder of runs")
    } else {
        None
    }
}

/// Whether `regraft train` or `regraft compare` wrote a folder, finished or not.
fn is_run_folder(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    let locked = has(".lock");
    if has("config.toml") {
        return locked || RUN_FILES.iter().any(|name| has(name));
    }
    if folder.join("arms").is_dir() {
        return locked || has("compare.json");
    }
    // Nothing but the lock: the run was killed before it wrote its first file.
    locked && visible_entries(folder).is_some_and(|mut entries| entries.next().is_none())
}

/// Whether a folder holds run folders and nothing else, or is called `runs` and holds one.
fn holds_runs(folder: &Path) -> bool {
    let is_run = |entry: fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_run_folder(&entry.path());
    let Some(mut entries) = visible_entries(folder) else { return false };
    if lower(folder.file_name()) == "runs" {
        return entries.any(is_run);
    }
    // Most folders hold images: the first entry decides.
    entries.next().is_some_and(is_run) && entries.all(is_run)
}

fn visible_entries(folder: &Path) -> Option<impl Iterator<Item = fs::DirEntry>> {
    Some(fs::read_dir(folder).ok()?.flatten().filter(|entry| !is_hidden(&entry.path())))
}

/// Whether a file's name says that it is no image.
pub fn is_known_non_image(path: &Path) -> bool {
    match path.extension() {
        Some(extension) => NON_IMAGES.contains(&lower(Some(extension)).as_str()),
        None => NON_IMAGE_NAMES.contains(&lower(path.file_name()).as_str()),
    }
}

fn lower(name: Option<&OsStr>) -> String {
    name.map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default()
}
