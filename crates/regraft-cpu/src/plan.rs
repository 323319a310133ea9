//! The planner decides which buffers a pass needs, how long each lives, and its place in one block
//! of memory.
//!
//! Time runs through the forward pass, one tick a step, then the loss, then the backward pass in
//! reverse. A buffer lives from the tick that writes it to the last tick that reads it; buffers
//! that never live at the same time may share memory. Nothing is kept for the backward pass before
//! the first trained step, because there is none.

use crate::place::{Place, Target};
use crate::step::{Reading, Step, StepSource};
use regraft_kernels::element::Bf16;
use regraft_kernels::memory::lines_for;
use regraft_nn::graph::MapShape;
use regraft_nn::precision::Precision;
use std::ops::Range;

/// The kind of a pass, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// Forward, loss, backward. The first `frozen` steps run as in evaluation and have no backward
    /// pass.
    Train { frozen: usize },
    /// Forward to the output of one step, with running statistics.
    Evaluate { last: usize },
}

/// A buffer of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Buffer {
    /// Place in the pass's memory.
    pub place: Place,
    /// First and last tick at which its content is needed.
    pub life: (usize, usize),
}

/// The buffers of one step; each exists only if it is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepBuffers {
    /// The values before a normalisation. Only a trained step keeps them.
    pub convolved: Option<usize>,
    /// The step's output; `None` if its only reader normalises [`Self::convolved`] as it reads.
    pub output: Option<usize>,
    /// The step's output, recomputed from its convolution for the backward pass of its reader.
    pub recomputed: Option<usize>,
    /// The gradient of the step's output.
    pub gradient: Option<usize>,
}

/// A pass over a program at one batch size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
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
    /// Cache lines of memory for all buffers together.
    pub memory: usize,
    /// For each step and each of its inputs: `None` if the input needs no gradient, otherwise
    /// whether the step adds to the existing gradient (`true`) or is the first to write it.
    pub targets: Vec<Vec<Option<bool>>>,
}

impl Plan {
    /// Plans a pass of `steps`, which have these output shapes for one image, on images of the
    /// shape `image`.
    pub fn new(
        steps: &[Step],
        shapes: &[MapShape],
        image: MapShape,
        mode: Mode,
        batch: usize,
        precision: Precision,
    ) -> Self {
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
            targets: steps.iter().map(|step| vec![None; step.inputs.len()]).collect(),
        };
        let stored = stored_as(steps, StepSource::Image, precision);
        plan.images = plan.add(batch * image.length(), stored, (0, 0));
        for (index, step) in steps.iter().enumerate().take(computed) {
            let length = batch * shapes[index].length();
            let stored = stored_as(steps, StepSource::Step(index), precision);
            let trained = index >= first_trained;
            let last_tick = if trains { count } else { computed };
            if !(trained && reading(steps, index) == Reading::Normalizes) {
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
                plan.extend_read(source, index);
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
        }
        if trains {
            plan.add_gradients(steps, shapes, first_trained, &backward_tick);
        }
        plan.place();
        plan
    }

    fn add(&mut self, elements: usize, precision: Precision, life: (usize, usize)) -> usize {
        let lines = match precision {
            Precision::F32 => lines_for::<f32>(elements),
            Precision::Bf16 => lines_for::<Bf16>(elements),
        };
        self.buffers.push(Buffer { place: Place { lines: 0..lines, elements, precision }, life });
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
    fn place(&mut self) {
        let mut order: Vec<usize> = (0..self.buffers.len()).collect();
        order.sort_by_key(|&index| {
            (std::cmp::Reverse(self.buffers[index].place.lines.len()), index)
        });
        let mut placed: Vec<usize> = Vec::new();
        for index in order {
            let life = self.buffers[index].life;
            let length = self.buffers[index].place.lines.len();
            let mut taken: Vec<Range<usize>> = placed
                .iter()
                .map(|&other| &self.buffers[other])
                .filter(|other| other.life.0 <= life.1 && life.0 <= other.life.1)
                .map(|other| other.place.lines.clone())
                .collect();
            taken.sort_by_key(|lines| lines.start);
            let mut start = 0;
            for lines in taken {
                if start + length <= lines.start {
                    break;
                }
                start = start.max(lines.end);
            }
            self.buffers[index].place.lines = start..start + length;
            self.memory = self.memory.max(start + length);
            placed.push(index);
        }
    }

    /// The buffer that a step reads `source` from.
    pub fn read(&self, source: StepSource) -> Option<usize> {
        match source {
            StepSource::Image => Some(self.images),
            StepSource::Step(index) => self.steps[index].output.or(self.steps[index].convolved),
        }
    }

    /// The buffer from which the backward pass of a step reads `source`.
    pub fn read_again(&self, source: StepSource) -> Option<usize> {
        let recomputed = match source {
            StepSource::Image => None,
            StepSource::Step(index) => self.steps[index].recomputed,
        };
        recomputed.or(self.read(source))
    }

    /// Whether a step normalises the values it reads from `source`.
    pub fn normalizes(&self, source: StepSource) -> bool {
        let is_computed = |index: usize| {
            self.steps[index].output.is_none() && self.steps[index].convolved.is_some()
        };
        matches!(source, StepSource::Step(index) if is_computed(index))
    }

    /// The place in memory of a buffer.
    pub fn place_of(&self, buffer: Option<usize>) -> Place {
        buffer.map_or(Place::NOWHERE, |buffer| self.buffers[buffer].place.clone())
    }

    /// The place for the gradient of a step's input.
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
