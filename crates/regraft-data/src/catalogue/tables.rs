//! Makes catalogues from tables.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Catalogue, CatalogueError, Labelled, Layout, Sample, composed, label_notes, split};
use crate::shown::shown;
use crate::split_name::Split;
use crate::table::{self, Row};

/// The split of each row by its path, which counts if the row itself names none.
pub type SplitsOf<'a> = dyn Fn(&[Row]) -> Vec<Option<Split>> + 'a;

/// For tables whose paths say nothing about splits.
pub fn no_splits(rows: &[Row]) -> Vec<Option<Split>> {
    vec![None; rows.len()]
}

/// A table's images as a data folder.
pub fn train(
    table: &Path,
    splits_of: &SplitsOf<'_>,
) -> Result<(Catalogue, Layout), CatalogueError> {
    let mut notes = Vec::new();
    let rows = labelled_rows(table, splits_of, &mut notes)?;
    let has_parts = rows.iter().any(|(row, _)| row.split.is_some());
    let without = rows.iter().filter(|(row, _)| row.split.is_none()).count();
    if has_parts && without > 0 {
        let rows = if without == 1 {
            "1 row has no split and is".to_owned()
        } else {
            format!("{without} rows have no split and are")
        };
        notes.push(format!("{}: {rows} in the training set.", shown(table)));
    }
    let (train, rest): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|(row, _)| matches!(row.split, None | Some(Split::Train)));
    let mut classes: Vec<String> = train.iter().map(|(_, label)| label.clone()).collect();
    classes.sort();
    classes.dedup();
    match &classes[..] {
        [] => {
            return Err(CatalogueError::EmptyTable {
                path: table.to_path_buf(),
                what: " to train on",
            });
        }
        [label] => {
            return Err(CatalogueError::OneLabel {
                path: table.to_path_buf(),
                label: label.clone(),
            });
        }
        _ => {}
    }
    let places = places(&classes);
    let mut catalogue = Catalogue { notes, ..Catalogue::empty(classes.clone()) };
    for (row, label) in train.into_iter().chain(rest) {
        let Some(&label) = places.get(&label) else {
            return Err(CatalogueError::UnknownLabel {
                path: table.to_path_buf(),
                line: row.line,
                class: label,
                known: classes,
            });
        };
        let part = match row.split {
            None | Some(Split::Train) => &mut catalogue.train,
            Some(Split::Validation) => &mut catalogue.validation,
            Some(Split::Test) => &mut catalogue.test,
        };
        part.push(Sample { path: row.file(table), label });
    }
    [&mut catalogue.train, &mut catalogue.validation, &mut catalogue.test]
        .into_iter()
        .for_each(|part| sort(part));
    let origin = |part: &[Sample]| (!part.is_empty()).then(|| shown(table).to_string());
    let layout = Layout {
        train: if has_parts { "the training set" } else { "the table" }.to_owned(),
        validation: origin(&catalogue.validation),
        test: origin(&catalogue.test),
        fraction: if has_parts { split::TRAIN_FRACTION } else { split::FLAT_FRACTION },
    };
    Ok((catalogue, layout))
}

/// A table's images for scoring.
pub fn labelled(table: &Path, splits_of: &SplitsOf<'_>) -> Result<Labelled, CatalogueError> {
    let mut notes = Vec::new();
    let mut rows = labelled_rows(table, splits_of, &mut notes)?;
    for (split, name) in
        [(Split::Test, "test"), (Split::Validation, "val"), (Split::Train, "train")]
    {
        if rows.iter().any(|(row, _)| row.split == Some(split)) {
            rows.retain(|(row, _)| row.split == Some(split));
            let lines = if rows.len() == 1 {
                "only the 1 line".to_owned()
            } else {
                format!("only the {} lines", rows.len())
            };
            notes.push(format!(
                "Of {} {lines} of the split {name} {}.",
                shown(table),
                if rows.len() == 1 { "counts" } else { "count" }
            ));
            break;
        }
    }
    let mut names: Vec<String> = rows.iter().map(|(_, label)| label.clone()).collect();
    names.sort();
    names.dedup();
    let places = places(&names);
    let mut samples: Vec<Sample> = rows
        .iter()
        .map(|(row, label)| Sample { path: row.file(table), label: places[label] })
        .collect();
    if samples.is_empty() {
        return Err(CatalogueError::EmptyTable { path: table.to_path_buf(), what: "" });
    }
    sort(&mut samples);
    let origins = vec![table.to_path_buf(); names.len()];
    let mut lines = vec![0; names.len()];
    rows.iter().rev().for_each(|(row, label)| lines[places[label] as usize] = row.line);
    Ok(Labelled { names, origins, lines, samples, ignored: Vec::new(), notes })
}

