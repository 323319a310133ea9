//! Where each tensor of a network lies in flat memory.
//!
//! An engine keeps all parameters in one arena, and gradients and the optimiser's memory in others
//! of the same order. What works on every parameter alike, such as a running average or a sum over
//! devices, works on long slices.

use crate::parameters::ParameterInfo;
use std::ops::Range;

/// Tensors begin at multiples of this many elements: a cache line of f32.
pub const ALIGNMENT: usize = 16;

/// The places of a network's tensors in two arenas: learned tensors, and the running statistics
/// that are not learned. Both are in the order of the nodes, so that the tensors of neighbouring
/// nodes lie side by side, and what lies between two tensors is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arena {
    /// For each tensor, its place in its arena.
    places: Vec<Range<usize>>,
    /// For each node and one more, where its learned tensors begin.
    starts: Vec<usize>,
    running: usize,
}

impl Arena {
    /// The places of these tensors of a network of so many nodes.
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

    /// Where a tensor lies in its arena, by its place in the list of parameters.
    #[must_use]
    pub fn place(&self, parameter: usize) -> Range<usize> {
        self.places[parameter].clone()
    }

    /// Where the learned tensors of these nodes lie.
    #[must_use]
    pub fn nodes(&self, nodes: Range<usize>) -> Range<usize> {
        self.starts[nodes.start]..self.starts[nodes.end]
    }

    /// Where the learned tensors of a node and all that follow begin.
    #[must_use]
    pub fn from_node(&self, node: usize) -> usize {
        self.starts[node]
    }

    /// Elements of all learned tensors, with what lies between them.
    #[must_use]
    pub fn learned(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// Elements of all running statistics, with what lies between them.
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
