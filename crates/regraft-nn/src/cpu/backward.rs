//! The backward pass of one node: from the gradient of its output to those of its parameters and inputs.

use super::forward::{Pass, normalization};
use super::layer::{ConvolutionLayer, Layer};
use super::slot::{disjoint, with_element};
use super::{convolution_shape, window_shape};
use crate::graph::{ConvNormActivation, Operation, Source};
use crate::plan::{MaskSource, Place, mask_source};
use regraft_kernels::batch_norm::{self, BackwardPrologue, Mask, normalize};
use regraft_kernels::convolution::{self, ConvolutionShape, GradientScratch};
use regraft_kernels::element::Element;
use regraft_kernels::input::{Input, Normalization};
use regraft_kernels::memory::CacheLine;
use regraft_kernels::{depthwise, linear, pooling};

/// Where a node's gradient goes on to: the gradient of what it read, and whether it is added to what is there.
type Target = Option<(Place, bool)>;

/// The buffers that a convolution's backward pass works on.
struct Places<'a> {
    gradient: Place,
    output: Place,
    convolved: Place,
    input: Place,
    /// What is done to the input first.
    normalization: Option<Normalization<'a>>,
    input_gradient: Target,
    residual_gradient: Target,
}

/// Runs node `index` backwards. Its gradient's buffer is used up: it holds gradients of earlier and earlier values in turn.
pub(super) fn node(pass: &mut Pass<'_>, index: usize, scratch: &mut GradientScratch, partial: &mut Vec<f32>) {
    let plan = pass.plan;
    let node = &pass.graph.nodes[index];
    let targets = plan.accumulates[index];
    let gradient = plan.place_of(plan.nodes[index].gradient);
    let target = |source: Option<Source>, accumulate: Option<bool>| match (source, accumulate) {
        (Some(Source::Node(source)), Some(accumulate)) => Some((plan.place_of(plan.nodes[source].gradient), accumulate)),
        _ => None,
    };
    if let Source::Node(input) = node.input {
        recompute(pass, input);
    }
    let input = plan.place_of(plan.read_again(node.input));
    let input_gradient = target(Some(node.input), targets.input);
    let (input_shape, output_shape) = (pass.input_shape(index), plan.shapes[index]);
    let (earlier, layers) = pass.layers.split_at_mut(index);
    match (&node.operation, &mut layers[0]) {
        (Operation::Convolution(convolution), Layer::Convolution(layer)) => {
            let shape = convolution_shape(plan.batch, input_shape, output_shape, convolution);
            let places = Places {
                gradient,
                // Where the output is not read here, its memory may hold something else by now.
                output: match mask_source(convolution) {
                    MaskSource::Output => plan.place_of(plan.nodes[index].output),
                    MaskSource::None | MaskSource::Convolved => Place::NOWHERE,
                },
                convolved: plan.place_of(plan.nodes[index].convolved),
                input,
                normalization: normalization(plan, pass.graph, earlier, node.input),
                input_gradient,
                residual_gradient: target(convolution.residual, targets.residual),
            };
            with_element!(plan.precision, E => {
                convolution_node::<E>(pass.memory, layer, convolution, &shape, places, scratch, partial);
            });
        }
        (Operation::MaxPool { kernel, stride, padding }, Layer::MaxPool { places }) => {
            let shape = window_shape(plan.batch, input_shape, output_shape, *kernel, *stride, *padding);
            let Some((place, accumulate)) = input_gradient else { return };
            let [gradient, target] = disjoint(pass.memory, [gradient, place]);
            with_element!(plan.precision, E => {
                pooling::max_backward(&shape, gradient.of::<E>(), places, target.of::<E>(), accumulate);
            });
        }
        (Operation::GlobalAveragePool, Layer::AveragePool) => {
            let (pixels, channels) = (input_shape.height * input_shape.width, input_shape.channels);
            let Some((place, accumulate)) = input_gradient else { return };
            let (from, to) = (gradient.precision, place.precision);
            let [gradient, target] = disjoint(pass.memory, [gradient, place]);
            with_element!(from, F => with_element!(to, E => {
                pooling::average_backward(gradient.of::<F>(), pixels, channels, target.of::<E>(), accumulate);
            }));
        }
        (Operation::Linear { inputs, .. }, Layer::Linear(layer)) => {
            let [slot, input] = disjoint(pass.memory, [gradient.clone(), input]);
            let (_, weight_gradient) = layer.weight.value_and_gradient();
            let (_, bias_gradient) = layer.bias.value_and_gradient();
            input.read(|input| {
                let input = if layer.mask.is_empty() { input } else { &layer.dropped };
                linear::backward_parameters(input, slot.of::<f32>(), *inputs, weight_gradient, bias_gradient);
            });
            let Some((place, accumulate)) = input_gradient else { return };
            let (weights, mask) = (&layer.weight.value, &layer.mask);
            assert!(!accumulate || mask.is_empty(), "dropout's gradient is not added to another");
            let [gradient, target] = disjoint(pass.memory, [gradient, place]);
            target.write(accumulate, |target| {
                linear::backward_input(gradient.of::<f32>(), weights, *inputs, target, accumulate);
                target.iter_mut().zip(mask).for_each(|(value, mask)| *value *= mask);
            });
        }
        (operation, _) => unreachable!("layers are made for the graph's nodes: {operation:?}"),
    }
}

