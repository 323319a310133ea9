//! Parity with another library proves a tensor right only if the logits depend on it.
//! `every_network.rs` checks that for every tensor by a gradient. For three networks, this changes
//! each tensor by a tenth with the generator's weights and measures how the logits move.

mod common;

use common::{engine, generated_state, graph, pictures, relative_difference};
use regraft_base::random::{Draws, Purpose};
use regraft_nn::engine::{Engine, Input};

/// Forty times the tolerance of logits in `every_network.rs`, relative to the largest.
const LEAST_CHANGE: f64 = 40.0 * 5e-6;

fn check(architecture: &str, image_size: usize) {
    let graph = graph(architecture);
    let state = generated_state(&graph);
    let images = pictures(2, image_size);
    let mut engine = engine(graph, image_size, 2);
    let logits = engine.evaluate(Input::values(&images), 2).expect("images that fit");
    let expected: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    let names: Vec<String> =
        engine.parameters().iter().map(|parameter| parameter.name.clone()).collect();
    let mut least = (f64::INFINITY, String::new());
    for (place, name) in (0..).zip(names) {
        let mut changed = state.clone();
        // A tenth more or less at random: a normalisation would undo the same factor everywhere.
        let mut draws = Draws::new(7, Purpose::Fixture, 0, place);
        let values = changed.get_mut(&name).expect("a tensor of the network");
        values.iter_mut().for_each(|value| *value *= if draws.uniform() < 0.5 { 0.9 } else { 1.1 });
        engine.load_state(&changed).expect("every tensor");
        let moved = relative_difference(
            &engine.evaluate(Input::values(&images), 2).expect("images that fit"),
            &expected,
        );
        assert!(
            moved > LEAST_CHANGE,
            "{architecture}: {name} moves the logits by {moved:e} of the largest only"
        );
        if moved < least.0 {
            least = (moved, name);
        }
    }
    println!("{architecture}: the least change is {:e}, by {}", least.0, least.1);
}

#[test]
fn every_tensor_of_efficientnet_b0_moves_the_logits() {
    check("efficientnet_b0", 64);
}

#[test]
fn every_tensor_of_mobilenet_v3_moves_the_logits() {
    check("mobilenetv3_large_100", 64);
}

#[test]
fn every_tensor_of_convnext_tiny_moves_the_logits() {
    check("convnext_tiny", 32);
}
