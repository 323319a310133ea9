//! Recorded dispatches, made ready for a device and run.

use crate::device::Fault;
use crate::memory::Memory;
use crate::record::{ALIGNMENT, Command};
use std::ops::Range;
use std::sync::Arc;
use wgpu::BufferUsages;

/// Dispatches with their shaders compiled and their buffers bound.
pub(crate) struct Prepared {
    dispatches: Vec<Dispatch>,
    /// [`Memory::version`] when the buffers were bound.
    version: u64,
}

struct Dispatch {
    pipeline: Arc<wgpu::ComputePipeline>,
    group: wgpu::BindGroup,
    groups: [u32; 3],
}

impl Prepared {
    pub fn new(memory: &Memory, commands: &[Command]) -> Result<Self, Fault> {
        let shaders: Vec<_> = commands.iter().map(|command| &command.shader).collect();
        let device = &*memory.device;
        let pipelines = device.pipelines(&shaders)?;
        let mut words: Vec<u32> = Vec::new();
        let mut places = Vec::with_capacity(commands.len());
        for command in commands {
            places.push(4 * words.len() as u64);
            words.extend(&command.params);
            words.resize(words.len().next_multiple_of((ALIGNMENT / 4) as usize), 0);
        }
        let uniforms = device
            .buffer(4 * words.len() as u64, BufferUsages::UNIFORM | BufferUsages::COPY_DST)?;
        device.queue.write_buffer(&uniforms, 0, bytemuck::cast_slice(&words));
        let dispatches = commands
            .iter()
            .zip(places)
            .zip(pipelines)
            .map(|((command, place), pipeline)| {
                let binding = |buffer, start: u64, bytes: u64| {
                    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer,
                        offset: start,
                        size: std::num::NonZeroU64::new(bytes),
                    })
                };
                let params = 4 * command.params.len() as u64;
                let mut entries = vec![wgpu::BindGroupEntry {
                    binding: 0,
                    resource: binding(&uniforms, place, params),
                }];
                entries.extend(command.slices.iter().enumerate().map(|(number, slice)| {
                    wgpu::BindGroupEntry {
                        binding: number as u32 + 1,
                        resource: binding(memory.of(slice.buffer), slice.start, slice.bytes),
                    }
                }));
                let group = device.device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(&command.shader.name),
                    layout: &pipeline.get_bind_group_layout(0),
                    entries: &entries,
                });
                Dispatch { pipeline, group, groups: command.groups }
            })
            .collect();
        device.check()?;
        Ok(Self { dispatches, version: memory.version })
    }

    /// Whether the buffers are still those that were bound.
    pub fn is_current(&self, memory: &Memory) -> bool {
        self.version == memory.version
    }

    pub fn len(&self) -> usize {
        self.dispatches.len()
    }

    /// Adds some of the dispatches to an encoder, each with a time stamp before and after it.
    pub fn encode_timed(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        stamps: &wgpu::QuerySet,
        range: Range<usize>,
    ) {
        for (place, Dispatch { pipeline, group, groups: [x, y, z] }) in
            self.dispatches[range].iter().enumerate()
        {
            let place = 2 * place as u32;
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: stamps,
                    beginning_of_pass_write_index: Some(place),
                    end_of_pass_write_index: Some(place + 1),
                }),
            });
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, group, &[]);
            pass.dispatch_workgroups(*x, *y, *z);
        }
    }

    /// Adds the dispatches to an encoder.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for Dispatch { pipeline, group, groups: [x, y, z] } in &self.dispatches {
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, group, &[]);
            pass.dispatch_workgroups(*x, *y, *z);
        }
    }
}
