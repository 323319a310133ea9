//! Tables with a delimiter between their columns: CSV and TSV.

use std::collections::BTreeSet;
use std::path::Path;

use super::columns::{self, Chosen, Unused};
use super::fields::{Field, QuoteError, Record, Records};
use super::one_hot::{Labels, OneHot};
use super::{LINE_BREAKS, RawRow, Table, Text, line_error, row, short};
use crate::error::CatalogueError;
use crate::shown::shown;

/// Delimiters to try if, with that of the extension, the header names no column of paths.
const DELIMITERS: [u8; 4] = [b',', b'\t', b';', b'|'];
/// Number of columns that an error lists.
const SHOWN: usize = 20;

/// Reads the rows below a header.
pub fn read(table: &Path, bytes: &[u8], delimiter: u8) -> Result<Table, CatalogueError> {
    let text = text(table, bytes)?;
    let mut notes = Vec::new();
    let (text, skipped, delimiter) = match spreadsheet_delimiter(text) {
        Some((rest, delimiter)) => (rest, 1, delimiter),
        None => (text, 0, delimiter),
    };
    let failed = |error: QuoteError| {
        quote_error(
            table,
            QuoteError {
                line: error.line + skipped,
                closed: error.closed.map(|line| line + skipped),
            },
        )
    };
    let (header, delimiter) = header(text, delimiter, &mut notes, table).map_err(failed)?;
    let names: Vec<String> =
        header.fields.iter().map(|field| field.text.trim().to_owned()).collect();
    let chosen = Chosen::of(names.iter().map(String::as_str));
    if let Some(name) = chosen.twice {
        let message = format!("has two columns called {name:?}; rename one");
        return Err(line_error(table, header.line + skipped, &message));
    }
    let hint = columns::export_advice(&names);
    let no_column = |wanted| {
        let (path, hint) = (table.to_path_buf(), hint.unwrap_or_default());
        CatalogueError::NoColumn { path, wanted, found: short(&names, SHOWN), hint }
    };
    let Some(path) = chosen.path else {
        return Err(no_column("paths"));
    };

    let others = || names.iter().enumerate().filter(|&(place, _)| !chosen.uses(place));
    let mut unused: Vec<(usize, Unused)> =
        others().map(|(place, name)| (place, Unused::new(name))).collect();
    // Exports of annotation programs have columns of zeros and ones too.
    let is_one_hot = hint.is_none();
    let can_be_class = |name: &str| {
        let is_other = chosen.label.is_some() && columns::is_split_like(name);
        !name.is_empty() && !name.contains(LINE_BREAKS) && !is_other
    };
    let classes =
        others().filter(|(_, name)| can_be_class(name)).map(|(place, name)| (place, name.clone()));
    let mut one_hot = is_one_hot.then(|| OneHot::new(classes.collect()));
    let mut several_lines = None;
    let mut rows = Vec::new();
    let needed =
        [Some(path), chosen.label, chosen.split].into_iter().flatten().max().unwrap_or_default()
            + 1;
    for record in Records::new(text, delimiter)
        .skip_while(|record| record.as_ref().is_ok_and(|record| record.line <= header.line))
    {
        let record = record.map_err(failed)?;
        if record.is_blank() {
            continue;
        }
        let line = record.line + skipped;
        check_length(table, line, &record, names.len(), needed, delimiter)?;
        let value = |place: usize| record.fields.get(place).map_or("", |field| field.text.as_ref());
        for (place, column) in &mut unused {
            column.see(value(*place));
            if value(*place).contains(['\n', '\r']) {
                several_lines.get_or_insert((line, column.name.clone()));
            }
        }
        if let Some(one_hot) = &mut one_hot {
            one_hot.see(line, value);
        }
        let written = |place: usize| of_field(&record.fields[place], table, line, delimiter);
        let label = chosen.label.map(written).transpose()?;
        let split = chosen.split.map(|place| value(place).trim().to_owned());
        rows.push(row(table, RawRow { line, path: written(path)?, label, split })?);
    }

    let unused: Vec<Unused> = unused.into_iter().map(|(_, column)| column).collect();
    let name = shown(table).to_string();
    notes.extend(columns::notes(&name, &chosen, &unused));
    if let Some((line, column)) = several_lines {
        notes.push(format!(
            "{name}: from line {line} on, values of the column {column:?} take several lines. If \
             they should \
             not, a quote is missing there."
        ));
    }
    let mut read = Table { rows, notes, unlabelled: None };
    if chosen.label.is_none() {
        match one_hot.map_or(Labels::None, OneHot::labels) {
            Labels::None => read.unlabelled = Some(no_column("labels")),
            found => add_labels(table, &mut read, found),
        }
    } else if let (Some(one_hot), Some(label)) = (one_hot, &chosen.label_name) {
        let labels: BTreeSet<&str> =
            read.rows.iter().filter_map(|row| row.label.as_deref()).collect();
        if let Some(columns) = one_hot.beside(&labels) {
            read.notes.push(format!(
                "{name}: the labels are read from the column {label:?}. The columns {} of zeros \
                 and ones are ignored; \
                 remove {label:?} if they are the right ones.",
                short(&columns, SHOWN)
            ));
        }
    }
    Ok(read)
}