/// Computes a node's output again, where the plan says so, as the forward pass did.
fn recompute(pass: &mut Pass<'_>, index: usize) {
    let (plan, buffers) = (pass.plan, &pass.plan.nodes[index]);
    if buffers.recomputed.is_none() {
        return;
    }
    let (Operation::Convolution(convolution), Layer::Convolution(layer)) =
        (&pass.graph.nodes[index].operation, &pass.layers[index])
    else {
        unreachable!("only convolutions are computed again");
    };
    let shape = plan.shapes[index];
    let [convolved, output] = disjoint(pass.memory, [buffers.convolved, buffers.recomputed].map(|buffer| plan.place_of(buffer)));
    with_element!(plan.precision, E => {
        let (convolved, output) = (convolved.of::<E>(), output.of::<E>());
        normalize(convolved, &layer.scale, &layer.shift, None, None, convolution.activation, shape.height * shape.width, output);
    });
}

fn convolution_node<E: Element>(
    memory: &mut [CacheLine],
    layer: &mut ConvolutionLayer,
    convolution: &ConvNormActivation,
    shape: &ConvolutionShape,
    places: Places<'_>,
    scratch: &mut GradientScratch,
    partial: &mut Vec<f32>,
) {
    let (residual_place, accumulate) = places.residual_gradient.unwrap_or((Place::NOWHERE, false));
    let has_residual = residual_place != Place::NOWHERE;
    let [gradient, output, convolved, residual_gradient] =
        disjoint(memory, [places.gradient.clone(), places.output, places.convolved, residual_place]).map(|slot| slot.of::<E>());
    let ConvolutionLayer { weight, norm_weight, norm_bias, statistics, inverse_deviation, scale, shift, keep, .. } = layer;
    let activation = convolution.activation;
    let prologue = BackwardPrologue {
        mask: match mask_source(convolution) {
            MaskSource::None => Mask::None,
            MaskSource::Output => Mask::Output(output, activation),
            MaskSource::Convolved => Mask::Input { scale, shift, activation },
        },
        residual: has_residual.then_some((residual_gradient, accumulate)),
        keep: (!keep.is_empty()).then_some(keep.as_slice()),
    };
    let (_, norm_weight_gradient) = norm_weight.value_and_gradient();
    let (_, norm_bias_gradient) = norm_bias.value_and_gradient();
    let (mean, inverse) = (&statistics.mean, &inverse_deviation);
    batch_norm::backward(prologue, convolved, gradient, mean, inverse, norm_weight_gradient, norm_bias_gradient, partial);
    if layer.normalizes_batch {
        batch_norm::backward_input(convolved, gradient, mean, inverse, scale, norm_weight_gradient, norm_bias_gradient);
    } else {
        batch_norm::backward_input_of_constants(gradient, scale);
    }
    let is_depthwise = depthwise::handles(shape);
    let [gradient, input] = disjoint(memory, [places.gradient.clone(), places.input]).map(|slot| slot.of::<E>());
    let (weights, weight_gradient) = weight.value_and_gradient();
    let input = Input { values: input, normalization: places.normalization };
    match is_depthwise {
        true => depthwise::backward_weights(shape, input, gradient, weight_gradient, partial),
        false => convolution::backward_weights(shape, input, gradient, weight_gradient, scratch),
    }
    if let Some((place, accumulate)) = places.input_gradient {
        let [gradient, target] = disjoint(memory, [places.gradient, place]).map(|slot| slot.of::<E>());
        match is_depthwise {
            true => depthwise::backward_input(shape, gradient, weights, target, accumulate),
            false => convolution::backward_input(shape, gradient, weights, target, accumulate, scratch),
        }
    }
}
