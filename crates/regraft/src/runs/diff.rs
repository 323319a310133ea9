//! How two runs differ: in their options, images and answers.

use super::RunsError;
use crate::compare::{PairedTest, RightAnswers, compare_all};
use crate::config::{Effect, TrainConfig, differences, options};
use crate::predictions::{Prediction, read_predictions};
use crate::report::summary::{Estimate, Headline, Summary, read_summary};
use crate::run_folder::RunFolder;
use crate::train::data_list::DataList;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The differences of two runs. The JSON names are the field names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunDiff {
    /// The folders of both runs.
    pub runs: [String; 2],
    /// The best estimate of each one's accuracy; null if it is not complete.
    pub headlines: [Option<Headline>; 2],
    /// Options whose values differ, and properties of the machines that differ.
    pub options: Vec<ChangedOption>,
    /// Images that differ, one line for each.
    pub images: Vec<String>,
    /// The answers for the images that both runs scored; null if there are none.
    pub answers: Option<Answers>,
    /// Remarks, in words.
    pub notes: Vec<String>,
}

/// An option that the runs have different values of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedOption {
    /// Its name in `config.toml`, or that of an entry of `summary.json`.
    pub name: String,
    /// Its values in both runs; null if it is not given.
    pub values: [Value; 2],
    /// Whether it can change the results.
    pub changes_results: bool,
}

/// The answers of two runs for the same images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answers {
    /// The images that they are for.
    pub scored_on: Estimate,
    /// How many these are.
    pub images: u64,
    /// How many each run gets right.
    pub correct: [u64; 2],
    /// How many both get right.
    pub both_right: u64,
    /// How many both get wrong.
    pub both_wrong: u64,
    /// The paired test of `regraft compare`; null if the answers are right for the same images.
    pub paired_test: Option<PairedTest>,
    /// The images for which the runs name different classes, those first that only one gets right.
    pub changed: Vec<ChangedAnswer>,
}

/// An image for which two runs name different classes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedAnswer {
    /// The image's file, as the first run names it.
    pub path: String,
    /// Its true class.
    pub class: String,
    /// The classes that the runs name.
    pub predicted: [Option<String>; 2],
    /// The probabilities that they give to these.
    pub probability: [Option<f32>; 2],
}

impl ChangedAnswer {
    /// Which run is right: 0, 1, or 2 for neither.
    #[must_use]
    pub fn right(&self) -> usize {
        let is_right = |answer: &Option<String>| answer.as_ref() == Some(&self.class);
        self.predicted.iter().position(is_right).unwrap_or(2)
    }
}

/// A run as its files describe it.
struct Run {
    folder: RunFolder,
    config: TrainConfig,
    summary: Option<Summary>,
}

impl Run {
    fn read(path: &Path) -> Result<Self, RunsError> {
        let folder = RunFolder::existing(path);
        if !folder.config().is_file() {
            return Err(RunsError::NoRun { path: path.to_owned() });
        }
        let config = TrainConfig::read(&folder.config())?;
        let summary = match folder.summary().exists() {
            true => Some(read_summary(&folder.summary())?),
            false => None,
        };
        Ok(Self { folder, config, summary })
    }

    /// The part that `predictions.csv` is from.
    fn scored_on(&self) -> Estimate {
        match self.summary.as_ref().is_some_and(|summary| summary.test_images > 0) {
            true => Estimate::Test,
            false => Estimate::Validation,
        }
    }
}

/// The differences of the runs in two folders.
///
/// # Errors
/// If a folder is not a run, or a file is damaged.
pub fn diff(folders: [&Path; 2]) -> Result<RunDiff, RunsError> {
    let [first, second] = folders;
    let runs = [Run::read(first)?, Run::read(second)?];
    let mut notes = Vec::new();
    for run in runs.iter().filter(|run| run.summary.is_none()) {
        notes.push(format!("{} is not complete", run.folder.path().display()));
    }
    let lists = runs.each_ref().map(|run| run.folder.data());
    let images = if lists.iter().all(|path| path.exists()) {
        let [before, after] = [DataList::read(&lists[0])?, DataList::read(&lists[1])?];
        before.differences(&after)
    } else {
        notes.push("a run without data.csv cannot be compared image by image".to_owned());
        Vec::new()
    };
    Ok(RunDiff {
        headlines: runs.each_ref().map(|run| Headline::of(run.summary.as_ref()?)),
        options: changed_options(&runs),
        images,
        answers: answers(&runs, &mut notes)?,
        runs: folders.map(|folder| folder.display().to_string()),
        notes,
    })
}