/// Adds labels from columns of zeros and ones.
fn add_labels(table: &Path, read: &mut Table, found: Labels) {
    match found {
        Labels::None => {}
        Labels::Each(labels, columns) => {
            read.rows.iter_mut().zip(labels).for_each(|(row, label)| row.label = Some(label));
            read.notes.push(format!(
                "{}: the columns {} hold a 1 in each row; it is read as the row's label.",
                shown(table),
                short(&columns, SHOWN)
            ));
        }
        Labels::Other { line, classes } => {
            let has = if classes.is_empty() { "none".to_owned() } else { classes.join(" and ") };
            let message = format!(
                "has a 1 in {has} of the columns of classes; each image needs exactly one class \
                 (images with several labels are not supported)"
            );
            read.unlabelled = Some(line_error(table, line, &message));
        }
    }
}

/// Whether the header names columns of paths and labels. A quote that is never closed may swallow
/// the rest of the text, including the first line, so that line is also read on its own.
pub fn names_labels(table: &Path, bytes: &[u8], delimiter: u8) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (text, delimiter) = spreadsheet_delimiter(&text).unwrap_or((&text, delimiter));
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    [text, first].into_iter().any(|text| {
        header(text, delimiter, &mut Vec::new(), table).is_ok_and(|(header, _)| {
            let chosen = Chosen::of(header.fields.iter().map(|field| field.text.as_ref()));
            chosen.path.is_some() && chosen.label.is_some()
        })
    })
}

/// Whether a line names the columns of a table, with any delimiter.
pub fn is_header(line: &str) -> bool {
    let names =
        |delimiter: u8| line.split(char::from(delimiter)).map(|name| name.trim_matches(['"', ' ']));
    let is_header =
        |delimiter| names(delimiter).count() > 1 && Chosen::of(names(delimiter)).path.is_some();
    DELIMITERS.into_iter().any(is_header)
}

fn text<'a>(table: &Path, bytes: &'a [u8]) -> Result<&'a str, CatalogueError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = super::fields::lines(&bytes[..error.valid_up_to()]).count() as u64;
        line_error(table, line, "is not UTF-8 text; save the table as UTF-8 text")
    })
}

/// Excel reads the delimiter from a first line such as `sep=;`.
fn spreadsheet_delimiter(text: &str) -> Option<(&str, u8)> {
    let (line, rest) = text.split_once('\n')?;
    let line = line.trim_end_matches('\r').trim_matches('"');
    match line.strip_prefix("sep=")?.as_bytes() {
        &[delimiter] if DELIMITERS.contains(&delimiter) => Some((rest, delimiter)),
        _ => None,
    }
}

/// The first line that is not blank, and the delimiter with which it names a column of paths; that
/// of the extension if there is none.
fn header<'a>(
    text: &'a str,
    delimiter: u8,
    notes: &mut Vec<String>,
    table: &Path,
) -> Result<(Record<'a>, u8), QuoteError> {
    let first = |delimiter| {
        let mut records = Records::new(text, delimiter);
        let blank = Record { line: 1, fields: Vec::new() };
        records
            .find(|record| record.as_ref().map_or(true, |record| !record.is_blank()))
            .unwrap_or(Ok(blank))
    };
    let has_paths = |record: &Record<'_>| {
        Chosen::of(record.fields.iter().map(|field| field.text.as_ref())).path.is_some()
    };
    let expected = first(delimiter);
    if expected.as_ref().is_ok_and(has_paths) {
        return Ok((expected?, delimiter));
    }
    for other in DELIMITERS.into_iter().filter(|&other| other != delimiter) {
        if let Ok(record) = first(other)
            && record.fields.len() > 1
            && has_paths(&record)
        {
            notes.push(format!(
                "{}: its columns are separated by {}.",
                shown(table),
                delimiter_name(other)
            ));
            return Ok((record, other));
        }
    }
    Ok((expected?, delimiter))
}

fn delimiter_name(delimiter: u8) -> &'static str {
    match delimiter {
        b',' => "commas",
        b'\t' => "tabs",
        b';' => "semicolons",
        _ => "vertical bars",
    }
}

/// If a row has more values than columns, its values have shifted; if it has fewer, a required
/// value may be missing.
fn check_length(
    table: &Path,
    line: u64,
    record: &Record<'_>,
    columns: usize,
    needed: usize,
    delimiter: u8,
) -> Result<(), CatalogueError> {
    let count = record.fields.len();
    let many = record.fields.iter().skip(columns).any(|field| !field.text.trim().is_empty());
    let message = if many {
        format!(
            "has {count} values, but the first line names {columns} columns; a value that holds \
             {} must \
             be in double quotes",
            match delimiter {
                b',' => "a comma",
                b'\t' => "a tab",
                b';' => "a semicolon",
                _ => "a vertical bar",
            }
        )
    } else if count < needed {
        format!("has {count} of {columns} values; add the rest or remove the line")
    } else {
        return Ok(());
    };
    Err(line_error(table, line, &message))
}

/// In TSV files a quote that does not close is text, but if a path or label begins with one, it was
/// probably cut in two.
fn of_field(
    field: &Field<'_>,
    table: &Path,
    line: u64,
    delimiter: u8,
) -> Result<Text, CatalogueError> {
    if delimiter == b'\t' && !field.quoted && field.text.trim_start().starts_with('"') {
        return Err(quote_error(table, QuoteError { line, closed: None }));
    }
    Ok(Text { written: field.text.clone().into_owned(), exact: field.quoted })
}

fn quote_error(table: &Path, error: QuoteError) -> CatalogueError {
    let advice = "a quote inside a quoted value is written twice (\"\")";
    let message = match error.closed {
        None => {
            format!("a quote opens a value here and never closes it; remove or close it ({advice})")
        }
        Some(line) => {
            let place = if line == error.line { String::new() } else { format!(" in line {line}") };
            format!(
                "a quote opens a value here, and text follows the quote that closes it{place}; \
                 {advice}"
            )
        }
    };
    line_error(table, error.line, &message)
}
