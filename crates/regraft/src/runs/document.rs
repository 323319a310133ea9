//! Lists of runs and their differences as documents.

use super::{Answers, ChangedOption, RunDiff, RunEntry};
use crate::config::shown;
use crate::report::document::{Document, Table};
use crate::report::summary::Headline;
use serde_json::Value;

/// Lines of differing images, and of changed answers, that a document shows.
const SHOWN: usize = 10;

/// The runs of a list as a table.
#[must_use]
pub fn runs_document(runs: &[RunEntry]) -> Document {
    let mut document = Document::new("Runs");
    let mut table = Table::new(
        [
            "run",
            "data",
            "model",
            "freeze",
            "scored on",
            "accuracy",
            "95 % interval",
            "epochs",
            "time",
        ],
        5,
    );
    for run in runs {
        let missing = || "–".to_owned();
        let scored_on = match run.scored_on {
            Some(estimate) => estimate.words().to_owned(),
            None if run.finished => "nothing".to_owned(),
            None => "unfinished".to_owned(),
        };
        table.push(vec![
            run.folder.clone(),
            run.data.clone(),
            run.model.clone().unwrap_or_else(missing),
            run.freeze.clone().unwrap_or_else(missing),
            scored_on,
            run.accuracy.map_or_else(missing, |accuracy| format!("{accuracy:.4}")),
            run.accuracy_interval_95.map_or_else(missing, interval),
            run.epochs.map_or_else(missing, |epochs| epochs.to_string()),
            run.wall_seconds.map_or_else(missing, |seconds| format!("{seconds:.1} s")),
        ]);
    }
    document.table(table);
    document
}

fn interval([low, high]: [f64; 2]) -> String {
    format!("{low:.4} to {high:.4}")
}

/// The differences of two runs, in short.
#[must_use]
pub fn diff_document(diff: &RunDiff) -> Document {
    let [first, second] = &diff.runs;
    let mut document = Document::new(format!("{first} and {second}"));
    let mut table = Table::new(["run", "scored on", "accuracy", "95 % interval", "images"], 2);
    for (name, headline) in diff.runs.iter().zip(&diff.headlines) {
        let mut cells = vec![name.clone()];
        match headline {
            Some(Headline { scored_on, images, accuracy, accuracy_interval_95, .. }) => cells
                .extend([
                    scored_on.words().to_owned(),
                    format!("{accuracy:.4}"),
                    interval(*accuracy_interval_95),
                    images.to_string(),
                ]),
            None => cells.extend(["–"; 4].map(str::to_owned)),
        }
        table.push(cells);
    }
    document.table(table);
    diff.notes.iter().for_each(|note| document.prose(note.clone()));
    document.heading(format!("Options ({} differ)", diff.options.len()));
    if !diff.options.is_empty() {
        document.table(options(diff));
    }
    document.heading(format!("Images ({} differ)", diff.images.len()));
    if !diff.images.is_empty() {
        let mut table = Table::new(["image"], 1);
        diff.images.iter().take(SHOWN).for_each(|line| table.push(vec![line.clone()]));
        document.table(table);
        and_more(&mut document, diff.images.len());
    }
    document.heading("Answers");
    match &diff.answers {
        None => document.prose("There are none for the same images."),
        Some(answers) => add_answers(&mut document, answers, &diff.runs),
    }
    document
}

fn and_more(document: &mut Document, count: usize) {
    if count > SHOWN {
        document.prose(format!("and {} more; --json lists all", count - SHOWN));
    }
}

fn options(diff: &RunDiff) -> Table {
    let [first, second] = &diff.runs;
    let mut table = Table::new(["option", first, second, "changes results"], 4);
    for ChangedOption { name, values, changes_results } in &diff.options {
        let [one, other] = values.each_ref().map(|value: &Value| shown(Some(value)));
        let changes = if *changes_results { "yes" } else { "no" }.to_owned();
        table.push_marked(vec![name.clone(), one, other, changes], *changes_results);
    }
    table
}

fn add_answers(document: &mut Document, answers: &Answers, runs: &[String; 2]) {
    let Answers { images, correct, both_right, both_wrong, .. } = answers;
    document.prose(format!(
        "{images} images ({}): {} gets {} right, {} gets {}; both are right for {both_right} and \
         wrong for {both_wrong}",
        answers.scored_on.words(),
        runs[0],
        correct[0],
        runs[1],
        correct[1]
    ));
    match &answers.paired_test {
        None => document.prose("Both are right for the same images."),
        Some(test) => document.prose(format!(
            "{} is better by {:.4}: p = {:.4} (exact paired permutation test, which for two runs \
             is McNemar's), {}",
            test.better,
            test.difference,
            test.p_value,
            if test.real { "more than chance" } else { "which chance can explain" }
        )),
    }
    if answers.changed.is_empty() {
        return;
    }
    let mut table = Table::new(["image", "true class", &runs[0], &runs[1]], 4);
    for row in answers.changed.iter().take(SHOWN) {
        let answer = |run: usize| {
            let class = row.predicted[run].as_deref().unwrap_or("–");
            let probability = row.probability[run].map_or_else(String::new, |p| format!(" {p:.2}"));
            let mark = if row.right() == run { " ✓" } else { "" };
            format!("{class}{probability}{mark}")
        };
        table.push(vec![row.path.clone(), row.class.clone(), answer(0), answer(1)]);
    }
    document.table(table);
    and_more(document, answers.changed.len());
}
