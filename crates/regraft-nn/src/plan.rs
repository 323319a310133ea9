//! The planner: which buffers a pass needs, from when to when, and where each lies in one block of memory.
//!
//! Time runs through the forward pass, one tick a node, then the loss, then the backward pass in reverse. A buffer lives from the
//! tick that writes it to the last that reads it; buffers that never live at once may share memory. Before the first trained node
//! nothing is kept for the backward pass, because there is none.

use crate::graph::{ConvNormActivation, Graph, GraphError, MapShape, Node, Operation, Padding, Source};
use crate::precision::Precision;
use regraft_kernels::activation::Activation;
use regraft_kernels::depthwise;
use regraft_kernels::element::Bf16;
use regraft_kernels::memory::lines_for;
use std::ops::Range;

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Forward, loss, backward. The first `frozen` nodes run as in evaluation and have no backward pass.
    Train {
        /// How many nodes from the start are frozen.
        frozen: usize,
    },
    /// Forward to the output of one node, with running statistics.
    Evaluate {
        /// The last node to compute.
        last: usize,
    },
}

/// A buffer of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Place in the pass's memory.
    pub place: Place,
    /// First and last tick at which its content matters.
    pub life: (usize, usize),
}

/// Where a buffer lies, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Cache lines of the pass's memory.
    pub lines: Range<usize>,
    /// Elements in them.
    pub elements: usize,
    /// Their type.
    pub precision: Precision,
}

impl Place {
    /// The place of no buffer.
    pub const NOWHERE: Self = Self { lines: 0..0, elements: 0, precision: Precision::F32 };
}

/// The buffers of one node; each is there only where it is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeBuffers {
    /// The convolution's output before batch norm. Only a trained node keeps it.
    pub convolved: Option<usize>,
    /// The node's output; `None` where the only node that reads it normalises [`Self::convolved`] as it reads.
    pub output: Option<usize>,
    /// The node's output computed again, from what it convolved, for the backward pass of the node that reads it.
    pub recomputed: Option<usize>,
    /// The gradient of the node's output.
    pub gradient: Option<usize>,
}

/// A pass over a graph at one batch and picture size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the pass is for.
    pub mode: Mode,
    /// Pictures in the batch.
    pub batch: usize,
    /// Side of the pictures.
    pub image_size: usize,
    /// Type of the maps.
    pub precision: Precision,
    /// The batch of pictures.
    pub images: usize,
    /// Output shape of each node.
    pub shapes: Vec<MapShape>,
    /// All buffers.
    pub buffers: Vec<Buffer>,
    /// Which buffers belong to each node.
    pub nodes: Vec<NodeBuffers>,
    /// Cache lines of memory for all buffers together.
    pub memory: usize,
    /// Whether the backward pass adds to a node's gradient (`true`) or is the first to write it, by the node that gives.
    pub accumulates: Vec<GradientTargets>,
}

/// How a node's backward pass hands gradients on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GradientTargets {
    /// To its input: `None` where no gradient is needed, else whether it adds.
    pub input: Option<bool>,
    /// To its residual input, likewise.
    pub residual: Option<bool>,
}

