//! Recognises files that are given as data but cannot be read as data, and advises how to proceed.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use crate::named_file;

/// Bytes that are enough to recognise a kind of file. 512 of them are the header of a tar archive,
/// even if it is compressed.
const START: u64 = 4096;
/// Bytes of a JSON file in which the names of its fields are searched.
const JSON_START: u64 = 1 << 16;

/// A kind of file, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileKind {
    /// A description of the kind.
    pub what: &'static str,
    /// Advice on how to proceed.
    pub advice: &'static str,
}

impl fmt::Display for FileKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "is {}; {}", self.what, self.advice)
    }
}

const fn kind(what: &'static str, advice: &'static str) -> Option<FileKind> {
    Some(FileKind { what, advice })
}

const SAVE_AS_CSV: &str = "save it as CSV (UTF-8) and name that file";
const WRITE_CSV: &str = "write it as CSV, for example with pandas (`read_parquet(IN).to_csv(OUT, \
    index=False)`); \
                         images in it must become files first";
const WRITE_FILES: &str = "write its images to files, with a folder for each class";
const TABLE: &str = "write a table with the columns path and label (.csv or .jsonl)";
const JSON_LINES: &str = "write a JSON object with a path and a label on each line (.jsonl), for \
    example with `jq -c '.[]'`";
const BOXES: &str = "it says where objects are; write one label for each image, in a table with \
    the columns path and label";

/// The first bytes of a file: at most 4,096, or all if it is shorter.
///
/// # Errors
///
/// If it cannot be read.
pub fn start_of(path: &Path) -> io::Result<Vec<u8>> {
    start_up_to(path, START)
}

fn start_up_to(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    named_file::open(path)?.take(bytes).read_to_end(&mut start)?;
    Ok(start)
}

impl FileKind {
    /// The kind of a regular file that begins with `start`, if it is an archive, a table or an
    /// export that cannot be read as data and so cannot be an image.
    pub fn of_data(path: &Path, start: &[u8]) -> Option<Self> {
        if let Some(kind) = by_magic(start) {
            return Some(kind);
        }
        let text = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start).trim_ascii_start();
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        let extension =
            extension.as_ref().and_then(|extension| extension.to_str()).unwrap_or_default();
        match (text, extension) {
            ([b'{' | b'[', ..], _) => {
                Some(json(&start_up_to(path, JSON_START).unwrap_or_default()))
            }
            ([b'<', ..], "xml") => kind("an XML file (of Pascal VOC or CVAT?)", BOXES),
            (_, "yaml" | "yml") => {
                kind("a YAML file (of a YOLO data set?)", "name the folder of images instead")
            }
            (_, "tfrecord" | "tfrecords") => kind("a TFRecord file", WRITE_FILES),
            (_, "mdb") => kind("an LMDB or Access database", WRITE_FILES),
            _ => None,
        }
    }

    /// The kind of a file that is named like a table but has other content. (The content is given,
    /// because a pipe cannot be read twice.)
    pub fn of_table(content: &[u8], json_lines: bool) -> Option<Self> {
        if let Some(kind) = by_magic(content) {
            return Some(kind);
        }
        match content.trim_ascii_start() {
            [b'P', b'K', 3, 4, ..] => of_zip_content(io::Cursor::new(content)).or(kind(
                "a ZIP archive",
                "name it with the extension .zip, or save it as CSV if it is a workbook",
            )),
            [b'[', ..] if json_lines => {
                kind("one JSON list, not a JSON object on each line", JSON_LINES)
            }
            [b'{' | b'[', ..] if !json_lines => {
                Some(json(&content[..content.len().min(JSON_START as usize)]))
            }
            [b'<', ..] => {
                kind("a web page or XML text (a download that failed?)", "get the table itself")
            }
            _ => None,
        }
    }
}

