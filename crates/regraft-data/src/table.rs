//! Tables of pictures: CSV, TSV and JSON lines with the columns `path`, `label` and `split`, and plain lists of paths.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::catalogue::CatalogueError;
use crate::split_name::Split;

/// Names of the column of paths, in lower case.
const PATH_COLUMNS: [&str; 7] = ["path", "file", "filename", "file_name", "filepath", "image", "image_path"];
/// Names of the column of classes.
const LABEL_COLUMNS: [&str; 5] = ["label", "class", "class_name", "category", "target"];
/// Names of the column of parts.
const SPLIT_COLUMNS: [&str; 4] = ["split", "set", "subset", "part"];

/// How a file lists pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// Columns with this byte between them.
    Columns(u8),
    /// A JSON object on each line.
    JsonLines,
    /// A path on each line, nothing else.
    List,
}

impl TableKind {
    /// By the file's extension.
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

/// A line of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The line, counted from 1.
    pub line: u64,
    /// The file's path as it is written there.
    pub path: String,
    /// Its class, where the table has that column.
    pub label: Option<String>,
    /// Its part, where the table has that column and the line a value.
    pub split: Option<Split>,
    /// Whether the table calls its part `eval`.
    pub is_eval: bool,
}

/// Reads a table. Lines without content are passed over.
///
/// # Errors
///
/// When it cannot be read, is not text in UTF-8, has no column of paths, or a line cannot be used.
pub fn read(path: &Path) -> Result<Vec<Row>, CatalogueError> {
    let bytes = std::fs::read(path)
        .map_err(|error| CatalogueError::Unreadable { path: path.to_path_buf(), message: error.to_string() })?;
    // What Windows programs put before a text.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    match TableKind::of(path) {
        Some(TableKind::Columns(delimiter)) => read_columns(path, bytes, delimiter),
        Some(TableKind::JsonLines) => read_json_lines(path, bytes),
        Some(TableKind::List) | None => read_list(path, bytes),
    }
}

fn read_columns(table: &Path, bytes: &[u8], delimiter: u8) -> Result<Vec<Row>, CatalogueError> {
    let failed = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        line_error(table, line, &format!("{error}; save the table as text in UTF-8"))
    };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).trim(csv::Trim::All).from_reader(bytes);
    let header = reader.headers().map_err(failed)?.clone();
    let column = |names: &[&str]| header.iter().position(|found| names.contains(&found.to_lowercase().as_str()));
    let found = || header.iter().collect::<Vec<_>>().join(", ");
    let of_kind = || header.iter().position(is_file_name_of);
    let Some(paths) = column(&PATH_COLUMNS).or_else(of_kind) else {
        return Err(CatalogueError::NoColumn { path: table.to_path_buf(), wanted: "paths", found: found() });
    };
    let (labels, splits) = (column(&LABEL_COLUMNS), column(&SPLIT_COLUMNS));
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(failed)?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.iter().all(str::is_empty) {
            continue;
        }
        let field = |column: Option<usize>| column.map(|column| record.get(column).unwrap_or_default().to_owned());
        rows.push(row(table, line, field(Some(paths)).unwrap_or_default(), field(labels), field(splits))?);
    }
    Ok(rows)
}

/// Hugging Face's names for columns of paths: `image_file_name` and any other `*_file_name`.
fn is_file_name_of(column: &str) -> bool {
    column.to_lowercase().ends_with("_file_name")
}

fn read_json_lines(table: &Path, bytes: &[u8]) -> Result<Vec<Row>, CatalogueError> {
    let mut rows = Vec::new();
    for (line, text) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let object: serde_json::Map<String, Value> =
            serde_json::from_slice(text).map_err(|error| line_error(table, line, &format!("is no JSON object ({error})")))?;
        let field = |names: &[&str]| object.iter().find(|(key, _)| names.contains(&key.to_lowercase().as_str()));
        let text = |field: Option<(&String, &Value)>| match field {
            None | Some((_, Value::Null)) => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text.trim().to_owned())),
            Some((_, Value::Number(number))) => Ok(Some(number.to_string())),
            Some((key, _)) => Err(line_error(table, line, &format!("{key} must be text or a number"))),
        };
        let of_kind = || object.iter().find(|(key, _)| is_file_name_of(key));
        let Some(path) = text(field(&PATH_COLUMNS).or_else(of_kind))? else {
            return Err(line_error(
                table,
                line,
                "has no path; each line needs one, such as {\"path\": \"a.jpg\", \"label\": \"cat\"}",
            ));
        };
        let label = text(field(&LABEL_COLUMNS))?;
        rows.push(row(table, line, path, label, text(field(&SPLIT_COLUMNS))?)?);
    }
    Ok(rows)
}

fn read_list(table: &Path, bytes: &[u8]) -> Result<Vec<Row>, CatalogueError> {
    let mut rows = Vec::new();
    for (line, text) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.trim_ascii().is_empty() {
            continue;
        }
        let text = std::str::from_utf8(text).map_err(|_| line_error(table, line, "is not text in UTF-8"))?;
        rows.push(row(table, line, text.to_owned(), None, None)?);
    }
    Ok(rows)
}

fn row(table: &Path, line: u64, path: String, label: Option<String>, split: Option<String>) -> Result<Row, CatalogueError> {
    if path.is_empty() {
        return Err(line_error(table, line, "has no path"));
    }
    if label.as_ref().is_some_and(String::is_empty) {
        return Err(line_error(table, line, &format!("{path} has no label; give it one or remove the line")));
    }
    let is_eval = split.as_deref().is_some_and(Split::is_eval);
    let split = match split.as_deref() {
        None | Some("") => None,
        Some(word) => Some(
            Split::of(word)
                .ok_or_else(|| line_error(table, line, &format!("the split {word:?} is none of train, val and test")))?,
        ),
    };
    Ok(Row { line, path, label, split, is_eval })
}

/// A path as a table means it: from the table's folder, with `\` for `/` where only so the file is there.
pub fn beside(table: &Path, path: &str) -> PathBuf {
    let folder = table.parent().unwrap_or(Path::new(""));
    let direct = folder.join(path);
    if path.contains('\\') && !direct.exists() { folder.join(path.replace('\\', "/")) } else { direct }
}

fn line_error(path: &Path, line: u64, message: &str) -> CatalogueError {
    CatalogueError::Line { path: path.to_path_buf(), line, message: message.to_owned() }
}
