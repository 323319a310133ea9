//! Compares trainings of up to twenty steps with PyTorch: `fixtures/training.py` in the repository
//! makes the reference values.

mod common;

use common::training::{Run, pictures};
use common::{
    bits, fixture, fixture_bytes, generated_state, graph, norm, norm_difference, number, numbers,
    without_drops,
};
use regraft_cpu::CpuEngine;
use regraft_nn::engine::{Engine, State};
use regraft_nn::ops::NormStatistics;
use regraft_nn::precision::Precision;
use regraft_nn::weights::read_safetensors;
use serde_json::Value;

/// The largest differences of a training.
struct Tolerance {
    precision: Precision,
    /// Relative to the first loss.
    loss: f64,
    /// Relative to each running statistic's norm.
    running: f64,
    /// Relative to each trained tensor's norm.
    parameter: f64,
    /// Number of a step's right answers that may differ.
    correct: f64,
}

/// The worst measured are 5.0e-5, 1.4e-5 and 8.1e-5.
const F32: Tolerance = Tolerance {
    precision: Precision::F32,
    loss: 1e-3,
    running: 1e-3,
    parameter: 1e-3,
    correct: 0.0,
};
/// A training in bf16 against PyTorch's in f32. The worst measured are 4.5e-3, 2.4e-3 and 7e-3,
/// with products of bf16 as with those of f32.
const BF16: Tolerance = Tolerance {
    precision: Precision::Bf16,
    loss: 1.5e-2,
    running: 6e-3,
    parameter: 2e-2,
    correct: 2.0,
};

/// Like [`BF16`], for networks whose generated weights have no small branches, so that rounding
/// errors grow along the way. The worst measured are 2.5e-2, 1.7e-2 and 1.7e-2.
const TIMM_BF16: Tolerance = Tolerance {
    precision: Precision::Bf16,
    loss: 4e-2,
    running: 3e-2,
    parameter: 4e-2,
    correct: 2.0,
};

fn check(name: &str) {
    check_within(name, &F32);
}

fn check_within(name: &str, tolerance: &Tolerance) {
    let record = fixture(&format!("train_{name}.json"));
    let run = Run::of(&record);
    let mut graph = without_drops(graph(&run.architecture)).with_classes(run.classes);
    // The generator's embeddings are for these images.
    graph.image_size = run.image_size;
    if record["norm_statistics"] == "running" {
        graph.set_norm_statistics(NormStatistics::Running);
    }
    let start = generated_state(&graph);
    let mut engine = CpuEngine::with_precision(graph, run.image_size, 0, tolerance.precision)
        .expect("images large enough");
    engine.load_state(&start).expect("every tensor");
    let frozen = run
        .frozen_through
        .as_ref()
        .map_or(0, |layer| engine.graph().nodes_through(layer).expect("a layer"));
    engine.freeze(frozen);

    let losses = check_steps(&record, &run, &mut engine, tolerance);
    let state = engine.state();
    let running = check_running_norms(&record, &state, tolerance);
    let parameters = check_tensors(name, &state, tolerance);
    println!(
        "{name}: losses {losses:.1e}, norms of running statistics {running:.1e}, tensors \
         {parameters:.1e}"
    );
    check_what_moved(&record, &engine, frozen, &start);
}

/// Trains; returns the worst difference of a loss from PyTorch's, relative to the first loss.
fn check_steps(record: &Value, run: &Run, engine: &mut CpuEngine, tolerance: &Tolerance) -> f64 {
    let (images, labels) = pictures(run.pictures, run.image_size, run.classes);
    let (losses, correct) = (numbers(&record["losses"]), numbers(&record["correct"]));
    assert_eq!((losses.len(), correct.len()), (run.batches.len(), run.batches.len()));
    let mut worst = 0.0f64;
    let mut first = 0;
    for (step, &size) in run.batches.iter().enumerate() {
        let chosen: Vec<usize> = (first..first + size).map(|place| place % run.pictures).collect();
        first += size;
        let output = run.step(engine, &images, &labels, &chosen, step as u64 + 1);
        let loss = output.losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / size as f64;
        let difference = (loss - losses[step]).abs() / losses[0];
        assert!(
            difference <= tolerance.loss,
            "step {step}: loss {loss} instead of {}",
            losses[step]
        );
        worst = worst.max(difference);
        let right = |(logits, &picture): (&[f32], &usize)| {
            let best =
                (0..run.classes).max_by(|&first, &second| logits[first].total_cmp(&logits[second]));
            best == Some(labels[picture] as usize)
        };
        let right = output
            .logits
            .chunks_exact(run.classes)
            .zip(&chosen)
            .filter(|pair| right(*pair))
            .count();
        let others = (right as f64 - correct[step]).abs();
        assert!(
            others <= tolerance.correct,
            "{right} right answers of step {step} instead of {}",
            correct[step]
        );
    }
    worst
}

