//! An audit as text for the terminal.

use super::Audit;
use crate::data_checks::IMBALANCED;
use crate::report::table::{aligned, printable};
use std::fmt::Write;

/// Findings of a kind that are listed.
const LISTED: usize = 10;

/// What was found: the counts, then each kind of finding with its first ten.
#[must_use]
pub fn table(audit: &Audit) -> String {
    let mut rows = vec![["class", "train", "val", "test"].map(str::to_owned).to_vec()];
    for count in &audit.counts {
        let numbers = [count.train, count.val, count.test].map(|number| number.to_string());
        rows.push(std::iter::once(printable(&count.class)).chain(numbers).collect());
    }
    let mut text = aligned(&rows, &[0]);
    if let Some(imbalance) = audit.imbalance.filter(|&imbalance| imbalance >= IMBALANCED) {
        let _ = writeln!(
            text,
            "\nimbalanced: the largest class has {imbalance:.0} training pictures for each of the \
             smallest"
        );
    }
    for section in sections(audit) {
        let _ = writeln!(text, "\n{}: {}", section.title, section.findings.len());
        for finding in section.findings.iter().take(LISTED) {
            let paths: Vec<String> = finding.paths.iter().map(|path| printable(path)).collect();
            let remark = if finding.remark.is_empty() {
                String::new()
            } else {
                format!("  ({})", printable(&finding.remark))
            };
            let _ = writeln!(text, "  {}{remark}", paths.join("\n    = "));
        }
        if section.findings.len() > LISTED {
            let _ = writeln!(
                text,
                "  and {} more: see --json or --html",
                section.findings.len() - LISTED
            );
        }
    }
    let is_clean = sections(audit).next().is_none();
    let verdict = if is_clean { "nothing was found" } else { "" };
    let _ = write!(
        text,
        "\n{} files audited{}{verdict}",
        audit.images,
        if is_clean { ": " } else { "" }
    );
    text
}

/// A kind of finding.
pub(super) struct Section {
    pub title: &'static str,
    /// What it means.
    pub meaning: &'static str,
    pub findings: Vec<Finding>,
}

/// One finding.
pub(super) struct Finding {
    pub paths: Vec<String>,
    pub remark: String,
}

/// The kinds of which something was found, the worst first.
pub(super) fn sections(audit: &Audit) -> impl Iterator<Item = Section> {
    let one = |path: &String, remark: String| Finding { paths: vec![path.clone()], remark };
    let leaks = audit.leakage.iter().map(|leak| Finding {
        paths: vec![leak.train.clone(), leak.eval.clone()],
        remark: leak.kind.to_owned(),
    });
    let conflicts = audit.label_conflicts.iter().map(|conflict| Finding {
        paths: conflict.paths.clone(),
        remark: format!("{}: {}", conflict.kind, conflict.labels.join(", ")),
    });
    let copies = audit
        .duplicates
        .iter()
        .map(|group| Finding { paths: group.paths.clone(), remark: group.kind.to_owned() });
    let suspects = audit.suspect_labels.iter().flatten().map(|suspect| {
        one(
            &suspect.path,
            format!("{}, likely {}, {:.2}", suspect.given, suspect.likely, suspect.score),
        )
    });
    let outliers = audit
        .outliers
        .iter()
        .flatten()
        .map(|outlier| one(&outlier.path, format!("{}, {:.2}", outlier.class, outlier.score)));
    let odd =
        audit.oddities.iter().map(|odd| one(&odd.path, format!("{}: {}", odd.kind, odd.detail)));
    let all = [
        (
            "unreadable",
            "No readable pictures; training stops at them.",
            audit.unreadable.iter().map(|file| one(&file.path, file.reason.clone())).collect(),
        ),
        ("leakage", "Pictures that are learned from and scored on.", leaks.collect()),
        ("label conflicts", "The same picture under different classes.", conflicts.collect()),
        ("duplicates", "Files that show the same picture.", copies.collect::<Vec<_>>()),
        (
            "suspect labels",
            "Likely of another class; the number says how much more probable that is.",
            suspects.collect(),
        ),
        ("outliers", "Far from all other pictures.", outliers.collect()),
        ("oddities", "Worth a look.", odd.collect()),
    ];
    let sections = all.map(|(title, meaning, findings)| Section { title, meaning, findings });
    sections.into_iter().filter(|section| !section.findings.is_empty())
}