impl Plan {
    /// Plans a pass of `graph`.
    ///
    /// # Errors
    /// When the pictures are too small for the graph.
    pub fn new(graph: &Graph, mode: Mode, batch: usize, image_size: usize, precision: Precision) -> Result<Self, GraphError> {
        let shapes = graph.shapes(image_size)?;
        let count = graph.nodes.len();
        let (first_trained, computed) = match mode {
            Mode::Train { frozen } => (frozen, count),
            Mode::Evaluate { last } => (count, last + 1),
        };
        let trains = first_trained < count;
        let backward_tick = |node: usize| 2 * count - node;
        let mut plan = Self {
            mode,
            batch,
            image_size,
            precision,
            images: 0,
            shapes,
            buffers: Vec::new(),
            nodes: vec![NodeBuffers::default(); count],
            memory: 0,
            accumulates: vec![GradientTargets::default(); count],
        };
        let stored = stored_as(graph, Source::Image, precision);
        plan.images = plan.add(batch * image_size * image_size * graph.input_channels, stored, (0, 0));
        for (index, node) in graph.nodes.iter().enumerate().take(computed) {
            let length = batch * plan.shapes[index].length();
            let stored = stored_as(graph, Source::Node(index), precision);
            let trained = index >= first_trained;
            let last_tick = if trains { count } else { computed };
            if !(trained && is_normalized_by_its_reader(graph, index)) {
                let life = (index, if index + 1 == computed { last_tick } else { index });
                plan.nodes[index].output = Some(plan.add(length, stored, life));
            }
            if trained && matches!(node.operation, Operation::Convolution(_)) {
                plan.nodes[index].convolved = Some(plan.add(length, precision, (index, backward_tick(index))));
            }
            // Reading keeps what is read alive: in the forward pass, and in the backward pass where a gradient is computed from it.
            for source in [Some(node.input), residual(node)].into_iter().flatten() {
                plan.extend_output(source, index);
            }
            if trained && matches!(node.operation, Operation::Convolution(_) | Operation::Linear { .. }) {
                match node.input {
                    Source::Node(input) if input >= first_trained && is_recomputed(graph, input) => {
                        let length = batch * plan.shapes[input].length();
                        let life = (backward_tick(index), backward_tick(index));
                        plan.nodes[input].recomputed = Some(plan.add(length, precision, life));
                    }
                    _ => plan.extend_output(node.input, backward_tick(index)),
                }
            }
            if trained && reads_own_output(node) {
                plan.extend_output(Source::Node(index), backward_tick(index));
            }
        }
        if trains {
            plan.add_gradients(graph, first_trained, &backward_tick);
        }
        plan.place();
        Ok(plan)
    }

    fn add(&mut self, elements: usize, precision: Precision, life: (usize, usize)) -> usize {
        let lines = match precision {
            Precision::F32 => lines_for::<f32>(elements),
            Precision::Bf16 => lines_for::<Bf16>(elements),
        };
        self.buffers.push(Buffer { place: Place { lines: 0..lines, elements, precision }, life });
        self.buffers.len() - 1
    }

    fn extend_output(&mut self, source: Source, tick: usize) {
        if let Some(buffer) = self.read(source) {
            self.extend(buffer, tick);
        }
    }

    fn extend(&mut self, buffer: usize, tick: usize) {
        let (first, last) = self.buffers[buffer].life;
        self.buffers[buffer].life = (first.min(tick), last.max(tick));
    }

    fn add_gradients(&mut self, graph: &Graph, first_trained: usize, backward_tick: &impl Fn(usize) -> usize) {
        let count = graph.nodes.len();
        // The loss writes the head's gradient.
        self.nodes[count - 1].gradient =
            Some(self.add(self.batch * self.shapes[count - 1].length(), Precision::F32, (count, backward_tick(count - 1))));
        for index in (first_trained..count).rev() {
            let node = &graph.nodes[index];
            let give = |plan: &mut Self, source: Option<Source>| {
                let Some(Source::Node(target)) = source else { return None };
                if target < first_trained {
                    return None;
                }
                let tick = backward_tick(index);
                if let Some(buffer) = plan.nodes[target].gradient {
                    plan.extend(buffer, tick);
                    return Some(true);
                }
                let length = plan.batch * plan.shapes[target].length();
                let stored = stored_as(graph, Source::Node(target), plan.precision);
                plan.nodes[target].gradient = Some(plan.add(length, stored, (tick, backward_tick(target))));
                Some(false)
            };
            let residual = give(self, residual(node));
            let input = give(self, Some(node.input));
            self.accumulates[index] = GradientTargets { input, residual };
        }
    }