/// Compares every running statistic's norm; returns the worst difference.
fn check_running_norms(record: &Value, state: &State, tolerance: &Tolerance) -> f64 {
    let norms = record["running_norms"].as_object().expect("names and norms");
    let has_running = state.keys().any(|name| name.ends_with("running_mean"));
    assert_eq!(norms.is_empty(), record["norm_statistics"] == "running" || !has_running);
    let mut worst = 0.0f64;
    for (name, expected) in norms {
        let expected = expected.as_f64().expect("a norm");
        let difference = (norm(&state[name]) - expected).abs() / expected;
        assert!(difference <= tolerance.running, "{name}: its norm is {difference:e} off");
        worst = worst.max(difference);
    }
    worst
}

/// Compares every tensor that the fixture contains in full; returns the worst difference.
fn check_tensors(name: &str, state: &State, tolerance: &Tolerance) -> f64 {
    let name = format!("train_{name}.safetensors");
    let file = read_safetensors(&fixture_bytes(&name), &name).expect("a safetensors file");
    assert!(!file.tensors.is_empty());
    let mut worst = 0.0f64;
    for tensor in file.tensors {
        let difference = norm_difference(&state[&tensor.name], &tensor.values);
        let tolerance =
            if tensor.name.contains("running") { tolerance.running } else { tolerance.parameter };
        assert!(difference <= tolerance, "{}: {difference:e} of its norm off", tensor.name);
        worst = worst.max(difference);
    }
    worst
}

/// Frozen tensors are unchanged to the bit, all others moved, and PyTorch's list of running
/// statistics names them all.
fn check_what_moved(record: &Value, engine: &CpuEngine, frozen: usize, start: &State) {
    let state = engine.state();
    for parameter in engine.parameters() {
        let moved = bits(&state[&parameter.name]) != bits(&start[&parameter.name]);
        let stays = parameter.node < frozen
            || (!parameter.role.is_learned() && record["norm_statistics"] == "running");
        assert_eq!(moved, !stays, "{}", parameter.name);
        if !parameter.role.is_learned() {
            assert_eq!(
                moved,
                record["running_norms"].get(&parameter.name).is_some(),
                "{}",
                parameter.name
            );
        }
    }
    assert_eq!(frozen > 0, !record["frozen_through"].is_null());
    assert!(number(record, "accuracy") > 0.25, "a training that learned nothing proves nothing");
}

#[test]
fn resnet18_with_sgd() {
    check("resnet18_sgd");
}

#[test]
fn resnet18_with_adamw() {
    check("resnet18_adamw");
}

#[test]
fn resnet18_frozen_through_layer2() {
    check("resnet18_frozen");
}

#[test]
fn resnet18_with_a_last_batch_of_one_image() {
    check("resnet18_last_of_one");
}

#[test]
fn efficientnet_lite0_with_sgd() {
    check("efficientnet_lite0_sgd");
}

#[test]
fn efficientnet_lite0_frozen_through_blocks_3() {
    check("efficientnet_lite0_frozen");
}

#[test]
fn efficientnet_lite0_with_running_statistics() {
    check("efficientnet_lite0_running");
}

#[test]
fn efficientnet_b0_with_sgd() {
    check("efficientnet_b0_sgd");
}

#[test]
fn mobilenet_v3_large_with_sgd() {
    check("mobilenet_v3_large_sgd");
}

#[test]
fn mobilenet_v2_with_running_statistics() {
    check("mobilenetv2_100_running");
}

#[test]
fn mobilenet_v4_with_sgd() {
    check("mobilenetv4_conv_small_sgd");
}

#[test]
fn resnext50_with_sgd() {
    check("resnext50_32x4d_sgd");
}

#[test]
fn resnet50d_with_sgd() {
    check("resnet50d_sgd");
}

#[test]
fn regnety_with_sgd() {
    check("regnety_004_sgd");
}

#[test]
fn vit_tiny_with_adamw() {
    check("vit_tiny_adamw");
}

#[test]
fn dinov2_with_registers_with_adamw() {
    check("dinov2_reg4_small_adamw");
}

#[test]
fn vit_tiny_in_bf16() {
    check_within("vit_tiny_adamw", &BF16);
}

#[test]
fn convnext_tiny_with_adamw() {
    check("convnext_tiny_adamw");
}

#[test]
fn efficientnet_b0_in_bf16() {
    check_within("efficientnet_b0_sgd", &TIMM_BF16);
}

#[test]
fn mobilenet_v3_large_in_bf16() {
    check_within("mobilenet_v3_large_sgd", &TIMM_BF16);
}

#[test]
fn convnext_tiny_in_bf16() {
    check_within("convnext_tiny_adamw", &BF16);
}

#[test]
fn resnet18_in_bf16() {
    check_within("resnet18_sgd", &BF16);
}

#[test]
fn efficientnet_lite0_in_bf16() {
    check_within("efficientnet_lite0_sgd", &BF16);
}

#[test]
fn efficientnet_lite0_with_a_last_batch_of_one_image() {
    check("efficientnet_lite0_last_of_one");
}
