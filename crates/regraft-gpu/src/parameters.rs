//! All that a network learns, in arenas on the device: tensors, gradients, the optimiser's memory,
//! and a running average.

use crate::device::Fault;
use crate::kernels::decide;
use crate::kernels::optimizer::{self, DECAYS, Part};
use crate::memory::Memory;
use crate::record::{Buffer, Recorder, Slice};
use regraft_nn::arena::{ALIGNMENT, Arena};
use regraft_nn::engine::{EngineError, Optimizer, State, Update};
use regraft_nn::layout::Layout;
use regraft_nn::parameters::{ParameterInfo, Role};
use std::ops::Range;

/// The host's view of a network's tensors.
pub(crate) struct Parameters {
    pub infos: Vec<ParameterInfo>,
    pub arena: Arena,
    layouts: Vec<Layout>,
    nodes: usize,
    /// Where gradients begin in the arena, if there is memory for any.
    pub gradients_start: Option<usize>,
    /// From which node on there are gradients, if there are any.
    pub gradients_from: Option<usize>,
    /// Where the first and the second moment begin.
    moments: [Option<usize>; 2],
    /// Whether the moments came from a state.
    has_loaded_moments: bool,
    pub has_average: bool,
}

const MOMENTS: [Buffer; 2] = [Buffer::First, Buffer::Second];

fn bytes(elements: usize) -> u64 {
    4 * elements as u64
}

impl Parameters {
    /// Zeros, and running variances of 1.
    pub fn new(
        infos: Vec<ParameterInfo>,
        arena: Arena,
        layouts: Vec<Layout>,
        nodes: usize,
        memory: &mut Memory,
    ) -> Result<Self, Fault> {
        memory.reserve(Buffer::Learned, bytes(arena.learned()))?;
        let mut running = vec![0.0_f32; arena.running()];
        for (index, info) in infos.iter().enumerate() {
            if info.role == Role::RunningVariance {
                running[arena.place(index)].fill(1.0);
            }
        }
        memory.write_f32(Buffer::Running, &running)?;
        let mut segments = vec![0; arena.learned() / ALIGNMENT];
        for (index, info) in infos.iter().enumerate().filter(|(_, info)| info.role.is_learned()) {
            let Range { start, end } = arena.place(index);
            let decays = if info.role == Role::Weight { DECAYS } else { 0 };
            segments[start / ALIGNMENT..end.div_ceil(ALIGNMENT)].fill(info.node as u32 | decays);
        }
        memory.write(Buffer::Segments, &segments)?;
        memory.write_f32(Buffer::Rates, &vec![0.0; nodes])?;
        memory.write(Buffer::Control, &[0; decide::COUNT])?;
        memory.reserve(Buffer::Losses, 4)?;
        let moments = [None; 2];
        let (gradients_start, gradients_from) = (None, None);
        Ok(Self {
            infos,
            arena,
            layouts,
            nodes,
            gradients_start,
            gradients_from,
            moments,
            has_loaded_moments: false,
            has_average: false,
        })
    }

    /// Makes room for the gradients of the nodes after the first `frozen`.
    pub fn reserve_gradients(&mut self, memory: &mut Memory, frozen: usize) -> Result<(), Fault> {
        let start = self.arena.from_node(frozen);
        if self.gradients_start.is_none_or(|there| start < there) {
            memory.renew(Buffer::Gradients, bytes(self.arena.learned() - start))?;
            self.gradients_start = Some(start);
        }
        Ok(())
    }

    /// The part of the arenas that belongs to the nodes after the first `frozen`.
    fn part(&self, frozen: usize) -> Part {
        let start = self.arena.from_node(frozen);
        let place = |begins: Option<usize>| start - begins.unwrap_or(start).min(start);
        Part {
            start,
            length: self.arena.learned() - start,
            places: [place(self.gradients_start), place(self.moments[0]), place(self.moments[1])],
        }
    }

    /// The gradients of the nodes after the first `frozen`.
    pub fn gradients(&self, frozen: usize) -> Slice {
        let Part { length, places, .. } = self.part(frozen);
        Slice::words(Buffer::Gradients, places[0], length)
    }

    fn learned(&self) -> impl Iterator<Item = (usize, &ParameterInfo)> {
        self.infos.iter().enumerate().filter(|(_, info)| info.role.is_learned())
    }

