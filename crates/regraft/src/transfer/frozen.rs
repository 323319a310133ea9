//! The proof that frozen layers are unchanged.

use crate::config::Weights;
use crate::model::{Model, ModelError, model_path};
use regraft_nn::graph::Graph;
use regraft_nn::parameters::parameters;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The tensors that were compared and found equal to the bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenProof {
    /// Tensors of frozen layers, and statistics that were to stay.
    pub tensors: usize,
    /// Their values.
    pub values: usize,
}

/// Something frozen that is not as it was.
#[derive(Debug, thiserror::Error)]
pub enum FrozenError {
    /// A value differs.
    #[error(
        "{tensor} was frozen, but {} has {found} where {source_name} has {expected}: one of the \
         two files has changed under the run, or \
         this is a fault of Regraft; please report it",
        model.display()
    )]
    Changed {
        /// The tensor.
        tensor: String,
        /// The run's model file.
        model: PathBuf,
        /// The source in words.
        source_name: String,
        /// The value in the model file, in words.
        found: String,
        /// The value in the source, in words.
        expected: String,
    },
    /// One of the two cannot be read.
    #[error("frozen layers cannot be compared with the source: {0}")]
    Model(#[from] ModelError),
}

/// Which source a run started from, as its configuration names it.
#[derive(Clone, Copy, Debug)]
pub struct SourceName<'a> {
    /// The architecture.
    pub model: Option<&'a str>,
    /// The weights.
    pub weights: Option<&'a Weights>,
    /// The seed of weights that are none's.
    pub seed: u64,
}

impl SourceName<'_> {
    /// Whether the source is the file at `path`, which a run would overwrite.
    #[must_use]
    pub fn is_file(&self, path: &Path) -> bool {
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        match self.weights {
            Some(Weights::File(source)) => {
                real(&model_path(source)).is_some_and(|source| Some(source) == real(path))
            }
            _ => false,
        }
    }
}

/// Reads source and model file again and compares, to the bit, every tensor of the first `frozen`
/// nodes, and with `statistics` every running statistic of the backbone.
///
/// # Errors
/// When any differs.
pub fn prove_frozen(
    source: SourceName<'_>,
    model: &Path,
    graph: &Graph,
    frozen: usize,
    statistics: bool,
) -> Result<FrozenProof, FrozenError> {
    let before = Model::source(source.model, source.weights, source.seed)?;
    let after = Model::load(model, Some(&graph.architecture))?;
    // Position embeddings are interpolated to the run's image size before anything is frozen.
    let before = before.for_image_size(after.graph.image_size);
    let mut proof = FrozenProof { tensors: 0, values: 0 };
    let kept = parameters(graph).into_iter().filter(|parameter| {
        parameter.node < frozen
            || statistics && parameter.node < graph.backbone() && !parameter.role.is_learned()
    });
    for parameter in kept {
        let name = parameter.name;
        let [expected, found] =
            [&before, &after].map(|model| model.state.get(&name).map_or(&[][..], Vec::as_slice));
        let differs = |place: &usize| {
            expected.get(*place).map(|value| value.to_bits())
                != found.get(*place).map(|value| value.to_bits())
        };
        if let Some(place) = (0..expected.len().max(found.len())).find(differs) {
            let words = |values: &[f32]| {
                values.get(place).map_or_else(|| "nothing".to_owned(), |value| format!("{value:?}"))
            };
            return Err(FrozenError::Changed {
                tensor: name,
                model: model.to_owned(),
                source_name: before.origin.clone(),
                found: words(found),
                expected: words(expected),
            });
        }
        proof.tensors += 1;
        proof.values += expected.len();
    }
    Ok(proof)
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use super::*;

    #[test]
    fn a_single_bit_of_a_frozen_tensor_fails_the_proof() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.safetensors");
        let mut model = Model::embedded().expect("built in");
        let source = SourceName { model: None, weights: None, seed: 0 };
        let graph = model.graph.clone();
        let prove = |model: &Model, frozen, statistics| {
            model.save(&path).expect("written");
            prove_frozen(source, &path, &graph, frozen, statistics)
        };
        let whole = prove(&model, graph.backbone(), false).expect("equal");
        let name = "blocks.3.1.bn1.running_mean";
        let values = model.state.get_mut(name).expect("a tensor");
        values[5] = f32::from_bits(values[5].to_bits() ^ 1);
        let error =
            prove(&model, graph.backbone(), false).expect_err("one bit differs").to_string();
        assert!(error.contains(name) && error.contains("model.safetensors"), "{error}");
        assert!(prove(&model, 0, true).is_err(), "a statistic that was to stay");
        let through = graph.nodes_through("blocks.2").expect("a stage");
        let part = prove(&model, through, false).expect("equal so far");
        assert!(part.tensors > 50 && part.tensors < whole.tensors && part.values < whole.values);
        assert_eq!(prove(&model, 0, false).expect("nothing was frozen").tensors, 0);
    }
}
