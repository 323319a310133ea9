//! The layout of a network's tensors in flat memory.
//!
//! An engine keeps all parameters in one arena, and gradients and the optimiser's state in others
//! of the same order. Code that treats all parameters alike, such as a running average or a sum
//! over devices, works on long slices.

use crate::parameters::ParameterInfo;
use std::ops::Range;

/// Tensors begin at multiples of this many elements: a cache line of f32.
pub const ALIGNMENT: usize = 16;

/// The positions of a network's tensors in two arenas: learned tensors, and running statistics,
/// which are not learned. Both are in the order of the nodes, so the tensors of neighbouring nodes
/// are adjacent, and the gaps between tensors are zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arena {
    /// For each tensor, its range in its arena.
    places: Vec<Range<usize>>,
    /// For each node, and one more, the start of its learned tensors.
    starts: Vec<usize>,
    running: usize,
}

impl Arena {
    /// The layout of these tensors for a network of `nodes` nodes.
    #[must_use]
    pub fn new(parameters: &[ParameterInfo], nodes: usize) -> Self {
        let (mut learned, mut running) = (0, 0);
        let mut places = Vec::with_capacity(parameters.len());
        let mut starts = Vec::with_capacity(nodes + 1);
        for info in parameters {
            while starts.len() <= info.node {
                starts.push(learned);
            }
            let end = if info.role.is_learned() { &mut learned } else { &mut running };
            places.push(*end..*end + info.length());
            *end = (*end + info.length()).next_multiple_of(ALIGNMENT);
        }
        starts.resize(nodes + 1, learned);
        Self { places, starts, running }
    }

    /// A tensor's range in its arena, by its index in the list of parameters.
    #[must_use]
    pub fn place(&self, parameter: usize) -> Range<usize> {
        self.places[parameter].clone()
    }

    /// The range of the learned tensors of these nodes.
    #[must_use]
    pub fn nodes(&self, nodes: Range<usize>) -> Range<usize> {
        self.starts[nodes.start]..self.starts[nodes.end]
    }

    /// The start of the learned tensors of a node and its successors.
    #[must_use]
    pub fn from_node(&self, node: usize) -> usize {
        self.starts[node]
    }

    /// Elements of all learned tensors, including the gaps.
    #[must_use]
    pub fn learned(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// Elements of all running statistics, including the gaps.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architectures;
    use crate::parameters::parameters;

    #[test]
    fn tensors_lie_side_by_side_in_the_order_of_their_nodes() {
        for architecture in ["resnet18", "efficientnet_b0", "convnext_tiny"] {
            let graph = architectures::find(architecture).expect("known").graph();
            let tensors = parameters(&graph);
            let arena = Arena::new(&tensors, graph.nodes.len());
            let mut ends = [0_usize; 2];
            for (index, info) in tensors.iter().enumerate() {
                let (place, end) =
                    (arena.place(index), &mut ends[usize::from(info.role.is_learned())]);
                let begins = (*end).next_multiple_of(ALIGNMENT);
                assert_eq!((place.start, place.len()), (begins, info.length()), "{}", info.name);
                *end = place.end;
                if info.role.is_learned() {
                    let node = arena.nodes(info.node..info.node + 1);
                    assert!(node.start <= place.start && place.end <= node.end, "{}", info.name);
                    assert_eq!(arena.from_node(info.node), node.start);
                }
            }
            assert_eq!(
                [arena.running(), arena.learned()],
                ends.map(|end| end.next_multiple_of(ALIGNMENT))
            );
            assert_eq!(arena.nodes(0..graph.nodes.len()), 0..arena.learned());
        }
    }
}
