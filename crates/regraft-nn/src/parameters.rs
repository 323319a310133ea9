//! The parameters of a graph, with PyTorch's names and shapes.

use crate::graph::Graph;
pub use crate::tensor::{Role, Tensor};

/// One tensor of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    /// PyTorch's name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// Index of its node in the graph.
    pub node: usize,
    /// Its role in the node.
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
