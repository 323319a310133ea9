//! Which of a source model's classes a new class's name means.

use crate::model::Model;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// Why a class of the source stands for a new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It has the name.
    Name,
    /// It is also called so.
    Synonym,
    /// It is one of the kind with the name (WordNet's hypernym).
    Kind,
    /// The user said so.
    Map,
}

/// A new class, and the classes of the source whose rows of the head it starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelMatch {
    /// The new class.
    pub class: String,
    /// Places of the source's classes, ascending. Empty if none matches.
    #[serde(skip)]
    pub sources: Vec<usize>,
    /// Their names.
    pub source_names: Vec<String>,
    /// Why, if there are any.
    pub reason: Option<Reason>,
}

/// Names of the source's classes that a sentence lists.
const LISTED: usize = 5;

impl fmt::Display for LabelMatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, source_names, reason, .. } = self;
        let Some(reason) = reason else {
            return write!(
                formatter,
                "the head's row of {class:?} is new: no class of the source is called so"
            );
        };
        let (listed, rest) = source_names.split_at(source_names.len().min(LISTED));
        let names = listed.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let more =
            if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        let mean = if source_names.len() > 1 {
            format!("the mean of {} rows of the source's: ", source_names.len())
        } else {
            String::new()
        };
        let reason = match reason {
            Reason::Name => "its name",
            Reason::Synonym => "called so too",
            Reason::Kind => "of this kind",
            Reason::Map => "by the head map",
        };
        write!(formatter, "the head's row of {class:?} starts from {mean}{names}{more} ({reason})")
    }
}

/// A name in a head map that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadMapError {
    /// The map names a class that the images do not have.
    #[error("the head map names {class:?}, which is no class of the images; their classes are \
        {}", .classes.join(", "))]
    Class {
        /// The name in the map.
        class: String,
        /// The images' classes.
        classes: Vec<String>,
    },
    /// The map names a class that the source does not have.
    #[error(
        "the head map starts {class:?} from {name:?}, which no class of the source is called; \
         `regraft inspect` lists its classes"
    )]
    Source {
        /// The new class.
        class: String,
        /// The name in the map.
        name: String,
    },
}

/// The names of a source model's classes.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    names: Vec<String>,
    /// Full names: whoever uses one means it, whatever else the words mean.
    full: HashMap<String, Vec<usize>>,
    /// Words of classes with the number of their sense.
    words: HashMap<String, Vec<(usize, u32)>>,
    /// Words of kinds, in their most frequent sense, with the classes of the kind.
    kinds: HashMap<String, Vec<usize>>,
}

/// A word that means a class only in a rarer sense than this means something else to most people.
/// (The bird is the fifth sense of "crane".)
const RAREST_SENSE: u32 = 5;

/// WordNet's rules for regular plurals: an ending and what stands for it in the singular. What is
/// already singular has no such ending.
const PLURALS: [(&str, &str); 8] = [
    ("s", ""),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
];