fn changed_options(runs: &[Run; 2]) -> Vec<ChangedOption> {
    let [before, after] = runs.each_ref().map(|run| options(&run.config));
    let mut changed: Vec<ChangedOption> = differences(&before, &after)
        .into_iter()
        .map(|found| ChangedOption {
            changes_results: found.effect() == Effect::Result,
            name: found.name,
            values: [found.before, found.after].map(Option::unwrap_or_default),
        })
        .collect();
    if let [Some(before), Some(after)] = runs.each_ref().map(|run| run.summary.as_ref()) {
        // Another instruction set rounds differently.
        let of_machine = [
            ("instruction_set", &before.instruction_set, &after.instruction_set),
            ("regraft_version", &before.regraft_version, &after.regraft_version),
        ];
        let differ = of_machine.into_iter().filter(|(_, before, after)| before != after);
        changed.extend(differ.map(|(name, before, after)| ChangedOption {
            name: name.to_owned(),
            values: [before, after].map(|value| value.as_str().into()),
            changes_results: true,
        }));
    }
    changed
}

/// The answers for the images that both runs scored.
fn answers(runs: &[Run; 2], notes: &mut Vec<String>) -> Result<Option<Answers>, RunsError> {
    let read = |path: PathBuf| -> Result<Vec<Prediction>, RunsError> {
        if path.exists() { Ok(read_predictions(&path)?) } else { Ok(Vec::new()) }
    };
    let held_out = [read(runs[0].folder.predictions())?, read(runs[1].folder.predictions())?];
    let scored_on = runs.each_ref().map(Run::scored_on);
    let found = if held_out.iter().all(|rows| !rows.is_empty()) && scored_on[0] == scored_on[1] {
        Some((held_out, scored_on[0]))
    } else {
        let rows = [read(runs[0].folder.out_of_fold())?, read(runs[1].folder.out_of_fold())?];
        rows.iter().all(|rows| !rows.is_empty()).then_some((rows, Estimate::OutOfFold))
    };
    let Some((rows, scored_on)) = found else {
        notes.push("the runs have no predictions for the same kind of images".to_owned());
        return Ok(None);
    };
    let names = runs.each_ref().map(|run| run.folder.path().display().to_string());
    let answers = compared(&rows, names, scored_on);
    match &answers {
        None => notes.push("the runs were scored on different images".to_owned()),
        Some(answers) => {
            let most = rows.iter().map(Vec::len).max().unwrap_or(0) as u64;
            if answers.images < most {
                notes.push(format!(
                    "the answers are compared for the {} images that both runs scored with the \
                     same class, of {most}",
                    answers.images
                ));
            }
        }
    }
    Ok(answers)
}