    /// Refuses an update of nodes without gradients.
    pub fn check_gradients(&self, frozen: usize) -> Result<(), EngineError> {
        let from = self.gradients_from.unwrap_or(usize::MAX);
        let mut learning = self.learned().filter(|(_, info)| info.node >= frozen);
        match learning.find(|(_, info)| info.node < from) {
            Some((_, info)) => Err(EngineError::NoGradient(info.name.clone())),
            None => Ok(()),
        }
    }

    /// Records the update of the nodes after the first `frozen`: the norm of their gradients, the
    /// decision, and the moves. If there are losses, they and the norm have to be finite. Returns
    /// the place of the norm's blocks.
    pub fn update(
        &mut self,
        memory: &mut Memory,
        recorder: &mut Recorder,
        update: &Update<'_>,
        losses: Option<(Slice, usize)>,
        frozen: usize,
    ) -> Result<Slice, Fault> {
        let count = match update.optimizer {
            Optimizer::Sgd { momentum: 0.0 } => 0,
            Optimizer::Sgd { .. } => 1,
            Optimizer::AdamW(_) => 2,
        };
        for which in 0..count {
            self.reach(memory, which, self.arena.from_node(frozen))?;
        }
        memory.write_f32(Buffer::Rates, update.learning_rates)?;
        memory.reserve(Buffer::Norms, 8)?;
        let norm = self.norm(memory, recorder, frozen)?;
        let part = self.part(frozen);
        let work = decide::Work { gradients: part.length, losses, clip: update.clip };
        decide::record(recorder, &work);
        optimizer::update(recorder, part, update, self.nodes);
        Ok(norm.unwrap_or(Slice::words(Buffer::Norms, 0, 0)))
    }

    /// Makes a moment reach from `start` or earlier to the end; the new part is zero.
    fn reach(&mut self, memory: &mut Memory, which: usize, start: usize) -> Result<(), Fault> {
        if self.moments[which].is_some_and(|there| there <= start) {
            return Ok(());
        }
        let length = bytes(self.arena.learned() - start);
        memory.extend_front(MOMENTS[which], length)?;
        self.moments[which] = Some(start);
        Ok(())
    }

    /// Records the squares of the gradients of the nodes after the first `frozen`, and says where
    /// they will lie; nothing if there are no gradients.
    pub fn norm(
        &self,
        memory: &mut Memory,
        recorder: &mut Recorder,
        frozen: usize,
    ) -> Result<Option<Slice>, Fault> {
        let Some(start) = self.gradients_start else { return Ok(None) };
        let start_of_part = self.arena.from_node(frozen).max(start);
        let length = self.arena.learned() - start_of_part;
        let words = 2 * optimizer::norm_blocks(length);
        memory.reserve(Buffer::Norms, bytes(words))?;
        optimizer::norm(recorder, start_of_part - start, length);
        Ok(Some(Slice::words(Buffer::Norms, 0, words)))
    }

    /// Records a move of the running average, or makes it a copy.
    pub fn follow_average(
        &mut self,
        memory: &mut Memory,
        recorder: &mut Recorder,
        decay: f32,
    ) -> Result<(), Fault> {
        if !self.has_average {
            memory.copy(Buffer::Learned, Buffer::AverageLearned)?;
            memory.copy(Buffer::Running, Buffer::AverageRunning)?;
            self.has_average = true;
            return Ok(());
        }
        let (learned, running) = (self.arena.learned(), self.arena.running());
        let share = 1.0 - decay;
        optimizer::average(recorder, Buffer::AverageLearned, Buffer::Learned, learned, share);
        optimizer::average(recorder, Buffer::AverageRunning, Buffer::Running, running, share);
        Ok(())
    }

    /// Refuses a state that lacks a tensor, or has one of another length.
    pub fn check(&self, state: &State) -> Result<(), EngineError> {
        for info in &self.infos {
            let values =
                state.get(&info.name).ok_or_else(|| EngineError::Missing(info.name.clone()))?;
            EngineError::check_length(&info.name, values.len(), info.length())?;
        }
        Ok(())
    }

