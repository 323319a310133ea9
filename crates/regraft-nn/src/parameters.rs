//! The parameters of a graph: names and shapes as PyTorch has them, and the order of elements that the kernels read.

use crate::graph::{Graph, Operation};
use regraft_kernels::depthwise;

/// What a parameter is to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Weights of a convolution or a linear layer.
    Weight,
    /// Bias of a linear layer.
    Bias,
    /// Scale of a batch norm.
    NormWeight,
    /// Shift of a batch norm.
    NormBias,
    /// Running mean of a batch norm; not learned.
    RunningMean,
    /// Running variance of a batch norm; not learned.
    RunningVariance,
}

impl Role {
    /// Whether gradients change it. Running statistics are not learned and not counted as parameters.
    #[must_use]
    pub fn is_learned(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVariance)
    }
}

/// The order in which the kernels keep a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// PyTorch's own.
    AsIs,
    /// `[out, height, width, in]` for PyTorch's `[out, in, height, width]`.
    ChannelsLast,
    /// `[height, width, channel]` for PyTorch's `[channel, 1, height, width]`.
    Depthwise,
}

/// One tensor of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    /// PyTorch's name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// Place of its node in the graph.
    pub node: usize,
    /// What it is there.
    pub role: Role,
    /// PyTorch's shape; weights of a convolution are `[out, in / groups, height, width]`.
    pub shape: Vec<usize>,
    /// The kernels' order of its elements.
    pub layout: Layout,
}

impl ParameterInfo {
    /// Number of elements.
    #[must_use]
    pub fn length(&self) -> usize {
        self.shape.iter().product()
    }

    /// PyTorch's order of elements to the kernels'.
    #[must_use]
    pub fn to_kernel_order(&self, values: &[f32]) -> Vec<f32> {
        self.reorder(values, |pytorch, kernel, source, target| target[kernel] = source[pytorch])
    }

    /// The kernels' order of elements to PyTorch's.
    #[must_use]
    pub fn to_pytorch_order(&self, values: &[f32]) -> Vec<f32> {
        self.reorder(values, |pytorch, kernel, source, target| target[pytorch] = source[kernel])
    }

    fn reorder(&self, values: &[f32], put: impl Fn(usize, usize, &[f32], &mut [f32])) -> Vec<f32> {
        let ([outs, ins, height, width], false) = (&self.shape[..], self.layout == Layout::AsIs) else { return values.to_vec() };
        let (outs, ins, height, width) = (*outs, *ins, *height, *width);
        let mut target = vec![0.0; values.len()];
        let taps = height * width;
        for out in 0..outs {
            for channel in 0..ins {
                for tap in 0..taps {
                    let kernel = match self.layout {
                        Layout::Depthwise => tap * outs + out,
                        _ => (out * taps + tap) * ins + channel,
                    };
                    put((out * ins + channel) * taps + tap, kernel, values, &mut target);
                }
            }
        }
        target
    }
}

/// All tensors of the graph, in the order of its nodes.
#[must_use]
pub fn parameters(graph: &Graph) -> Vec<ParameterInfo> {
    let mut all = Vec::new();
    for (node, description) in graph.nodes.iter().enumerate() {
        let mut add = |name: String, role, shape, layout| all.push(ParameterInfo { name, node, role, shape, layout });
        match &description.operation {
            Operation::Convolution(convolution) => {
                let ins = convolution.in_channels / convolution.groups;
                let shape = vec![convolution.out_channels, ins, convolution.kernel, convolution.kernel];
                // Other depthwise kernels run as grouped convolutions and read those' order.
                let handled = convolution.is_depthwise() && depthwise::KERNELS.contains(&convolution.kernel);
                let layout = if handled { Layout::Depthwise } else { Layout::ChannelsLast };
                add(format!("{}.weight", description.name), Role::Weight, shape, layout);
                let roles = [
                    ("weight", Role::NormWeight),
                    ("bias", Role::NormBias),
                    ("running_mean", Role::RunningMean),
                    ("running_var", Role::RunningVariance),
                ];
                for (suffix, role) in roles {
                    add(format!("{}.{suffix}", convolution.norm.name), role, vec![convolution.out_channels], Layout::AsIs);
                }
            }
            Operation::Linear { inputs, outputs, .. } => {
                add(format!("{}.weight", description.name), Role::Weight, vec![*outputs, *inputs], Layout::AsIs);
                add(format!("{}.bias", description.name), Role::Bias, vec![*outputs], Layout::AsIs);
            }
            Operation::MaxPool { .. } | Operation::GlobalAveragePool => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_each_others_inverse() {
        let info = |shape, layout| ParameterInfo { name: String::new(), node: 0, role: Role::Weight, shape, layout };
        for (shape, layout) in [
            (vec![2, 3, 2, 2], Layout::ChannelsLast),
            (vec![4, 1, 3, 3], Layout::ChannelsLast),
            (vec![4, 1, 3, 3], Layout::Depthwise),
            (vec![5, 7], Layout::AsIs),
        ] {
            let info = info(shape, layout);
            let values: Vec<f32> = (0..info.length()).map(|value| value as f32).collect();
            assert_eq!(info.to_pytorch_order(&info.to_kernel_order(&values)), values);
        }
        let dense = info(vec![1, 2, 1, 2], Layout::ChannelsLast);
        assert_eq!(dense.to_kernel_order(&[0.0, 1.0, 10.0, 11.0]), [0.0, 10.0, 1.0, 11.0]);
        let depthwise = info(vec![2, 1, 1, 2], Layout::Depthwise);
        assert_eq!(depthwise.to_kernel_order(&[0.0, 1.0, 10.0, 11.0]), [0.0, 10.0, 1.0, 11.0]);
    }
}
