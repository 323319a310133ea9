//! Tests several engines that train one network together.

use super::bench::*;
use crate::collective::{Collective, Threads};
use crate::engine::{Engine, EngineError, Input, State, StepOutput, StepPart, Target, TrainBatch};
use crate::graph::Graph;
use crate::ops::NormStatistics;

/// The results of a rank: the output of its share of a batch, and its gradients and tensors
/// afterwards.
struct Said {
    output: Result<StepOutput, EngineError>,
    gradients: Option<State>,
    state: State,
}

/// The gradients of a batch computed by `size` ranks, each with its share of the images.
fn ranks(bench: &Bench<'_>, graph: &Graph, size: usize, images: &Images) -> Vec<Said> {
    let mut engines: Vec<Box<dyn Engine>> =
        (0..size).map(|_| bench.engine(graph.clone(), SIDE)).collect();
    std::thread::scope(|scope| {
        let ranks = engines.iter_mut().zip(Threads::new(size)).map(|(engine, collective)| {
            scope.spawn(move || {
                let _watch = collective.watch();
                let count = images.labels.len();
                let [start, end] = [0, 1].map(|next| count * (collective.rank() + next) / size);
                engine.join(Box::new(collective)).expect("a single engine");
                let batch = TrainBatch {
                    input: Input { part: Some([start, end]), ..Input::values(&images.values) },
                    target: Target::Labels(&images.labels[start..end]),
                    position: start as u32,
                    ..images.batch()
                };
                let output = engine.gradients(&batch, MEAN, StepPart::whole(count));
                let gradients = output.is_ok().then(|| gradients_of(&mut **engine));
                Said { output, gradients, state: engine.state() }
            })
        });
        // Every rank runs before the first one is waited for.
        let ranks: Vec<_> = ranks.collect();
        ranks.into_iter().map(|rank| rank.join().expect("no rank panics")).collect()
    })
}

/// Losses equal those of one engine to the bit, and gradients to within the rounding of their sums,
/// for any number of ranks, even if some have no image. The same number of ranks gives the same
/// bits, in all of them.
pub fn ranks_agree_with_one_engine(bench: &Bench<'_>) {
    let graph = graph("efficientnet_b0");
    let images = images(70, 5, SIDE);
    let mut one = bench.engine(graph.clone(), SIDE);
    let losses = gradients(&mut *one, &images.batch(), MEAN).losses;
    let expected = gradients_of(&mut *one);
    for size in [1, 2, 3, 7] {
        let [first, again] = [0, 1].map(|_| ranks(bench, &graph, size, &images));
        let found: Vec<f32> = first
            .iter()
            .flat_map(|said| said.output.as_ref().expect("a share that fits").losses.clone())
            .collect();
        assert_eq!(found, losses, "{size} ranks");
        let of = |said: &Said| said.gradients.clone().expect("gradients");
        let shared = of(&first[0]);
        assert!(first.iter().chain(&again).all(|said| same(&of(said), &shared)), "{size} ranks");
        let worst = difference(
            shared.values().flatten(),
            expected.values().flatten().map(|&value| f64::from(value)),
        );
        assert!(worst < bench.tolerance(1e-5, 0.03), "{size} ranks: {worst}");
    }
}

/// Running statistics that follow batches are equal in all ranks, and those of frozen layers stay
/// equal to the bit.
pub fn ranks_share_their_running_statistics(bench: &Bench<'_>) {
    let mut graph = graph("efficientnet_b0");
    graph.set_norm_statistics(NormStatistics::Batch);
    let images = images(71, 5, SIDE);
    let before = bench.engine(graph.clone(), SIDE).state();
    let said = ranks(bench, &graph, 3, &images);
    assert!(said.iter().all(|rank| same(&rank.state, &said[0].state)));
    assert!(!same(&said[0].state, &before), "they follow the batch");
}

/// With the statistics of the whole batch, several ranks compute the same as one engine, within the
/// rounding of the sums, even if some have no image; all ranks agree to the bit. Small maps amplify
/// that rounding, because the twelve values of a channel can lie close together.
pub fn ranks_with_statistics_of_the_whole_batch_agree_with_one_engine(bench: &Bench<'_>) {
    let [batch, whole] = [NormStatistics::Batch, NormStatistics::WholeBatch].map(|statistics| {
        let mut graph = graph("efficientnet_b0");
        graph.set_norm_statistics(statistics);
        graph
    });
    let images = images(73, 12, SIDE);
    let alone = |graph: &Graph| {
        let mut engine = bench.engine(graph.clone(), SIDE);
        let losses = gradients(&mut *engine, &images.batch(), MEAN).losses;
        let gradients = gradients_of(&mut *engine);
        (losses, gradients, engine.state())
    };
    let (losses, expected, state) = alone(&batch);
    let found = alone(&whole);
    assert!(found.0 == losses && same(&found.1, &expected) && same(&found.2, &state), "alone");
    let wide =
        |values: &State| -> Vec<f64> { values.values().flatten().map(|&v| v.into()).collect() };
    for size in [2, 3, 13] {
        let said = ranks(bench, &whole, size, &images);
        let found: Vec<f32> = said
            .iter()
            .flat_map(|said| said.output.as_ref().expect("a share that fits").losses.clone())
            .collect();
        let worst = difference(&found, losses.iter().map(|&loss| f64::from(loss)));
        assert!(worst < bench.tolerance(5e-5, 0.3), "{size} ranks: losses are off by {worst}");
        let of = |said: &Said| said.gradients.clone().expect("gradients");
        let shared = of(&said[0]);
        assert!(
            said.iter().all(|rank| same(&of(rank), &shared) && same(&rank.state, &said[0].state))
        );
        let worst = difference(shared.values().flatten(), wide(&expected));
        assert!(worst < bench.tolerance(2e-4, 0.8), "{size} ranks: gradients are off by {worst}");
        let worst = difference(said[0].state.values().flatten(), wide(&state));
        assert!(worst < bench.tolerance(1e-5, 0.05), "{size} ranks: statistics are off by {worst}");
    }
}

/// If a rank refuses its share, no other rank waits for it.
pub fn ranks_end_together_if_one_refuses(bench: &Bench<'_>) {
    let graph = graph("resnet18");
    let mut images = images(72, 4, SIDE);
    images.labels[3] = CLASSES as u32;
    let said = ranks(bench, &graph, 2, &images);
    let errors: Vec<EngineError> =
        said.into_iter().map(|rank| rank.output.expect_err("a refusal")).collect();
    assert_eq!(
        errors,
        [EngineError::Peer, EngineError::Label { label: CLASSES as u32, classes: CLASSES }]
    );
}
