//! A convolution with batch norm, and with the addition and the clamp that follow it, if any.

use super::block;
use super::drop::branch_factors;
use super::filter::{Filter, Prepared};
use super::norm_state::NormState;
use crate::parameter::{Layout, Parameter};
use crate::slot::{disjoint, with_element};
use crate::step::{Backward, BlockPart, BlockPass, BlockWeights, Compute, Facts, Forward, Inside};
use crate::tensors::{Memory, Tensors};
use regraft_kernels::activation::{Activation, Epilogue};
use regraft_kernels::batch_norm::{self, BackwardPrologue, Mask, normalize};
use regraft_kernels::convolution::ConvolutionShape;
use regraft_kernels::finish::Finish;
use regraft_kernels::input::{Input, Normalization};
use regraft_kernels::memory::CacheLine;
use regraft_kernels::packing::MapElement;
use regraft_kernels::separable::{Depthwise, Pointwise};
use regraft_nn::collective::Collective;
use regraft_nn::graph::MapShape;
use regraft_nn::ops::{Add, BatchNorm, Convolution};
use regraft_nn::parameters::Role;
use regraft_nn::plan::Place;
use regraft_nn::precision::Precision;

/// The operations that follow a convolution and its batch norm in the same step.
pub(crate) struct Tail {
    /// The addition, whose branch this is.
    pub add: Option<Add>,
    /// The activation, which comes last.
    pub activation: Activation,
}

/// The source from which the backward pass knows where the activation was constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MaskSource {
    /// There is no activation.
    None,
    /// The values before batch norm, which the backward pass reads anyway.
    Convolved,
    /// The output, because something was added to it.
    Output,
}

/// `activation(batch_norm(convolution(input)) + residual)`. Reads the input, then the residual.
pub(crate) struct ConvolutionNorm {
    filter: Filter,
    norm: NormState,
    tail: Tail,
    /// Weights and bias with the batch norm folded in; `None` after the parameters have changed.
    folded: Option<(Prepared, Vec<f32>)>,
    /// The same as a part of a block, if it is a convolution of 1x1.
    pointwise: Option<Pointwise>,
    /// The factor of each image's branch; empty without drops.
    keep: Vec<f32>,
}

/// The feature maps of a training pass.
struct Maps<'a, E> {
    input: Input<'a, E>,
    residual: Option<&'a [E]>,
    /// The convolution's output.
    convolved: &'a mut [E],
    /// Empty if the step that reads it normalises.
    output: &'a mut [E],
}

/// The buffers of the backward pass up to the convolution.
struct Places {
    gradient: Place,
    /// [`Place::NOWHERE`] if the output is not read: its memory may have been reused.
    output: Place,
    convolved: Place,
    residual: Option<(Place, bool)>,
}

impl ConvolutionNorm {
    pub fn new(convolution: Convolution, norm: BatchNorm, tail: Tail) -> Self {
        Self {
            filter: Filter::new(convolution),
            norm: NormState::new(norm),
            tail,
            folded: None,
            pointwise: None,
            keep: Vec::new(),
        }
    }

    pub fn facts(&self, precision: Precision) -> Facts {
        Facts {
            keeps_convolved: true,
            is_normalized_convolved: self.tail.add.is_none(),
            reading: self.filter.reading(precision),
            inputs_read_again: 1,
            reads_output_again: self.mask_source() == MaskSource::Output,
            ..Facts::default()
        }
    }

    fn mask_source(&self) -> MaskSource {
        if self.tail.activation == Activation::Identity {
            MaskSource::None
        } else if self.tail.add.is_none() {
            MaskSource::Convolved
        } else {
            MaskSource::Output
        }
    }

    fn infer<E: MapElement>(
        &mut self,
        tensors: &Tensors,
        shape: &ConvolutionShape,
        input: &[E],
        residual: Option<&[E]>,
        output: &mut [E],
    ) {
        let Self { filter, norm, folded, tail, .. } = self;
        let (weights, bias) = folded.get_or_insert_with(|| {
            let (scale, shift) = norm.folded(tensors);
            (filter.prepare::<E>(tensors, shape, Some(&scale)), shift)
        });
        let finish =
            Finish::Epilogue(Epilogue { bias: Some(bias), residual, activation: tail.activation });
        Filter::infer(shape, weights, input, output, finish);
    }

