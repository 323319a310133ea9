//! How long each dispatch of a training step takes on the device.

use super::GpuEngine;
use crate::device::Fault;
use regraft_nn::engine::{EngineError, LossSettings, StepPart, TrainBatch};
use wgpu::BufferUsages;

/// A dispatch of a training step.
#[derive(Clone, Debug, PartialEq)]
pub struct DispatchTime {
    /// The kernel's name.
    pub kernel: String,
    /// The parameters of the kernel, by name.
    pub params: Vec<(&'static str, u32)>,
    /// Workgroups along each dimension.
    pub groups: [u32; 3],
    /// Bytes of the buffers that it binds.
    pub bytes: u64,
    /// The median of the repeats, with the wait for the dispatch before.
    pub microseconds: f64,
}

impl GpuEngine {
    /// Times the dispatches of a training pass, each alone between two time stamps. Nothing is
    /// updated, but running statistics follow the batch.
    ///
    /// # Errors
    /// If the batch does not fit the network, the device has no time stamps, or it fails.
    pub fn times(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        part: StepPart,
        repeats: usize,
    ) -> Result<Vec<DispatchTime>, EngineError> {
        let gpu = self.memory.device.gpu.name.clone();
        if !self.memory.device.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err(EngineError::Unsupported { device: gpu, what: "has no time stamps" });
        }
        let (images, pass) = self.prepare(batch, loss)?;
        let Some(pass) = pass else { return Ok(Vec::new()) };
        let queued = self.queue(pass, batch, &images, loss, part, None);
        queued.and_then(|queued| self.finish(queued)).map_err(|fault| self.failed(fault))?;
        let mut rounds = Vec::with_capacity(repeats);
        for _ in 0..repeats {
            rounds.push(self.stamps(pass).map_err(|fault| self.failed(fault))?);
        }
        let commands = &self.passes[pass].recorded.commands;
        let time = |(place, command): (usize, &crate::record::Command)| {
            let mut times: Vec<f64> = rounds.iter().map(|round| round[place]).collect();
            times.sort_by(f64::total_cmp);
            let own = &command.params[command.shader.binds.len()..];
            DispatchTime {
                kernel: command.shader.name.clone(),
                params: command.shader.params.iter().copied().zip(own.iter().copied()).collect(),
                groups: command.groups,
                bytes: command.slices.iter().map(|slice| slice.bytes).sum(),
                microseconds: times.get(times.len() / 2).copied().unwrap_or(f64::NAN),
            }
        };
        Ok(commands.iter().enumerate().map(time).collect())
    }

    /// The microseconds of each dispatch in one run of a pass.
    fn stamps(&self, pass: usize) -> Result<Vec<f64>, Fault> {
        /// The most stamps that WebGPU promises for a set, two for each dispatch.
        const MOST: usize = 2048;
        let prepared = &self.passes[pass].prepared;
        let device = &self.memory.device;
        let mut found = Vec::with_capacity(prepared.len());
        let period = f64::from(device.queue.get_timestamp_period()) / 1e3;
        for start in (0..prepared.len()).step_by(MOST) {
            let count = (prepared.len() - start).min(MOST);
            let set = device.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2 * count as u32,
            });
            let bytes = 16 * count as u64;
            let resolved =
                device.buffer(bytes, BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC)?;
            let staging = device.buffer(bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
            let mut encoder = device.device.create_command_encoder(&Default::default());
            prepared.encode_timed(&mut encoder, &set, start..start + count);
            encoder.resolve_query_set(&set, 0..2 * count as u32, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, bytes);
            device.queue.submit([encoder.finish()]);
            let words = device.map(&staging, None)?;
            let stamps: Vec<u64> = words
                .chunks_exact(2)
                .map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32)
                .collect();
            found.extend(
                stamps.chunks_exact(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * period),
            );
        }
        Ok(found)
    }
}