    /// Writes a state that was checked to the arenas of learned tensors and of running statistics.
    pub fn load(
        &self,
        memory: &mut Memory,
        state: &State,
        [learned, running]: [Buffer; 2],
    ) -> Result<(), Fault> {
        let mut arenas = [vec![0.0; self.arena.learned()], vec![0.0; self.arena.running()]];
        for (index, info) in self.infos.iter().enumerate() {
            let Some(values) = state.get(&info.name) else { continue };
            let values = self.layouts[index].to_kernel_order(&info.shape, values);
            arenas[usize::from(!info.role.is_learned())][self.arena.place(index)]
                .copy_from_slice(&values);
        }
        memory.write_f32(learned, &arenas[0])?;
        memory.write_f32(running, &arenas[1])
    }

    /// Tensors by name, in PyTorch's order of elements.
    pub fn named(&self, memory: &Memory, buffers: [Buffer; 2]) -> Result<State, Fault> {
        let [learned, running] = buffers;
        let arenas = [memory.read_all(learned)?, memory.read_all(running)?];
        let named = |(index, info): (usize, &ParameterInfo)| {
            let values = &arenas[usize::from(!info.role.is_learned())][self.arena.place(index)];
            (info.name.clone(), self.layouts[index].to_pytorch_order(&info.shape, values))
        };
        Ok(self.infos.iter().enumerate().map(named).collect())
    }

    /// The optimiser's memory by name.
    pub fn optimizer_state(&self, memory: &Memory) -> Result<State, Fault> {
        let mut state = State::new();
        let mut values = [Vec::new(), Vec::new()];
        let control = memory.read(&[decide::control()])?;
        // An update that was skipped leaves zeros.
        let is_applied =
            control.iter().flatten().nth(decide::APPLIED).is_some_and(|&count| count > 0);
        if !is_applied && !self.has_loaded_moments {
            return Ok(state);
        }
        for which in 0..2 {
            if self.moments[which].is_some() {
                values[which] = memory.read_all(MOMENTS[which])?;
            }
        }
        for (index, info) in self.learned() {
            let place = self.arena.place(index);
            let covers = |which: usize| self.moments[which].filter(|&start| start <= place.start);
            let first = if covers(1).is_some() { "first" } else { "momentum" };
            for (which, suffix) in [(0, first), (1, "second")] {
                let Some(start) = covers(which) else { continue };
                let own = &values[which][place.start - start..place.end - start];
                let ordered = self.layouts[index].to_pytorch_order(&info.shape, own);
                state.insert(format!("{}.{suffix}", info.name), ordered);
            }
        }
        Ok(state)
    }

    /// Replaces the optimiser's memory.
    pub fn load_optimizer_state(
        &mut self,
        memory: &mut Memory,
        state: &State,
    ) -> Result<Result<(), Fault>, EngineError> {
        let first = self.moment(state, &["momentum", "first"])?;
        let second = self.moment(state, &["second"])?;
        self.has_loaded_moments = first.is_some();
        for (which, moment) in [first, second].into_iter().enumerate() {
            self.moments[which] = moment.as_ref().map(|(start, _)| *start);
            memory.free(MOMENTS[which]);
            if let Some((_, values)) = moment
                && let Err(fault) = memory.write_f32(MOMENTS[which], &values)
            {
                return Ok(Err(fault));
            }
        }
        Ok(Ok(()))
    }

    /// The moment that a state holds under the first of these suffixes, and where it begins.
    fn moment(
        &self,
        state: &State,
        suffixes: &[&str],
    ) -> Result<Option<(usize, Vec<f32>)>, EngineError> {
        let find = |info: &ParameterInfo| {
            suffixes.iter().find_map(|suffix| state.get(&format!("{}.{suffix}", info.name)))
        };
        let mut moment: Option<(usize, Vec<f32>)> = None;
        for (index, info) in self.learned() {
            let Some(values) = find(info) else { continue };
            let what = format!("the optimiser's memory of {}", info.name);
            EngineError::check_length(&what, values.len(), info.length())?;
            // The first tensor found is the furthest to the front: memory is taken once.
            let (start, memory) = moment.get_or_insert_with(|| {
                let start = self.arena.from_node(info.node);
                (start, vec![0.0; self.arena.learned() - start])
            });
            let Range { start: first, end } = self.arena.place(index);
            memory[first - *start..end - *start]
                .copy_from_slice(&self.layouts[index].to_kernel_order(&info.shape, values));
        }
        Ok(moment)
    }
}
