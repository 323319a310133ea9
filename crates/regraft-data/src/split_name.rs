//! Names of splits in folder names and in a table's column `split`.

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Split {
    /// The training set.
    Train,
    /// The validation set, which decides the epoch to keep.
    Validation,
    /// The test set, on which the finished model is scored.
    Test,
}

const TRAIN: [&str; 2] = ["train", "training"];
const VALIDATION: [&str; 5] = ["val", "valid", "validation", "dev", "development"];
/// `eval` is the test set, as in Hugging Face's datasets.
const TEST: [&str; 4] = ["test", "testing", "eval", "evaluation"];
/// Words that say nothing about the split: `seg_train`, `test-set`, `Training Data`.
const FILLERS: [&str; 19] = [
    "data", "dataset", "dir", "file", "files", "folder", "image", "images", "img", "imgs", "part",
    "photo", "photos", "picture", "pictures", "samples", "seg", "set", "split",
];
/// Fillers that may follow without a separator: `trainset`, `TestData`.
const GLUED: [&str; 6] = ["data", "dataset", "dir", "images", "imgs", "set"];

impl Split {
    /// The split that a name means, or `None` for any other name.
    ///
    /// Letter case does not matter. The name is split into words at blanks and ASCII punctuation.
    /// Exactly one word must name a split; every other word must be a filler such as `set`, `data`
    /// or `seg`, or start with a digit. Digits at a word's end do not count, nor does `set`, `data`
    /// or the like at the end of the split's word: `train2017`, `TrainSet`, `seg_train`,
    /// `test-set`.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        of_words(&words(name))
    }

    /// The split that each of several names means, judged together: the result of [`Split::of`] or,
    /// if it recognises none of them, the split that remains after removing words that all of them
    /// share at the start or end (`pets_train`, `pets_test`). In that case all of them must be
    /// splits, and one of them the training set.
    #[must_use]
    pub fn of_all(names: &[String]) -> Vec<Option<Self>> {
        let names: Vec<Vec<String>> = names.iter().map(|name| words(name)).collect();
        let alone: Vec<Option<Self>> = names.iter().map(|words| of_words(words)).collect();
        if names.len() < 2 || alone.iter().any(Option::is_some) {
            return not_valid_and_invalid(alone, &names);
        }
        let shortest = names.iter().map(Vec::len).min().unwrap_or(0);
        let all_share = |word: &dyn Fn(&[String]) -> Option<String>| {
            names.iter().all(|name| word(name) == word(&names[0]))
        };
        let start =
            (0..shortest).take_while(|&place| all_share(&|name| name.get(place).cloned())).count();
        let end = (1..=shortest - start)
            .take_while(|&place| all_share(&|name| name.get(name.len() - place).cloned()))
            .count();
        let rest: Vec<Option<Self>> =
            names.iter().map(|name| of_words(&name[start..name.len() - end])).collect();
        let are_splits = rest.iter().all(Option::is_some) && rest.contains(&Some(Self::Train));
        if are_splits { rest } else { alone }
    }

    /// Whether a name says `eval` or `evaluation`, which some use for the validation set.
    #[must_use]
    pub fn is_eval(name: &str) -> bool {
        Self::of(name) == Some(Self::Test) && name.to_lowercase().contains("eval")
    }

    /// The set in words: `training set`.
    #[must_use]
    pub fn set(self) -> &'static str {
        match self {
            Self::Train => "training set",
            Self::Validation => "validation set",
            Self::Test => "test set",
        }
    }
}

/// Whether a name says nothing, neither a split nor a class: `images`, `img_files`.
#[must_use]
pub fn is_filler(name: &str) -> bool {
    let words = words(name);
    !words.is_empty() && words.iter().all(|word| FILLERS.contains(&word.as_str()))
}

/// `valid` beside `invalid` is a class.
fn not_valid_and_invalid(
    mut splits: Vec<Option<Split>>,
    names: &[Vec<String>],
) -> Vec<Option<Split>> {
    if names.iter().flatten().any(|word| word == "invalid") {
        let is_valid = |name: &[String]| name.iter().any(|word| word == "valid");
        splits
            .iter_mut()
            .zip(names)
            .filter(|(_, name)| is_valid(name))
            .for_each(|(split, _)| *split = None);
    }
    splits
}

