//! A network as ONNX operators.
//!
//! ONNX's convolutions take feature maps as `[N, C, H, W]`; its layer norm and matrix product work
//! on the last axis. Each node's output is kept in the layout in which it was computed, and
//! converted if a node needs another layout.

use super::builder::{Attribute, Builder, Value};
use crate::error::ExportError;
use regraft::nn::engine::State;
use regraft::nn::graph::{Graph, MapShape, Node, Source};
use regraft::nn::ops::{
    Activation, Attention, BatchNorm, Convolution, Function, Linear, Operation, Padding, Tokens,
};

/// The order of a feature map's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// `[N, C, H, W]`
    ChannelsFirst,
    /// `[N, H, W, C]`
    ChannelsLast,
    /// `[N, C]`, of one pixel.
    Rows,
}

/// A node's output, in the layouts that were needed so far; the first is the one in which it was
/// computed.
#[derive(Clone, Debug)]
struct Map(Vec<(Layout, Value)>);

impl Map {
    fn layout(&self) -> Layout {
        self.0[0].0
    }
}

/// Adds `graph` to the file. `image` is `[N, C, S, S]`, where `S` is the graph's image size.
/// Returns the logits `[N, classes]`.
///
/// # Errors
/// If the image is too small for the network, or a tensor is missing or cannot be stored.
pub(super) fn lower(
    builder: &mut Builder,
    graph: &Graph,
    state: &State,
    image: Value,
) -> Result<Value, ExportError> {
    let shapes = graph.shapes(graph.image_size)?;
    let image = Map(vec![(Layout::ChannelsFirst, image)]);
    let mut network = Network {
        builder,
        graph,
        state,
        shapes,
        image,
        maps: Vec::with_capacity(graph.nodes.len()),
    };
    for place in 0..graph.nodes.len() {
        network.builder.set_scope(&graph.nodes[place].name);
        let map = network.node(place)?;
        network.maps.push(map);
    }
    Ok(network.read(Source::Node(graph.output()), Layout::Rows))
}

struct Network<'a> {
    builder: &'a mut Builder,
    graph: &'a Graph,
    state: &'a State,
    shapes: Vec<MapShape>,
    image: Map,
    maps: Vec<Map>,
}

