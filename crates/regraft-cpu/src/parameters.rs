//! All parameters of a network, in flat arenas: tensors, gradients, the optimiser's state, and a
//! running average.

use crate::parameter::Layout;
use crate::tensors::{Memory, Tensors};
use crate::update::Moving;
use regraft_kernels::optimizer;
use regraft_nn::arena::Arena;
use regraft_nn::engine::{EngineError, Optimizer, State, Update};
use regraft_nn::parameters::{ParameterInfo, Role};
use std::ops::Range;

/// A network's tensors with their gradients, optimiser state and average.
pub(crate) struct Parameters {
    pub infos: Vec<ParameterInfo>,
    /// The layout of the arenas.
    pub arena: Arena,
    /// The kernels' order of each tensor's elements.
    layouts: Vec<Layout>,
    pub tensors: Tensors,
    /// The gradients of the layers that learn.
    pub gradients: Memory,
    /// The first node that has gradients, if there are any.
    gradients_from: Option<usize>,
    /// Their norm, if it was computed.
    norm: Option<f64>,
    /// Momentum, or AdamW's first moment; empty before the first step.
    first: Memory,
    /// AdamW's second moment; empty before the first step.
    second: Memory,
    /// The running average of the tensors, if there is one.
    average: Option<Tensors>,
}

impl Parameters {
    /// All zeros, except running variances of 1.
    pub fn new(infos: Vec<ParameterInfo>, arena: Arena, layouts: Vec<Layout>) -> Self {
        let mut tensors = Tensors::new(&arena);
        for (index, _) in
            infos.iter().enumerate().filter(|(_, info)| info.role == Role::RunningVariance)
        {
            tensors.running.of_mut(&arena.place(index)).fill(1.0);
        }
        Self {
            infos,
            arena,
            layouts,
            tensors,
            gradients: Memory::default(),
            gradients_from: None,
            norm: None,
            first: Memory::default(),
            second: Memory::default(),
            average: None,
        }
    }

    /// Makes room for the gradients of the nodes after the first `frozen`, before a pass computes
    /// them.
    pub fn begin_gradients(&mut self, frozen: usize) {
        self.gradients.reach(self.arena.from_node(frozen), self.arena.learned());
        self.gradients_from = Some(frozen);
        self.norm = None;
    }

    /// The learned tensors of the nodes after the first `frozen`, with their indices.
    fn learning(&self, frozen: usize) -> impl Iterator<Item = (usize, &ParameterInfo)> {
        self.learned().filter(move |(_, info)| info.node >= frozen)
    }

    fn learned(&self) -> impl Iterator<Item = (usize, &ParameterInfo)> {
        self.infos.iter().enumerate().filter(|(_, info)| info.role.is_learned())
    }

    /// The Euclidean norm of the current gradients of these nodes.
    pub fn gradient_norm(&mut self, frozen: usize) -> f64 {
        if let Some(norm) = self.norm {
            return norm;
        }
        let places = self.learning(frozen).map(|(index, _)| self.arena.place(index));
        // Tensor by tensor, so that the order of the sum does not depend on the gaps between them.
        let squares = |place: Range<usize>| optimizer::sum_of_squares(self.gradients.of(&place));
        let sum: f64 = places.filter(|place| self.gradients.covers(place)).map(squares).sum();
        *self.norm.insert(sum.sqrt())
    }

    /// Moves the learned tensors of the nodes after the first `frozen`.
    pub fn update(&mut self, update: &Update<'_>, frozen: usize) -> Result<(), EngineError> {
        let computed_from = self.gradients_from.unwrap_or(usize::MAX);
        if let Some((_, info)) = self.learning(frozen).find(|(_, info)| info.node < computed_from) {
            return Err(EngineError::NoGradient(info.name.clone()));
        }
        let scale = if update.clip.is_some() {
            update.gradient_scale(self.gradient_norm(frozen))
        } else {
            1.0
        };
        self.norm = None;
        let (start, end) = (self.arena.from_node(frozen), self.arena.learned());
        let (has_first, has_second) = match update.optimizer {
            Optimizer::Sgd { momentum } => (momentum != 0.0, false),
            Optimizer::AdamW(_) => (true, true),
        };
        if has_first {
            self.first.reach(start, end);
        }
        if has_second {
            self.second.reach(start, end);
        }
        let Self { infos, arena, tensors, gradients, first, second, .. } = self;
        let learned = infos
            .iter()
            .enumerate()
            .filter(|(_, info)| info.node >= frozen && info.role.is_learned());
        for (index, info) in learned {
            let place = &arena.place(index);
            let moving = Moving {
                value: tensors.learned.of_mut(place),
                gradient: gradients.of_mut(place),
                first: if has_first { first.of_mut(place) } else { &mut [] },
                second: if has_second { second.of_mut(place) } else { &mut [] },
            };
            moving.update(update, info.role, update.learning_rates[info.node], scale);
        }
        Ok(())
    }