fn words(name: &str) -> Vec<String> {
    let lower = name.to_lowercase();
    let words = lower
        .split(|letter: char| letter.is_whitespace() || letter.is_ascii_punctuation())
        .filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn of_words(words: &[String]) -> Option<Split> {
    let mut found = None;
    for word in words {
        let word = word.trim_end_matches(|letter: char| letter.is_ascii_digit());
        // A word of digits, or one that starts with digits, such as `64x64`.
        if word.is_empty()
            || word.starts_with(|letter: char| letter.is_ascii_digit())
            || FILLERS.contains(&word)
        {
            continue;
        }
        let split = of_word(word)
            .or_else(|| GLUED.iter().find_map(|glued| of_word(word.strip_suffix(glued)?)))?;
        if found.replace(split).is_some() {
            return None;
        }
    }
    found
}

fn of_word(word: &str) -> Option<Split> {
    let is_in = |names: &[&str]| names.contains(&word);
    if is_in(&TRAIN) {
        Some(Split::Train)
    } else if is_in(&VALIDATION) {
        Some(Split::Validation)
    } else if is_in(&TEST) {
        Some(Split::Test)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_base::random::{Draws, Purpose};

    fn all(names: &[&str]) -> Vec<Option<Split>> {
        Split::of_all(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn every_word_is_recognised_with_every_filler_in_any_case() {
        for (split, words) in
            [(Split::Train, &TRAIN[..]), (Split::Validation, &VALIDATION), (Split::Test, &TEST)]
        {
            for word in words {
                let mut names = vec![
                    (*word).to_owned(),
                    format!("{word}2017"),
                    format!("{word}_64x64"),
                    format!("01 {word}"),
                ];
                for filler in FILLERS {
                    for separator in ["_", "-", " ", ".", "__"] {
                        names.push(format!("{word}{separator}{filler}"));
                        names.push(format!("{filler}{separator}{word}"));
                    }
                }
                names.extend(GLUED.map(|filler| format!("{word}{filler}")));
                for name in names {
                    let capital = name[..1].to_uppercase() + &name[1..];
                    for name in [&name, &name.to_uppercase(), &capital] {
                        assert_eq!(Split::of(name), Some(split), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn other_names_are_not_splits() {
        let names = [
            "",
            "_",
            "set",
            "seg",
            "data",
            "2017",
            "trains",
            "trainer",
            "strain",
            "testis",
            "contest",
            "value",
            "devil",
            "evaluate",
            "invalid",
            "bullet train",
            "train_test",
            "train_valid",
            "trainval",
            "train-val-set",
            "no train",
            "tr\u{e4}in",
            "train\u{301}",
            "unlabeled",
            "extra",
        ];
        for name in names {
            assert_eq!(Split::of(name), None, "{name}");
        }
    }

    #[test]
    fn words_that_all_names_share_do_not_count() {
        let [train, validation, test] = [Split::Train, Split::Validation, Split::Test].map(Some);
        assert_eq!(all(&["asl_alphabet_test", "asl_alphabet_train"]), [test, train]);
        assert_eq!(
            all(&["Pets-Train-v2", "pets-val-v2", "Pets-Test-v2"]),
            [train, validation, test]
        );
        // Each name is a split on its own, whatever lies beside it.
        assert_eq!(all(&["train", "bus", "test"]), [train, None, test]);
        for classes in [
            &["bullet train", "bullet test", "bullet bus"][..],
            &["crash test", "crash eval"],
            &["pets_train"],
            &["pets", "pets"],
            &["pets", "pets_train"],
            &["freight train", "passenger train"],
            &[],
        ] {
            assert!(all(classes).iter().all(Option::is_none), "{classes:?}");
        }
    }

    #[test]
    fn valid_beside_invalid_is_a_class() {
        assert_eq!(all(&["valid", "invalid"]), [None, None]);
        assert_eq!(all(&["train", "valid", "invalid_files"]), [Some(Split::Train), None, None]);
        assert_eq!(all(&["train", "valid"]), [Some(Split::Train), Some(Split::Validation)]);
    }

    #[test]
    fn fillers_alone_name_nothing() {
        assert!(is_filler("images") && is_filler("Image Files") && is_filler("img_data"));
        assert!(
            !is_filler("cat images")
                && !is_filler("test_images")
                && !is_filler("")
                && !is_filler("2017")
        );
    }

    #[test]
    fn eval_is_the_test_set() {
        assert!(Split::is_eval("Eval") && Split::is_eval("evaluation_set"));
        assert!(!Split::is_eval("test") && !Split::is_eval("medieval"));
    }

    #[test]
    fn any_text_is_a_name() {
        let pieces = [
            "train", "Test", "SET", "_", "-", " ", "7", "\u{130}", "\u{e9}", "e\u{301}",
            "\u{718a}", "\u{0}", "val", "\u{df}",
        ];
        for seed in 0..2000 {
            let mut draws = Draws::new(seed, Purpose::Split, 0, 0);
            let names: Vec<String> = (0..3)
                .map(|_| {
                    let mut order: Vec<usize> = (0..pieces.len()).collect();
                    draws.shuffle(&mut order);
                    order.into_iter().take(seed as usize % 6).map(|place| pieces[place]).collect()
                })
                .collect();
            let found = Split::of_all(&names);
            assert_eq!(found.len(), names.len());
            let upper: Vec<String> =
                names.iter().map(|name| name.to_uppercase().to_lowercase()).collect();
            let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
            // Letters without a pair in the other case, such as \u{df}, become other letters in
            // capitals.
            if upper == lower {
                assert_eq!(Split::of_all(&upper), found, "{names:?}");
            }
        }
    }
}
