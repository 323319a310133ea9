//! Dropout and stochastic depth, forward and backward. They are left out of the comparisons with
//! PyTorch's trainings, because its random draws differ; but for a batch of one image, a drop is
//! only a factor of weights.

mod common;

use common::training::{MEAN, pictures};
use common::{engine, generated_state, graph, norm, without_drops};
use regraft_base::random::{Draws, Purpose};
use regraft_nn::engine::{Engine, Input, Optimizer, State, Target, TrainBatch, Update};
use regraft_nn::graph::{Graph, Source};
use regraft_nn::ops::Operation;
use regraft_nn::parameters::{ParameterInfo, Role, parameters};

const RATE: f32 = 0.5;
const SEED: u64 = 1;
const EPOCH: u32 = 2;
const POSITION: u32 = 4;
const SIZE: usize = 64;

fn factor(draws: &mut Draws) -> f32 {
    if draws.uniform() < RATE { 0.0 } else { 1.0 / (1.0 - RATE) }
}

/// The factor that the drops of the image at [`POSITION`] give each element of a tensor.
fn factors(graph: &Graph, parameter: &ParameterInfo) -> Vec<f32> {
    let of_drop = graph.nodes.iter().find_map(|node| match &node.operation {
        Operation::Add(add) if node.inputs[0] == Source::Node(parameter.node) => Some(add.stream),
        _ => None,
    });
    match (&graph.nodes[parameter.node].operation, parameter.role, of_drop) {
        (Operation::Linear(linear), Role::Weight, _) => {
            let mut draws = Draws::new(SEED, Purpose::Dropout, EPOCH, POSITION);
            let mask: Vec<f32> = (0..linear.inputs).map(|_| factor(&mut draws)).collect();
            mask.iter().copied().cycle().take(parameter.length()).collect()
        }
        (_, Role::NormWeight | Role::NormBias, Some(stream)) => {
            let draws = Draws::new(SEED, Purpose::DropConnect, EPOCH, POSITION);
            vec![factor(&mut draws.at_block(stream)); parameter.length()]
        }
        _ => vec![1.0; parameter.length()],
    }
}

fn multiply(values: &[f32], factors: &[f32]) -> Vec<f32> {
    values.iter().zip(factors).map(|(value, factor)| value * factor).collect()
}

/// The loss of one step, and each tensor's change.
fn step(graph: &Graph, state: &State, rate: f32) -> (f32, State) {
    let mut engine = engine(graph.clone(), SIZE, 2);
    engine.load_state(state).expect("every tensor");
    let (image, labels) = pictures(1, SIZE, graph.classes());
    let rates = vec![rate; graph.nodes.len()];
    let update = Update {
        optimizer: Optimizer::Sgd { momentum: 0.0 },
        learning_rates: &rates,
        weight_decay: 0.0,
        decay_bias_norm: true,
        step: 1,
        clip: None,
    };
    let batch = TrainBatch {
        input: Input::values(&image),
        target: Target::Labels(&labels),
        weights: None,
        seed: SEED,
        epoch: EPOCH,
        position: POSITION,
    };
    let loss = engine.train_step(&batch, MEAN, &update).expect("a batch that fits").losses[0];
    let changes = engine.state().into_iter().map(|(name, values)| {
        let change = values.iter().zip(&state[&name]).map(|(new, old)| new - old).collect();
        (name, change)
    });
    (loss, changes.collect())
}

#[test]
fn drops_of_one_image_are_factors_of_weights() {
    let mut graph = graph("efficientnet_lite0").with_classes(4);
    for node in &mut graph.nodes {
        match &mut node.operation {
            Operation::Dropout(dropout) => dropout.rate = RATE,
            Operation::Add(add) => add.drop_rate = RATE,
            _ => {}
        }
    }
    let mut state = generated_state(&graph);
    // The generator's branches are so small that dropping one would hardly be visible.
    for (name, values) in &mut state {
        if name.ends_with("bn3.weight") {
            values.iter_mut().for_each(|value| *value = value.max(0.5));
        }
    }
    let parameters = parameters(&graph);
    let mut scaled = state.clone();
    let (mut dropped, mut kept) = (0, 0);
    for parameter in parameters.iter().filter(|parameter| parameter.role.is_learned()) {
        let factors = factors(&graph, parameter);
        scaled.insert(parameter.name.clone(), multiply(&state[&parameter.name], &factors));
        if parameter.role == Role::NormWeight {
            dropped += usize::from(factors[0] == 0.0);
            kept += usize::from(factors[0] > 1.0);
        }
    }
    assert!(
        dropped > 1 && kept > 1,
        "of the nine branches some are dropped and some kept: {dropped}, {kept}"
    );

    // The rate is large, so that the changes are far above the rounding of the values.
    let rate = 1e4;
    let (loss, changes) = step(&graph, &state, rate);
    let (expected_loss, expected_changes) = step(&without_drops(graph.clone()), &scaled, rate);
    assert!((loss / expected_loss - 1.0).abs() < 1e-5, "loss {loss} instead of {expected_loss}");
    let mut moved = 0;
    for parameter in &parameters {
        // By the chain rule, the factor multiplies the gradient too.
        let factors = if parameter.role.is_learned() {
            factors(&graph, parameter)
        } else {
            vec![1.0; parameter.length()]
        };
        let (change, expected) =
            (&changes[&parameter.name], multiply(&expected_changes[&parameter.name], &factors));
        let difference: Vec<f32> =
            change.iter().zip(&expected).map(|(change, expected)| change - expected).collect();
        let (difference, expected) = (norm(&difference), norm(&expected));
        assert!(
            difference <= 1e-3 * expected,
            "{}: its change of {expected} is {difference} off",
            parameter.name
        );
        moved += usize::from(expected > 0.0);
    }
    assert!(moved > parameters.len() / 2);
}