/// The kind of a file by its first bytes alone, if it is an archive, a table or an export that
/// cannot be read.
pub fn by_magic(start: &[u8]) -> Option<FileKind> {
    let has =
        |place: usize, magic: &[u8]| start.get(place..).is_some_and(|rest| rest.starts_with(magic));
    match start {
        [b'7', b'z', 0xBC, 0xAF, 0x27, 0x1C, ..] => {
            kind("a 7z archive", "unpack it (`7z x FILE`) and name the folder")
        }
        [b'R', b'a', b'r', b'!', 0x1A, 7, ..] => {
            kind("a RAR archive", "unpack it (`unrar x FILE`) and name the folder")
        }
        [b'B', b'Z', b'h', b'1'..=b'9', ..] if has(4, b"\x31\x41\x59\x26\x53\x59") => kind(
            "compressed with bzip2",
            "unpack it (`tar -xjf FILE` if it is a .tar.bz2) and name the folder",
        ),
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => kind(
            "compressed with xz",
            "unpack it (`tar -xJf FILE` if it is a .tar.xz) and name the folder",
        ),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => kind(
            "compressed with zstd",
            "unpack it (`tar --zstd -xf FILE` if it is a .tar.zst) and name the folder",
        ),
        [0x04, 0x22, 0x4D, 0x18, ..] => {
            kind("compressed with lz4", "unpack it (`lz4 -d FILE`) and name the folder")
        }
        [0x1F, 0x8B, ..] => kind(
            "compressed with gzip, but no tar archive",
            "unpack it (`gunzip FILE`) and name the result",
        ),
        [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1, ..] => {
            kind("an Excel workbook (.xls) or another old Office file", SAVE_AS_CSV)
        }
        [b'P', b'A', b'R', b'1', ..] => kind("a Parquet file", WRITE_CSV),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] | [b'F', b'E', b'A', b'1', ..] => {
            kind("an Arrow (Feather) file", WRITE_CSV)
        }
        [0xFF, 0xFF, 0xFF, 0xFF, ..] if has(8, b"\x10\0\0\0") => {
            kind("a stream of Arrow tables", WRITE_CSV)
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => kind("a NumPy array", WRITE_FILES),
        [0x89, b'H', b'D', b'F', ..] => kind("an HDF5 file", WRITE_FILES),
        _ if has(0, b"SQLite format 3\0") => kind("an SQLite database", WRITE_CSV),
        _ if has(0, b"MATLAB 5.0 MAT-file") => kind("a MATLAB file", WRITE_FILES),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => kind("UTF-16 text", "save it as UTF-8 text"),
        _ => None,
    }
}

/// The kind of document that a ZIP file is. `None` if it is an ordinary archive, or damaged.
pub fn of_zip(path: &Path) -> Option<FileKind> {
    of_zip_content(io::BufReader::new(named_file::open(path).ok()?))
}

fn of_zip_content(content: impl Read + io::Seek) -> Option<FileKind> {
    let archive = zip::ZipArchive::new(content).ok()?;
    let has = |name: &str| archive.index_for_name(name).is_some();
    if has("xl/workbook.xml") || has("xl/workbook.bin") {
        kind("an Excel workbook", SAVE_AS_CSV)
    } else if has("content.xml") && has("mimetype") {
        kind("an OpenDocument spreadsheet or text", SAVE_AS_CSV)
    } else if has("word/document.xml") || has("ppt/presentation.xml") {
        kind("a Word or PowerPoint document", "save its images as files")
    } else if !archive.is_empty() && archive.file_names_raw().all(|name| name.ends_with(b".npy")) {
        kind("a NumPy archive (.npz)", WRITE_FILES)
    } else if archive
        .file_names_raw()
        .any(|name| name == b"data.pkl" || name.ends_with(b"/data.pkl"))
    {
        kind("a PyTorch file", "name it with --weights, and images as data")
    } else {
        None
    }
}

/// Recognises the exports of annotation programs by their field names. (They are large, so `start`
/// is only their beginning.)
fn json(start: &[u8]) -> FileKind {
    let has = |name: &str| {
        let quoted = format!("\"{name}\"");
        start.windows(quoted.len()).any(|window| window == quoted.as_bytes())
    };
    let list = start.trim_ascii_start().starts_with(b"[");
    let found = if has("images")
        && (has("annotations") || has("categories") || has("licenses") || has("info"))
    {
        kind("a JSON file that looks like COCO's", BOXES)
    } else if has("annotation_id") || has("annotations") && has("data") || has("completions") {
        kind(
            "a JSON file that looks like an export of Label Studio",
            "write a table with the columns path (of your own image files) and label",
        )
    } else if has("_via_img_metadata") || has("regions") {
        kind("a JSON file that looks like an export of the VGG Image Annotator", TABLE)
    } else if has("shapes") && has("imagePath") {
        kind("a JSON file that looks like an export of LabelMe", TABLE)
    } else if list {
        kind("a JSON file", JSON_LINES)
    } else {
        kind("a JSON file", TABLE)
    };
    found.unwrap_or(FileKind { what: "a JSON file", advice: TABLE })
}
