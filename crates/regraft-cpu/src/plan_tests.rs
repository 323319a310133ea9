//! Tests of the planner on the programs of real networks.

use crate::program::Program;
use crate::step::StepSource;
use regraft_kernels::convolution::normalizes_any_input;
use regraft_kernels::element::Bf16;
use regraft_nn::architectures;
use regraft_nn::graph::{Graph, MapShape};
use regraft_nn::plan::{Memory, Mode, Pass, Plan};
use regraft_nn::precision::Precision;

/// A network lowered for images of one size.
struct Lowered {
    graph: Graph,
    program: Program,
    shapes: Vec<MapShape>,
    image: MapShape,
}

impl Lowered {
    fn new(name: &str, size: usize) -> Self {
        Self::with_precision(name, size, Precision::F32)
    }

    fn with_precision(name: &str, size: usize, precision: Precision) -> Self {
        let graph = architectures::find(name).expect("a known architecture").graph();
        let mut program = Program::new(&graph, precision);
        let node_shapes = graph.shapes(size).expect("large enough");
        let shapes: Vec<MapShape> =
            program.steps.iter().map(|step| node_shapes[step.output]).collect();
        program.join_blocks(&shapes);
        Self { graph, program, shapes, image: MapShape { height: size, width: size, channels: 3 } }
    }

    fn plan(&self, mode: Mode, batch: usize, precision: Precision) -> Plan {
        let pass = Pass { mode, batch, precision };
        let memory = Memory { unit_bytes: 64, allocation: None };
        Plan::new(&self.program.steps, &self.shapes, self.image, pass, memory, &[])
    }

    fn last(&self) -> usize {
        self.program.steps.len() - 1
    }

    /// The number of steps through a layer.
    fn through(&self, layer: &str) -> usize {
        self.program.steps_before(self.graph.nodes_through(layer).expect("a layer"))
    }

    /// The name of the first node that a step computes.
    fn name(&self, index: usize) -> &str {
        let first = index.checked_sub(1).map_or(0, |before| self.program.steps[before].output + 1);
        &self.graph.nodes[first].name
    }
}

const NETWORKS: [&str; 3] = ["resnet18", "resnet50", "efficientnet_lite0"];

/// No two buffers that live at the same time overlap, whatever is frozen.
#[test]
fn living_buffers_never_overlap() {
    for name in NETWORKS {
        let networks = [Precision::F32, Precision::Bf16]
            .map(|precision| (Lowered::with_precision(name, 64, precision), precision));
        let last = networks[0].0.last();
        let modes = [0, 5, last].map(|frozen| Mode::Train { frozen });
        let modes = modes.into_iter().chain([Mode::Evaluate { last }]);
        for (mode, (network, precision)) in
            modes.flat_map(|mode| networks.iter().map(move |network| (mode, network)))
        {
            let plan = network.plan(mode, 3, *precision);
            for (index, first) in plan.buffers.iter().enumerate() {
                assert!(first.place.units.end <= plan.memory);
                for second in &plan.buffers[..index] {
                    let together = first.life.0 <= second.life.1 && second.life.0 <= first.life.1;
                    let (first_lines, second_lines) = (&first.place.units, &second.place.units);
                    let apart = first_lines.end <= second_lines.start
                        || second_lines.end <= first_lines.start;
                    assert!(!together || apart, "{name} {mode:?}: {first:?} and {second:?}");
                }
            }
        }
    }
}