/// Letters and digits in small letters: `Hot_Dog`, `hot-dog` and `hotdog` are one.
fn key(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

impl Vocabulary {
    /// The vocabulary of a source's classes. Where the file does not name a thousand classes, they
    /// are ImageNet's, as with torchvision's and timm's files; the second value says so. `None`
    /// if nothing is known of the classes.
    #[must_use]
    pub fn of(source: &Model) -> Option<(Self, Option<String>)> {
        if !source.has_head {
            return None;
        }
        let nameless = source.classes.is_empty();
        if let Some(imagenet) = Self::imagenet_of(source) {
            let note = format!(
                "{} does not name its 1000 classes; they are taken for ImageNet's",
                source.origin
            );
            return Some((imagenet, nameless.then_some(note)));
        }
        (!nameless).then(|| (Self::of_names(&source.classes), None))
    }

    /// The vocabulary of a source whose classes are ImageNet's.
    #[must_use]
    pub fn imagenet_of(source: &Model) -> Option<Self> {
        let imagenet = imagenet().filter(|_| source.has_head)?;
        let nameless = source.classes.is_empty();
        (nameless && source.graph.classes() == imagenet.names.len()
            || source.classes == imagenet.names)
            .then_some(imagenet)
    }

    /// The vocabulary of classes of which only the names are known.
    #[must_use]
    pub fn of_names(names: &[String]) -> Self {
        let mut vocabulary = Self {
            names: names.to_vec(),
            full: HashMap::new(),
            words: HashMap::new(),
            kinds: HashMap::new(),
        };
        for (class, name) in names.iter().enumerate() {
            vocabulary.full.entry(key(name)).or_default().push(class);
        }
        vocabulary
    }

    /// The classes that `name` means, ascending, and why; none where it means none of them.
    ///
    /// In this order: the class of that name; classes or a kind of which it is a word in the word's
    /// most frequent sense; classes of which it is a word in a rarer sense. A name without any of
    /// these is tried in the singular.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(Vec<usize>, Reason)> {
        let whole = key(name);
        // A name of one letter or none says nothing.
        if whole.chars().count() < 2 {
            return None;
        }
        let singulars =
            PLURALS.iter().filter(|_| !whole.ends_with("ss")).filter_map(|(ending, singular)| {
                let stem = whole.strip_suffix(ending).filter(|stem| stem.chars().count() >= 2)?;
                Some(format!("{stem}{singular}"))
            });
        std::iter::once(whole.clone()).chain(singulars).find_map(|word| self.find_word(&word))
    }

    fn find_word(&self, word: &str) -> Option<(Vec<usize>, Reason)> {
        if let Some(classes) = self.full.get(word) {
            return Some((classes.clone(), Reason::Name));
        }
        let with_sense = |wanted: &dyn Fn(u32) -> bool| {
            let of_word = self.words.get(word).into_iter().flatten();
            let mut classes: Vec<usize> =
                of_word.filter(|(_, sense)| wanted(*sense)).map(|(class, _)| *class).collect();
            classes.sort_unstable();
            classes.dedup();
            (!classes.is_empty()).then_some((classes, Reason::Synonym))
        };
        let kind = || self.kinds.get(word).map(|classes| (classes.clone(), Reason::Kind));
        with_sense(&|sense| sense == 1)
            .or_else(kind)
            .or_else(|| with_sense(&|sense| sense <= RAREST_SENSE))
    }

    /// Finds every new class by its name.
    #[must_use]
    pub fn match_by_name(&self, classes: &[String]) -> Vec<LabelMatch> {
        let found = classes.iter().map(|class| match self.find(class) {
            Some((sources, reason)) => self.label_match(class, sources, Some(reason)),
            None => self.label_match(class, Vec::new(), None),
        });
        found.collect()
    }

    /// Finds the classes that a map names by hand; those that it does not name match nothing.
    ///
    /// # Errors
    /// If the map names a class that is not there.
    pub fn match_by_map(
        &self,
        classes: &[String],
        map: &BTreeMap<String, Vec<String>>,
    ) -> Result<Vec<LabelMatch>, HeadMapError> {
        if let Some(class) = map.keys().find(|named| !classes.contains(named)) {
            return Err(HeadMapError::Class { class: class.clone(), classes: classes.to_vec() });
        }
        let found = classes.iter().map(|class| {
            let mut sources = Vec::new();
            for name in map.get(class).into_iter().flatten() {
                let unknown = || HeadMapError::Source { class: class.clone(), name: name.clone() };
                sources.extend(self.find(name).ok_or_else(unknown)?.0);
            }
            sources.sort_unstable();
            sources.dedup();
            let reason = (!sources.is_empty()).then_some(Reason::Map);
            Ok(self.label_match(class, sources, reason))
        });
        found.collect()
    }

    fn label_match(&self, class: &str, sources: Vec<usize>, reason: Option<Reason>) -> LabelMatch {
        let source_names = sources.iter().map(|&source| self.names[source].clone()).collect();
        LabelMatch { class: class.to_owned(), sources, source_names, reason }
    }
}

/// ImageNet's classes with WordNet's words for them and for the kinds above them.
#[cfg(feature = "embedded")]
fn imagenet() -> Option<Vocabulary> {
    let names: Vec<String> = regraft_lite0::class_names().into_iter().map(str::to_owned).collect();
    let mut vocabulary = Vocabulary::of_names(&names);
    let synsets: Vec<(&str, &str, &str)> = regraft_lite0::WORDNET
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t');
            Some((fields.next()?, fields.next()?, fields.next()?))
        })
        .collect();
    let places: HashMap<&str, usize> =
        synsets.iter().enumerate().map(|(place, (synset, ..))| (*synset, place)).collect();
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); synsets.len()];
    for class in 0..names.len() {
        let (mut above, mut next) = (vec![class], 0);
        while let Some(&place) = above.get(next) {
            let parents = synsets[place]
                .2
                .split_whitespace()
                .filter_map(|parent| places.get(parent).copied());
            let new: Vec<usize> = parents.filter(|parent| !above.contains(parent)).collect();
            above.extend(new);
            members[place].push(class);
            next += 1;
        }
    }
    for (place, (synset, words, _)) in synsets.iter().enumerate() {
        for word in words.split(';').chain([*synset]) {
            let (word, sense) = word.split_once('#').unwrap_or((word, "1"));
            let sense = sense.parse().unwrap_or(u32::MAX);
            if place < names.len() {
                vocabulary.words.entry(key(word)).or_default().push((place, sense));
            } else if sense == 1 {
                vocabulary.kinds.entry(key(word)).or_default().extend(&members[place]);
            }
        }
    }
    for classes in vocabulary.kinds.values_mut() {
        classes.sort_unstable();
        classes.dedup();
    }
    Some(vocabulary)
}

