//! The forward pass of one node, as in evaluation and as in training.

use super::layer::{ConvolutionLayer, Layer, LinearLayer};
use super::slot::{disjoint, with_element};
use super::{convolution_shape, output_place, window_shape};
use crate::engine::TrainBatch;
use crate::graph::{ConvNormActivation, Graph, MapShape, NormStatistics, Operation, Source};
use crate::plan::{Place, Plan, residual};
use regraft_kernels::activation::Epilogue;
use regraft_kernels::batch_norm::{inverse_deviation, normalize};
use regraft_kernels::convolution::{self, ConvolutionShape};
use regraft_kernels::element::Element;
use regraft_kernels::finish::Finish;
use regraft_kernels::input::{Input, Normalization};
use regraft_kernels::memory::CacheLine;
use regraft_kernels::random::{Draws, Purpose};
use regraft_kernels::{depthwise, linear, pooling};

/// A pass that is being run: the plan, the layers, and the memory that the plan is about.
pub(super) struct Pass<'a> {
    pub graph: &'a Graph,
    pub plan: &'a Plan,
    pub layers: &'a mut [Layer],
    pub memory: &'a mut [CacheLine],
}

impl Pass<'_> {
    pub fn input_shape(&self, index: usize) -> MapShape {
        self.graph.input_shape(&self.plan.shapes, self.graph.nodes[index].input, self.plan.image_size)
    }

    /// Computes a node's output with running statistics.
    pub fn infer(&mut self, index: usize) {
        self.run(index, None);
    }

    /// Computes a node's output with the batch's own statistics, and remembers what its backward pass needs.
    pub fn train(&mut self, index: usize, batch: &TrainBatch<'_>) {
        self.run(index, Some(batch));
    }

    fn run(&mut self, index: usize, training: Option<&TrainBatch<'_>>) {
        let node = &self.graph.nodes[index];
        let (plan, batch) = (self.plan, self.plan.batch);
        let (input_shape, output_shape) = (self.input_shape(index), plan.shapes[index]);
        let buffers = &plan.nodes[index];
        let input_place = output_place(plan, node.input);
        let own_place = plan.place_of(buffers.output);
        let (earlier, layers) = self.layers.split_at_mut(index);
        let normalization = normalization(plan, self.graph, earlier, node.input);
        match (&node.operation, &mut layers[0]) {
            (Operation::Convolution(convolution), Layer::Convolution(layer)) => {
                let shape = convolution_shape(batch, input_shape, output_shape, convolution);
                // Input and residual may be one map; then it is borrowed once.
                let residual_source = residual(node);
                let shared = residual_source == Some(node.input);
                let residual_place =
                    residual_source.filter(|_| !shared).map_or(Place::NOWHERE, |source| output_place(plan, source));
                let places = [input_place, residual_place, own_place, plan.place_of(buffers.convolved)];
                if let Some(training) = training {
                    draw_drop_connect(layer, convolution.drop_connect, index, batch, training);
                }
                with_element!(plan.precision, E => {
                    let [input, residual, output, convolved] = disjoint(self.memory, places).map(|slot| slot.of::<E>());
                    let residual: Option<&[E]> = residual_source.map(|_| if shared { &*input } else { &*residual });
                    match training {
                        None => infer_convolution(layer, convolution, &shape, input, residual, output),
                        Some(_) => {
                            let input = Input { values: input, normalization };
                            train_convolution(layer, convolution, &shape, input, residual, convolved, output);
                        }
                    }
                });
            }
            (Operation::MaxPool { kernel, stride, padding }, Layer::MaxPool { places }) => {
                let shape = window_shape(batch, input_shape, output_shape, *kernel, *stride, *padding);
                let places = training.map(|_| {
                    places.resize(own_place.elements, 0);
                    places.as_mut_slice()
                });
                let [input, output] = disjoint(self.memory, [input_place, own_place]);
                with_element!(plan.precision, E => pooling::max_forward(&shape, input.of::<E>(), output.of::<E>(), places));
            }
            (Operation::GlobalAveragePool, Layer::AveragePool) => {
                let (pixels, channels) = (input_shape.height * input_shape.width, input_shape.channels);
                let (from, to) = (input_place.precision, own_place.precision);
                let [input, output] = disjoint(self.memory, [input_place, own_place]);
                with_element!(from, E => with_element!(to, F => {
                    pooling::average_forward(input.of::<E>(), pixels, channels, output.of::<F>());
                }));
            }
            (Operation::Linear { inputs, dropout, .. }, Layer::Linear(layer)) => {
                let [input, output] = disjoint(self.memory, [input_place, own_place]);
                let output = output.of::<f32>();
                input.read(|input| {
                    let input = match training {
                        Some(training) if *dropout > 0.0 => {
                            drop_features(layer, input, *inputs, *dropout, training);
                            &layer.dropped
                        }
                        _ => {
                            layer.mask.clear();
                            input
                        }
                    };
                    linear::forward(input, &layer.weight.value, &layer.bias.value, *inputs, output);
                });
            }
            (operation, _) => unreachable!("layers are made for the graph's nodes: {operation:?}"),
        }
    }
}

