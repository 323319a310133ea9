//! What the CPU engine keeps for each node: parameters, their gradients, and what a step remembers for its backward pass.

use crate::engine::{Optimizer, Update};
use crate::graph::{ConvNormActivation, Graph, Operation};
use crate::parameters::Role;
use regraft_kernels::batch_norm::{Statistics, inverse_deviation};
use regraft_kernels::convolution::ConvolutionShape;
use regraft_kernels::element::Element;
use regraft_kernels::packing::PackedWeights;
use regraft_kernels::{depthwise, optimizer};

/// The roles of learned tensors, in the order in which they are gone through.
const LEARNED: [Role; 4] = [Role::Weight, Role::Bias, Role::NormWeight, Role::NormBias];

/// A learned tensor, in the kernels' order of elements.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameter {
    pub value: Vec<f32>,
    /// As long as `value` once a step has been made.
    pub gradient: Vec<f32>,
    /// Momentum, or AdamW's first moment; empty before the first step.
    pub first: Vec<f32>,
    /// AdamW's second moment; empty before the first step.
    pub second: Vec<f32>,
}

impl Parameter {
    fn of_length(length: usize) -> Self {
        Self { value: vec![0.0; length], ..Self::default() }
    }

    /// The value to read and the gradient to write, made as long as the value.
    pub fn value_and_gradient(&mut self) -> (&[f32], &mut [f32]) {
        self.gradient.resize(self.value.len(), 0.0);
        (&self.value, &mut self.gradient)
    }

    pub fn update(&mut self, update: &Update<'_>, rate: f32) {
        let length = self.value.len();
        if update.gradient_scale != 1.0 {
            optimizer::scale(&mut self.gradient, update.gradient_scale);
        }
        match update.optimizer {
            Optimizer::Sgd { momentum } => {
                if momentum != 0.0 {
                    self.first.resize(length, 0.0);
                }
                optimizer::sgd(&mut self.value, &self.gradient, &mut self.first, rate, momentum, update.weight_decay);
            }
            Optimizer::AdamW(settings) => {
                self.first.resize(length, 0.0);
                self.second.resize(length, 0.0);
                let (first, second) = (&mut self.first, &mut self.second);
                optimizer::adamw(
                    &mut self.value,
                    &self.gradient,
                    first,
                    second,
                    update.step,
                    rate,
                    update.weight_decay,
                    settings,
                );
            }
        }
    }
}

