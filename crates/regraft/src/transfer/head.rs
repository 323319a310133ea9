//! The new head: the start of the output layer of the target model.

use super::labels::{HeadMapError, LabelMatch, Vocabulary};
use crate::config::HeadStart;
use crate::model::Model;
use regraft_nn::engine::State;
use regraft_nn::graph::Graph;
use regraft_nn::initialize::{HeadInitialization, new_head};
use regraft_nn::parameters::{Role, parameters};
use std::collections::BTreeMap;

/// A target model before its training.
#[derive(Clone, Debug)]
pub struct Graft {
    /// Its network.
    pub graph: Graph,
    /// All its tensors.
    pub state: State,
    /// The source rows that each class's row of the head starts from, if rows are reused.
    pub matches: Vec<LabelMatch>,
    /// A note on the source's classes.
    pub note: Option<String>,
    /// With [`HeadStart::Fit`] and a source of ImageNet's classes: what its rows say of the new
    /// classes, if any match by name.
    pub prior: Option<HeadPrior>,
}

/// Weights that a fitted head may start from, where the source knows some of the classes.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadPrior {
    /// `[classes, channels]`: for a class that matches classes of the source, the mean of their
    /// rows; for another, the mean of all rows of the source.
    pub weights: Vec<f32>,
    /// The classes that match, and the source's classes that they match.
    pub matches: Vec<LabelMatch>,
}

/// A head that cannot be used again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraftError {
    /// The source has no head, or no names for its classes.
    #[error("the head is to start from the source's, but {origin} {lack}")]
    NothingToReuse {
        /// The source.
        origin: String,
        /// The thing that it lacks.
        lack: &'static str,
    },
    /// The map names something that is not there.
    #[error(transparent)]
    Map(#[from] HeadMapError),
}

/// Replaces the source's output layer by a new one for `classes`; the backbone keeps its weights.
///
/// With [`HeadStart::Reuse`], the row of a class that matches classes of the source starts as the
/// mean of their rows, and so does its bias; `map` says what matches, or else the names do. All
/// other rows are Xavier's (Glorot and Bengio 2010).
///
/// # Errors
/// If there is no head to reuse, or the map names unknown classes.
pub fn graft(
    source: Model,
    classes: &[String],
    seed: u64,
    start: HeadStart,
    map: Option<&BTreeMap<String, Vec<String>>>,
) -> Result<Graft, GraftError> {
    let graph = source.graph.clone().with_classes(classes.len());
    let initialization = if start == HeadStart::PyTorch {
        HeadInitialization::PyTorch
    } else {
        HeadInitialization::Xavier
    };
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
    let prior = if start == HeadStart::Fit { prior(&source, &graph, classes) } else { None };
    let mut state = source.state;
    state.extend(head);
    Ok(Graft { graph, state, matches, note, prior })
}

/// The source's rows for the classes, if it knows any of them. Only ImageNet's classes are
/// asked: a head that was trained on the run's own images has seen the labels that cross-validation
/// holds out.
fn prior(source: &Model, graph: &Graph, classes: &[String]) -> Option<HeadPrior> {
    let matches = Vocabulary::imagenet_of(source)?.match_by_name(classes);
    let of_head = parameters(graph)
        .into_iter()
        .find(|parameter| parameter.node >= graph.backbone() && parameter.role == Role::Weight)?;
    let rows = source.state.get(&of_head.name)?;
    let channels = of_head.length() / classes.len();
    let all: Vec<usize> = (0..rows.len() / channels).collect();
    let is_known = |found: &LabelMatch| !found.sources.is_empty();
    if !matches.iter().any(is_known) {
        return None;
    }
    let mean_of_all = mean_row(rows, channels, &all);
    let weights = matches.iter().flat_map(|found| match &found.sources[..] {
        [] => mean_of_all.clone(),
        sources => mean_row(rows, channels, sources),
    });
    Some(HeadPrior {
        weights: weights.collect(),
        matches: matches.iter().filter(|found| is_known(found)).cloned().collect(),
    })
}

/// The mean of some rows of `length` values.
fn mean_row(values: &[f32], length: usize, rows: &[usize]) -> Vec<f32> {
    let mean = |place| {
        rows.iter().map(|&row| f64::from(values[row * length + place])).sum::<f64>()
            / rows.len() as f64
    };
    (0..length).map(|place| mean(place) as f32).collect()
}

