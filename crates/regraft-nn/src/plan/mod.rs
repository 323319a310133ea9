//! The planner that engines share: it decides which buffers a pass needs, how long each lives, and
//! its place in memory.
//!
//! Time runs through the forward pass, one tick a step, then the loss, then the backward pass in
//! reverse. A buffer lives from the tick that writes it to the last tick that reads it; buffers
//! that never live at the same time may share memory. Nothing is kept for the backward pass before
//! the first trained step, because there is none.

mod place;
mod step;

pub use place::{Place, Target};
pub use step::{Extra, Facts, Reading, Step, StepSource};

use crate::precision::Precision;
use crate::shape::MapShape;
use std::ops::Range;

/// The kind of a pass, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Forward, loss, backward. The first `frozen` steps run as in evaluation and have no backward
    /// pass.
    Train {
        /// How many steps are frozen.
        frozen: usize,
    },
    /// Forward to the output of one step, with running statistics.
    Evaluate {
        /// The step.
        last: usize,
    },
}

/// The memory that a pass is laid out in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes of a unit; every buffer begins at a unit.
    pub unit_bytes: usize,
    /// Units of one allocation, if a device limits them: no buffer crosses a multiple.
    pub allocation: Option<usize>,
}

/// A pass to be planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The kind of pass.
    pub mode: Mode,
    /// Images in the batch.
    pub batch: usize,
    /// Type of the feature maps' elements.
    pub precision: Precision,
}

/// A buffer of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Place in the pass's memory.
    pub place: Place,
    /// First and last tick at which its content is needed.
    pub life: (usize, usize),
}

/// The buffers of one step; each exists only if it is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepBuffers {
    /// The values before a normalisation. Only a trained step keeps them.
    pub convolved: Option<usize>,
    /// The step's output; `None` if its only reader normalises [`Self::convolved`] as it reads, or
    /// [computes it](Facts::computed_by).
    pub output: Option<usize>,
    /// The step's output, recomputed from its convolution for the backward pass of its reader.
    pub recomputed: Option<usize>,
    /// The gradient of the step's output.
    pub gradient: Option<usize>,
    /// See [`Extra::saved`].
    pub saved: Option<usize>,
    /// See [`Extra::forward_scratch`] and [`Extra::backward_scratch`].
    pub scratch: [Option<usize>; 2],
}

/// A pass over a program at one batch size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The kind of pass.
    pub mode: Mode,
    /// Images in the batch.
    pub batch: usize,
    /// Type of the feature maps' elements.
    pub precision: Precision,
    /// The batch of images.
    pub images: usize,
    /// All buffers.
    pub buffers: Vec<Buffer>,
    /// The buffers of each step.
    pub steps: Vec<StepBuffers>,
    /// Units of memory for all buffers together.
    pub memory: usize,
    /// Bytes of a unit.
    unit_bytes: usize,
    /// For each step and each of its inputs: `None` if the input needs no gradient, otherwise
    /// whether the step adds to the existing gradient (`true`) or is the first to write it.
    pub targets: Vec<Vec<Option<bool>>>,
}