fn compared(
    rows: &[Vec<Prediction>; 2],
    names: [String; 2],
    scored_on: Estimate,
) -> Option<Answers> {
    let [first, second] = rows;
    // A data folder may have been moved between the runs.
    let roots = rows.each_ref().map(|rows| common_folder(rows));
    let by_path: HashMap<&str, &Prediction> =
        second.iter().map(|row| (below(&row.path, &roots[1]), row)).collect();
    let pairs: Vec<(&Prediction, &Prediction)> = first
        .iter()
        .filter_map(|row| Some((row, *by_path.get(below(&row.path, &roots[0]))?)))
        .filter(|(one, other)| one.class == other.class)
        .collect();
    if pairs.is_empty() {
        return None;
    }
    let right: [Vec<bool>; 2] = [
        pairs.iter().map(|(one, _)| one.is_right()).collect(),
        pairs.iter().map(|(_, other)| other.is_right()).collect(),
    ];
    let count = |wanted: [bool; 2]| {
        let both = right[0].iter().zip(&right[1]);
        both.filter(|(one, other)| [**one, **other] == wanted).count() as u64
    };
    let (both_right, both_wrong) = (count([true, true]), count([false, false]));
    let correct = [both_right + count([true, false]), both_right + count([false, true])];
    let [one, other] = names;
    let arms = [(one, &right[0]), (other, &right[1])]
        .map(|(name, right)| RightAnswers { name, right: vec![right.clone()] });
    let paired_test = (both_right + both_wrong < pairs.len() as u64)
        .then(|| compare_all(&arms).into_iter().next())
        .flatten();
    let mut changed: Vec<ChangedAnswer> = pairs
        .iter()
        .filter(|(one, other)| one.predicted != other.predicted)
        .map(|(one, other)| ChangedAnswer {
            path: one.path.clone(),
            class: one.class.clone(),
            predicted: [one.predicted.clone(), other.predicted.clone()],
            probability: [one.probability, other.probability],
        })
        .collect();
    changed.sort_by_key(ChangedAnswer::right);
    let images = pairs.len() as u64;
    Some(Answers { scored_on, images, correct, both_right, both_wrong, paired_test, changed })
}

/// The start of all paths up to a separator.
fn common_folder(rows: &[Prediction]) -> String {
    let mut common = rows.first().map_or("", |row| row.path.as_str());
    for row in rows {
        while !row.path.starts_with(common) {
            let end = common.char_indices().next_back().map_or(0, |(place, _)| place);
            common = &common[..end];
        }
    }
    let end = common.rfind(['/', '\\']).map_or(0, |place| place + 1);
    common[..end].to_owned()
}

fn below<'a>(path: &'a str, root: &str) -> &'a str {
    path.strip_prefix(root).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(root: &str, answers: &[(&str, &str, &str)]) -> Vec<Prediction> {
        let row = |&(path, class, predicted): &(&str, &str, &str)| Prediction {
            path: format!("{root}{path}"),
            class: class.into(),
            predicted: Some(predicted.into()),
            probability: Some(0.75),
            ..Prediction::default()
        };
        answers.iter().map(row).collect()
    }

    #[test]
    fn answers_are_matched_below_the_common_folder() {
        let first = [("a/1", "a", "a"), ("a/2", "a", "b"), ("b/1", "b", "a"), ("b/2", "b", "b")];
        let second = [("b/1", "b", "b"), ("a/1", "a", "a"), ("a/2", "a", "a"), ("b/3", "b", "b")];
        let all = [rows("old/", &first), rows("/new/place/", &second)];
        let names = ["x".to_owned(), "y".to_owned()];
        let found = compared(&all, names.clone(), Estimate::Test).expect("common images");
        assert_eq!((found.images, found.correct), (3, [1, 3]));
        assert_eq!((found.both_right, found.both_wrong), (1, 0));
        let changed: Vec<(&str, usize)> =
            found.changed.iter().map(|row| (row.path.as_str(), row.right())).collect();
        assert_eq!(changed, [("old/a/2", 1), ("old/b/1", 1)]);
        let test = found.paired_test.expect("a test");
        // Two wins, no loss: 2 / 2^2.
        assert_eq!((test.better.as_str(), test.p_value), ("y", 0.5));
        let others = [rows("", &[("a", "a", "a")]), rows("", &[("b", "a", "a")])];
        assert_eq!(compared(&others, names, Estimate::Test), None);
    }

    #[test]
    fn equal_answers_need_no_test() {
        let same = [("1", "a", "a"), ("2", "b", "a")];
        let all = [rows("x/", &same), rows("x/", &same)];
        let found = compared(&all, ["x".into(), "y".into()], Estimate::OutOfFold).expect("images");
        assert_eq!((found.paired_test, found.changed.len(), found.both_wrong), (None, 0, 1));
    }
}
