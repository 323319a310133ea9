//! Results do not depend on tiles or on the shaders' checks.

use super::{GpuEngine, Options};
use crate::kernels::tile::Tile;
use regraft_nn::architectures;
use regraft_nn::engine::{
    Engine, Input, Loss, LossSettings, Optimizer, Reduction, State, StepOutput, Target, TrainBatch,
    Update,
};
use regraft_nn::initialize::{HeadInitialization, from_scratch};
use regraft_nn::precision::Precision;

const SIDE: usize = 33;

/// Losses, logits and all tensors after two steps of training.
fn trained(architecture: &str, checks: bool, tile: Tile) -> (Vec<StepOutput>, State) {
    let graph = architectures::find(architecture).expect("an architecture").graph();
    let options = Options { gpu: 0, precision: Precision::F32, checks };
    let mut engine = GpuEngine::new(graph.with_classes(5), SIDE, options).expect("a GPU");
    engine.tile = tile;
    let state = from_scratch(engine.graph(), 5, HeadInitialization::Xavier);
    engine.load_state(&state).expect("every tensor");
    let pixel = |at: usize| ((at * 7919 + 13) % 997) as f32 / 500.0 - 1.0;
    let images: Vec<f32> = (0..3 * SIDE * SIDE * 3).map(pixel).collect();
    let batch = TrainBatch {
        input: Input::values(&images),
        target: Target::Labels(&[0, 3, 1]),
        weights: None,
        seed: 3,
        epoch: 1,
        position: 0,
    };
    let loss = Loss::SoftmaxCrossEntropy { label_smoothing: 0.1 };
    let loss = LossSettings { loss, reduction: Reduction::Mean };
    let rates = vec![0.01; engine.graph().nodes.len()];
    let outputs = (1..=2).map(|step| {
        let update = Update {
            optimizer: Optimizer::Sgd { momentum: 0.9 },
            learning_rates: &rates,
            weight_decay: 0.01,
            decay_bias_norm: false,
            step,
            clip: None,
        };
        engine.train_step(&batch, loss, &update).expect("a batch that fits")
    });
    let outputs = outputs.collect();
    (outputs, engine.state())
}

fn assert_same(one: &(Vec<StepOutput>, State), other: &(Vec<StepOutput>, State), what: &str) {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for (one, other) in one.0.iter().zip(&other.0) {
        assert_eq!(bits(&one.losses), bits(&other.losses), "{what}");
        assert_eq!(bits(&one.logits), bits(&other.logits), "{what}");
    }
    for (name, values) in &one.1 {
        assert!(bits(values) == bits(&other.1[name]), "{what}: {name}");
    }
}

#[test]
fn tiles_and_checks_change_no_bit() {
    if crate::gpus().is_empty() {
        eprintln!("SKIPPED: no adapter");
        return;
    }
    for architecture in ["resnet18", "efficientnet_b0"] {
        let usual = trained(architecture, true, Tile::ALL[1]);
        let again = trained(architecture, true, Tile::ALL[1]);
        assert_same(&usual, &again, "the same again");
        let unchecked = trained(architecture, false, Tile::ALL[1]);
        assert_same(&usual, &unchecked, "without checks");
        for tile in [Tile::ALL[0], Tile::ALL[2]] {
            assert_same(&usual, &trained(architecture, true, tile), &format!("{tile:?}"));
        }
    }
}