impl Plan {
    /// Plans a pass of `steps`, which have these output shapes for one image, on images of the
    /// shape `image`. `extras` are the other buffers of each step; none if it is empty.
    #[must_use]
    pub fn new(
        steps: &[Step],
        shapes: &[MapShape],
        image: MapShape,
        pass: Pass,
        memory: Memory,
        extras: &[Extra],
    ) -> Self {
        let Pass { mode, batch, precision } = pass;
        let count = steps.len();
        let (first_trained, computed) = match mode {
            Mode::Train { frozen } => (frozen, count),
            Mode::Evaluate { last } => (count, last + 1),
        };
        let trains = first_trained < count;
        let backward_tick = |step: usize| 2 * count - step;
        let mut plan = Self {
            mode,
            batch,
            precision,
            images: 0,
            buffers: Vec::new(),
            steps: vec![StepBuffers::default(); count],
            memory: 0,
            unit_bytes: memory.unit_bytes,
            targets: steps.iter().map(|step| vec![None; step.inputs.len()]).collect(),
        };
        let stored = stored_as(steps, StepSource::Image, precision);
        plan.images = plan.add(batch * image.length(), stored, (0, 0));
        for (index, step) in steps.iter().enumerate().take(computed) {
            let length = batch * shapes[index].length();
            let stored = stored_as(steps, StepSource::Step(index), precision);
            let trained = index >= first_trained;
            let last_tick = if trains { count } else { computed };
            // A step of a pass that ends with it, or whose reader is trained, is computed alone.
            let by = step.facts.computed_by.filter(|&by| by < first_trained.min(computed));
            if by.is_none() && !(trained && reading(steps, index) == Reading::Normalizes) {
                let life = (index, if index + 1 == computed { last_tick } else { index });
                plan.steps[index].output = Some(plan.add(length, stored, life));
            }
            if trained && step.facts.keeps_convolved {
                plan.steps[index].convolved =
                    Some(plan.add(length, precision, (index, backward_tick(index))));
            }
            // Reading keeps the input alive: in the forward pass, and in the backward pass if a
            // gradient is computed from it.
            for &source in &step.inputs {
                plan.extend_read(source, by.unwrap_or(index));
            }
            let read_again = if trained { step.facts.inputs_read_again } else { 0 };
            for &source in &step.inputs[..read_again] {
                match source {
                    StepSource::Step(input)
                        if input >= first_trained
                            && reading(steps, input) == Reading::Recomputed =>
                    {
                        let length = batch * shapes[input].length();
                        let life = (backward_tick(index), backward_tick(index));
                        plan.steps[input].recomputed = Some(plan.add(length, precision, life));
                    }
                    _ => plan.extend_read(source, backward_tick(index)),
                }
            }
            if trained && step.facts.reads_output_again {
                plan.extend_read(StepSource::Step(index), backward_tick(index));
            }
            let Some(extra) = extras.get(index) else { continue };
            let mut add = |elements: usize, first: usize, last: usize| {
                (elements > 0).then(|| plan.add(elements, Precision::F32, (first, last)))
            };
            let backward = backward_tick(index);
            let saved = add(extra.saved, index, if trained { backward } else { index });
            let forward_scratch = add(extra.forward_scratch, index, index);
            let backward_scratch =
                if trained { add(extra.backward_scratch, backward, backward) } else { None };
            plan.steps[index].saved = saved;
            plan.steps[index].scratch = [forward_scratch, backward_scratch];
        }
        if trains {
            plan.add_gradients(steps, shapes, first_trained, &backward_tick);
        }
        plan.place(memory.allocation);
        plan
    }

    fn add(&mut self, elements: usize, precision: Precision, life: (usize, usize)) -> usize {
        let units = (elements * precision.bytes()).div_ceil(self.unit_bytes);
        self.buffers.push(Buffer { place: Place { units: 0..units, elements, precision }, life });
        self.buffers.len() - 1
    }

    fn extend_read(&mut self, source: StepSource, tick: usize) {
        if let Some(buffer) = self.read(source) {
            self.extend(buffer, tick);
        }
    }

    fn extend(&mut self, buffer: usize, tick: usize) {
        let (first, last) = self.buffers[buffer].life;
        self.buffers[buffer].life = (first.min(tick), last.max(tick));
    }

    fn add_gradients(
        &mut self,
        steps: &[Step],
        shapes: &[MapShape],
        first_trained: usize,
        backward_tick: &impl Fn(usize) -> usize,
    ) {
        let count = steps.len();
        // The loss writes the gradient of the logits.
        let life = (count, backward_tick(count - 1));
        self.steps[count - 1].gradient =
            Some(self.add(self.batch * shapes[count - 1].length(), Precision::F32, life));
        for index in (first_trained..count).rev() {
            // A step computes gradients from its last input to its first.
            for place in (0..steps[index].inputs.len()).rev() {
                let StepSource::Step(target) = steps[index].inputs[place] else { continue };
                if target < first_trained {
                    continue;
                }
                let tick = backward_tick(index);
                self.targets[index][place] = Some(match self.steps[target].gradient {
                    Some(buffer) => {
                        self.extend(buffer, tick);
                        true
                    }
                    None => {
                        let length = self.batch * shapes[target].length();
                        let stored = stored_as(steps, StepSource::Step(target), self.precision);
                        self.steps[target].gradient =
                            Some(self.add(length, stored, (tick, backward_tick(target))));
                        false
                    }
                });
            }
        }
    }