    fn as_part<E: MapElement>(&mut self, pass: BlockPass<'_>) -> BlockWeights<'_> {
        let BlockPass { tensors, batch, input, output, .. } = pass;
        let Self { filter, norm, folded, pointwise, tail, .. } = self;
        let activation = tail.activation;
        if filter.block_part() == Some(BlockPart::Pointwise) {
            return BlockWeights::Pointwise(pointwise.get_or_insert_with(|| {
                let (scale, shift) = norm.folded(tensors);
                Pointwise::new::<E>(&filter.scaled(tensors, &scale), shift, activation)
            }));
        }
        let shape = filter.shape(batch, input, output);
        let (weights, bias) = folded.get_or_insert_with(|| {
            let (scale, shift) = norm.folded(tensors);
            (filter.prepare::<E>(tensors, &shape, Some(&scale)), shift)
        });
        BlockWeights::Depthwise(Depthwise { shape, weights: weights.depthwise(), bias, activation })
    }

    fn train<E: MapElement>(
        &mut self,
        tensors: &mut Tensors,
        shape: &ConvolutionShape,
        maps: Maps<'_, E>,
        ranks: &mut dyn Collective,
    ) {
        let Self { filter, norm, tail, keep, .. } = self;
        let Maps { input, residual, convolved, output } = maps;
        let pixels_per_image = shape.out_height * shape.out_width;
        norm.begin(shape.batch * pixels_per_image);
        let finish = if norm.takes_statistics {
            Finish::Statistics(&mut norm.statistics)
        } else {
            Finish::NOTHING
        };
        filter.train(tensors, shape, input, convolved, finish);
        norm.finish(shape.batch, pixels_per_image, tensors, ranks);
        // If there is no output, the step that reads this one normalises.
        if output.is_empty() {
            return;
        }
        let keep = (!keep.is_empty()).then_some(keep.as_slice());
        normalize(
            convolved,
            &norm.scale,
            &norm.shift,
            residual,
            keep,
            tail.activation,
            pixels_per_image,
            output,
        );
    }

    /// Computes the gradient of the convolution's output, in place, and that of the residual.
    fn backward_norm<E: MapElement>(
        &self,
        gradients: &mut Memory,
        memory: &mut [CacheLine],
        places: Places,
        partial: &mut Vec<f32>,
        ranks: &mut dyn Collective,
    ) {
        let (residual_place, accumulate) = places.residual.unwrap_or((Place::NOWHERE, false));
        let has_residual = residual_place != Place::NOWHERE;
        let [gradient, output, convolved, residual_gradient] =
            disjoint(memory, [places.gradient, places.output, places.convolved, residual_place])
                .map(|slot| slot.of::<E>());
        let activation = self.tail.activation;
        let mask_source = self.mask_source();
        let NormState { weight, bias, statistics, inverse_deviation, scale, shift, .. } =
            &self.norm;
        let prologue = BackwardPrologue {
            mask: match mask_source {
                MaskSource::None => Mask::None,
                MaskSource::Output => Mask::Output(output, activation),
                MaskSource::Convolved => Mask::Input { scale, shift, activation },
            },
            residual: has_residual.then_some((residual_gradient, accumulate)),
            keep: (!self.keep.is_empty()).then_some(self.keep.as_slice()),
        };
        let (weight, bias) = gradients.of_two(&weight.place, &bias.place);
        batch_norm::backward(
            prologue,
            convolved,
            gradient,
            &statistics.mean,
            inverse_deviation,
            weight,
            bias,
            partial,
        );
        self.norm.backward_input(gradients, convolved, gradient, ranks);
    }
}

impl Compute for ConvolutionNorm {
    fn forward(&mut self, run: Forward<'_>) {
        let shape = self.filter.shape(run.batch, run.input_shapes[0], run.output_shape);
        // If input and residual are the same feature map, it is borrowed once.
        let has_residual = run.inputs.len() > 1;
        let shared = has_residual && run.inputs[0] == run.inputs[1];
        let residual_place =
            if has_residual && !shared { run.inputs[1].clone() } else { Place::NOWHERE };
        let places = [run.inputs[0].clone(), residual_place, run.output, run.convolved];
        if let (Some(training), Some(add)) = (run.training, &self.tail.add) {
            branch_factors(add.drop_rate, add.stream, run.batch, training, &mut self.keep);
        }
        with_element!(run.precision, E => {
            let [input, residual, output, convolved] = disjoint(run.memory,
                places).map(|slot| slot.of::<E>());
            let residual: &[E] = if shared { &*input } else { &*residual };
            let residual = has_residual.then_some(residual);
            match run.training {
                None if run.inside.steps.is_empty() => {
                    self.infer(run.tensors, &shape, input, residual, output);
                }
                None => {
                    let Inside { steps, shapes } = run.inside;
                    let mut pass = BlockPass {
                        tensors: run.tensors,
                        precision: run.precision,
                        batch: run.batch,
                        input: run.input_shapes[0],
                        output: run.output_shape,
                    };
                    let mut parts = Vec::with_capacity(steps.len() + 1);
                    for (step, &output) in steps.iter_mut().zip(shapes) {
                        parts.push(step.for_block(BlockPass { output, ..pass }));
                        pass.input = output;
                    }
                    parts.push(self.as_part::<E>(pass));
                    block::compute(&parts, input, residual, output);
                }
                Some(_) => {
                    let input = Input { values: input, normalization: run.normalization };
                    let maps = Maps { input, residual, convolved, output };
                    self.train(run.tensors, &shape, maps, run.ranks);
                }
            }
        });
    }