    /// Gives each buffer the lowest place where it meets none that lives at the same time, the largest first.
    fn place(&mut self) {
        let mut order: Vec<usize> = (0..self.buffers.len()).collect();
        order.sort_by_key(|&index| (std::cmp::Reverse(self.buffers[index].place.lines.len()), index));
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

    /// The buffer that a node reads `source` from.
    #[must_use]
    pub fn read(&self, source: Source) -> Option<usize> {
        match source {
            Source::Image => Some(self.images),
            Source::Node(index) => self.nodes[index].output.or(self.nodes[index].convolved),
        }
    }

    /// The buffer that the backward pass of a node that reads `source` finds it in.
    #[must_use]
    pub fn read_again(&self, source: Source) -> Option<usize> {
        let recomputed = match source {
            Source::Image => None,
            Source::Node(index) => self.nodes[index].recomputed,
        };
        recomputed.or(self.read(source))
    }

    /// Whether a node normalises what it reads from `source`.
    #[must_use]
    pub fn normalizes(&self, source: Source) -> bool {
        matches!(source, Source::Node(index) if self.nodes[index].output.is_none() && self.nodes[index].convolved.is_some())
    }

    /// The place in memory of a buffer.
    #[must_use]
    pub fn place_of(&self, buffer: Option<usize>) -> Place {
        buffer.map_or(Place::NOWHERE, |buffer| self.buffers[buffer].place.clone())
    }
}

/// What the values of `source` are stored as: logits and the features that only a head reads are f32, for they are small and what
/// rounding does to them shows.
fn stored_as(graph: &Graph, source: Source, precision: Precision) -> Precision {
    let is_vector = match source {
        // The pictures of a head alone are features.
        Source::Image => true,
        Source::Node(index) => matches!(graph.nodes[index].operation, Operation::Linear { .. } | Operation::GlobalAveragePool),
    };
    let is_read_as_a_map = graph.nodes.iter().any(|node| {
        let reads = node.input == source || residual(node) == Some(source);
        reads && !matches!(node.operation, Operation::Linear { .. })
    });
    if is_vector && !is_read_as_a_map { Precision::F32 } else { precision }
}

/// The node's residual input.
#[must_use]
pub fn residual(node: &Node) -> Option<Source> {
    match &node.operation {
        Operation::Convolution(convolution) => convolution.residual,
        _ => None,
    }
}

/// Whether the node's backward pass reads what the node put out.
fn reads_own_output(node: &Node) -> bool {
    matches!(&node.operation, Operation::Convolution(convolution) if mask_source(convolution) == MaskSource::Output)
}

/// The convolution that is the only reader of a convolution's normalised output, to which nothing was added.
fn only_reader(graph: &Graph, index: usize) -> Option<&ConvNormActivation> {
    let Operation::Convolution(convolution) = &graph.nodes[index].operation else { return None };
    if convolution.residual.is_some() || convolution.drop_connect > 0.0 {
        return None;
    }
    let source = Some(Source::Node(index));
    let mut readers = graph.nodes.iter().filter(|node| Some(node.input) == source || residual(node) == source);
    match (&readers.next()?.operation, readers.next()) {
        (Operation::Convolution(reader), None) if reader.residual != source => Some(reader),
        _ => None,
    }
}

/// Whether a trained node's output is never written: its only reader goes over each value once, or a few times in the cache, and
/// normalises it on the way.
fn is_normalized_by_its_reader(graph: &Graph, index: usize) -> bool {
    only_reader(graph, index).is_some_and(|reader| {
        let has_border = !matches!(reader.padding, Padding::Each(0) | Padding::Same);
        let is_pointwise = reader.kernel == 1 && reader.stride == 1 && reader.groups == 1 && !has_border;
        is_pointwise || (reader.is_depthwise() && depthwise::KERNELS.contains(&reader.kernel))
    })
}

/// Whether a trained node's output is not kept for its reader's backward pass but computed again: where this takes next to no
/// time beside the convolution that reads it.
fn is_recomputed(graph: &Graph, index: usize) -> bool {
    only_reader(graph, index).is_some_and(|reader| reader.groups == 1 && reader.kernel > 1)
}

/// From what a convolution's backward pass tells where the activation was constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskSource {
    /// There is no activation.
    None,
    /// The output before batch norm, which the backward pass reads anyway.
    Convolved,
    /// The output, because something was added to it.
    Output,
}

