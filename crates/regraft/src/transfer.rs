//! Transfer: a source model becomes the start of a target model, and each layer gets its learning rate.

use crate::config::{Freeze, Resize};
use crate::model::Model;
use regraft_data::preprocessing::{Preprocessing, ResizeMode};
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

/// The source model's preprocessing with another size of the network's input in pixels and another way of resizing, where they are given.
///
/// The short side of [`Resize::Crop`] keeps its ratio to the part that is cut out; where the source model crops nothing, it is 256 to 224.
#[must_use]
pub fn target_preprocessing(source: &Preprocessing, image_size: Option<u32>, resize: Option<Resize>) -> Preprocessing {
    let image_size = image_size.unwrap_or(source.image_size);
    let ratio = match source.resize {
        ResizeMode::Crop { short_side } => f64::from(short_side) / f64::from(source.image_size),
        ResizeMode::Squash | ResizeMode::Letterbox => 256.0 / 224.0,
    };
    let resize = match resize.unwrap_or(Resize::of(source.resize)) {
        Resize::Crop => ResizeMode::Crop { short_side: (ratio * f64::from(image_size)).round() as u32 },
        Resize::Squash => ResizeMode::Squash,
        Resize::Letterbox => ResizeMode::Letterbox,
    };
    Preprocessing { image_size, resize, ..source.clone() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{architecture, source_preprocessing};

    #[test]
    fn the_short_side_keeps_its_ratio_to_the_crop() {
        let source = source_preprocessing(architecture("resnet18").expect("a known name"));
        assert_eq!(target_preprocessing(&source, None, None), source);
        let smaller = target_preprocessing(&source, Some(160), None);
        assert_eq!((smaller.image_size, smaller.resize), (160, ResizeMode::Crop { short_side: 183 }));
        let squashed = target_preprocessing(&source, Some(64), Some(Resize::Squash));
        assert_eq!((squashed.image_size, squashed.resize), (64, ResizeMode::Squash));
        let back = target_preprocessing(&squashed, None, Some(Resize::Crop));
        assert_eq!(back.resize, ResizeMode::Crop { short_side: 73 });
    }
}
