//! Translates every shader of the known networks to SPIR-V, MSL and HLSL, without a GPU.

use crate::kernels::decide;
use crate::kernels::loss::Kind;
use crate::kernels::matrix::Products;
use crate::kernels::optimizer::{self, Part};
use crate::kernels::tile::Tile;
use crate::kernels::units::{self, Units};
use crate::pass::{self, Common, Key};
use crate::program::Program;
use crate::record::{Buffer, Recorder, Slice};
use crate::shader::Shader;
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use regraft_base::adam::AdamSettings;
use regraft_nn::architectures;
use regraft_nn::arena::Arena;
use regraft_nn::engine::{Loss, Optimizer, Target, Update};
use regraft_nn::graph::Graph;
use regraft_nn::ops::{NormStatistics, Operation};
use regraft_nn::parameters::parameters;
use regraft_nn::plan::Mode;
use regraft_nn::precision::Precision;
use std::collections::HashSet;
use std::sync::Arc;

const NETWORKS: [&str; 6] = [
    "resnet18",
    "resnet50",
    "efficientnet_b0",
    "efficientnet_lite0",
    "mobilenetv3_large_100",
    "convnext_tiny",
];

fn graph(name: &str, classes: usize) -> Graph {
    let mut graph = architectures::find(name).expect("an architecture").graph();
    graph = graph.with_classes(classes);
    graph.image_size = 64;
    graph.set_head_dropout(0.2);
    for node in &mut graph.nodes {
        if let Operation::Add(add) = &mut node.operation {
            add.drop_rate = 0.1;
        }
    }
    graph
}

fn common(precision: Precision, products: Products) -> Common {
    Common { precision, allocation: 1 << 27, gradients_start: 0, classes: 5, products, learned: 64 }
}

#[test]
fn a_network_with_an_operation_that_is_missing_is_refused() {
    let graph = graph("vit_tiny_patch16_224", 4);
    let infos = parameters(&graph);
    let arena = Arena::new(&infos, graph.nodes.len());
    let refused = Program::new(&graph, &infos, &arena, false).err().expect("no such program");
    assert_eq!(
        refused.to_string(),
        "the GPU engine cannot compute tokens of vit_tiny_patch16_224 yet; use --device cpu"
    );
}

/// The shaders of a network's passes.
fn of_network(
    graph: &Graph,
    precision: Precision,
    products: Products,
    shaders: &mut HashSet<Arc<Shader>>,
) {
    let infos = parameters(graph);
    let arena = Arena::new(&infos, graph.nodes.len());
    let program =
        Program::new(graph, &infos, &arena, products.units.is_some()).expect("large enough");
    let common = Common { classes: graph.classes(), ..common(precision, products) };
    let numbers = vec![0.0; 2 * graph.classes()];
    let softmax = Loss::SoftmaxCrossEntropy { label_smoothing: 0.1 };
    let losses = [
        Kind::new(softmax, &Target::Labels(&[0, 1]), false),
        Kind::new(softmax, &Target::Values(&numbers), true),
        Kind::new(Loss::SigmoidCrossEntropy, &Target::Labels(&[0, 1]), false),
        Kind::new(Loss::SquaredError, &Target::Values(&numbers), false),
    ];
    let last = program.steps.len() - 1;
    let evaluate = Key { mode: Mode::Evaluate { last }, batch: 2, has_levels: false, loss: None };
    let train = losses.map(|loss| Key {
        mode: Mode::Train { frozen: 0 },
        has_levels: true,
        loss: Some(loss),
        ..evaluate
    });
    for key in train.into_iter().chain([evaluate]) {
        let plan = pass::plan(&program, &common, key.mode, key.batch);
        let recorded = pass::record(&program, &common, &key, &plan);
        shaders.extend(recorded.commands.into_iter().map(|command| command.shader));
    }
}