/// Every buffer lives at the ticks at which a pass reads or writes it.
#[test]
fn buffers_live_while_they_are_used() {
    for name in NETWORKS {
        let network = Lowered::new(name, 64);
        let steps = &network.program.steps;
        let count = steps.len();
        for frozen in 0..count {
            let plan = network.plan(Mode::Train { frozen }, 2, Precision::F32);
            let check = |buffer: Option<usize>, tick: usize| {
                let life = plan.buffers
                    [buffer.unwrap_or_else(|| panic!("{name} {frozen}: no buffer at {tick}"))]
                .life;
                assert!(
                    life.0 <= tick && tick <= life.1,
                    "{name} {frozen}: used at {tick}, alive during {life:?}"
                );
            };
            for (index, step) in steps.iter().enumerate() {
                let own = &plan.steps[index];
                let by = step.facts.computed_by.filter(|&by| by < frozen);
                step.inputs
                    .iter()
                    .chain([&StepSource::Step(index)])
                    .filter(|&&source| !plan.is_inside(source))
                    .for_each(|&source| check(plan.read(source), by.unwrap_or(index)));
                assert_eq!(plan.is_inside(StepSource::Step(index)), by.is_some());
                if index < frozen {
                    assert_eq!((own.gradient, own.convolved), (None, None));
                    continue;
                }
                let tick = 2 * count - index;
                check(own.gradient, tick);
                if step.facts.keeps_convolved {
                    check(own.convolved, index);
                    check(own.convolved, tick);
                }
                if step.facts.reads_output_again {
                    check(own.output, tick);
                }
                for &source in &step.inputs[..step.facts.inputs_read_again] {
                    check(plan.read_again(source), tick);
                    if let StepSource::Step(input) = source
                        && plan.steps[input].recomputed.is_some()
                    {
                        check(plan.steps[input].convolved, tick);
                    }
                }
                for (&source, target) in step.inputs.iter().zip(&plan.targets[index]) {
                    let trained = matches!(source, StepSource::Step(source) if source >= frozen);
                    assert_eq!(trained, target.is_some(), "{name} {frozen}: {index}");
                    if let (StepSource::Step(source), true) = (source, trained) {
                        check(plan.steps[source].gradient, tick);
                    }
                }
            }
            check(plan.steps[count - 1].output, count);
            check(plan.steps[count - 1].gradient, count);
        }
    }
}

#[test]
fn freezing_saves_memory_and_backward_passes() {
    let network = Lowered::new("resnet18", 224);
    let memory = |mode| network.plan(mode, 8, Precision::F32).memory;
    let evaluation = memory(Mode::Evaluate { last: network.last() });
    let head_only = memory(Mode::Train { frozen: network.last() });
    let part = memory(Mode::Train { frozen: network.through("layer3") });
    let whole = memory(Mode::Train { frozen: 0 });
    assert!(
        head_only < evaluation + evaluation / 50,
        "a frozen backbone keeps nothing: {head_only} and {evaluation}"
    );
    assert!(part < whole / 3 && evaluation < whole / 3, "{evaluation} {part} {whole}");
    let plan = network.plan(Mode::Train { frozen: network.last() }, 8, Precision::F32);
    assert!(
        plan.steps[..network.last()]
            .iter()
            .all(|step| step.gradient.is_none() && step.convolved.is_none())
    );
    assert_eq!(plan.targets[network.last()], [None]);
}

/// The largest feature map of a ResNet is that of the first layer, and only the pooling after it
/// reads it.
#[test]
fn outputs_are_kept_only_if_the_backward_pass_reads_them() {
    let network = Lowered::new("resnet18", 224);
    let plan = network.plan(Mode::Train { frozen: 0 }, 8, Precision::F32);
    let last_tick =
        |index: usize| plan.steps[index].output.map(|buffer| plan.buffers[buffer].life.1);
    assert_eq!(last_tick(0), Some(1), "read by the pooling, in the forward pass");
    let kept = (1..network.last() - 1).filter(|&index| last_tick(index) > Some(plan.steps.len()));
    let names: Vec<&str> = kept.map(|index| network.name(index)).collect();
    let of_blocks = |convolution: &str| {
        (0..8)
            .map(|block| format!("layer{}.{}.{convolution}", block / 2 + 1, block % 2))
            .collect::<Vec<_>>()
    };
    // If something was added to a block's output, only the output tells where the activation was
    // constant, so it is needed.
    assert_eq!(names, [vec!["maxpool".to_owned()], of_blocks("conv2")].concat());
    let recomputed = (0..plan.steps.len()).filter(|&index| plan.steps[index].recomputed.is_some());
    let names: Vec<&str> = recomputed.map(|index| network.name(index)).collect();
    assert_eq!(names, of_blocks("conv1"));
}

