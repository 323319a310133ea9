//! An audit as a document.

use super::Audit;
use super::thumbnails::Thumbnails;
use crate::data_checks::IMBALANCED;
use crate::report::document::{Block, Document, Finding, Gallery, Table, Thumbnail};
use regraft_data::decode::DecodeOptions;
use std::path::Path;

/// How much of an audit a document shows.
#[derive(Clone, Copy)]
struct Limits {
    /// Findings of a kind.
    findings: usize,
    /// Images of a finding.
    images: usize,
}

/// For the terminal: all images of the first findings.
const FEW: Limits = Limits { findings: 10, images: usize::MAX };
/// For a page, on which images take space.
const MANY: Limits = Limits { findings: 200, images: 12 };

/// An audit of `data` in short: the images of each class, and the first findings of each kind.
#[must_use]
pub fn audit_document(audit: &Audit, data: &Path) -> Document {
    document(audit, data, FEW, &Thumbnails::default())
}

/// An audit of `data` with small copies of the images, which are read as `options` say.
#[must_use]
pub fn audit_page(audit: &Audit, data: &Path, options: &DecodeOptions) -> Document {
    let shown = sections(audit).flat_map(|section| {
        let findings = section.findings.into_iter().take(MANY.findings);
        findings.flat_map(|(paths, _)| paths.into_iter().take(MANY.images))
    });
    document(audit, data, MANY, &Thumbnails::of(shown.collect(), options))
}

fn document(audit: &Audit, data: &Path, limits: Limits, thumbnails: &Thumbnails) -> Document {
    let mut document = Document::new(format!("Audit of {}", data.display()));
    let mut table = Table::new(["class", "train", "val", "test"], 1);
    for count in &audit.counts {
        let numbers = [count.train, count.val, count.test].map(|number| number.to_string());
        table.push(std::iter::once(count.class.clone()).chain(numbers).collect());
    }
    document.table(table);
    if let Some(imbalance) = audit.imbalance.filter(|&imbalance| imbalance >= IMBALANCED) {
        document.prose(format!(
            "imbalanced: the largest class has {imbalance:.0} times the training images of the \
             smallest"
        ));
    }
    for section in sections(audit) {
        document.heading(format!("{} ({})", section.title, section.findings.len()));
        document.prose(section.meaning);
        let more = section.findings.len().saturating_sub(limits.findings);
        let findings = section.findings.into_iter().take(limits.findings);
        let findings = findings.map(|(paths, remark)| Finding {
            remark,
            more: paths.len().saturating_sub(limits.images),
            images: paths
                .into_iter()
                .take(limits.images)
                .map(|path| Thumbnail { jpeg: thumbnails.get(&path), path })
                .collect(),
        });
        let findings = findings.collect();
        document.blocks.push(Block::Gallery(Gallery { findings, more }));
    }
    let verdict = if sections(audit).next().is_none() { ": nothing was found" } else { "" };
    document.prose(format!("{} files audited{verdict}", audit.images));
    document
}

/// A kind of finding.
struct Section {
    title: &'static str,
    meaning: &'static str,
    /// The paths of each finding's images, and a remark on it.
    findings: Vec<(Vec<String>, String)>,
}

/// The kinds of which something was found, the worst first.
fn sections(audit: &Audit) -> impl Iterator<Item = Section> {
    let one = |path: &String, remark: String| (vec![path.clone()], remark);
    let leaks = audit
        .leakage
        .iter()
        .map(|leak| (vec![leak.train.clone(), leak.eval.clone()], leak.kind.to_owned()));
    let conflicts = audit.label_conflicts.iter().map(|conflict| {
        (conflict.paths.clone(), format!("{}: {}", conflict.kind, conflict.labels.join(", ")))
    });
    let copies = audit.duplicates.iter().map(|group| (group.paths.clone(), group.kind.to_owned()));
    let suspects = audit.suspect_labels.iter().flatten().map(|suspect| {
        let remark = format!("{}, likely {}, {:.2}", suspect.given, suspect.likely, suspect.score);
        one(&suspect.path, remark)
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
            "Files that are not readable images. Training stops at them.",
            audit.unreadable.iter().map(|file| one(&file.path, file.reason.clone())).collect(),
        ),
        (
            "leakage",
            "Training images that are also in the validation or test set.",
            leaks.collect(),
        ),
        ("label conflicts", "The same image in several classes.", conflicts.collect()),
        ("duplicates", "Files that show the same image.", copies.collect::<Vec<_>>()),
        (
            "suspect labels",
            "Images that are likely of another class. The number is how much more probable that \
             class is.",
            suspects.collect(),
        ),
        ("outliers", "Images that are unlike all others.", outliers.collect()),
        ("oddities", "Images with something unusual about them.", odd.collect()),
    ];
    let sections = all.map(|(title, meaning, findings)| Section { title, meaning, findings });
    sections.into_iter().filter(|section| !section.findings.is_empty())
}