impl Network<'_> {
    fn map(&mut self, source: Source) -> &mut Map {
        match source {
            Source::Image => &mut self.image,
            Source::Node(node) => &mut self.maps[node],
        }
    }

    fn layout(&self, source: Source) -> Layout {
        match source {
            Source::Image => self.image.layout(),
            Source::Node(node) => self.maps[node].layout(),
        }
    }

    /// A feature map in a layout; it is converted if it does not exist in that layout yet.
    fn read(&mut self, source: Source, wanted: Layout) -> Value {
        let map = self.map(source);
        if let Some((_, value)) = map.0.iter().find(|(layout, _)| *layout == wanted) {
            return value.clone();
        }
        let (layout, value) = map.0[0].clone();
        let converted = self.convert(&value, layout, wanted);
        self.map(source).0.push((wanted, converted.clone()));
        converted
    }

    fn convert(&mut self, value: &Value, from: Layout, to: Layout) -> Value {
        let mut transposed = |order: [i64; 4]| {
            self.builder.op_with(
                "Transpose",
                &[value],
                &[Attribute::Integers("perm", order.into())],
            )
        };
        match (from, to) {
            (Layout::ChannelsFirst, Layout::ChannelsLast) => transposed([0, 2, 3, 1]),
            (Layout::ChannelsLast, Layout::ChannelsFirst) => transposed([0, 3, 1, 2]),
            (_, Layout::Rows) => {
                self.builder.op_with("Flatten", &[value], &[Attribute::Integer("axis", 1)])
            }
            (Layout::Rows, to) => {
                let axes = if to == Layout::ChannelsFirst { [2, 3] } else { [1, 2] };
                let axes = self.builder.integers("axes", &[2], &axes);
                self.builder.op("Unsqueeze", &[value, &axes])
            }
            (from, _) => unreachable!("{from:?} needs no conversion to itself"),
        }
    }

    fn tensor(&self, node: &str, suffix: &str, length: usize) -> Result<&[f32], ExportError> {
        let name = if suffix.is_empty() { node.to_owned() } else { format!("{node}.{suffix}") };
        let values = self.state.get(&name).filter(|values| values.len() == length);
        values.map(Vec::as_slice).ok_or(ExportError::MissingTensor { name, length })
    }

    /// The layout in which a node works on each pixel's channels.
    fn channels_last(&self, place: usize) -> Layout {
        if self.shapes[place].pixels() == 1 { Layout::Rows } else { Layout::ChannelsLast }
    }

    fn input_shape(&self, source: Source) -> MapShape {
        match source {
            Source::Image => {
                let size = self.graph.image_size;
                MapShape { height: size, width: size, channels: self.graph.input_channels }
            }
            Source::Node(node) => self.shapes[node],
        }
    }

    /// The batch norm that can be folded into the convolution at `place`, because it is the only
    /// reader of the convolution's output.
    fn folded_norm(&self, place: usize) -> Option<(&Node, &BatchNorm)> {
        let mut readers =
            self.graph.nodes.iter().filter(|node| node.inputs.contains(&Source::Node(place)));
        match (readers.next(), readers.next()) {
            (Some(node @ Node { operation: Operation::BatchNorm(norm), .. }), None) => {
                Some((node, norm))
            }
            _ => None,
        }
    }

    fn is_folded(&self, norm: &Node) -> bool {
        match norm.inputs[0] {
            Source::Node(place) => {
                matches!(self.graph.nodes[place].operation, Operation::Convolution(_))
                    && self.folded_norm(place).is_some()
            }
            Source::Image => false,
        }
    }

    /// Adds the node at `place`; its inputs must have been added.
    fn node(&mut self, place: usize) -> Result<Map, ExportError> {
        let graph = self.graph;
        let node = &graph.nodes[place];
        let input = node.inputs[0];
        // Operations on single values take the feature map in its current layout.
        let mut layout = self.layout(input);
        let value = match &node.operation {
            Operation::Convolution(convolution) => {
                layout = Layout::ChannelsFirst;
                self.convolution(place, convolution)?
            }
            Operation::BatchNorm(_) if self.is_folded(node) => return Ok(self.map(input).clone()),
            Operation::BatchNorm(norm) => {
                layout = Layout::ChannelsFirst;
                self.batch_norm(node, norm)?
            }
            Operation::Activation(Activation { function }) => {
                let value = self.read(input, layout);
                self.activation(*function, &value)
            }
            Operation::Add(_) => {
                let (branch, residual) =
                    (self.read(input, layout), self.read(node.inputs[1], layout));
                self.builder.op("Add", &[&branch, &residual])
            }
            Operation::Multiply(_) => {
                let (map, vector) = (self.read(input, layout), self.read(node.inputs[1], layout));
                self.builder.op("Mul", &[&map, &vector])
            }
            Operation::LayerNorm(norm) => {
                layout = self.channels_last(place);
                let value = self.read(input, layout);
                let weight = self.learned(node, "weight", &[norm.channels])?;
                let bias = self.learned(node, "bias", &[norm.channels])?;
                let attributes =
                    [Attribute::Integer("axis", -1), Attribute::Float("epsilon", norm.epsilon)];
                self.builder.op_with("LayerNormalization", &[&value, &weight, &bias], &attributes)
            }
            Operation::LayerScale(scale) => {
                let value = self.read(input, layout);
                let shape = if layout == Layout::ChannelsFirst {
                    vec![scale.channels, 1, 1]
                } else {
                    vec![scale.channels]
                };
                let factors = self.tensor(&node.name, "", scale.channels)?.to_vec();
                // Factors for each channel are stored in f32, like all tensors of one dimension.
                let factors = self.builder.floats("factors", &shape, &factors);
                self.builder.op("Mul", &[&value, &factors])
            }
            Operation::MaxPool(pool) => {
                layout = Layout::ChannelsFirst;
                let value = self.read(input, layout);
                let window = self.window(input, pool.kernel, pool.stride, pool.padding);
                self.builder.op_with("MaxPool", &[&value], &window)
            }
            Operation::AveragePool(pool) => {
                layout = Layout::ChannelsFirst;
                let value = self.read(input, layout);
                let mut window = self.window(input, pool.kernel, pool.stride, pool.padding);
                window.push(Attribute::Integer("count_include_pad", 0));
                self.builder.op_with("AveragePool", &[&value], &window)
            }
            Operation::GlobalAveragePool(_) => {
                layout = Layout::ChannelsFirst;
                let value = self.read(input, layout);
                self.builder.op("GlobalAveragePool", &[&value])
            }
            Operation::Dropout(_) => return Ok(self.map(input).clone()),
            Operation::Linear(linear) => {
                layout = self.channels_last(place);
                self.linear(node, linear, layout)?
            }
            Operation::Tokens(tokens) => {
                layout = Layout::ChannelsLast;
                self.tokens(node, tokens, self.shapes[place])?
            }
            Operation::Attention(attention) => {
                layout = Layout::ChannelsLast;
                self.attention(input, *attention, self.shapes[place])
            }
            Operation::ClassToken(_) => {
                layout = Layout::Rows;
                let value = self.read(input, Layout::ChannelsLast);
                let token = self.part(&value, 1, 0);
                self.builder.op_with("Flatten", &[&token], &[Attribute::Integer("axis", 1)])
            }
        };
        Ok(Map(vec![(layout, value)]))
    }

    fn learned(
        &mut self,
        node: &Node,
        suffix: &str,
        shape: &[usize],
    ) -> Result<Value, ExportError> {
        let values = self.tensor(&node.name, suffix, shape.iter().product())?.to_vec();
        self.builder.learned(suffix, shape, &values)
    }

    /// Adds a convolution, with its batch norm folded into weights and bias.
    ///
    /// A separate batch norm would round every value of the feature map twice more, and each
    /// runtime folds it in its own way. Weights are multiplied in f64 and rounded once. In f16,
    /// folding also keeps variances out of the file, which may be too large or too small for f16.
    fn convolution(
        &mut self,
        place: usize,
        convolution: &Convolution,
    ) -> Result<Value, ExportError> {
        let node = &self.graph.nodes[place];
        let (input, shape) = (node.inputs[0], convolution.weight_shape());
        let per_channel = shape[1..].iter().product::<usize>();
        let channels = convolution.out_channels;
        let mut weight = self.tensor(&node.name, "weight", channels * per_channel)?.to_vec();
        let mut bias = match convolution.bias {
            true => Some(self.tensor(&node.name, "bias", channels)?.to_vec()),
            false => None,
        };
        if let Some((norm_node, norm)) = self.folded_norm(place) {
            let [scale, shift, mean, variance] = self.norm_tensors(norm_node, norm)?;
            let before = bias.unwrap_or_else(|| vec![0.0; channels]);
            let factor = |channel: usize| {
                f64::from(scale[channel])
                    / (f64::from(variance[channel]) + f64::from(norm.epsilon)).sqrt()
            };
            for (channel, row) in weight.chunks_exact_mut(per_channel).enumerate() {
                row.iter_mut()
                    .for_each(|value| *value = (f64::from(*value) * factor(channel)) as f32);
            }
            let folded = |channel: usize| {
                let centred = f64::from(before[channel]) - f64::from(mean[channel]);
                (f64::from(shift[channel]) + centred * factor(channel)) as f32
            };
            bias = Some((0..channels).map(folded).collect());
        }
        let mut attributes =
            self.window(input, convolution.kernel, convolution.stride, convolution.padding);
        attributes.push(Attribute::Integer("group", convolution.groups as i64));
        let value = self.read(input, Layout::ChannelsFirst);
        let weight = self.builder.learned("weight", &shape, &weight)?;
        let bias = bias.map(|bias| self.builder.learned("bias", &[channels], &bias)).transpose()?;
        let inputs: Vec<&Value> = [&value, &weight].into_iter().chain(&bias).collect();
        Ok(self.builder.op_with("Conv", &inputs, &attributes))
    }

    /// Weight, bias, mean and variance.
    fn norm_tensors(&self, node: &Node, norm: &BatchNorm) -> Result<[&[f32]; 4], ExportError> {
        let tensor = |suffix| self.tensor(&node.name, suffix, norm.channels);
        Ok([tensor("weight")?, tensor("bias")?, tensor("running_mean")?, tensor("running_var")?])
    }

    fn batch_norm(&mut self, node: &Node, norm: &BatchNorm) -> Result<Value, ExportError> {
        let value = self.read(node.inputs[0], Layout::ChannelsFirst);
        let mut tensors = Vec::with_capacity(4);
        for suffix in ["weight", "bias", "running_mean", "running_var"] {
            tensors.push(self.learned(node, suffix, &[norm.channels])?);
        }
        let inputs: Vec<&Value> = std::iter::once(&value).chain(&tensors).collect();
        Ok(self.builder.op_with(
            "BatchNormalization",
            &inputs,
            &[Attribute::Float("epsilon", norm.epsilon)],
        ))
    }

    fn linear(
        &mut self,
        node: &Node,
        linear: &Linear,
        layout: Layout,
    ) -> Result<Value, ExportError> {
        let (inputs, outputs) = (linear.inputs, linear.outputs);
        let value = self.read(node.inputs[0], layout);
        let bias = if linear.bias { Some(self.learned(node, "bias", &[outputs])?) } else { None };
        if layout == Layout::Rows {
            let weight = self.learned(node, "weight", &[outputs, inputs])?;
            let operands: Vec<&Value> = [&value, &weight].into_iter().chain(&bias).collect();
            return Ok(self.builder.op_with("Gemm", &operands, &[Attribute::Integer("transB", 1)]));
        }
        let weight = self.tensor(&node.name, "weight", outputs * inputs)?;
        let transposed: Vec<f32> = (0..inputs)
            .flat_map(|input| (0..outputs).map(move |output| weight[output * inputs + input]))
            .collect();
        let weight = self.builder.learned("weight", &[inputs, outputs], &transposed)?;
        let product = self.builder.op("MatMul", &[&value, &weight]);
        Ok(bias.map_or_else(|| product.clone(), |bias| self.builder.op("Add", &[&product, &bias])))
    }

    /// Adds the tokens `[N, T, 1, C]`: rows of zeros before the patches, plus learned tokens and
    /// positions.
    fn tokens(
        &mut self,
        node: &Node,
        tokens: &Tokens,
        output: MapShape,
    ) -> Result<Value, ExportError> {
        let (channels, before) = (tokens.channels, tokens.before());
        let patches = output.height - before;
        let positions = (output.height - tokens.first_embedded()) * channels;
        let positions = self.tensor("pos_embed", "", positions)?;
        let mut added = self.tensor("cls_token", "", channels)?.to_vec();
        if tokens.registers > 0 {
            added.extend(self.tensor("reg_token", "", tokens.registers * channels)?);
        }
        added.resize(output.length(), 0.0);
        let embedded = added[tokens.first_embedded() * channels..].iter_mut().zip(positions);
        embedded.for_each(|(value, position)| *value += position);
        let value = self.read(node.inputs[0], Layout::ChannelsLast);
        let rows = self.reshape(&value, &[0, patches, 1, channels]);
        let pads = self.builder.integers("pads", &[8], &[0, before as i64, 0, 0, 0, 0, 0, 0]);
        let padded = self.builder.op("Pad", &[&rows, &pads]);
        let added = self.builder.learned("added", &[1, output.height, 1, channels], &added)?;
        Ok(self.builder.op("Add", &[&padded, &added]))
    }

    /// Adds attention of queries, keys and values `[N, T, 1, 3C]`.
    fn attention(&mut self, input: Source, attention: Attention, output: MapShape) -> Value {
        let (tokens, heads) = (output.height, attention.heads);
        let channels = output.channels / heads;
        let value = self.read(input, Layout::ChannelsLast);
        let split = self.reshape(&value, &[0, tokens, 3, heads, channels]);
        let by_head = self.transpose(&split, &[2, 0, 3, 1, 4]);
        let [queries, keys, values] = [0, 1, 2].map(|part| self.part(&by_head, 0, part));
        let keys = self.transpose(&keys, &[0, 1, 3, 2]);
        let factor = self.builder.float(1.0 / (channels as f32).sqrt());
        let queries = self.builder.op("Mul", &[&queries, &factor]);
        let products = self.builder.op("MatMul", &[&queries, &keys]);
        let axis = [Attribute::Integer("axis", -1)];
        let weights = self.builder.op_with("Softmax", &[&products], &axis);
        let means = self.builder.op("MatMul", &[&weights, &values]);
        let by_token = self.transpose(&means, &[0, 2, 1, 3]);
        self.reshape(&by_token, &[0, tokens, 1, output.channels])
    }

    /// The value with another shape; 0 keeps a length.
    fn reshape(&mut self, value: &Value, shape: &[usize]) -> Value {
        let lengths: Vec<i64> = shape.iter().map(|&length| length as i64).collect();
        let shape = self.builder.integers("shape", &[shape.len()], &lengths);
        self.builder.op("Reshape", &[value, &shape])
    }

    fn transpose(&mut self, value: &Value, order: &[i64]) -> Value {
        self.builder.op_with("Transpose", &[value], &[Attribute::Integers("perm", order.into())])
    }

    /// The part at a place of an axis, without the axis.
    fn part(&mut self, value: &Value, axis: i64, place: i64) -> Value {
        let place = self.builder.integer(place);
        self.builder.op_with("Gather", &[value, &place], &[Attribute::Integer("axis", axis)])
    }

    /// The attributes of a window that slides over a feature map. Padding is given in numbers,
    /// because runtimes disagree on `auto_pad`.
    fn window(
        &self,
        input: Source,
        kernel: usize,
        stride: usize,
        padding: Padding,
    ) -> Vec<Attribute<'static>> {
        let shape = self.input_shape(input);
        let pads = |length: usize| match padding {
            Padding::Each(padding) => [padding, padding],
            Padding::Same => {
                let (output, before) = padding.resolve(length, kernel, stride).unwrap_or((1, 0));
                [before, ((output - 1) * stride + kernel).saturating_sub(length + before)]
            }
        };
        let ([top, bottom], [left, right]) = (pads(shape.height), pads(shape.width));
        let all = |values: &[usize]| values.iter().map(|&value| value as i64).collect();
        vec![
            Attribute::Integers("kernel_shape", all(&[kernel; 2])),
            Attribute::Integers("strides", all(&[stride; 2])),
            Attribute::Integers("pads", all(&[top, left, bottom, right])),
        ]
    }

    fn activation(&mut self, function: Function, x: &Value) -> Value {
        let b = &mut *self.builder;
        match function {
            Function::Relu => b.op("Relu", &[x]),
            Function::Relu6 => {
                let (zero, six) = (b.float(0.0), b.float(6.0));
                b.op("Clip", &[x, &zero, &six])
            }
            Function::Sigmoid => b.op("Sigmoid", &[x]),
            Function::Silu => gated(b, x, 1.0),
            Function::QuickGelu => gated(b, x, 1.702),
            Function::HardSigmoid => b.op_with(
                "HardSigmoid",
                &[x],
                &[Attribute::Float("alpha", 1.0 / 6.0), Attribute::Float("beta", 0.5)],
            ),
            Function::HardSwish => b.op("HardSwish", &[x]),
            // x / 2 * (1 + erf(x / sqrt(2))); the operator Gelu was added in operator set 20.
            Function::Gelu => {
                let root = b.float(std::f32::consts::SQRT_2);
                let scaled = b.op("Div", &[x, &root]);
                let erf = b.op("Erf", &[&scaled]);
                half_of_one_plus(b, x, &erf)
            }
            // x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))
            Function::GeluTanh => {
                let (cubic, root) =
                    (b.float(0.044_715), b.float((2.0 / std::f64::consts::PI).sqrt() as f32));
                let square = b.op("Mul", &[x, x]);
                let cube = b.op("Mul", &[&square, x]);
                let term = b.op("Mul", &[&cube, &cubic]);
                let sum = b.op("Add", &[x, &term]);
                let scaled = b.op("Mul", &[&sum, &root]);
                let tanh = b.op("Tanh", &[&scaled]);
                half_of_one_plus(b, x, &tanh)
            }
        }
    }
}

/// `x * sigmoid(slope * x)`
fn gated(b: &mut Builder, x: &Value, slope: f32) -> Value {
    let scaled = if slope == 1.0 {
        x.clone()
    } else {
        let slope = b.float(slope);
        b.op("Mul", &[x, &slope])
    };
    let gate = b.op("Sigmoid", &[&scaled]);
    b.op("Mul", &[x, &gate])
}

/// `x / 2 * (1 + y)`
fn half_of_one_plus(b: &mut Builder, x: &Value, y: &Value) -> Value {
    let (one, half) = (b.float(1.0), b.float(0.5));
    let sum = b.op("Add", &[y, &one]);
    let product = b.op("Mul", &[x, &sum]);
    b.op("Mul", &[&product, &half])
}
