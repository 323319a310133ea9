//! The list of files that training does better without, for `train --exclude`.

use super::Audit;
use crate::report::escape::csv_quoted;
use regraft_data::catalogue::LINE_BREAKS;
use std::collections::HashSet;
use std::path::Path;

/// A list of files to leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixList {
    /// CSV with the columns `path` and `reason`, a row for each file.
    pub csv: String,
    /// Files that belong on it and cannot be written there: their names are not UTF-8, or hold a
    /// line break.
    pub unwritable: Vec<String>,
}

/// Lists files that cannot be read or are blank, of copies all but one, of leaks the image that
/// trains, and all training copies of an image that has several labels. Suspect labels and outliers
/// are for a person to judge and are not in it.
#[must_use]
pub fn fix_list(audit: &Audit) -> FixList {
    let mut named = HashSet::new();
    let mut rows = Vec::new();
    let mut add = |path: &str, reason: String| {
        if named.insert(path.to_owned()) {
            rows.push((path.to_owned(), reason));
        }
    };
    audit
        .unreadable
        .iter()
        .for_each(|file| add(&file.path, format!("unreadable: {}", file.reason)));
    audit
        .oddities
        .iter()
        .filter(|odd| odd.kind == "blank")
        .for_each(|odd| add(&odd.path, "blank".to_owned()));
    let evaluated: HashSet<&str> = audit.leakage.iter().map(|leak| leak.eval.as_str()).collect();
    let is_leak = |paths: &[String]| paths.iter().any(|path| evaluated.contains(path.as_str()));
    for conflict in &audit.label_conflicts {
        // Where one copy is scored it stays: which label is right cannot be told, but the score can
        // no longer be learned by heart.
        for path in conflict
            .paths
            .iter()
            .filter(|path| !is_leak(&conflict.paths) || !evaluated.contains(path.as_str()))
        {
            add(path, format!("label conflict: the same image is {}", conflict.labels.join(", ")));
        }
    }
    for group in &audit.duplicates {
        if is_leak(&group.paths) {
            for path in group.paths.iter().filter(|path| !evaluated.contains(path.as_str())) {
                add(path, format!("leakage: {} copy of an image that is scored on", group.kind));
            }
        } else {
            let original = &group.paths[0];
            group.paths[1..]
                .iter()
                .for_each(|path| add(path, format!("{} duplicate of {original}", group.kind)));
        }
    }
    let (rows, unwritable): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|(path, _)| is_writable(path));
    let lines =
        rows.iter().map(|(path, reason)| format!("{},{}\n", csv_quoted(path), csv_quoted(reason)));
    FixList {
        csv: std::iter::once("path,reason\n".to_owned()).chain(lines).collect(),
        unwritable: unwritable.into_iter().map(|(path, _)| path).collect(),
    }
}

/// Whether `train --exclude` finds the file by this text. An audit writes U+FFFD for bytes that are
/// not UTF-8.
fn is_writable(path: &str) -> bool {
    !path.contains(LINE_BREAKS) && (!path.contains('\u{fffd}') || Path::new(path).exists())
}