fn of_parameters(shaders: &mut HashSet<Arc<Shader>>) {
    let mut recorder = Recorder::default();
    let part = Part { start: 0, length: 64, places: [0; 3] };
    for optimizer in [
        Optimizer::Sgd { momentum: 0.0 },
        Optimizer::Sgd { momentum: 0.9 },
        Optimizer::AdamW(AdamSettings::default()),
    ] {
        let update = Update {
            optimizer,
            learning_rates: &[0.1],
            weight_decay: 0.1,
            decay_bias_norm: false,
            step: 1,
            clip: None,
        };
        optimizer::update(&mut recorder, part, &update, 1);
    }
    let losses = Some((Slice::words(Buffer::Losses, 0, 4), 4));
    decide::record(&mut recorder, &decide::Work { gradients: 64, losses, clip: None });
    optimizer::average(&mut recorder, Buffer::AverageLearned, Buffer::Learned, 64, 0.1);
    optimizer::norm(&mut recorder, 0, 64);
    shaders.extend(recorder.commands.into_iter().map(|command| command.shader));
}

/// Validates a shader and translates it to SPIR-V, MSL and HLSL.
fn translate(shader: &Shader) {
    let fail = |what: &str, error: &dyn std::fmt::Debug| -> ! {
        panic!("{}: {what}: {error:?}\n{}", shader.name, shader.text)
    };
    let module = naga::front::wgsl::parse_str(&shader.text)
        .unwrap_or_else(|error| fail(&error.emit_to_string(&shader.text), &()));
    let info = Validator::new(
        ValidationFlags::all(),
        Capabilities::SHADER_FLOAT16
            | Capabilities::SHADER_FLOAT16_IN_FLOAT32
            | Capabilities::COOPERATIVE_MATRIX,
    )
    .validate(&module)
    .unwrap_or_else(|error| fail("validation", &error));
    spv::write_vec(&module, &info, &spv::Options::default(), None)
        .unwrap_or_else(|error| fail("SPIR-V", &error));
    // Matrix units are used through Vulkan alone.
    if shader.text.contains("coop_mat") {
        return;
    }
    let options = msl::Options { lang_version: (2, 4), ..msl::Options::default() };
    msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
        .unwrap_or_else(|error| fail("MSL", &error));
    let options =
        hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..hlsl::Options::default() };
    let pipeline = hlsl::PipelineOptions::default();
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(&module, &info, None)
        .unwrap_or_else(|error| fail("HLSL", &error));
}

#[test]
fn every_shader_is_translated_for_every_interface() {
    let mut shaders = HashSet::new();
    for name in NETWORKS {
        for precision in [Precision::F32, Precision::F16] {
            for statistics in [NormStatistics::Batch, NormStatistics::Running] {
                let mut graph = graph(name, 5);
                graph.set_norm_statistics(statistics);
                of_network(&graph, precision, Products::plain(), &mut shaders);
            }
        }
    }
    for tile in Tile::ALL {
        let products = Products { tile: Some(tile), ..Products::plain() };
        of_network(&graph("resnet18", 8), Precision::F32, products, &mut shaders);
    }
    let constants = Products { has_constants: true, ..Products::plain() };
    of_network(&graph("resnet50", 8), Precision::F32, constants, &mut shaders);
    for is_emulated in [false, true] {
        for fragment in [8, 16] {
            let units = Units { fragment, is_emulated, memory: 49_152, tile: None };
            let products = Products { units: Some(units), ..constants };
            for name in ["resnet50", "efficientnet_lite0", "resnext50_32x4d"] {
                if architectures::find(name).is_some() {
                    of_network(&graph(name, 8), Precision::F16, products, &mut shaders);
                }
            }
            for tile in units::Tile::ALL {
                let units = Some(Units { tile: Some(tile), ..units });
                let products = Products { units, ..constants };
                of_network(&graph("resnet18", 8), Precision::F16, products, &mut shaders);
            }
        }
    }
    of_parameters(&mut shaders);
    assert!(shaders.len() > 100, "{} shaders", shaders.len());
    shaders.iter().for_each(|shader| translate(shader));
    println!("{} shaders", shaders.len());
}

/// Common adapters allow no more buffers and workgroup memory than WebGPU promises.
#[test]
fn shaders_keep_to_the_limits_of_common_adapters() {
    let mut shaders = HashSet::new();
    for name in NETWORKS {
        of_network(&graph(name, 5), Precision::F32, Products::plain(), &mut shaders);
    }
    for shader in shaders {
        assert!(shader.binds.len() <= 8, "{}: {:?}", shader.name, shader.binds);
    }
    for tile in Tile::ALL {
        assert!(tile.bytes() <= 16_384, "{tile:?}: {}", tile.bytes());
    }
}
