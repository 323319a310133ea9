//! Tables of images: CSV, TSV and JSON lines with the columns `path`, `label` and `split`, and
//! plain lists of paths.

mod columns;
mod delimited;
mod fields;
mod json_lines;
mod one_hot;

use std::path::{Path, PathBuf};

use crate::error::CatalogueError;
use crate::file_kind::FileKind;
use crate::named_file::{self, MAX_TABLE_BYTES};
use crate::split_name::Split;

/// Names of tables that label the images in their folder, as in Hugging Face's `imagefolder`.
pub const METADATA_NAMES: [&str; 2] = ["metadata.csv", "metadata.jsonl"];

/// Whether a file has the name of such a table.
pub fn is_metadata(path: &Path) -> bool {
    path.file_name().is_some_and(|name| METADATA_NAMES.iter().any(|&known| name == known))
}

/// The format of a file that lists images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// Columns with this byte as the delimiter.
    Columns(u8),
    /// A JSON object on each line.
    JsonLines,
    /// A path on each line and nothing else.
    List,
}

impl TableKind {
    /// The format by the file's extension.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_lowercase().as_str() {
            "csv" => Some(Self::Columns(b',')),
            "tsv" => Some(Self::Columns(b'\t')),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "txt" | "lst" => Some(Self::List),
            _ => None,
        }
    }
}

/// The content of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its rows.
    pub rows: Vec<Row>,
    /// Notes for the user about its columns, one sentence each.
    pub notes: Vec<String>,
    /// The reason why no row has a label, if it is known.
    pub unlabelled: Option<CatalogueError>,
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The line, counted from 1.
    pub line: u64,
    /// The image's path as written in the table.
    pub path: String,
    /// The path that may be meant if no file has that name: with or without blanks at its ends.
    pub other: Option<String>,
    /// Its class, if the table has such a column. May be empty.
    pub label: Option<String>,
    /// Its split, if the table has such a column and the row has a value.
    pub split: Option<Split>,
    /// Whether the table calls its split `eval`.
    pub is_eval: bool,
}

/// Reads a table. Blank lines are skipped.
///
/// # Errors
///
/// If it cannot be read, is not UTF-8 text, has no column of paths, or has an invalid line.
pub fn read(path: &Path) -> Result<Table, CatalogueError> {
    let bytes = named_file::read(path, MAX_TABLE_BYTES).map_err(|error| {
        CatalogueError::Unreadable { path: path.to_path_buf(), message: error.to_string() }
    })?;
    // Windows programs put a byte order mark at the start of a text.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let kind = TableKind::of(path).unwrap_or(TableKind::List);
    if let Some(other) = FileKind::of_table(bytes, kind == TableKind::JsonLines) {
        return Err(CatalogueError::NotData { path: path.to_path_buf(), kind: other });
    }
    match kind {
        TableKind::Columns(delimiter) => delimited::read(path, bytes, delimiter),
        TableKind::JsonLines => json_lines::read(path, bytes),
        TableKind::List => read_list(path, bytes),
    }
}

/// Whether a table that [`read`] refuses nevertheless has columns of paths and labels.
pub fn names_labels(path: &Path) -> bool {
    let Ok(bytes) = named_file::read(path, MAX_TABLE_BYTES) else { return false };
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    match TableKind::of(path) {
        Some(TableKind::Columns(delimiter)) => delimited::names_labels(path, bytes, delimiter),
        Some(TableKind::JsonLines) => json_lines::names_labels(bytes),
        Some(TableKind::List) | None => false,
    }
}

fn read_list(table: &Path, bytes: &[u8]) -> Result<Table, CatalogueError> {
    let mut rows = Vec::new();
    for (line, text) in fields::lines(bytes) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let text =
            std::str::from_utf8(text).map_err(|_| line_error(table, line, "is not UTF-8 text"))?;
        if rows.is_empty() && delimited::is_header(text) {
            let message = "names the columns of a table; give the file the extension .csv or .tsv";
            return Err(line_error(table, line, message));
        }
        let path = Text { written: text.to_owned(), exact: true };
        rows.push(row(table, RawRow { line, path, label: None, split: None })?);
    }
    Ok(Table { rows, notes: Vec::new(), unlabelled: None })
}