/// A convolution whose batch norm is part of its weights and bias.
#[derive(Clone, Debug, Default)]
pub(super) struct Folded {
    /// For [`depthwise::forward`]; empty where `packed` is used.
    pub depthwise: Vec<f32>,
    pub packed: PackedWeights,
    pub bias: Vec<f32>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct ConvolutionLayer {
    pub weight: Parameter,
    pub norm_weight: Parameter,
    pub norm_bias: Parameter,
    pub running_mean: Vec<f32>,
    pub running_variance: Vec<f32>,
    /// `None` after the parameters changed.
    pub folded: Option<Folded>,
    /// The weights packed for the training forward pass.
    pub packed: PackedWeights,
    /// Statistics of the step's batch.
    pub statistics: Statistics,
    /// Whether the step's statistics are the batch's own, so that gradients flow through them.
    pub normalizes_batch: bool,
    pub inverse_deviation: Vec<f32>,
    /// Norm weight x inverse deviation.
    pub scale: Vec<f32>,
    /// Norm bias - mean x scale.
    pub shift: Vec<f32>,
    /// What the step multiplied each picture's branch with; empty without drop-connect.
    pub keep: Vec<f32>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct LinearLayer {
    pub weight: Parameter,
    pub bias: Parameter,
    /// The step's dropout mask, `[N, inputs]`; empty without dropout.
    pub mask: Vec<f32>,
    /// The step's input after dropout.
    pub dropped: Vec<f32>,
}

#[derive(Clone, Debug)]
pub(super) enum Layer {
    Convolution(Box<ConvolutionLayer>),
    MaxPool { places: Vec<u32> },
    AveragePool,
    Linear(Box<LinearLayer>),
}

impl Layer {
    pub fn for_graph(graph: &Graph) -> Vec<Self> {
        graph
            .nodes
            .iter()
            .map(|node| match &node.operation {
                Operation::Convolution(convolution) => {
                    let channels = convolution.out_channels;
                    let taps = convolution.kernel * convolution.kernel;
                    Self::Convolution(Box::new(ConvolutionLayer {
                        weight: Parameter::of_length(channels * taps * convolution.in_channels / convolution.groups),
                        norm_weight: Parameter::of_length(channels),
                        norm_bias: Parameter::of_length(channels),
                        running_mean: vec![0.0; channels],
                        running_variance: vec![1.0; channels],
                        ..ConvolutionLayer::default()
                    }))
                }
                Operation::MaxPool { .. } => Self::MaxPool { places: Vec::new() },
                Operation::GlobalAveragePool => Self::AveragePool,
                Operation::Linear { inputs, outputs, .. } => Self::Linear(Box::new(LinearLayer {
                    weight: Parameter::of_length(inputs * outputs),
                    bias: Parameter::of_length(*outputs),
                    ..LinearLayer::default()
                })),
            })
            .collect()
    }

    /// The learned tensor of that role.
    pub fn parameter(&self, role: Role) -> Option<&Parameter> {
        match (self, role) {
            (Self::Convolution(layer), Role::Weight) => Some(&layer.weight),
            (Self::Convolution(layer), Role::NormWeight) => Some(&layer.norm_weight),
            (Self::Convolution(layer), Role::NormBias) => Some(&layer.norm_bias),
            (Self::Linear(layer), Role::Weight) => Some(&layer.weight),
            (Self::Linear(layer), Role::Bias) => Some(&layer.bias),
            _ => None,
        }
    }

    pub fn parameter_mut(&mut self, role: Role) -> Option<&mut Parameter> {
        match (self, role) {
            (Self::Convolution(layer), Role::Weight) => Some(&mut layer.weight),
            (Self::Convolution(layer), Role::NormWeight) => Some(&mut layer.norm_weight),
            (Self::Convolution(layer), Role::NormBias) => Some(&mut layer.norm_bias),
            (Self::Linear(layer), Role::Weight) => Some(&mut layer.weight),
            (Self::Linear(layer), Role::Bias) => Some(&mut layer.bias),
            _ => None,
        }
    }

    /// Its learned tensors, always in the same order.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        LEARNED.into_iter().filter_map(|role| self.parameter(role))
    }

    /// Takes the gradients out, so that a backward pass writes new ones.
    pub fn take_gradients(&mut self) -> [Vec<f32>; LEARNED.len()] {
        LEARNED.map(|role| self.parameter_mut(role).map(|parameter| std::mem::take(&mut parameter.gradient)).unwrap_or_default())
    }

    /// Adds what [`Self::take_gradients`] took out.
    pub fn add_gradients(&mut self, earlier: &[Vec<f32>; LEARNED.len()]) {
        for (role, earlier) in LEARNED.into_iter().zip(earlier) {
            if let Some(parameter) = self.parameter_mut(role) {
                optimizer::add(&mut parameter.gradient, earlier);
            }
        }
    }

    /// The tensor of that role, learned or not.
    pub fn tensor(&self, role: Role) -> Option<&Vec<f32>> {
        match (self, role) {
            (Self::Convolution(layer), Role::RunningMean) => Some(&layer.running_mean),
            (Self::Convolution(layer), Role::RunningVariance) => Some(&layer.running_variance),
            _ => self.parameter(role).map(|parameter| &parameter.value),
        }
    }

    pub fn tensor_mut(&mut self, role: Role) -> Option<&mut Vec<f32>> {
        match (self, role) {
            (Self::Convolution(layer), Role::RunningMean) => Some(&mut layer.running_mean),
            (Self::Convolution(layer), Role::RunningVariance) => Some(&mut layer.running_variance),
            (layer, role) => layer.parameter_mut(role).map(|parameter| &mut parameter.value),
        }
    }

    /// To be called after a tensor changed: what was derived from it is made anew.
    pub fn invalidate(&mut self) {
        if let Self::Convolution(layer) = self {
            layer.folded = None;
        }
    }

    pub fn update(&mut self, update: &Update<'_>, rate: f32) {
        for role in LEARNED {
            let decays = role == Role::Weight || update.decay_bias_norm;
            let update = Update { weight_decay: if decays { update.weight_decay } else { 0.0 }, ..*update };
            if let Some(parameter) = self.parameter_mut(role) {
                parameter.update(&update, rate);
            }
        }
        self.invalidate();
    }
}

impl ConvolutionLayer {
    /// The convolution with its batch norm folded in, made where the parameters changed since the last time.
    pub fn fold<E: Element>(&mut self, convolution: &ConvNormActivation, shape: &ConvolutionShape) -> &Folded {
        if self.folded.is_none() {
            let inverse = inverse_deviation(&self.running_variance, convolution.norm.epsilon);
            let scale: Vec<f32> = self.norm_weight.value.iter().zip(&inverse).map(|(weight, inverse)| weight * inverse).collect();
            let shift = self.norm_bias.value.iter().zip(&self.running_mean).zip(&scale);
            let bias = shift.map(|((bias, mean), scale)| bias - mean * scale).collect();
            let mut folded = Folded { bias, ..Folded::default() };
            let mut weights = self.weight.value.clone();
            if depthwise::handles(shape) {
                for tap in weights.chunks_exact_mut(shape.out_channels) {
                    tap.iter_mut().zip(&scale).for_each(|(weight, scale)| *weight *= scale);
                }
                folded.depthwise = weights;
            } else {
                for (filter, scale) in weights.chunks_exact_mut(shape.weight_length() / shape.out_channels).zip(&scale) {
                    filter.iter_mut().for_each(|weight| *weight *= scale);
                }
                folded.packed.pack::<E>(shape, &weights);
            }
            self.folded = Some(folded);
        }
        self.folded.get_or_insert_default()
    }
}
