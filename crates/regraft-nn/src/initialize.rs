//! Initial weights: each operation's own if the network is trained from scratch, Xavier's or
//! PyTorch's for a new head.

use crate::engine::State;
use crate::graph::Graph;
use crate::parameters::{ParameterInfo, Role, parameters};
use regraft_base::random::{Draws, Purpose};

/// How the head's weights are initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadInitialization {
    /// Uniform within `sqrt(6 / (inputs + outputs))` (Glorot and Bengio 2010), as for the
    /// textbook's new head.
    Xavier,
    /// PyTorch's `Linear`: uniform within `1 / sqrt(inputs)`.
    PyTorch,
}

/// Initial values for every tensor of `graph`, each node's from its own random stream.
#[must_use]
pub fn from_scratch(graph: &Graph, seed: u64, head: HeadInitialization) -> State {
    let mut state = new_head(graph, seed, head);
    for node in &graph.nodes[..graph.backbone()] {
        let rules = node.operation.rules();
        for tensor in rules.tensors(&node.name, graph.image_size) {
            let values = rules.initial(&tensor, seed);
            state.insert(tensor.name, values);
        }
    }
    state
}

/// Initial weight and bias of `graph`'s head; the bias is initialised as in PyTorch's `Linear`,
/// uniform within `1 / sqrt(inputs)`.
#[must_use]
pub fn new_head(graph: &Graph, seed: u64, initialization: HeadInitialization) -> State {
    let (inputs, outputs) = (graph.features(), graph.classes());
    let bias_bound = 1.0 / (inputs as f32).sqrt();
    let weight_bound = match initialization {
        HeadInitialization::Xavier => (6.0 / (inputs + outputs) as f32).sqrt(),
        HeadInitialization::PyTorch => bias_bound,
    };
    let mut draws = Draws::new(seed, Purpose::Head, 0, 0);
    let mut uniform = |parameter: &ParameterInfo, bound: f32| {
        (0..parameter.length()).map(|_| draws.range(-bound, bound)).collect()
    };
    let head = graph.backbone();
    let of_head = parameters(graph).into_iter().filter(|parameter| parameter.node >= head);
    of_head
        .map(|parameter| {
            let bound = if parameter.role == Role::Bias { bias_bound } else { weight_bound };
            let values = uniform(&parameter, bound);
            (parameter.name, values)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architectures;

    #[test]
    fn values_have_their_distributions() {
        let graph = architectures::find("resnet18").expect("known").graph().with_classes(10);
        let state = from_scratch(&graph, 3, HeadInitialization::Xavier);
        assert_eq!(state.len(), parameters(&graph).len());
        let weights = &state["layer2.0.conv2.weight"];
        let deviation = (weights.iter().map(|value| f64::from(value * value)).sum::<f64>()
            / weights.len() as f64)
            .sqrt();
        assert!((deviation - (2.0f64 / (128.0 * 9.0)).sqrt()).abs() < 2e-4, "{deviation}");
        let bound = (6.0f32 / 522.0).sqrt();
        let greatest =
            state["fc.weight"].iter().fold(0.0f32, |greatest, value| greatest.max(value.abs()));
        assert!(greatest < bound && greatest > 0.99 * bound);
        assert!(
            state["fc.bias"].iter().all(|value| value.abs() < 1.0 / 512f32.sqrt())
                && state["fc.bias"][0] != 0.0
        );
        let other = new_head(&graph, 4, HeadInitialization::PyTorch);
        assert_ne!(other["fc.weight"][0], state["fc.weight"][0]);
        assert!(other["fc.weight"].iter().all(|value| value.abs() < 1.0 / 512f32.sqrt()));
    }
}