    /// Moves the running average.
    pub fn follow_average(&mut self, decay: f32) {
        match &mut self.average {
            None => self.average = Some(self.tensors.clone()),
            Some(average) => {
                optimizer::average(
                    average.learned.all_mut(),
                    self.tensors.learned.all(),
                    1.0 - decay,
                );
                optimizer::average(
                    average.running.all_mut(),
                    self.tensors.running.all(),
                    1.0 - decay,
                );
            }
        }
    }

    pub fn average(&self) -> Option<&Tensors> {
        self.average.as_ref()
    }

    pub fn load_average(&mut self, average: Option<&State>) -> Result<(), EngineError> {
        let mut tensors = None;
        if let Some(average) = average {
            self.check(average)?;
            self.arrange(average, tensors.insert(Tensors::new(&self.arena)));
        }
        self.average = tensors;
        Ok(())
    }

    pub fn load(&mut self, state: &State) -> Result<(), EngineError> {
        self.check(state)?;
        let mut tensors = std::mem::take(&mut self.tensors);
        self.arrange(state, &mut tensors);
        self.tensors = tensors;
        Ok(())
    }

    /// Tensors by name, in PyTorch's order of elements.
    pub fn named(&self, tensors: &Tensors) -> State {
        let named = |(index, info): (usize, &ParameterInfo)| {
            let values = tensors.arena(info.role.is_learned()).of(&self.arena.place(index));
            (info.name.clone(), self.layouts[index].to_pytorch_order(&info.shape, values))
        };
        self.infos.iter().enumerate().map(named).collect()
    }

    /// Refuses a state that lacks a tensor or has one of another length.
    fn check(&self, state: &State) -> Result<(), EngineError> {
        for info in &self.infos {
            let values =
                state.get(&info.name).ok_or_else(|| EngineError::Missing(info.name.clone()))?;
            EngineError::check_length(&info.name, values.len(), info.length())?;
        }
        Ok(())
    }

    /// Writes the tensors of a checked state.
    fn arrange(&self, state: &State, tensors: &mut Tensors) {
        for (index, info) in self.infos.iter().enumerate() {
            let Some(values) = state.get(&info.name) else { continue };
            let values = self.layouts[index].to_kernel_order(&info.shape, values);
            tensors
                .arena_mut(info.role.is_learned())
                .of_mut(&self.arena.place(index))
                .copy_from_slice(&values);
        }
    }

    /// The first tensor by name, of the average and then of the network, that contains a non-finite
    /// value, with that value.
    pub fn first_not_finite(&self) -> Option<(String, f32)> {
        let is_finite = |memory: &Memory| memory.all().iter().all(|value| value.is_finite());
        let suspects = self.average.iter().chain([&self.tensors]);
        let mut suspects =
            suspects.filter(|tensors| !is_finite(&tensors.learned) || !is_finite(&tensors.running));
        self.named(suspects.next()?).into_iter().find_map(|(name, values)| {
            let value = values.into_iter().find(|value| !value.is_finite())?;
            Some((name, value))
        })
    }

    pub fn optimizer_state(&self) -> State {
        let mut state = State::new();
        for (index, info) in self.learned() {
            let place = self.arena.place(index);
            let has_second = self.second.covers(&place);
            let memories = [
                (if has_second { "first" } else { "momentum" }, &self.first),
                ("second", &self.second),
            ];
            for (suffix, memory) in memories.into_iter().filter(|(_, memory)| memory.covers(&place))
            {
                let values = self.layouts[index].to_pytorch_order(&info.shape, memory.of(&place));
                state.insert(format!("{}.{suffix}", info.name), values);
            }
        }
        state
    }

    pub fn load_optimizer_state(&mut self, state: &State) -> Result<(), EngineError> {
        let (first, second) =
            (self.memory(state, &["momentum", "first"])?, self.memory(state, &["second"])?);
        (self.first, self.second) = (first, second);
        Ok(())
    }

    /// The optimiser's state under the first of these suffixes that the state has.
    fn memory(&self, state: &State, suffixes: &[&str]) -> Result<Memory, EngineError> {
        let find = |info: &ParameterInfo| {
            suffixes.iter().find_map(|suffix| state.get(&format!("{}.{suffix}", info.name)))
        };
        let mut memory = Memory::default();
        for (index, info) in self.learned() {
            let Some(values) = find(info) else { continue };
            EngineError::check_length(
                &format!("the optimiser's memory of {}", info.name),
                values.len(),
                info.length(),
            )?;
            // The first tensor found is the furthest to the front, so memory is allocated once.
            memory.reach(self.arena.from_node(info.node), self.arena.learned());
            let values = self.layouts[index].to_kernel_order(&info.shape, values);
            memory.of_mut(&self.arena.place(index)).copy_from_slice(&values);
        }
        Ok(memory)
    }
}