    /// Gives each buffer the lowest place at which it overlaps no other that lives at the same
    /// time, the largest buffers first.
    fn place(&mut self, allocation: Option<usize>) {
        // The first place from `start` on at which a buffer of `length` units fits.
        let fits = |start: usize, length: usize| match allocation {
            Some(most) if length <= most && start % most + length > most => {
                start.next_multiple_of(most)
            }
            _ => start,
        };
        let mut order: Vec<usize> = (0..self.buffers.len()).collect();
        order.sort_by_key(|&index| {
            (std::cmp::Reverse(self.buffers[index].place.units.len()), index)
        });
        let mut placed: Vec<usize> = Vec::new();
        for index in order {
            let life = self.buffers[index].life;
            let length = self.buffers[index].place.units.len();
            let mut taken: Vec<Range<usize>> = placed
                .iter()
                .map(|&other| &self.buffers[other])
                .filter(|other| other.life.0 <= life.1 && life.0 <= other.life.1)
                .map(|other| other.place.units.clone())
                .collect();
            taken.sort_by_key(|units| units.start);
            let mut start = 0;
            for units in taken {
                if start + length <= units.start {
                    break;
                }
                start = fits(start.max(units.end), length);
            }
            self.buffers[index].place.units = start..start + length;
            self.memory = self.memory.max(start + length);
            placed.push(index);
        }
    }

    /// The buffer that a step reads `source` from.
    #[must_use]
    pub fn read(&self, source: StepSource) -> Option<usize> {
        match source {
            StepSource::Image => Some(self.images),
            StepSource::Step(index) => self.steps[index].output.or(self.steps[index].convolved),
        }
    }

    /// Whether the values of `source` are never written, because the step that reads them computes
    /// them in evaluation.
    #[must_use]
    pub fn is_inside(&self, source: StepSource) -> bool {
        self.read(source).is_none()
    }

    /// The buffer from which the backward pass of a step reads `source`.
    #[must_use]
    pub fn read_again(&self, source: StepSource) -> Option<usize> {
        let recomputed = match source {
            StepSource::Image => None,
            StepSource::Step(index) => self.steps[index].recomputed,
        };
        recomputed.or(self.read(source))
    }

    /// Whether a step normalises the values it reads from `source`.
    #[must_use]
    pub fn normalizes(&self, source: StepSource) -> bool {
        let is_computed = |index: usize| {
            self.steps[index].output.is_none() && self.steps[index].convolved.is_some()
        };
        matches!(source, StepSource::Step(index) if is_computed(index))
    }

    /// The place in memory of a buffer.
    #[must_use]
    pub fn place_of(&self, buffer: Option<usize>) -> Place {
        buffer.map_or(Place::NOWHERE, |buffer| self.buffers[buffer].place.clone())
    }

    /// The place for the gradient of a step's input.
    #[must_use]
    pub fn target(&self, steps: &[Step], index: usize, place: usize) -> Target {
        match (steps[index].inputs[place], self.targets[index][place]) {
            (StepSource::Step(source), Some(accumulate)) => {
                Some((self.place_of(self.steps[source].gradient), accumulate))
            }
            _ => None,
        }
    }
}

/// The type in which the values of `source` are stored.
fn stored_as(steps: &[Step], source: StepSource, precision: Precision) -> Precision {
    let is_vector = match source {
        // The images of a network of the head alone are features.
        StepSource::Image => true,
        StepSource::Step(index) => steps[index].facts.gives_vector,
    };
    let is_read_as_a_map =
        steps.iter().any(|step| step.inputs.contains(&source) && !step.facts.reads_f32);
    if is_vector && !is_read_as_a_map { Precision::F32 } else { precision }
}

/// How a trained step's output is read, if it follows from a convolution's values before batch norm
/// and one step alone reads it, as its first input.
fn reading(steps: &[Step], index: usize) -> Reading {
    if !steps[index].facts.is_normalized_convolved {
        return Reading::Plain;
    }
    let source = StepSource::Step(index);
    let reads = |step: &'_ Step| step.inputs.iter().position(|&input| input == source);
    let mut readers = steps.iter().filter_map(|step| reads(step).map(|place| (step, place)));
    match (readers.next(), readers.next()) {
        (Some((reader, 0)), None) => reader.facts.reading,
        _ => Reading::Plain,
    }
}
