//! The list of files that training does better without: what `train --exclude` takes.

use super::Audit;
use crate::report::escape::csv_quoted;
use std::collections::HashSet;

/// CSV with the columns `path` and `reason`, a line for each file: what cannot be read or is blank, of copies all but one, of
/// leaks the picture that trains, and all training copies of a picture that has several labels. Suspect labels and outliers are
/// for a person to judge and are not in it.
#[must_use]
pub fn fix_list(audit: &Audit) -> String {
    let mut named = HashSet::new();
    let mut rows = Vec::new();
    let mut add = |path: &str, reason: String| {
        if named.insert(path.to_owned()) {
            rows.push((path.to_owned(), reason));
        }
    };
    audit.unreadable.iter().for_each(|file| add(&file.path, format!("unreadable: {}", file.reason)));
    audit.oddities.iter().filter(|odd| odd.kind == "blank").for_each(|odd| add(&odd.path, "blank".to_owned()));
    let evaluated: HashSet<&str> = audit.leakage.iter().map(|leak| leak.eval.as_str()).collect();
    let is_leak = |paths: &[String]| paths.iter().any(|path| evaluated.contains(path.as_str()));
    for conflict in &audit.label_conflicts {
        // Where one copy is scored it stays: which label is right cannot be told, but the score can no longer be learned by heart.
        for path in conflict.paths.iter().filter(|path| !is_leak(&conflict.paths) || !evaluated.contains(path.as_str())) {
            add(path, format!("label conflict: the same picture is {}", conflict.labels.join(", ")));
        }
    }
    for group in &audit.duplicates {
        if is_leak(&group.paths) {
            for path in group.paths.iter().filter(|path| !evaluated.contains(path.as_str())) {
                add(path, format!("leakage: {} copy of a picture that is scored on", group.kind));
            }
        } else {
            let original = &group.paths[0];
            group.paths[1..].iter().for_each(|path| add(path, format!("{} duplicate of {original}", group.kind)));
        }
    }
    let lines = rows.iter().map(|(path, reason)| format!("{},{}\n", csv_quoted(path), csv_quoted(reason)));
    std::iter::once("path,reason\n".to_owned()).chain(lines).collect()
}
