//! Which class of a model a folder's name means.

use regraft_data::catalogue::{self, CatalogueError, EvaluationFolder, composed};
use regraft_data::shown::shown;
use regraft_data::source::unpack_folder;
use regraft_data::split_name::Split;
use std::path::{Path, PathBuf};

/// The names of a model's classes.
#[derive(Clone, Copy, Debug)]
pub struct ClassNames<'a> {
    /// Class names in the order of the logits.
    pub names: &'a [String],
    /// Other names of each class; empty where no class has any.
    pub aliases: &'a [Vec<String>],
}

/// A name that means no class, or more than one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassNameError {
    /// No class has the name.
    #[error("{name:?} is not a class of the model: {}", suggestions(.close, *.all))]
    Unknown {
        /// The name.
        name: String,
        /// All classes if there are few, or else those with a similar name.
        close: Vec<String>,
        /// Whether `close` holds all classes.
        all: bool,
    },
    /// Several classes share the name.
    #[error("{name:?} means more than one class: {}; use the class's full name", .classes.join(
        "; "))]
    Ambiguous {
        /// The name.
        name: String,
        /// Full names of the classes.
        classes: Vec<String>,
    },
}

/// A labelled folder that a model cannot be scored on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LabelledFolderError {
    /// The folder cannot be used.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A folder that is named like a split but holds no class folders, and that is not a class of
    /// the model either.
    #[error("{}: {source}; if the folder is a split, put its images into a folder for each class",
        shown(.path))]
    Split {
        /// The folder.
        path: PathBuf,
        /// The problem with its name as a class.
        source: ClassNameError,
    },
    /// A table's label is not a class of the model.
    #[error("{}, line {line}: {source}; correct the label or remove the line", shown(.path))]
    Label {
        /// The table.
        path: PathBuf,
        /// The first line with the label, counted from 1.
        line: u64,
        /// The problem with the label.
        source: ClassNameError,
    },
    /// A class folder is not a class of the model.
    #[error("{}: {source}; rename it or leave it out", shown(.path))]
    Class {
        /// The class folder.
        path: PathBuf,
        /// The problem with its name.
        source: ClassNameError,
    },
}

/// The most classes that an error lists.
const LISTED: usize = 12;
/// The number of similar names that it lists if there are more.
const SIMILAR: usize = 5;
/// Names that are less similar than this are not worth showing.
const LEAST_SIMILARITY: f64 = 0.5;

fn suggestions(close: &[String], all: bool) -> String {
    match (all, close) {
        (true, _) => format!("its classes are {}", close.join("; ")),
        (false, []) => {
            "none has a similar name; `regraft inspect MODEL --json` lists all classes".to_owned()
        }
        (false, _) => format!(
            "similar are {}; `regraft inspect MODEL --json` lists all classes",
            close.join("; ")
        ),
    }
}

