//! The backward pass of one node: from the gradient of its output to those of its parameters and inputs.

use super::forward::Pass;
use super::layer::{ConvolutionLayer, Layer};
use super::{convolution_shape, disjoint, output_place, window_shape};
use crate::graph::{ConvNormActivation, Operation, Source};
use regraft_kernels::activation::Activation;
use regraft_kernels::batch_norm::{self, BackwardPrologue};
use regraft_kernels::convolution::{self, ConvolutionShape, GradientScratch};
use regraft_kernels::{depthwise, linear, pooling};
use std::ops::Range;

/// Runs node `index` backwards. Its gradient's buffer is used up: it holds gradients of earlier and earlier values in turn.
pub(super) fn node(pass: &mut Pass<'_>, index: usize, scratch: &mut GradientScratch, partial: &mut Vec<f32>) {
    let plan = pass.plan;
    let node = &pass.graph.nodes[index];
    let targets = plan.accumulates[index];
    let gradient_place = plan.place_of(plan.nodes[index].gradient).unwrap_or_default();
    let gradient_of = |source: Source| match source {
        Source::Image => 0..0,
        Source::Node(index) => plan.place_of(plan.nodes[index].gradient).unwrap_or_default(),
    };
    let input_place = output_place(plan, node.input);
    let input_gradient = targets.input.map(|accumulate| (gradient_of(node.input), accumulate));
    let (input_shape, output_shape) = (pass.input_shape(index), plan.shapes[index]);
    let pixels = input_shape.height * input_shape.width;
    match (&node.operation, &mut pass.layers[index]) {
        (Operation::Convolution(convolution), Layer::Convolution(layer)) => {
            let shape = convolution_shape(plan.batch, input_shape, output_shape, convolution);
            // Without an activation the output is not read here, and its memory may hold something else by now.
            let output_place = match convolution.activation {
                Activation::Identity => 0..0,
                _ => plan.place_of(plan.nodes[index].output).unwrap_or_default(),
            };
            let convolved_place = plan.place_of(plan.nodes[index].convolved).unwrap_or_default();
            let residual = targets.residual.zip(convolution.residual);
            let residual_place = residual.map_or(0..0, |(_, source)| gradient_of(source));
            let places = [gradient_place.clone(), output_place, convolved_place, residual_place];
            let [gradient, output, convolved, residual_gradient] = disjoint(pass.memory, places);
            let ConvolutionLayer { norm_weight, norm_bias, statistics, inverse_deviation, scale, keep, normalizes_batch, .. } =
                &mut **layer;
            let prologue = BackwardPrologue {
                activation: convolution.activation,
                output,
                residual: residual.map(|(accumulate, _)| (residual_gradient, accumulate)),
                keep: (!keep.is_empty()).then_some(keep.as_slice()),
            };
            let (_, weight_gradient) = norm_weight.value_and_gradient();
            let (_, bias_gradient) = norm_bias.value_and_gradient();
            let mean = &statistics.mean;
            batch_norm::backward(prologue, convolved, gradient, mean, inverse_deviation, weight_gradient, bias_gradient, partial);
            if *normalizes_batch {
                batch_norm::backward_input(convolved, gradient, mean, inverse_deviation, scale, weight_gradient, bias_gradient);
            } else {
                batch_norm::backward_input_of_constants(gradient, scale);
            }
            let [gradient, input] = disjoint(pass.memory, [gradient_place.clone(), input_place.clone().unwrap_or_default()]);
            let input: &[f32] = if input_place.is_some() { input } else { pass.images };
            weights(layer, convolution, &shape, input, gradient, scratch, partial);
            if let Some((place, accumulate)) = input_gradient {
                let [gradient, target] = disjoint(pass.memory, [gradient_place, place]);
                if depthwise::handles(&shape) {
                    depthwise::backward_input(&shape, gradient, &layer.weight.value, target, accumulate);
                } else {
                    convolution::backward_input(&shape, gradient, &layer.weight.value, target, accumulate, scratch);
                }
            }
        }
        (Operation::MaxPool { kernel, stride, padding }, Layer::MaxPool { places }) => {
            let shape = window_shape(plan.batch, input_shape, output_shape, *kernel, *stride, *padding);
            hand_on(pass.memory, gradient_place, input_gradient, |gradient, target, accumulate| {
                pooling::max_backward(&shape, gradient, places, target, accumulate);
            });
        }
        (Operation::GlobalAveragePool, Layer::AveragePool) => {
            hand_on(pass.memory, gradient_place, input_gradient, |gradient, target, accumulate| {
                pooling::average_backward(gradient, pixels, input_shape.channels, target, accumulate);
            });
        }
        (Operation::Linear { inputs, .. }, Layer::Linear(layer)) => {
            let [gradient, input] = disjoint(pass.memory, [gradient_place.clone(), input_place.clone().unwrap_or_default()]);
            let input: &[f32] = if input_place.is_some() { input } else { pass.images };
            let input = if layer.mask.is_empty() { input } else { &layer.dropped };
            let (_, weight_gradient) = layer.weight.value_and_gradient();
            let (_, bias_gradient) = layer.bias.value_and_gradient();
            linear::backward_parameters(input, gradient, *inputs, weight_gradient, bias_gradient);
            let (weights, mask) = (&layer.weight.value, &layer.mask);
            hand_on(pass.memory, gradient_place, input_gradient, |gradient, target, accumulate| {
                linear::backward_input(gradient, weights, *inputs, target, accumulate);
                assert!(!accumulate || mask.is_empty(), "dropout's gradient is not added to another");
                target.iter_mut().zip(mask).for_each(|(value, mask)| *value *= mask);
            });
        }
        (operation, _) => unreachable!("layers are made for the graph's nodes: {operation:?}"),
    }
}

/// Calls `give` with the node's gradient and the input's, where the input needs one.
fn hand_on(
    memory: &mut [f32],
    gradient: Range<usize>,
    input_gradient: Option<(Range<usize>, bool)>,
    give: impl FnOnce(&[f32], &mut [f32], bool),
) {
    if let Some((place, accumulate)) = input_gradient {
        let [gradient, target] = disjoint(memory, [gradient, place]);
        give(gradient, target, accumulate);
    }
}

fn weights(
    layer: &mut ConvolutionLayer,
    convolution: &ConvNormActivation,
    shape: &ConvolutionShape,
    input: &[f32],
    gradient: &[f32],
    scratch: &mut GradientScratch,
    partial: &mut Vec<f32>,
) {
    let (_, weight_gradient) = layer.weight.value_and_gradient();
    debug_assert_eq!(convolution.out_channels, shape.out_channels);
    if depthwise::handles(shape) {
        depthwise::backward_weights(shape, input, gradient, weight_gradient, partial);
    } else {
        convolution::backward_weights(shape, input, gradient, weight_gradient, scratch);
    }
}
