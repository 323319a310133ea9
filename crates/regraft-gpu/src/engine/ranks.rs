//! How an engine shares gradients and statistics with the other ranks.

use super::GpuEngine;
use crate::device::Fault;
use crate::record::Buffer;
use regraft_nn::ops::{NormStatistics, Operation};
use std::ops::Range;

impl GpuEngine {
    /// Whether a batch norm that learns needs the statistics of the whole batch of all ranks, which
    /// would have to be exchanged during the pass.
    pub(super) fn shares_statistics(&self) -> bool {
        self.graph.nodes[self.frozen..].iter().any(|node| match &node.operation {
            Operation::BatchNorm(norm) => norm.statistics == NormStatistics::WholeBatch,
            _ => false,
        })
    }

    /// Sums over the ranks the gradients, and running statistics that follow batches,
    /// weighted by the images of each rank.
    pub(super) fn share(&mut self, images: usize, is_last: bool) -> Result<(), Fault> {
        if self.collective.size() == 1 {
            return Ok(());
        }
        if is_last {
            let slice = self.parameters.gradients(self.frozen);
            let found = self.memory.read(&[slice])?.pop().unwrap_or_default();
            let mut values: Vec<f32> = bytemuck::cast_vec(found);
            self.collective.sum(&mut values);
            let buffer = self.memory.of(Buffer::Gradients);
            let bytes = bytemuck::cast_slice(&values);
            self.memory.device.queue.write_buffer(buffer, slice.start, bytes);
        }
        self.share_statistics(images)
    }

    fn share_statistics(&mut self, images: usize) -> Result<(), Fault> {
        let Self { collective, parameters, graph, frozen, memory, .. } = self;
        let follows = |node: usize| match &graph.nodes[node].operation {
            Operation::BatchNorm(norm) => norm.statistics == NormStatistics::Batch,
            _ => false,
        };
        let infos = parameters.infos.iter().enumerate();
        let following = infos.filter(|(_, info)| {
            info.node >= *frozen && !info.role.is_learned() && follows(info.node)
        });
        let places: Vec<Range<usize>> =
            following.map(|(index, _)| parameters.arena.place(index)).collect();
        if places.is_empty() {
            return Ok(());
        }
        let mut running = memory.read_all(Buffer::Running)?;
        let mut values: Vec<f32> = places
            .iter()
            .flat_map(|place| &running[place.clone()])
            .map(|value| value * images as f32)
            .collect();
        values.push(images as f32);
        collective.sum(&mut values);
        let total = values.pop().unwrap_or(1.0).max(1.0);
        let mut means = values.into_iter().map(|sum| sum / total);
        for place in places {
            running[place].iter_mut().zip(means.by_ref()).for_each(|(value, mean)| *value = mean);
        }
        memory.write_f32(Buffer::Running, &running)
    }
}
