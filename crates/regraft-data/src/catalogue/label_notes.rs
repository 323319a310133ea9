//! Notes on labels of a table that may not mean what they say: numbers written in two ways, and
//! words for a missing value. (`class_names` has the notes on words written in two ways, for
//! folders too.)

use crate::shown::shown;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Number of pairs of labels that a note lists.
const SHOWN: usize = 5;

/// The reason if a label is a missing value rather than a class: no class has such a name.
pub fn missing(label: &str) -> Option<&'static str> {
    match label.to_lowercase().as_str() {
        "nan" | "<na>" | "#n/a" => {
            Some("which is how programs write a missing value; give it a label or remove the line")
        }
        _ => None,
    }
}

/// Notes on labels, one sentence each. The labels stay separate classes, because a program cannot
/// know which of them were meant to be the same.
pub fn of<'a>(table: &Path, labels: impl Iterator<Item = &'a str>) -> Vec<String> {
    let labels: BTreeSet<&str> = labels.collect();
    let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for &label in &labels {
        if let Some(value) = value(label) {
            alike.entry(value).or_default().push(label);
        }
    }
    let table = shown(table);
    let mut notes = Vec::new();
    let groups: Vec<String> = (alike.values().filter(|labels| labels.len() > 1))
        .map(|labels| {
            labels.iter().map(|label| format!("{label:?}")).collect::<Vec<_>>().join(" and ")
        })
        .collect();
    if !groups.is_empty() {
        let more = if groups.len() > SHOWN {
            format!("; and {} more", groups.len() - SHOWN)
        } else {
            String::new()
        };
        notes.push(format!(
            "{table}: these labels are the same number but different classes: {}{more}. If they \
             mean the same, \
             write them in one way.",
            groups[..groups.len().min(SHOWN)].join("; ")
        ));
    }
    let may_be_absent = |label: &&&str| {
        matches!(label.to_lowercase().as_str(), "none" | "null" | "na" | "n/a" | "-" | "?")
    };
    let absent: Vec<String> =
        labels.iter().filter(may_be_absent).map(|label| format!("{label:?}")).collect();
    if !absent.is_empty() {
        notes.push(format!(
            "{table}: {} is a class of its own. If it means a missing label, remove its lines.",
            absent.join(" and ")
        ));
    }
    let joined: Vec<String> = joined(&labels).iter().map(|label| format!("{label:?}")).collect();
    if !joined.is_empty() {
        let more = if joined.len() > SHOWN {
            format!(" and {} more", joined.len() - SHOWN)
        } else {
            String::new()
        };
        notes.push(format!(
            "{table}: these labels look like several classes joined, but each is a class of its \
             own: {}{more}. Each image has \
             exactly one class; images with several labels are not supported.",
            joined[..joined.len().min(SHOWN)].join(", ")
        ));
    }
    notes
}

/// Labels such as `cat|dog` whose parts all occur in other labels, alone or joined.
fn joined<'a>(labels: &BTreeSet<&'a str>) -> Vec<&'a str> {
    let parts = |label: &'a str| {
        label
            .split([',', '|', ';'])
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect::<BTreeSet<_>>()
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for part in labels.iter().flat_map(|&label| parts(label)) {
        *counts.entry(part).or_default() += 1;
    }
    let is_joined = |label: &&'a str| {
        let parts = parts(label);
        parts.len() > 1 && parts.iter().all(|part| counts[part] > 1)
    };
    labels.iter().copied().filter(is_joined).collect()
}

/// A number that is a label in canonical form; `None` if the label is not a number.
fn value(label: &str) -> Option<String> {
    let label = label.trim();
    let is_number = label.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let number: f64 = label.parse().ok().filter(|_| is_number)?;
    // Larger integers may have the same value as another one. Adding zero turns -0 into 0.
    (number.abs() < 2f64.powi(53)).then(|| format!("{}", number + 0.0))
}
