//! The allocations of an engine, and transfers from and to the host.

use crate::device::{Device, Fault};
use crate::record::{Buffer, Slice};
use std::collections::BTreeMap;
use std::sync::Arc;
use wgpu::BufferUsages;

/// The allocations of an engine.
pub(crate) struct Memory {
    pub device: Arc<Device>,
    buffers: BTreeMap<Buffer, wgpu::Buffer>,
    /// Counts every change of an allocation: earlier bindings are out of date.
    pub version: u64,
}

const USAGE: BufferUsages =
    BufferUsages::STORAGE.union(BufferUsages::COPY_DST).union(BufferUsages::COPY_SRC);

impl Memory {
    pub fn new(device: Arc<Device>) -> Self {
        Self { device, buffers: BTreeMap::new(), version: 0 }
    }

    /// An allocation, which must be there.
    pub fn of(&self, buffer: Buffer) -> &wgpu::Buffer {
        match self.buffers.get(&buffer) {
            Some(found) => found,
            None => unreachable!("{buffer:?} is allocated before it is used"),
        }
    }

    pub fn size(&self, buffer: Buffer) -> u64 {
        self.buffers.get(&buffer).map_or(0, wgpu::Buffer::size)
    }

    /// Makes an allocation at least so large; one that has to grow becomes zero.
    pub fn reserve(&mut self, buffer: Buffer, bytes: u64) -> Result<(), Fault> {
        if self.size(buffer) >= bytes.max(4) {
            return Ok(());
        }
        self.renew(buffer, bytes)
    }

    /// Replaces an allocation by one of zeros.
    pub fn renew(&mut self, buffer: Buffer, bytes: u64) -> Result<(), Fault> {
        self.free(buffer);
        let made = self.device.buffer(bytes, USAGE)?;
        self.buffers.insert(buffer, made);
        Ok(())
    }

    /// Makes an allocation longer at its front, which becomes zero.
    pub fn extend_front(&mut self, buffer: Buffer, bytes: u64) -> Result<(), Fault> {
        let made = self.device.buffer(bytes, USAGE)?;
        if let Some(old) = self.buffers.get(&buffer) {
            let mut encoder = self.device.device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(old, 0, &made, bytes - old.size(), old.size());
            self.device.queue.submit([encoder.finish()]);
        }
        self.buffers.insert(buffer, made);
        self.version += 1;
        Ok(())
    }

    /// Gives an allocation back.
    pub fn free(&mut self, buffer: Buffer) {
        if let Some(old) = self.buffers.remove(&buffer) {
            old.destroy();
        }
        self.version += 1;
    }

    /// Copies an allocation.
    pub fn copy(&mut self, from: Buffer, to: Buffer) -> Result<(), Fault> {
        let bytes = self.size(from);
        self.reserve(to, bytes)?;
        let mut encoder = self.device.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(self.of(from), 0, self.of(to), 0, bytes);
        self.device.queue.submit([encoder.finish()]);
        Ok(())
    }

    /// Writes words from the start of an allocation, which grows if it must.
    pub fn write(&mut self, buffer: Buffer, words: &[u32]) -> Result<(), Fault> {
        self.reserve(buffer, 4 * words.len() as u64)?;
        self.device.queue.write_buffer(self.of(buffer), 0, bytemuck::cast_slice(words));
        Ok(())
    }

    /// As [`Self::write`], with numbers.
    pub fn write_f32(&mut self, buffer: Buffer, values: &[f32]) -> Result<(), Fault> {
        self.write(buffer, bytemuck::cast_slice(values))
    }

    /// Reads parts of allocations, each of whole words.
    pub fn read(&self, slices: &[Slice]) -> Result<Vec<Vec<u32>>, Fault> {
        let mut reading = Reading::new(self, slices)?;
        let mut encoder = self.device.device.create_command_encoder(&Default::default());
        reading.copy(self, &mut encoder);
        self.device.queue.submit([encoder.finish()]);
        reading.finish(&self.device)
    }

    /// Reads a whole allocation as numbers.
    pub fn read_all(&self, buffer: Buffer) -> Result<Vec<f32>, Fault> {
        let whole = Slice { buffer, start: 0, bytes: self.size(buffer) };
        let mut words = self.read(&[whole])?;
        Ok(bytemuck::cast_vec(words.pop().unwrap_or_default()))
    }
}

/// Values on their way to the host.
#[derive(Debug)]
pub(crate) struct Reading {
    slices: Vec<Slice>,
    staging: wgpu::Buffer,
    /// The work that copies them; without it, all work is waited for.
    pub submission: Option<wgpu::SubmissionIndex>,
}

impl Reading {
    pub fn new(memory: &Memory, slices: &[Slice]) -> Result<Self, Fault> {
        // Copies are of whole words.
        let slices: Vec<Slice> = slices
            .iter()
            .map(|slice| Slice { bytes: slice.bytes.next_multiple_of(4), ..*slice })
            .collect();
        let bytes = slices.iter().map(|slice| slice.bytes).sum();
        let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        let staging = memory.device.buffer(bytes, usage)?;
        Ok(Self { slices, staging, submission: None })
    }

    /// Has the device copy the values after the work that was encoded before.
    pub fn copy(&mut self, memory: &Memory, encoder: &mut wgpu::CommandEncoder) {
        let mut at = 0;
        for slice in &self.slices {
            let from = memory.of(slice.buffer);
            encoder.copy_buffer_to_buffer(from, slice.start, &self.staging, at, slice.bytes);
            at += slice.bytes;
        }
    }

    /// Waits for the values.
    pub fn finish(self, device: &Device) -> Result<Vec<Vec<u32>>, Fault> {
        let words = device.map(&self.staging, self.submission)?;
        let mut rest = words.as_slice();
        Ok(self
            .slices
            .iter()
            .map(|slice| {
                let (own, others) = rest.split_at((slice.bytes / 4) as usize);
                rest = others;
                own.to_vec()
            })
            .collect())
    }
}