/// Where the mask of a convolution's activation comes from.
#[must_use]
pub fn mask_source(convolution: &ConvNormActivation) -> MaskSource {
    if convolution.activation == Activation::Identity {
        MaskSource::None
    } else if convolution.residual.is_none() && convolution.drop_connect == 0.0 {
        MaskSource::Convolved
    } else {
        MaskSource::Output
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architectures;

    fn graph(name: &str) -> Graph {
        architectures::find(name).expect("a known architecture").graph()
    }

    /// No two buffers that live at the same time overlap, whatever is frozen.
    #[test]
    fn living_buffers_never_overlap() {
        for name in ["resnet18", "resnet50", "efficientnet_lite0"] {
            let graph = graph(name);
            let modes = [0, 5, graph.nodes.len() - 1].map(|frozen| Mode::Train { frozen });
            let modes = modes.into_iter().chain([Mode::Evaluate { last: graph.head() }]);
            for (mode, precision) in modes.flat_map(|mode| [(mode, Precision::F32), (mode, Precision::Bf16)]) {
                let plan = Plan::new(&graph, mode, 3, 64, precision).expect("large enough");
                for (index, first) in plan.buffers.iter().enumerate() {
                    assert!(first.place.lines.end <= plan.memory);
                    for second in &plan.buffers[..index] {
                        let together = first.life.0 <= second.life.1 && second.life.0 <= first.life.1;
                        let (first_lines, second_lines) = (&first.place.lines, &second.place.lines);
                        let apart = first_lines.end <= second_lines.start || second_lines.end <= first_lines.start;
                        assert!(!together || apart, "{name} {mode:?}: {first:?} and {second:?}");
                    }
                }
            }
        }
    }

    /// Whatever a pass reads or writes lives at that tick.
    #[test]
    fn buffers_live_while_they_are_used() {
        for name in ["resnet18", "resnet50", "efficientnet_lite0"] {
            let graph = graph(name);
            let count = graph.nodes.len();
            for frozen in 0..count {
                let plan = Plan::new(&graph, Mode::Train { frozen }, 2, 64, Precision::F32).expect("large enough");
                let check = |buffer: Option<usize>, tick: usize| {
                    let life = plan.buffers[buffer.unwrap_or_else(|| panic!("{name} {frozen}: no buffer at {tick}"))].life;
                    assert!(life.0 <= tick && tick <= life.1, "{name} {frozen}: used at {tick}, alive during {life:?}");
                };
                let sources = |node: &Node| {
                    [Some(node.input), residual(node)].map(|source| match source {
                        Some(Source::Node(index)) => Some(index),
                        Some(Source::Image) | None => None,
                    })
                };
                for (index, node) in graph.nodes.iter().enumerate() {
                    let own = &plan.nodes[index];
                    let forward = sources(node).into_iter().flatten().chain([index]);
                    forward.for_each(|node| check(plan.read(Source::Node(node)), index));
                    if node.input == Source::Image {
                        check(Some(plan.images), 0);
                        check(Some(plan.images), if index < frozen { index } else { 2 * count - index });
                    }
                    let is_convolution = matches!(node.operation, Operation::Convolution(_));
                    if index < frozen {
                        assert_eq!((own.gradient, own.convolved), (None, None));
                        continue;
                    }
                    let tick = 2 * count - index;
                    check(own.gradient, tick);
                    if is_convolution {
                        check(own.convolved, index);
                        check(own.convolved, tick);
                    }
                    if reads_own_output(node) {
                        check(own.output, tick);
                    }
                    let [input, residual] = sources(node);
                    if is_convolution || matches!(node.operation, Operation::Linear { .. }) {
                        check(plan.read_again(node.input), tick);
                        let recomputed = input.filter(|&input| plan.nodes[input].recomputed.is_some());
                        recomputed.into_iter().for_each(|input| check(plan.nodes[input].convolved, tick));
                    }
                    let targets = [(input, plan.accumulates[index].input), (residual, plan.accumulates[index].residual)];
                    for (source, target) in targets {
                        let trained = source.filter(|&source| source >= frozen);
                        assert_eq!(trained.is_some(), target.is_some(), "{name} {frozen}: {index}");
                        trained.into_iter().for_each(|source| check(plan.nodes[source].gradient, tick));
                    }
                }
                check(plan.nodes[count - 1].output, count);
                check(plan.nodes[count - 1].gradient, count);
            }
        }
    }

    #[test]
    fn freezing_saves_memory_and_backward_passes() {
        let graph = graph("resnet18");
        let memory = |mode| Plan::new(&graph, mode, 8, 224, Precision::F32).expect("large enough").memory;
        let evaluation = memory(Mode::Evaluate { last: graph.head() });
        let head_only = memory(Mode::Train { frozen: graph.head() });
        let part = memory(Mode::Train { frozen: graph.nodes_through("layer3").expect("a layer") });
        let whole = memory(Mode::Train { frozen: 0 });
        assert!(head_only < evaluation + evaluation / 50, "a frozen trunk keeps nothing: {head_only} and {evaluation}");
        assert!(part < whole / 3 && evaluation < whole / 3, "{evaluation} {part} {whole}");
        let plan = Plan::new(&graph, Mode::Train { frozen: graph.head() }, 8, 224, Precision::F32).expect("large enough");
        assert!(plan.nodes[..graph.head()].iter().all(|node| node.gradient.is_none() && node.convolved.is_none()));
        assert_eq!(plan.accumulates[graph.head()], GradientTargets::default());
    }

    /// The largest map of a ResNet is the first layer's; only the pooling after it reads it.
    #[test]
    fn outputs_are_kept_only_where_the_backward_pass_reads_them() {
        let graph = graph("resnet18");
        let plan = Plan::new(&graph, Mode::Train { frozen: 0 }, 8, 224, Precision::F32).expect("large enough");
        let last_tick = |index: usize| plan.nodes[index].output.map(|buffer| plan.buffers[buffer].life.1);
        assert_eq!(last_tick(0), Some(1), "read by the pooling, in the forward pass");
        let kept = (1..graph.head() - 1).filter(|&index| last_tick(index) > Some(graph.nodes.len()));
        let names: Vec<&str> = kept.map(|index| graph.nodes[index].name.as_str()).collect();
        let of_blocks = |convolution: &str| {
            (0..8).map(|block| format!("layer{}.{}.{convolution}", block / 2 + 1, block % 2)).collect::<Vec<_>>()
        };
        // What was added to a block's output tells where the activation was constant, so that it is needed itself.
        assert_eq!(names, [vec!["maxpool".to_owned()], of_blocks("conv2")].concat());
        let recomputed = graph.nodes.iter().zip(&plan.nodes).filter(|(_, buffers)| buffers.recomputed.is_some());
        let names: Vec<&str> = recomputed.map(|(node, _)| node.name.as_str()).collect();
        assert_eq!(names, of_blocks("conv1"));
    }

    #[test]
    fn maps_in_bf16_take_half_the_memory() {
        for (name, mode) in [
            ("resnet18", Mode::Train { frozen: 0 }),
            ("efficientnet_lite0", Mode::Train { frozen: 0 }),
            ("resnet18", Mode::Evaluate { last: graph("resnet18").head() }),
        ] {
            let graph = graph(name);
            let memory = |precision| Plan::new(&graph, mode, 8, 224, precision).expect("large enough").memory as f64;
            let share = memory(Precision::Bf16) / memory(Precision::F32);
            assert!((0.5..0.505).contains(&share), "{name} {mode:?}: {share}");
        }
        let graph = graph("resnet18");
        let plan = Plan::new(&graph, Mode::Train { frozen: 0 }, 2, 64, Precision::Bf16).expect("large enough");
        let precision = |buffer| plan.place_of(buffer).precision;
        let [pool, head] = [graph.head() - 1, graph.head()].map(|index| &plan.nodes[index]);
        for buffer in [pool.output, pool.gradient, head.output, head.gradient] {
            assert_eq!(precision(buffer), Precision::F32);
        }
        assert_eq!(precision(plan.nodes[graph.head() - 2].gradient), Precision::Bf16);
    }
}