    fn backward(&mut self, run: Backward<'_>) {
        let Backward {
            tensors,
            gradients,
            memory,
            gradient,
            targets,
            inputs,
            scratch,
            partial,
            ranks,
            ..
        } = run;
        let residual = targets.get(1).cloned().flatten();
        let places = Places {
            gradient: gradient.clone(),
            output: run.output,
            convolved: run.convolved,
            residual,
        };
        let shape = self.filter.shape(run.batch, run.input_shapes[0], run.output_shape);
        with_element!(run.precision, E => {
            self.backward_norm::<E>(gradients, memory, places, partial, ranks);
            let [slot, input] = disjoint(memory,
                [gradient.clone(), inputs[0].clone()]).map(|slot| slot.of::<E>());
            let input = Input { values: input, normalization: run.normalization };
            self.filter.backward_weights(gradients, &shape, input, slot, scratch, partial);
            if let Some((place, accumulate)) = targets[0].clone() {
                let [slot, target] = disjoint(memory, [gradient, place]).map(|slot| slot.of::<E>());
                self.filter.backward_input(tensors, &shape, slot, target, accumulate, scratch);
            }
        });
    }

    fn parameter(&mut self, role: Role) -> Option<&mut Parameter> {
        if role == Role::Weight { Some(&mut self.filter.weight) } else { self.norm.parameter(role) }
    }

    fn attend(&mut self, tensors: &mut Tensors, output: MapShape, ranks: &mut dyn Collective) {
        self.norm.attend(output.pixels(), tensors, ranks);
    }

    fn attend_backward(&self, ranks: &mut dyn Collective) {
        self.norm.attend_backward(ranks);
    }

    fn layout(&self, role: Role) -> Layout {
        if role == Role::Weight { self.filter.layout() } else { Layout::AsIs }
    }

    fn invalidate(&mut self) {
        self.folded = None;
        self.pointwise = None;
    }

    fn block_part(&self) -> Option<BlockPart> {
        self.filter.block_part()
    }

    fn for_block(&mut self, pass: BlockPass<'_>) -> BlockWeights<'_> {
        with_element!(pass.precision, E => self.as_part::<E>(pass))
    }

    fn normalization(&self) -> Option<Normalization<'_>> {
        let NormState { scale, shift, .. } = &self.norm;
        Some(Normalization { scale, shift, activation: self.tail.activation })
    }
}