impl ClassNames<'_> {
    /// The index of the class that `name` means: the class of exactly that name; or else of that
    /// name in another letter case or Unicode form (NFC, NFD), or with `_` for spaces; or else the
    /// only one that has it among its other names.
    ///
    /// # Errors
    /// If there is no such class, or more than one.
    pub fn find(&self, name: &str) -> Result<usize, ClassNameError> {
        if let Some(class) = self.names.iter().position(|known| known == name) {
            return Ok(class);
        }
        let wanted = normalised(name);
        let of_name = self.all_that(|class| normalised(&self.names[class]) == wanted);
        let is_alias = |class: usize| {
            self.aliases
                .get(class)
                .is_some_and(|all| all.iter().any(|alias| normalised(alias) == wanted))
        };
        let found = if of_name.is_empty() { self.all_that(is_alias) } else { of_name };
        match found[..] {
            [class] => Ok(class),
            [] => Err(self.unknown(name, &wanted)),
            _ => {
                let classes = found.iter().map(|&class| self.names[class].clone()).collect();
                Err(ClassNameError::Ambiguous { name: name.to_owned(), classes })
            }
        }
    }

    fn all_that(&self, test: impl Fn(usize) -> bool) -> Vec<usize> {
        (0..self.names.len()).filter(|&class| test(class)).collect()
    }

    fn unknown(&self, name: &str, wanted: &str) -> ClassNameError {
        if self.names.len() <= LISTED {
            return ClassNameError::Unknown {
                name: name.to_owned(),
                close: self.names.to_vec(),
                all: true,
            };
        }
        let mut ranking: Vec<(f64, &String)> = self
            .names
            .iter()
            .enumerate()
            .map(|(class, full)| {
                let aliases = self.aliases.get(class).into_iter().flatten();
                let best = aliases
                    .chain([full])
                    .map(|known| similarity(wanted, &normalised(known)))
                    .fold(0.0, f64::max);
                (best, full)
            })
            .filter(|&(similarity, _)| similarity >= LEAST_SIMILARITY)
            .collect();
        // A stable sort: equally similar classes stay in order.
        ranking.sort_by(|(left, _), (right, _)| right.total_cmp(left));
        let close = ranking.into_iter().take(SIMILAR).map(|(_, full)| full.clone()).collect();
        ClassNameError::Unknown { name: name.to_owned(), close, all: false }
    }
}

/// Lists the images of a folder with a folder for each class, or of a table, labelled by the
/// classes that the names mean. Classes may be absent, and two names may mean the same class.
///
/// # Errors
/// If the folder cannot be used, holds no image, or a folder that means no class.
pub fn labelled_folder(
    folder: &Path,
    classes: ClassNames<'_>,
) -> Result<EvaluationFolder, LabelledFolderError> {
    let mut listed = catalogue::scan_labelled(folder, &unpack_folder())?;
    let mut labels = Vec::with_capacity(listed.names.len());
    for (at, (name, origin)) in listed.names.iter().zip(&listed.origins).enumerate() {
        match classes.find(name) {
            Ok(class) => labels.push(class as u32),
            Err(source) if at < listed.lines.len() => {
                return Err(LabelledFolderError::Label {
                    path: origin.clone(),
                    line: listed.lines[at],
                    source,
                });
            }
            Err(source) if Split::of(name).is_some() => {
                return Err(LabelledFolderError::Split { path: origin.clone(), source });
            }
            Err(source) => return Err(LabelledFolderError::Class { path: origin.clone(), source }),
        }
    }
    let taken: Vec<(&str, &str)> = listed
        .names
        .iter()
        .zip(&labels)
        .map(|(name, &label)| (name.as_str(), classes.names[label as usize].as_str()))
        .filter(|(name, class)| name != class)
        .collect();
    let note = other_names_note(&taken);
    listed.notes.extend(note);
    Ok(listed.with_labels(&labels))
}

/// Says which folders were matched to classes of another name.
fn other_names_note(taken: &[(&str, &str)]) -> Option<String> {
    let (first, rest) = taken.split_at(taken.len().min(SIMILAR));
    let pairs: Vec<String> =
        first.iter().map(|(name, class)| format!("{name:?} is {class:?}")).collect();
    let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
    (!pairs.is_empty())
        .then(|| format!("folders matched to classes by another name: {}{more}", pairs.join(", ")))
}

fn normalised(name: &str) -> String {
    composed(name).replace('_', " ").to_lowercase()
}

/// How alike two names are, from 0 to 1: 1 less the share of letters that must change
/// (Levenshtein's distance), or what part of the longer name the shorter one is where it lies
/// within it.
fn similarity(left: &str, right: &str) -> f64 {
    let [left, right]: [Vec<char>; 2] = [left.chars().collect(), right.chars().collect()];
    let (short, long) = if left.len() < right.len() { (left, right) } else { (right, left) };
    if short.is_empty() {
        return 0.0;
    }
    let distance = edit_distance(&short, &long) as f64;
    let within = long.windows(short.len()).any(|window| window == short);
    let length = long.len() as f64;
    // A short word lies within many names by chance.
    let floor = if within && short.len() > 3 { LEAST_SIMILARITY } else { 0.0 };
    (1.0 - distance / length).max(floor)
}

