//! The new head: what the output layer of the target model starts from.

use super::labels::{HeadMapError, LabelMatch, Vocabulary};
use crate::config::HeadStart;
use crate::model::Model;
use regraft_nn::engine::State;
use regraft_nn::graph::Graph;
use regraft_nn::initialize::{HeadInitialization, new_head};
use std::collections::BTreeMap;

/// A target model before its training.
#[derive(Clone, Debug)]
pub struct Graft {
    /// Its network.
    pub graph: Graph,
    /// All its tensors.
    pub state: State,
    /// What each class's row of the head starts from, where rows of the source's are used again.
    pub matches: Vec<LabelMatch>,
    /// What the user should know of the source's classes.
    pub note: Option<String>,
}

/// A head that cannot be used again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraftError {
    /// The source has no head, or no names for its classes.
    #[error("--head reuse starts from the source's head, but {origin} {lack}; choose --head new or --head fit")]
    NothingToReuse {
        /// The source.
        origin: String,
        /// What it lacks.
        lack: &'static str,
    },
    /// The map names something that is not there.
    #[error(transparent)]
    Map(#[from] HeadMapError),
}

/// Replaces the source's output layer by a new one for `classes`; the trunk keeps its weights.
///
/// With [`HeadStart::Reuse`], the row of a class that matches classes of the source starts as the mean of their rows, and so does
/// its bias; `map` says what matches, or else the names do. All other rows are Xavier's (Glorot and Bengio 2010).
///
/// # Errors
/// When there is no head to use again, or the map names what is not there.
pub fn graft(
    source: Model,
    classes: &[String],
    seed: u64,
    start: HeadStart,
    map: Option<&BTreeMap<String, Vec<String>>>,
) -> Result<Graft, GraftError> {
    let graph = source.graph.clone().with_classes(classes.len());
    let initialization = if start == HeadStart::PyTorch { HeadInitialization::PyTorch } else { HeadInitialization::Xavier };
    let mut head = new_head(&graph, seed, initialization);
    let (mut matches, mut note) = (Vec::new(), None);
    if start == HeadStart::Reuse {
        let lack = |lack| GraftError::NothingToReuse { origin: source.origin.clone(), lack };
        let (vocabulary, said) = match Vocabulary::of(&source) {
            Some(found) => found,
            None if source.has_head => return Err(lack("does not name its classes")),
            None => return Err(lack("has none")),
        };
        matches = match map {
            Some(map) => vocabulary.match_by_map(classes, map)?,
            None => vocabulary.match_by_name(classes),
        };
        note = said;
        reuse_rows(&source, &matches, &mut head);
    }
    let mut state = source.state;
    state.extend(head);
    Ok(Graft { graph, state, matches, note })
}

/// Replaces rows of `head` by means of the source's rows. Weight and bias are the same case: a row of so many values for each
/// class.
fn reuse_rows(source: &Model, matches: &[LabelMatch], head: &mut State) {
    for (name, values) in head {
        let Some(source_values) = source.state.get(name) else { continue };
        let length = values.len() / matches.len().max(1);
        for (row, found) in values.chunks_exact_mut(length.max(1)).zip(matches) {
            if found.sources.is_empty() {
                continue;
            }
            for (place, value) in row.iter_mut().enumerate() {
                let sum: f64 = found.sources.iter().map(|&class| f64::from(source_values[class * length + place])).sum();
                *value = (sum / found.sources.len() as f64) as f32;
            }
        }
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use super::*;

    #[test]
    fn matched_rows_are_means_of_the_sources_and_the_others_are_new() {
        let source = Model::embedded().expect("built in");
        let classes = ["apple", "crane", "no such thing"].map(str::to_owned);
        let new = graft(source.clone(), &classes, 3, HeadStart::New, None).expect("always possible");
        let reused = graft(source.clone(), &classes, 3, HeadStart::Reuse, None).expect("it has a head");
        assert!(new.matches.is_empty());
        // Xavier's bound is the root of 6 / (1280 + 3), PyTorch's that of 1 / 1280.
        let pytorch = graft(source.clone(), &classes, 3, HeadStart::PyTorch, None).expect("always possible");
        let greatest = |state: &State| state["classifier.weight"].iter().fold(0f32, |most, value| most.max(value.abs()));
        let bound = 1.0 / 1280f32.sqrt();
        assert!(
            greatest(&new.state) > 2.0 * bound && greatest(&pytorch.state) <= bound && greatest(&pytorch.state) > 0.9 * bound
        );
        let [apple, crane, nothing] = &reused.matches[..] else { panic!("one for each class") };
        assert_eq!((apple.sources.len(), crane.sources.len(), nothing.sources.len()), (1, 2, 0));
        let row = |state: &State, class: usize| state["classifier.weight"][class * 1280..(class + 1) * 1280].to_vec();
        assert!(row(&reused.state, 0) == row(&source.state, apple.sources[0]));
        let (first, second) = (row(&source.state, crane.sources[0]), row(&source.state, crane.sources[1]));
        let mean: Vec<f32> =
            first.iter().zip(&second).map(|(first, second)| ((f64::from(*first) + f64::from(*second)) / 2.0) as f32).collect();
        assert!(row(&reused.state, 1) == mean);
        assert!(row(&reused.state, 2) == row(&new.state, 2));
        let bias = |state: &State, class: usize| state["classifier.bias"][class];
        assert_eq!(bias(&reused.state, 0), bias(&source.state, apple.sources[0]));
        assert_eq!(bias(&reused.state, 2), bias(&new.state, 2));
        assert!(new.state["conv_stem.weight"] == reused.state["conv_stem.weight"]);
    }

    #[test]
    fn a_source_without_a_head_or_names_has_nothing_to_use_again() {
        let mut source = Model::embedded().expect("built in");
        let classes = ["apple", "pear"].map(str::to_owned);
        let error =
            |source: &Model| graft(source.clone(), &classes, 0, HeadStart::Reuse, None).expect_err("impossible").to_string();
        // A thousand classes without names are ImageNet's, and that is said.
        source.classes.clear();
        let reused = graft(source.clone(), &classes, 0, HeadStart::Reuse, None).expect("ImageNet");
        assert!(reused.note.expect("a note").contains("taken for ImageNet's"));
        assert_eq!(reused.matches[0].source_names, ["Granny Smith"]);
        source.graph = source.graph.with_classes(7);
        assert!(error(&source).contains("does not name its classes"));
        source.has_head = false;
        assert!(error(&source).contains("has none"));
    }
}