/// In evaluation, the widest maps of an inverted residual are never written, unless they are asked
/// for.
#[test]
fn maps_inside_a_block_are_written_only_if_they_are_asked_for() {
    let network = Lowered::new("efficientnet_lite0", 224);
    let inside = |mode| {
        let plan = network.plan(mode, 8, Precision::F32);
        let last = if let Mode::Evaluate { last } = mode { last } else { network.last() };
        let inside = (0..=last).filter(|&index| plan.is_inside(StepSource::Step(index)));
        inside.collect::<Vec<usize>>()
    };
    let all = inside(Mode::Evaluate { last: network.last() });
    // The first block does not expand; the nine others that have maps of at least 65,536 elements
    // do.
    assert_eq!(all.len(), 1 + 2 * 9, "{all:?}");
    assert!(all.iter().all(|&index| network.name(index).starts_with("blocks.")), "{all:?}");
    assert_eq!(inside(Mode::Train { frozen: 0 }), [0; 0]);
    assert_eq!(inside(Mode::Train { frozen: network.last() }), all);
    for (place, &last) in all.iter().enumerate() {
        let written = inside(Mode::Evaluate { last });
        let block = network.program.steps[last].facts.computed_by;
        let before = all[..place]
            .iter()
            .filter(|&&index| network.program.steps[index].facts.computed_by != block);
        assert_eq!(written, before.copied().collect::<Vec<_>>(), "to {last}");
    }
    let memory = network.plan(Mode::Evaluate { last: network.last() }, 8, Precision::F32).memory;
    // The images, the first convolution's output and that of the first block.
    let most = 8 * 4 * (3 * 224 * 224 + (32 + 16) * 112 * 112);
    assert!(memory * 64 <= most, "{memory} units");
}

#[test]
fn maps_in_bf16_take_half_the_memory() {
    for (name, trains) in [("resnet18", true), ("efficientnet_lite0", true), ("resnet18", false)] {
        let network = Lowered::new(name, 224);
        let mode = if trains {
            Mode::Train { frozen: 0 }
        } else {
            Mode::Evaluate { last: network.last() }
        };
        let memory = |precision| {
            Lowered::with_precision(name, 224, precision).plan(mode, 8, precision).memory as f64
        };
        let share = memory(Precision::Bf16) / memory(Precision::F32);
        // If all convolutions normalise as they read, fewer maps are kept in bf16.
        let least = if normalizes_any_input::<Bf16>() { 0.35 } else { 0.5 };
        assert!((least..0.505).contains(&share), "{name}: {share}");
    }
    let network = Lowered::with_precision("resnet18", 64, Precision::Bf16);
    let plan = network.plan(Mode::Train { frozen: 0 }, 2, Precision::Bf16);
    let precision = |buffer| plan.place_of(buffer).precision;
    let [pool, head] = [network.last() - 1, network.last()].map(|index| &plan.steps[index]);
    for buffer in [pool.output, pool.gradient, head.output, head.gradient] {
        assert_eq!(precision(buffer), Precision::F32);
    }
    assert_eq!(precision(plan.steps[network.last() - 2].gradient), Precision::Bf16);
}

/// A ResNet's blocks and an EfficientNet-Lite's are convolutions with all the operations that
/// follow them, and nothing runs alone.
#[test]
fn known_families_are_fused_entirely() {
    for (name, convolutions) in [("resnet18", 20), ("resnet50", 53), ("efficientnet_lite0", 49)] {
        let network = Lowered::new(name, 64);
        let fused = network.program.steps.iter().filter(|step| step.facts.keeps_convolved).count();
        let others = if name.starts_with("resnet") { 3 } else { 2 };
        assert_eq!((fused, network.program.steps.len() - fused), (convolutions, others), "{name}");
    }
}
