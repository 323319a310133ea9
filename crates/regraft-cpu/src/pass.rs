//! A running pass: the plan, the steps, and the planned memory.

use crate::program::Program;
use crate::slot::{disjoint, with_element};
use crate::step::{Backward, Compute, Forward, Inside, StepSource};
use crate::tensors::{Memory, Tensors};
use regraft_kernels::batch_norm::normalize;
use regraft_kernels::convolution::GradientScratch;
use regraft_kernels::images::{self, ImageSize};
use regraft_kernels::input::Normalization;
use regraft_kernels::memory::CacheLine;
use regraft_nn::collective::Collective;
use regraft_nn::engine::{Content, Input, TrainBatch};
use regraft_nn::graph::MapShape;
use regraft_nn::plan::Place;
use regraft_nn::plan::Plan;
use std::ops::Range;

pub(crate) struct Pass<'a> {
    pub program: &'a mut Program,
    pub plan: &'a Plan,
    /// Shape of each step's output.
    pub shapes: &'a [MapShape],
    pub image: MapShape,
    pub tensors: &'a mut Tensors,
    pub gradients: &'a mut Memory,
    pub memory: &'a mut [CacheLine],
}

impl Pass<'_> {
    /// Loads images into their buffer: normalised, mixed, and rounded to the buffer's type.
    pub fn load(&mut self, input: &Input<'_>, images: Range<usize>) {
        let tables;
        let content = match input.content {
            Content::Values(values) => images::Content::Values(values),
            Content::Pixels(pixels, normalisation) => {
                tables = normalisation.tables();
                images::Content::Levels(pixels, &tables)
            }
        };
        let place = self.plan.place_of(Some(self.plan.images));
        let MapShape { height, width, channels } = self.image;
        let size = ImageSize { height, width, channels };
        let stored = place.precision;
        let [target] = disjoint(self.memory, [place]);
        with_element!(stored, E =>
            images::load(content, images, input.mix, size, target.of::<E>()));
    }

    /// Computes a step's output, with running statistics or, in `training`, with the batch's own,
    /// and keeps the values that its backward pass needs.
    pub fn forward(
        &mut self,
        index: usize,
        training: Option<&TrainBatch<'_>>,
        ranks: &mut dyn Collective,
    ) {
        let plan = self.plan;
        if plan.is_inside(StepSource::Step(index)) {
            return;
        }
        // The first step that is computed with this one, whose inputs are read.
        let mut first = index;
        while let Some(&StepSource::Step(before)) = self.program.steps[first].inputs.first()
            && plan.is_inside(StepSource::Step(before))
        {
            first = before;
        }
        let mut inputs = self.program.steps[index].inputs.clone();
        let mut input_shapes = self.input_shapes(index);
        if first < index {
            inputs[0] = self.program.steps[first].inputs[0];
            input_shapes[0] = self.input_shapes(first)[0];
        }
        let (earlier, later) = self.program.compute.split_at_mut(first);
        let (inside, later) = later.split_at_mut(index - first);
        later[0].forward(Forward {
            tensors: self.tensors,
            memory: self.memory,
            batch: plan.batch,
            precision: plan.precision,
            training,
            inputs: inputs.iter().map(|&source| plan.place_of(plan.read(source))).collect(),
            input_shapes,
            normalization: normalization(plan, earlier, inputs.first()),
            inside: Inside { steps: inside, shapes: &self.shapes[first..index] },
            convolved: plan.place_of(plan.steps[index].convolved),
            output: plan.place_of(plan.steps[index].output),
            output_shape: self.shapes[index],
            ranks,
        });
    }

    /// Runs a step backward. The buffer of its gradient is consumed: it holds the gradients of
    /// earlier and earlier values in turn.
    pub fn backward(
        &mut self,
        index: usize,
        scratch: &mut GradientScratch,
        partial: &mut Vec<f32>,
        ranks: &mut dyn Collective,
    ) {
        let plan = self.plan;
        if let Some(&StepSource::Step(input)) = self.program.steps[index].inputs.first() {
            self.recompute(input);
        }
        let input_shapes = self.input_shapes(index);
        let step = &self.program.steps[index];
        let targets = (0..step.inputs.len())
            .map(|place| plan.target(&self.program.steps, index, place))
            .collect();
        // An input that is not read again may have been overwritten.
        let read_again = |(place, source): (usize, &StepSource)| {
            let buffer =
                if place < step.facts.inputs_read_again { plan.read_again(*source) } else { None };
            plan.place_of(buffer)
        };
        let output = if step.facts.reads_output_again {
            plan.place_of(plan.steps[index].output)
        } else {
            Place::NOWHERE
        };
        let (earlier, later) = self.program.compute.split_at_mut(index);
        later[0].backward(Backward {
            tensors: self.tensors,
            gradients: self.gradients,
            memory: self.memory,
            batch: plan.batch,
            precision: plan.precision,
            inputs: step.inputs.iter().enumerate().map(read_again).collect(),
            input_shapes,
            normalization: normalization(plan, earlier, step.inputs.first()),
            convolved: plan.place_of(plan.steps[index].convolved),
            output,
            output_shape: self.shapes[index],
            gradient: plan.place_of(plan.steps[index].gradient),
            targets,
            scratch,
            partial,
            ranks,
        });
        // Values that evaluation derives from running statistics are out of date even if no update
        // follows.
        later[0].invalidate();
    }

    /// Recomputes a step's output as in the forward pass, if the plan says so.
    fn recompute(&mut self, index: usize) {
        let (plan, buffers) = (self.plan, &self.plan.steps[index]);
        if buffers.recomputed.is_none() {
            return;
        }
        let Some(Normalization { scale, shift, activation }) =
            self.program.compute[index].normalization()
        else {
            unreachable!("only what a normalisation makes is computed again");
        };
        let pixels = self.shapes[index].pixels();
        let places = [buffers.convolved, buffers.recomputed].map(|buffer| plan.place_of(buffer));
        let [convolved, output] = disjoint(self.memory, places);
        with_element!(plan.precision, E => {
            normalize(convolved.of::<E>(), scale, shift, None, None, activation, pixels,
                output.of::<E>());
        });
    }

    fn input_shapes(&self, index: usize) -> Vec<MapShape> {
        let shape = |source: &StepSource| match source {
            StepSource::Image => self.image,
            StepSource::Step(index) => self.shapes[*index],
        };
        self.program.steps[index].inputs.iter().map(shape).collect()
    }
}

/// The normalisation that a step applies to the values it reads from `source`, given the steps
/// before it.
fn normalization<'a>(
    plan: &Plan,
    earlier: &'a [Box<dyn Compute>],
    source: Option<&StepSource>,
) -> Option<Normalization<'a>> {
    match source {
        Some(&StepSource::Step(index)) if plan.normalizes(StepSource::Step(index)) => {
            earlier[index].normalization()
        }
        _ => None,
    }
}