/// A value of a row.
struct Text {
    written: String,
    /// Whether blanks at its ends belong to it: it is quoted, or the format has no blanks around
    /// values.
    exact: bool,
}

struct RawRow {
    line: u64,
    path: Text,
    label: Option<Text>,
    split: Option<String>,
}

/// Characters that no path or label may contain. A value with one of them was probably joined from
/// several lines.
pub const LINE_BREAKS: [char; 8] =
    ['\n', '\r', '\0', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'];

fn row(table: &Path, raw: RawRow) -> Result<Row, CatalogueError> {
    let RawRow { line, path, label, split } = raw;
    let label = label
        .map(|label| if label.exact { label.written } else { label.written.trim().to_owned() });
    for (what, text) in
        [("path", Some(&path.written)), ("label", label.as_ref()), ("split", split.as_ref())]
    {
        if let Some(text) = text
            && text.contains(LINE_BREAKS)
        {
            let start: String = text.chars().take(40).collect();
            let message =
                format!("its {what} holds a line break ({start:?}...): is a quote missing?");
            return Err(line_error(table, line, &message));
        }
    }
    let trimmed = path.written.trim();
    if trimmed.is_empty() {
        return Err(line_error(table, line, "has no path"));
    }
    if let Some(scheme) = scheme(trimmed) {
        let message = format!(
            "its path is an address ({scheme}://...), and addresses are not fetched: download the \
             image and name its file"
        );
        return Err(line_error(table, line, &message));
    }
    let trimmed = (trimmed != path.written).then(|| trimmed.to_owned());
    let (path, other) = match trimmed {
        Some(trimmed) if path.exact => (path.written, Some(trimmed)),
        Some(trimmed) => (trimmed, Some(path.written)),
        None => (path.written, None),
    };
    let is_eval = split.as_deref().is_some_and(Split::is_eval);
    let split = match split.as_deref().map(str::trim) {
        None | Some("") => None,
        Some(word) => Some(Split::of(word).ok_or_else(|| {
            line_error(table, line, &format!("the split {word:?} is not train, val or test"))
        })?),
    };
    Ok(Row { line, path, other, label, split, is_eval })
}

/// The scheme of an address such as `https://host/a.jpg` (RFC 3986, 3.1).
fn scheme(path: &str) -> Option<&str> {
    let (scheme, _) = path.split_once("://")?;
    let is_scheme = scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some(scheme)
}

impl Row {
    /// The ways to read its path, the likeliest first: as written, with or without blanks at its
    /// ends, and each with `/` for `\`.
    pub fn spellings(&self) -> impl Iterator<Item = String> {
        let direct = [Some(&self.path), self.other.as_ref()].into_iter().flatten();
        let slashes = |path: &&String| path.contains('\\');
        direct.clone().cloned().chain(direct.filter(slashes).map(|path| path.replace('\\', "/")))
    }

    /// The first of its spellings that exists, relative to the table's folder, or the first of all.
    pub fn file(&self, table: &Path) -> PathBuf {
        let folder = table.parent().unwrap_or(Path::new(""));
        let direct = folder.join(&self.path);
        if self.other.is_none() && !self.path.contains('\\') {
            return direct;
        }
        self.spellings().map(|path| folder.join(path)).find(|path| path.exists()).unwrap_or(direct)
    }
}

fn line_error(path: &Path, line: u64, message: &str) -> CatalogueError {
    CatalogueError::Line { path: path.to_path_buf(), line, message: message.to_owned() }
}

/// The names in a row; if there are many, only the first ones.
fn short(names: &[String], shown: usize) -> String {
    let more = if names.len() > shown {
        format!(" and {} more", names.len() - shown)
    } else {
        String::new()
    };
    format!("{}{more}", names[..names.len().min(shown)].join(", "))
}