/// This build knows nothing of ImageNet's classes.
#[cfg(not(feature = "embedded"))]
fn imagenet() -> Option<Vocabulary> {
    None
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use super::*;

    fn found(name: &str) -> (Vec<String>, Option<Reason>) {
        let vocabulary = imagenet().expect("built in");
        let [found] = &vocabulary.match_by_name(&[name.to_owned()])[..] else {
            panic!("one class, one match")
        };
        (found.source_names.clone(), found.reason.clone())
    }

    #[test]
    fn classes_are_found_by_name_synonym_and_kind() {
        let hotdog = vec!["hotdog, hot dog, red hot".to_owned()];
        for name in ["hotdog", "hot_dog", "Hot-Dogs", "red hot", "n07697537"] {
            assert_eq!(found(name), (hotdog.clone(), Some(Reason::Synonym)), "{name}");
        }
        assert_eq!(found("Hotdog, hot dog, red hot"), (hotdog, Some(Reason::Name)));
        assert_eq!(found("apple"), (vec!["Granny Smith".to_owned()], Some(Reason::Kind)));
        assert_eq!(found("beaver"), (vec!["beaver".to_owned()], Some(Reason::Name)));
        assert_eq!(found("cranes").0, ["crane (bird)", "crane (machine)"]);
        // A kind's plural, irregular and regular ones.
        let dogs = found("dogs");
        assert_eq!((dogs.0.len(), dogs.1), (118, Some(Reason::Kind)));
        assert_eq!(found("wolves").0, found("wolf").0);
        assert_eq!(found("foxes").0, found("fox").0);
        assert!(found("foxes").0.iter().all(|name| name.contains("fox")), "{:?}", found("foxes"));
        assert_eq!(
            found("cat").0.iter().filter(|name| name.contains("cat")).count(),
            7,
            "{:?}",
            found("cat")
        );
        // Not the carpenter's tool.
        assert_eq!(found("plane").0, ["airliner"]);
        assert_eq!(found("car").1, Some(Reason::Kind));
    }

    #[test]
    fn what_means_no_class_matches_nothing() {
        // Words within names, words of other senses, words for everything, and words that only look
        // alike.
        for name in [
            "not-hotdog",
            "nothotdog",
            "other",
            "others",
            "background",
            "unknown",
            "none",
            "negative",
            "positive",
            "normal",
            "object",
            "thing",
            "class",
            "good",
            "bad",
            "defect",
            "head",
            "beam",
            "rest",
            "unit",
            "hot",
            "dogma",
            "a",
            "0",
            "",
            "女",
            "s",
            "es",
            "bus stop",
            "catfight",
            "matter",
            "light",
        ] {
            assert_eq!(found(name), (Vec::new(), None), "{name}");
        }
    }

    #[test]
    fn a_source_of_ones_own_is_matched_by_name_alone() {
        let names = ["Rose", "oak tree", "glass", "daisies"].map(str::to_owned);
        let vocabulary = Vocabulary::of_names(&names);
        let classes = ["roses", "oak-tree", "glas", "daisy", "flower", "GLASS"].map(str::to_owned);
        let matches: Vec<Vec<usize>> =
            vocabulary.match_by_name(&classes).into_iter().map(|found| found.sources).collect();
        assert_eq!(matches, [vec![0], vec![1], vec![], vec![], vec![], vec![2]]);
    }

    #[test]
    fn a_map_names_sources_by_hand_and_its_errors_say_which_name_is_wrong() {
        let vocabulary = imagenet().expect("built in");
        let classes = ["snack", "no snack"].map(str::to_owned);
        let map = |class: &str, names: &[&str]| {
            [(class.to_owned(), names.iter().map(|name| (*name).to_owned()).collect())].into()
        };
        let found = vocabulary
            .match_by_map(&classes, &map("snack", &["pretzel", "hot dog"]))
            .expect("all are there");
        assert_eq!(found[0].source_names, ["pretzel", "hotdog, hot dog, red hot"]);
        assert_eq!((found[0].reason.clone(), found[1].reason.clone()), (Some(Reason::Map), None));
        let error = vocabulary
            .match_by_map(&classes, &map("snacks", &["pretzel"]))
            .expect_err("no class")
            .to_string();
        assert!(error.contains("\"snacks\"") && error.contains("snack, no snack"), "{error}");
        let error = vocabulary
            .match_by_map(&classes, &map("snack", &["prezel"]))
            .expect_err("no source")
            .to_string();
        assert!(error.contains("\"prezel\""), "{error}");
    }
}
