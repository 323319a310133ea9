//! The device's work as data. It is recorded without a device, so that tests can examine it.

use crate::shader::{Shader, Storage, THREADS};
use std::sync::Arc;

/// Buffers begin at multiples of this many bytes where a shader binds them: the most that an
/// adapter of WebGPU's default limits asks for.
pub(crate) const ALIGNMENT: u64 = 256;

/// The workgroups that one dimension of a dispatch takes on every adapter.
const MOST_GROUPS: usize = 65_535;

/// An allocation of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Buffer {
    /// Memory of passes, one of several allocations.
    Pass(usize),
    /// Tensors that learn.
    Learned,
    /// Tensors that learn, as halves.
    Halves,
    /// Running statistics.
    Running,
    /// Gradients, from the first layer that learns.
    Gradients,
    /// Momentum, or the first moment.
    First,
    /// The second moment.
    Second,
    /// The running average of tensors that learn.
    AverageLearned,
    /// The running average of running statistics.
    AverageRunning,
    /// Numbers of a run: see [`crate::arguments`].
    Arguments,
    /// Images as they were uploaded.
    Images,
    /// The table of levels.
    Levels,
    /// The targets of a batch.
    Targets,
    /// The weights of images.
    Weights,
    /// Losses, one for each image.
    Losses,
    /// The streams and rates of branches that are dropped.
    Streams,
    /// The factors of branches, for each branch and image.
    Keep,
    /// For each unit of the arena of learned tensors, its node, and whether it decays.
    Segments,
    /// The learning rate of each node.
    Rates,
    /// Sums of squares of gradients.
    Norms,
    /// Whether and how the next update is made: see [`crate::kernels::decide`].
    Control,
}

/// Part of an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub buffer: Buffer,
    /// First byte.
    pub start: u64,
    pub bytes: u64,
}

impl Slice {
    /// Elements of four bytes.
    pub fn words(buffer: Buffer, start: usize, length: usize) -> Self {
        Self { buffer, start: 4 * start as u64, bytes: 4 * length as u64 }
    }
}

/// A dispatch of a shader.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub shader: Arc<Shader>,
    /// The buffers, in the order of the shader's bindings; each begins at a multiple of
    /// [`ALIGNMENT`].
    pub slices: Vec<Slice>,
    /// The values of the shader's parameters: the offsets of the buffers, then its own.
    pub params: Vec<u32>,
    pub groups: [u32; 3],
}

/// A list of dispatches that grows.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub commands: Vec<Command>,
}

impl Recorder {
    /// Adds a dispatch, given the buffers and parameters by name.
    ///
    /// # Panics
    /// If they are not those of the shader, or lie where it cannot read them.
    pub fn dispatch(
        &mut self,
        shader: Arc<Shader>,
        slices: &[(&str, Slice)],
        params: &[(&str, u32)],
        groups: [usize; 3],
    ) {
        assert!(
            slices.len() == shader.binds.len() && params.len() == shader.params.len(),
            "{} takes {:?} and {:?}, not {slices:?} and {params:?}",
            shader.name,
            shader.binds,
            shader.params
        );
        if groups.contains(&0) {
            return;
        }
        let mut places = Vec::with_capacity(slices.len() + params.len());
        let mut bound = Vec::with_capacity(slices.len());
        for bind in &shader.binds {
            let Some((_, slice)) = slices.iter().find(|(name, _)| *name == bind.name) else {
                panic!("{} needs {}", shader.name, bind.name)
            };
            let unit = (bind.width * bind.storage.bytes()) as u64;
            let before = slice.start % ALIGNMENT;
            assert!(before.is_multiple_of(unit), "{}: {} at {slice:?}", shader.name, bind.name);
            places.push((before / unit) as u32);
            // Bindings are whole words, also of 16-bit floats.
            let bytes = (before + slice.bytes).next_multiple_of(4);
            bound.push(Slice { buffer: slice.buffer, start: slice.start - before, bytes });
        }
        for name in &shader.params {
            let Some((_, value)) = params.iter().find(|(given, _)| given == name) else {
                panic!("{} needs {name}", shader.name)
            };
            places.push(*value);
        }
        let groups = groups.map(|groups| {
            assert!(groups <= MOST_GROUPS, "{}: {groups} workgroups", shader.name);
            groups as u32
        });
        self.commands.push(Command { shader, slices: bound, params: places, groups });
    }

    /// Adds a dispatch of a shader that computes `count` values one by one
    /// ([`crate::shader::Builder::each`]).
    pub fn each(
        &mut self,
        shader: Arc<Shader>,
        slices: &[(&str, Slice)],
        params: &[(&str, u32)],
        count: usize,
    ) {
        let mut params = params.to_vec();
        params.push(("count", number(count)));
        self.dispatch(shader, slices, &params, flat(count.div_ceil(THREADS)));
    }
}

/// Spreads workgroups over two dimensions.
pub(crate) fn flat(groups: usize) -> [usize; 3] {
    let rows = groups.div_ceil(MOST_GROUPS).max(1);
    [groups.div_ceil(rows), rows, 1]
}

/// A size as a shader's parameter.
///
/// # Panics
/// If it takes more than 32 bits: no device's buffer has that many elements.
pub(crate) fn number(value: usize) -> u32 {
    u32::try_from(value).expect("sizes on a device fit 32 bits")
}

/// A map or vector of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Values {
    pub slice: Slice,
    pub storage: Storage,
}