/// The lines with their labels. Of repeated lines one counts; contradictory lines are an error.
fn labelled_rows(
    table: &Path,
    splits_of: &SplitsOf<'_>,
    notes: &mut Vec<String>,
) -> Result<Vec<(Row, String)>, CatalogueError> {
    let error = |line, message| CatalogueError::Line { path: table.to_path_buf(), line, message };
    let read = table::read(table)?;
    notes.extend(read.notes);
    let rows = read.rows;
    if rows.is_empty() {
        return Err(CatalogueError::EmptyTable { path: table.to_path_buf(), what: "" });
    }
    if rows.iter().all(|row| row.label.is_none()) {
        return Err(read
            .unlabelled
            .unwrap_or(CatalogueError::NoLabels { path: table.to_path_buf() }));
    }
    if rows.iter().any(|row| row.is_eval) {
        notes.push(format!(
            "{}: eval is the test set; write val in its place if it should decide which epoch to \
             keep.",
            shown(table)
        ));
    }
    let mut seen: HashMap<PathBuf, (u64, String, Option<Split>)> = HashMap::new();
    let mut kept = Vec::with_capacity(rows.len());
    let mut repeated = 0;
    let by_path = splits_of(&rows);
    for (mut row, by_path) in rows.into_iter().zip(by_path) {
        row.split = row.split.or(by_path);
        let label = row.label.as_deref().map(composed);
        let Some(label) = label.filter(|label| !label.trim().is_empty()) else {
            return Err(error(
                row.line,
                format!("{} has no label; give it one or remove the line", row.path),
            ));
        };
        if let Some(what) = label_notes::missing(&label) {
            return Err(error(row.line, format!("{} has the label {label:?}, {what}", row.path)));
        }
        let path = row.file(table);
        match seen.get(&path) {
            Some((line, other, _)) if *other != label => {
                return Err(error(
                    row.line,
                    format!(
                        "{} is {label:?} here and {other:?} in line {line}; keep one",
                        row.path
                    ),
                ));
            }
            Some((line, _, split)) if *split != row.split => {
                return Err(error(
                    row.line,
                    format!("{} is in another part in line {line}; keep one", row.path),
                ));
            }
            Some(_) => repeated += 1,
            None => {
                seen.insert(path, (row.line, label.clone(), row.split));
                kept.push((row, label));
            }
        }
    }
    notes.extend(label_notes::of(table, kept.iter().map(|(_, label)| label.as_str())));
    if repeated > 0 {
        let table = shown(table);
        notes.push(match repeated {
            1 => format!("1 line of {table} repeats another and is ignored."),
            _ => format!("{repeated} lines of {table} repeat another and are ignored."),
        });
    }
    Ok(kept)
}

fn places(names: &[String]) -> HashMap<String, u32> {
    names.iter().cloned().zip(0..).collect()
}

/// The order of the lists: by class, then by path in byte order.
fn sort(samples: &mut [Sample]) {
    samples.sort_by(|left, right| {
        let bytes = |sample: &Sample| sample.path.as_os_str().as_encoded_bytes().to_vec();
        left.label.cmp(&right.label).then_with(|| bytes(left).cmp(&bytes(right)))
    });
}