/// What a node does to each value that it reads from `source`, given the layers before it.
pub(super) fn normalization<'a>(plan: &Plan, graph: &Graph, earlier: &'a [Layer], source: Source) -> Option<Normalization<'a>> {
    let Source::Node(index) = source else { return None };
    match (&graph.nodes[index].operation, &earlier[index]) {
        (Operation::Convolution(convolution), Layer::Convolution(layer)) if plan.normalizes(source) => {
            Some(Normalization { scale: &layer.scale, shift: &layer.shift, activation: convolution.activation })
        }
        _ => None,
    }
}

fn infer_convolution<E: Element>(
    layer: &mut ConvolutionLayer,
    convolution: &ConvNormActivation,
    shape: &ConvolutionShape,
    input: &[E],
    residual: Option<&[E]>,
    output: &mut [E],
) {
    let folded = layer.fold::<E>(convolution, shape);
    let finish = Finish::Epilogue(Epilogue { bias: Some(&folded.bias), residual, activation: convolution.activation });
    if depthwise::handles(shape) {
        depthwise::forward(shape, input, &folded.depthwise, output, finish);
    } else {
        convolution::forward(shape, input, &folded.packed, output, finish);
    }
}

fn train_convolution<E: Element>(
    layer: &mut ConvolutionLayer,
    convolution: &ConvNormActivation,
    shape: &ConvolutionShape,
    input: Input<'_, E>,
    residual: Option<&[E]>,
    convolved: &mut [E],
    output: &mut [E],
) {
    let pixels_per_image = shape.out_height * shape.out_width;
    let pixels = shape.batch * pixels_per_image;
    // One value has no variance: PyTorch stops there. A last batch of one picture must not end a training, so the layer then
    // normalises with its running statistics, as in evaluation, and leaves them as they are.
    layer.normalizes_batch = pixels > 1 && convolution.norm.statistics == NormStatistics::Batch;
    let ConvolutionLayer { weight, packed, statistics, running_mean, running_variance, .. } = layer;
    let finish = if layer.normalizes_batch { Finish::Statistics(statistics) } else { Finish::NOTHING };
    if depthwise::handles(shape) {
        depthwise::forward(shape, input, &weight.value, convolved, finish);
    } else {
        packed.pack::<E>(shape, &weight.value);
        convolution::forward(shape, input, packed, convolved, finish);
    }
    if layer.normalizes_batch {
        statistics.update_running(pixels, convolution.norm.momentum, running_mean, running_variance);
    } else {
        statistics.mean.clone_from(running_mean);
        statistics.variance.clone_from(running_variance);
    }
    layer.inverse_deviation = inverse_deviation(&layer.statistics.variance, convolution.norm.epsilon);
    let weights = layer.norm_weight.value.iter().zip(&layer.inverse_deviation);
    layer.scale = weights.map(|(weight, inverse)| weight * inverse).collect();
    let biases = layer.norm_bias.value.iter().zip(&layer.statistics.mean).zip(&layer.scale);
    layer.shift = biases.map(|((bias, mean), scale)| bias - mean * scale).collect();
    // Without an output the node that reads this one normalises.
    if output.is_empty() {
        return;
    }
    let keep = (!layer.keep.is_empty()).then_some(layer.keep.as_slice());
    normalize(convolved, &layer.scale, &layer.shift, residual, keep, convolution.activation, pixels_per_image, output);
}

/// Draws which pictures of the batch keep the branch; those that do are scaled up, so that its mean stays.
fn draw_drop_connect(layer: &mut ConvolutionLayer, rate: f32, node: usize, batch: usize, training: &TrainBatch<'_>) {
    layer.keep.clear();
    if rate > 0.0 {
        layer.keep.extend((0..batch as u32).map(|place| {
            let draws = Draws::new(training.seed, Purpose::DropConnect, training.epoch, training.position + place);
            if draws.at_block(node as u32).uniform() < rate { 0.0 } else { 1.0 / (1.0 - rate) }
        }));
    }
}

/// Sets features to zero with probability `rate` and scales the others up.
fn drop_features(layer: &mut LinearLayer, input: &[f32], inputs: usize, rate: f32, training: &TrainBatch<'_>) {
    layer.mask.clear();
    for place in 0..(input.len() / inputs) as u32 {
        let mut draws = Draws::new(training.seed, Purpose::Dropout, training.epoch, training.position + place);
        layer.mask.extend((0..inputs).map(|_| if draws.uniform() < rate { 0.0 } else { 1.0 / (1.0 - rate) }));
    }
    layer.dropped.clear();
    layer.dropped.extend(input.iter().zip(&layer.mask).map(|(value, mask)| value * mask));
}
