//! The parameters of a graph: names and shapes as PyTorch has them.

use crate::graph::Graph;
pub use crate::tensor::{Role, Tensor};

/// One tensor of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    /// PyTorch's name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// Place of its node in the graph.
    pub node: usize,
    /// What it is there.
    pub role: Role,
    /// PyTorch's shape; weights of a convolution are `[out, in / groups, height, width]`.
    pub shape: Vec<usize>,
}

impl ParameterInfo {
    /// Number of elements.
    #[must_use]
    pub fn length(&self) -> usize {
        self.shape.iter().product()
    }
}

/// All tensors of the graph, in the order of its nodes.
#[must_use]
pub fn parameters(graph: &Graph) -> Vec<ParameterInfo> {
    let of_node = |(node, description): (usize, &crate::graph::Node)| {
        let tensors = description.operation.rules().tensors(&description.name, graph.image_size);
        tensors.into_iter().map(move |Tensor { name, role, shape }| ParameterInfo {
            name,
            node,
            role,
            shape,
        })
    };
    graph.nodes.iter().enumerate().flat_map(of_node).collect()
}
