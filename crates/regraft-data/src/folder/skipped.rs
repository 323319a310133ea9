//! Entries of data folders that are not data: system folders, run folders, and files whose names
//! say that they are not images.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Extensions of files that often lie beside images and are not images.
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
/// Names of files that often lie beside images and are not images, in lower case.
const NON_IMAGE_NAMES: [&str; 10] = [
    "authors",
    "checksums",
    "citation",
    "copying",
    "license",
    "licence",
    "makefile",
    "notice",
    "readme",
    "sha256sums",
];

/// Folders that operating systems, network drives and programs create beside images, in lower case.
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

/// Files of which a run folder holds at least one beside `config.toml`.
const RUN_FILES: [&str; 4] = ["data.csv", "metrics.csv", "model.safetensors", "summary.json"];

/// Drawings that Regraft writes, possibly into a class folder. (Any other `.svg` is recognised when
/// it is decoded.)
const DRAWINGS: [&str; 3] = ["curves.svg", "compare.svg", "lr-find.svg"];

/// Extensions of images, which tell a folder of images from a run folder without opening a file.
const IMAGES: [&str; 26] = [
    "apng", "avif", "bmp", "dib", "gif", "heic", "heif", "ico", "jfif", "jp2", "jpe", "jpeg",
    "jpg", "jxl", "pam", "pbm", "pgm", "png", "pnm", "ppm", "psd", "qoi", "tga", "tif", "tiff",
    "webp",
];

/// Names that start with a dot, such as `.ipynb_checkpoints` and `.Trash-1000`.
pub fn is_hidden(path: &Path) -> bool {
    path.file_name().unwrap_or_default().as_encoded_bytes().starts_with(b".")
}

/// The reason why a folder is skipped, if it is.
pub fn skipped_folder(path: &Path) -> Option<&'static str> {
    if SYSTEM_FOLDERS.contains(&lower(path.file_name()).as_str()) {
        Some("a system folder")
    } else if is_run_folder(path) {
        Some("a folder that Regraft wrote")
    } else if holds_runs(path) {
        Some("a folder of runs")
    } else {
        None
    }
}

/// Whether `regraft train` or `regraft compare` wrote a folder, finished or not, and it holds no
/// images: a class folder into which a run was written stays a class.
fn is_run_folder(folder: &Path) -> bool {
    has_run_files(folder) && !has_images(folder)
}

/// Whether a folder holds files that `regraft train` or `regraft compare` writes.
fn has_run_files(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    let locked = has(".lock");
    if has("config.toml") {
        return locked || RUN_FILES.iter().any(|name| has(name));
    }
    if folder.join("arms").is_dir() {
        return locked || has("compare.json");
    }
    // Only the lock: the run was killed before it wrote its first file.
    locked && visible_entries(folder).is_some_and(|mut entries| entries.next().is_none())
}

/// Whether a folder holds run folders and nothing else, or is called `runs` and holds one.
fn holds_runs(folder: &Path) -> bool {
    let is_run = |entry: fs::DirEntry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_run_folder(&entry.path())
    };
    let Some(mut entries) = visible_entries(folder) else { return false };
    if lower(folder.file_name()) == "runs" {
        return entries.any(is_run) && !holds_a_class(folder);
    }
    // Most folders hold images, so the first entry usually decides.
    entries.next().is_some_and(is_run) && entries.all(is_run)
}

/// Whether images lie directly in a folder, by their extensions.
fn has_images(folder: &Path) -> bool {
    images_in(folder).next().is_some()
}

fn images_in(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let files = visible_entries(folder).into_iter().flatten().map(|entry| entry.path());
    files.filter(|path| IMAGES.contains(&lower(path.extension()).as_str()) && path.is_file())
}

/// Whether a folder called `runs` is a class into which runs were written: it holds images,
/// directly or in folders that are not runs. A single image may be a drawing of `regraft show`.
fn holds_a_class(folder: &Path) -> bool {
    let inner = visible_entries(folder).into_iter().flatten().map(|entry| entry.path());
    let inner = inner.filter(|path| path.is_dir() && !is_run_folder(path));
    images_in(folder).chain(inner.flat_map(|path| images_in(&path))).nth(1).is_some()
}

fn visible_entries(folder: &Path) -> Option<impl Iterator<Item = fs::DirEntry> + use<>> {
    Some(fs::read_dir(folder).ok()?.flatten().filter(|entry| !is_hidden(&entry.path())))
}

/// Whether a file's name says that it is not an image.
pub fn is_known_non_image(path: &Path) -> bool {
    if DRAWINGS.iter().any(|&drawing| path.file_name().is_some_and(|name| name == drawing)) {
        return true;
    }
    match path.extension() {
        Some(extension) => NON_IMAGES.contains(&lower(Some(extension)).as_str()),
        None => NON_IMAGE_NAMES.contains(&lower(path.file_name()).as_str()),
    }
}

fn lower(name: Option<&OsStr>) -> String {
    name.map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default()
}