fn edit_distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Names as ImageNet's: a class's words, and one word that two classes share.
    fn imagenet() -> (Vec<String>, Vec<Vec<String>>) {
        let names = [
            "hotdog, hot dog, red hot",
            "crane (bird)",
            "crane (machine)",
            "maillot",
            "maillot, tank suit",
        ];
        let aliases = [
            &["hotdog", "hot dog", "red hot", "n07697537"][..],
            &["crane"],
            &["crane"],
            &["maillot"],
            &["maillot", "tank suit"],
        ];
        (strings(&names), aliases.map(strings).to_vec())
    }

    #[test]
    fn a_class_is_found_by_its_name_and_by_any_other() {
        let (names, aliases) = imagenet();
        let classes = ClassNames { names: &names, aliases: &aliases };
        for (name, class) in [
            ("hotdog", 0),
            ("Hot_Dog", 0),
            ("HOTDOG,_hot_dog,_red_hot", 0),
            ("n07697537", 0),
            ("crane_(machine)", 2),
            ("tank suit", 4),
            ("TANK_suit", 4),
        ] {
            assert_eq!(classes.find(name), Ok(class), "{name}");
        }
        // The full name of one class is stronger than a word of another.
        assert_eq!(classes.find("maillot"), Ok(3));
        let error = classes.find("crane").expect_err("two classes").to_string();
        assert_eq!(
            error,
            "\"crane\" means more than one class: crane (bird); crane (machine); use the class's \
             full name"
        );
    }

    #[test]
    fn an_exact_name_is_stronger_than_letter_case() {
        let names = strings(&["Cat", "cat", "CAT"]);
        let classes = ClassNames { names: &names, aliases: &[] };
        assert_eq!(classes.find("cat"), Ok(1));
        assert!(matches!(classes.find("cAT"), Err(ClassNameError::Ambiguous { .. })));
    }

    #[test]
    fn the_unicode_form_of_a_name_does_not_count() {
        let names = strings(&["caf\u{e9}", "na\u{69}\u{308}f"]);
        let classes = ClassNames { names: &names, aliases: &[] };
        assert_eq!(classes.find("cafe\u{301}"), Ok(0));
        assert_eq!(
            classes.find("na\u{ef}f"),
            Ok(1),
            "a model of an earlier version may have a decomposed name"
        );
    }

    #[test]
    fn what_is_no_class_is_told_what_is_like_it() {
        let (names, aliases) = imagenet();
        let few = ClassNames { names: &names, aliases: &aliases }
            .find("bus")
            .expect_err("no class")
            .to_string();
        assert!(
            few.starts_with(
                "\"bus\" is not a class of the model: its classes are hotdog, hot dog, \
                red hot; crane (bird);"
            ),
            "{few}"
        );
        let many: Vec<String> =
            (0..20).map(|number| format!("filler number {number}")).chain(names).collect();
        let classes = ClassNames { names: &many, aliases: &[] };
        let error = classes.find("crane bird").expect_err("no class").to_string();
        assert!(error.contains("similar are crane (bird)"), "{error}");
        let error = classes.find("zzz").expect_err("no class").to_string();
        assert!(error.contains("none has a similar name"), "{error}");
    }

    #[test]
    fn distances_are_levenshteins() {
        let distance = |left: &str, right: &str| {
            let [left, right]: [Vec<char>; 2] = [left.chars().collect(), right.chars().collect()];
            edit_distance(&left, &right)
        };
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
        assert!(similarity("not-hotdog", "hotdog") >= LEAST_SIMILARITY);
        assert!(similarity("ox", "foxhound") < LEAST_SIMILARITY);
    }
}
