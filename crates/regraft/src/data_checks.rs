//! Quick checks of a run's images: copies in several splits or classes by their hashes, and the
//! sizes of classes.

use std::collections::{BTreeMap, HashMap};

/// A run notes it if the largest class has this many times the training images of the smallest.
pub(crate) const IMBALANCED: f64 = 5.0;

/// One file that a run uses.
pub(crate) struct Listed<'a> {
    /// `train`, or another part.
    pub part: &'a str,
    pub class: &'a str,
    /// Hash of the file.
    pub hash: &'a str,
    pub path: &'a str,
}

/// Notes on files that are in several parts or classes, and on classes of very different sizes.
pub(crate) fn quick_notes<'a>(files: impl Iterator<Item = Listed<'a>>) -> Vec<String> {
    let mut by_hash: HashMap<&str, Vec<Listed<'a>>> = HashMap::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut order = Vec::new();
    for file in files {
        *counts.entry(file.class).or_default() += usize::from(file.part == "train");
        let same = by_hash.entry(file.hash).or_default();
        if same.is_empty() {
            order.push(file.hash);
        }
        same.push(file);
    }
    // For each hash the first file, and the first other one that differs from it.
    let across = |differ: fn(&Listed<'_>, &Listed<'_>) -> bool| -> Vec<(&str, &str)> {
        let groups = order.iter().filter_map(|hash| by_hash[hash].split_first());
        groups
            .filter_map(|(first, rest)| {
                Some((first.path, rest.iter().find(|other| differ(first, other))?.path))
            })
            .collect()
    };
    let mut notes = Vec::new();
    let leaks = across(|first, other| first.part != other.part);
    if let Some((first, other)) = leaks.first() {
        notes.push(format!(
            "{} in two parts of the data, such as {first} and {other}, so the scores are too high; \
             see `regraft audit`",
            files_are(leaks.len())
        ));
    }
    let conflicts = across(|first, other| first.class != other.class);
    if let Some((first, other)) = conflicts.first() {
        notes.push(format!(
            "{} in two classes, such as {first} and {other}: one of the labels is wrong; see \
             `regraft audit`",
            files_are(conflicts.len())
        ));
    }
    let most = counts.iter().max_by_key(|(_, count)| **count);
    if let (Some((large, &most)), Some((small, &least))) =
        (most, counts.iter().min_by_key(|(_, count)| **count))
        && most as f64 >= least as f64 * IMBALANCED
    {
        notes.push(format!(
            "the classes are imbalanced: {large} has {most} training images, {small} has {least}"
        ));
    }
    notes
}

fn files_are(count: usize) -> String {
    if count == 1 { "1 file is".to_owned() } else { format!("{count} files are") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(files: &[[&str; 4]]) -> Vec<String> {
        quick_notes(files.iter().map(|&[part, class, hash, path]| Listed {
            part,
            class,
            hash,
            path,
        }))
    }

    #[test]
    fn copies_across_parts_and_classes_and_imbalance_are_said() {
        let clean = [
            ["train", "a", "1", "t/a/1"],
            ["train", "b", "2", "t/b/2"],
            ["test", "a", "3", "e/a/3"],
        ];
        assert_eq!(notes(&clean), Vec::<String>::new());
        let bad = [
            ["train", "a", "1", "t/a/1"],
            ["train", "b", "2", "t/b/2"],
            ["test", "b", "1", "e/b/3"],
        ];
        let more = ["4", "5", "6", "7"].map(|hash| ["train", "a", hash, "t/a/n"]);
        let notes = notes(&[&bad[..], &more].concat());
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(
            notes[0].starts_with("1 file is in two parts") && notes[0].contains("t/a/1 and e/b/3"),
            "{notes:?}"
        );
        assert!(notes[1].starts_with("1 file is in two classes"), "{notes:?}");
        assert!(notes[2].contains("a has 5 training images, b has 1"), "{notes:?}");
    }
}
