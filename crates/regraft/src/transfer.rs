//! Transfer: a source model becomes the start of a target model, and each layer gets its learning rate.

use crate::config::Freeze;
use crate::model::Model;
use regraft_nn::engine::State;
use regraft_nn::graph::{Graph, GraphError};
use regraft_nn::initialize::{HeadInitialization, new_head};
use regraft_nn::parameters::parameters;

/// Replaces the source's output layer by a new one for `classes`; the trunk keeps its weights.
///
/// Returns the target network and all its tensors.
#[must_use]
pub fn graft(source: Model, classes: usize, seed: u64) -> (Graph, State) {
    let graph = source.graph.with_classes(classes);
    let mut state = source.state;
    state.extend(new_head(&graph, seed, HeadInitialization::Xavier));
    (graph, state)
}

/// How many nodes of the graph, from the start, are frozen.
///
/// # Errors
/// When the graph has no such layer.
pub fn frozen_nodes(graph: &Graph, freeze: &Freeze) -> Result<usize, GraphError> {
    match freeze {
        Freeze::None => Ok(0),
        Freeze::Trunk => Ok(graph.head()),
        // The head always learns: without it there is nothing to train.
        Freeze::Through(layer) => Ok(graph.nodes_through(layer)?.min(graph.head())),
    }
}

/// Each node's learning rate as a multiple of the trunk's.
#[must_use]
pub fn rate_multipliers(graph: &Graph, head_multiplier: f32) -> Vec<f32> {
    let mut multipliers = vec![1.0; graph.nodes.len()];
    multipliers[graph.head()] = head_multiplier;
    multipliers
}

/// The number of parameters that learn, and of all.
#[must_use]
pub fn parameter_counts(graph: &Graph, frozen_nodes: usize) -> (usize, usize) {
    let learned: Vec<_> = parameters(graph).into_iter().filter(|parameter| parameter.role.is_learned()).collect();
    let trained = learned.iter().filter(|parameter| parameter.node >= frozen_nodes).map(|parameter| parameter.length()).sum();
    (trained, learned.iter().map(|parameter| parameter.length()).sum())
}
