//! Tests tensors in and out, and the state that an engine keeps between steps.

use super::bench::*;
use crate::engine::{Engine, Optimizer, State};
use crate::ops::NormStatistics;
use regraft_base::adam::AdamSettings;

/// Steps of AdamW with a running average, each on a batch of its own.
fn train(engine: &mut dyn Engine, steps: std::ops::Range<u64>) -> Vec<f32> {
    let rates = vec![1e-3; engine.graph().nodes.len()];
    let mut losses = Vec::new();
    for step in steps {
        let images = images(40 + step as u32, BATCH, SIDE);
        losses.extend(gradients(engine, &images.batch(), MEAN).losses);
        engine
            .update(&update(&rates, Optimizer::AdamW(AdamSettings::default()), 0.1, step))
            .expect("gradients are there");
        engine.follow_average(0.9);
    }
    losses
}

fn learning(bench: &Bench<'_>) -> Box<dyn Engine> {
    let mut graph = graph("efficientnet_b0");
    graph.set_norm_statistics(NormStatistics::Batch);
    bench.engine(graph, SIDE)
}

/// Loading a state gives the engine those tensors, to the bit and by name; evaluation uses them
/// immediately.
pub fn tensors_come_back_as_they_were_given(bench: &Bench<'_>) {
    for architecture in ARCHITECTURES {
        let engine = bench.engine(graph(architecture), SIDE);
        let mut state = engine.state();
        let names: Vec<&String> = engine.parameters().iter().map(|info| &info.name).collect();
        assert_eq!(state.len(), names.len());
        for info in engine.parameters() {
            assert_eq!(state[&info.name].len(), info.length(), "{}", info.name);
        }
        for (number, values) in state.values_mut().enumerate() {
            values
                .iter_mut()
                .enumerate()
                .for_each(|(at, value)| *value = (number + 1) as f32 + at as f32 / 8.0);
        }
        let mut other = bench.bare(graph(architecture), SIDE);
        other.load_state(&state).expect("every tensor");
        assert!(same(&other.state(), &state), "{architecture}");
        assert!(other.optimizer_state().is_empty() && !other.has_average());
    }
}

/// State, optimiser and average contain everything that the next step depends on.
pub fn training_goes_on_to_the_bit_in_another_engine(bench: &Bench<'_>) {
    let mut whole = learning(bench);
    train(&mut *whole, 1..3);
    let mut other = learning(bench);
    other.load_state(&whole.state()).expect("its tensors");
    other.load_optimizer_state(&whole.optimizer_state()).expect("its memory");
    other.load_average(whole.average().as_ref()).expect("its average");
    assert_eq!(train(&mut *other, 3..5), train(&mut *whole, 3..5));
    assert!(
        same(&other.state(), &whole.state())
            && same(&other.optimizer_state(), &whole.optimizer_state())
    );
    let [one, two] = [&other, &whole].map(|engine| engine.average().expect("an average is kept"));
    assert!(same(&one, &two));
    // And in the same engine, restored to its earlier state.
    let before = (whole.state(), whole.optimizer_state(), whole.average());
    let first = train(&mut *whole, 5..6);
    whole.load_state(&before.0).expect("its tensors");
    whole.load_optimizer_state(&before.1).expect("its memory");
    whole.load_average(before.2.as_ref()).expect("its average");
    assert_eq!(train(&mut *whole, 5..6), first);
    whole.load_average(None).expect("no average");
    whole.load_optimizer_state(&State::new()).expect("no memory");
    assert!(
        !whole.has_average() && whole.average().is_none() && whole.optimizer_state().is_empty()
    );
}

/// The average keeps its share and takes the rest from the network, running statistics included;
/// equal values stay equal to the bit.
pub fn the_running_average_follows_its_formula(bench: &Bench<'_>) {
    let mut engine = learning(bench);
    engine.follow_average(0.5);
    let start = engine.state();
    assert!(
        engine.average().is_some_and(|average| same(&average, &start)),
        "the first call copies the network"
    );
    let images = images(50, BATCH, SIDE);
    gradients(&mut *engine, &images.batch(), MEAN);
    let rates = vec![1e-2; engine.graph().nodes.len()];
    engine
        .update(&update(&rates, Optimizer::Sgd { momentum: 0.0 }, 0.0, 1))
        .expect("gradients are there");
    let now = engine.state();
    assert!(!same(&now, &start));
    engine.follow_average(0.75);
    let average = engine.average().expect("an average is kept");
    for (name, values) in &average {
        let pairs = start[name].iter().zip(&now[name]);
        let expected: Vec<f32> = pairs
            .map(|(&start, &now)| if start == now { start } else { start + 0.25 * (now - start) })
            .collect();
        let worst = difference(values, expected.iter().map(|&value| f64::from(value)));
        assert!(worst < 1e-6, "{name}: {worst}");
    }
    assert!(same(&engine.state(), &now), "the network stays as it is");
}

/// Reports the first tensor by name with a non-finite value, the average's before the network's.
pub fn values_that_are_not_finite_are_named(bench: &Bench<'_>) {
    let mut engine = bench.engine(graph("resnet18"), SIDE);
    assert_eq!(engine.first_not_finite(), None);
    let good = engine.state();
    let mut state = good.clone();
    for (name, value) in
        [("layer2.0.bn1.running_var", f32::INFINITY), ("layer1.0.conv1.weight", f32::NAN)]
    {
        let last = state.get_mut(name).and_then(|values| values.last_mut()).expect("a tensor");
        *last = value;
        engine.load_state(&state).expect("every tensor");
        let (found, _) = engine.first_not_finite().expect("one is not finite");
        assert_eq!(found, name);
    }
    let mut average = good;
    average.get_mut("fc.bias").expect("a tensor")[0] = f32::NEG_INFINITY;
    engine.load_average(Some(&average)).expect("every tensor");
    assert_eq!(engine.first_not_finite(), Some(("fc.bias".to_owned(), f32::NEG_INFINITY)));
}