/// Replaces rows of `head` by means of the source's rows. Weight and bias are the same case: a row
/// with this many values for each class.
fn reuse_rows(source: &Model, matches: &[LabelMatch], head: &mut State) {
    for (name, values) in head {
        let Some(source_values) = source.state.get(name) else { continue };
        let length = values.len() / matches.len().max(1);
        for (row, found) in values.chunks_exact_mut(length.max(1)).zip(matches) {
            if !found.sources.is_empty() {
                row.copy_from_slice(&mean_row(source_values, length, &found.sources));
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
        let new =
            graft(source.clone(), &classes, 3, HeadStart::New, None).expect("always possible");
        let reused =
            graft(source.clone(), &classes, 3, HeadStart::Reuse, None).expect("it has a head");
        assert!(new.matches.is_empty());
        // Xavier's bound is the root of 6 / (1280 + 3), PyTorch's that of 1 / 1280.
        let pytorch =
            graft(source.clone(), &classes, 3, HeadStart::PyTorch, None).expect("always possible");
        let greatest = |state: &State| {
            state["classifier.weight"].iter().fold(0f32, |most, value| most.max(value.abs()))
        };
        let bound = 1.0 / 1280f32.sqrt();
        assert!(
            greatest(&new.state) > 2.0 * bound
                && greatest(&pytorch.state) <= bound
                && greatest(&pytorch.state) > 0.9 * bound
        );
        let [apple, crane, nothing] = &reused.matches[..] else { panic!("one for each class") };
        assert_eq!((apple.sources.len(), crane.sources.len(), nothing.sources.len()), (1, 2, 0));
        let row = |state: &State, class: usize| {
            state["classifier.weight"][class * 1280..(class + 1) * 1280].to_vec()
        };
        assert!(row(&reused.state, 0) == row(&source.state, apple.sources[0]));
        let (first, second) =
            (row(&source.state, crane.sources[0]), row(&source.state, crane.sources[1]));
        let mean: Vec<f32> = first
            .iter()
            .zip(&second)
            .map(|(first, second)| ((f64::from(*first) + f64::from(*second)) / 2.0) as f32)
            .collect();
        assert!(row(&reused.state, 1) == mean);
        assert!(row(&reused.state, 2) == row(&new.state, 2));
        let bias = |state: &State, class: usize| state["classifier.bias"][class];
        assert_eq!(bias(&reused.state, 0), bias(&source.state, apple.sources[0]));
        assert_eq!(bias(&reused.state, 2), bias(&new.state, 2));
        assert!(new.state["conv_stem.weight"] == reused.state["conv_stem.weight"]);
    }

    #[test]
    fn a_fitted_head_has_a_prior_if_imagenet_knows_a_class() {
        let source = Model::embedded().expect("built in");
        let prior = |source: &Model, classes: [&str; 2]| {
            let classes = classes.map(str::to_owned);
            graft(source.clone(), &classes, 0, HeadStart::Fit, None).expect("always possible").prior
        };
        let found = prior(&source, ["apple", "no such thing"]).expect("apples are known");
        let [apple] = &found.matches[..] else { panic!("one class") };
        let rows = &source.state["classifier.weight"];
        assert!(found.weights[..1280] == rows[apple.sources[0] * 1280..][..1280]);
        let mean = rows.iter().step_by(1280).map(|&value| f64::from(value)).sum::<f64>() / 1000.0;
        assert!((f64::from(found.weights[1280]) - mean).abs() < 1e-6);
        assert_eq!(prior(&source, ["nothing known", "no such thing"]), None);
        // The classes of a run, whose images may be the same.
        let mut run = source;
        run.graph = run.graph.with_classes(2);
        run.classes = ["apple", "pear"].map(str::to_owned).to_vec();
        assert_eq!(prior(&run, ["apple", "pear"]), None);
    }

    #[test]
    fn a_source_without_a_head_or_names_has_nothing_to_use_again() {
        let mut source = Model::embedded().expect("built in");
        let classes = ["apple", "pear"].map(str::to_owned);
        let error = |source: &Model| {
            graft(source.clone(), &classes, 0, HeadStart::Reuse, None)
                .expect_err("impossible")
                .to_string()
        };
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
