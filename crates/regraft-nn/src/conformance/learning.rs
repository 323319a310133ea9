//! Tests gradients and updates.

use super::bench::*;
use crate::engine::{
    Input, LossSettings, Optimizer, Reduction, State, StepPart, Target, TrainBatch, Update,
};
use crate::ops::{NormStatistics, Operation};
use crate::precision::Precision;
use regraft_base::adam::AdamSettings;

/// Along the gradient's direction, the loss rises by the gradient's length: with running statistics
/// and with the batch's, for all families of operations. In 16 bits, where rounding outweighs the
/// effect of a small step, gradients are close to those in f32.
pub fn gradients_are_the_slopes_of_the_loss(bench: &Bench<'_>) {
    for architecture in ARCHITECTURES {
        match bench.precision {
            Precision::F32 => {
                check_slope(bench, architecture, NormStatistics::Running);
                check_slope(bench, architecture, NormStatistics::Batch);
            }
            Precision::Bf16 | Precision::F16 => check_near_f32(bench, architecture),
        }
    }
}

/// Side of the images for which the last feature maps have 2x2 pixels, so that a channel has enough
/// values for its statistics.
const WIDE: usize = 2 * SIDE;

fn check_slope(bench: &Bench<'_>, architecture: &str, statistics: NormStatistics) {
    let mut graph = graph(architecture);
    graph.set_norm_statistics(statistics);
    let mut engine = bench.engine(graph, WIDE);
    let images = images(1, BATCH, WIDE);
    let start = engine.state();
    gradients(&mut *engine, &images.batch(), MEAN);
    let length = engine.gradient_norm();
    let gradient = gradients_of(&mut *engine);
    let squares: f64 = gradient.values().flatten().map(|&value| f64::from(value).powi(2)).sum();
    assert!(
        (squares.sqrt() / length - 1.0).abs() < 1e-3,
        "{architecture}: the norm is {length}, not {}",
        squares.sqrt()
    );
    let mut loss_at = |distance: f64| {
        let mut moved = start.clone();
        for (name, values) in &mut moved {
            let pairs = values.iter_mut().zip(&gradient[name]);
            pairs.for_each(|(value, along)| {
                *value += (distance * f64::from(*along) / length) as f32
            });
        }
        engine.load_state(&moved).expect("its own tensors");
        let losses = gradients(&mut *engine, &images.batch(), MEAN).losses;
        losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64
    };
    let step = 3e-3 / length.max(1.0);
    let slope = (loss_at(step) - loss_at(-step)) / (2.0 * step);
    assert!(
        (slope / length - 1.0).abs() < 0.02,
        "{architecture}, {statistics:?}: {slope} is not {length}"
    );
}

fn check_near_f32(bench: &Bench<'_>, architecture: &str) {
    let images = images(1, BATCH, WIDE);
    let [expected, found] = [bench.wide(), bench.clone()].map(|bench| {
        let mut engine = bench.engine(graph(architecture), WIDE);
        gradients(&mut *engine, &images.batch(), MEAN);
        gradients_of(&mut *engine)
    });
    let pairs = || found.values().flatten().zip(expected.values().flatten());
    let distance: f64 = pairs().map(|(found, expected)| f64::from(found - expected).powi(2)).sum();
    let length: f64 = pairs().map(|(_, expected)| f64::from(*expected).powi(2)).sum();
    let share = (distance / length).sqrt();
    assert!(share < 0.15, "{architecture}: gradients differ by {share} of their length");
    assert!(share > 0.0, "{architecture}: maps are stored in bf16");
}

/// An image's weight multiplies its gradient, and does not change its loss.
pub fn weights_of_images_scale_their_gradients(bench: &Bench<'_>) {
    let mut engine = bench.engine(graph("resnet18"), SIDE);
    let images = images(2, 2, SIDE);
    let (first, _) = images.values.split_at(images.values.len() / 2);
    let alone = TrainBatch {
        input: Input::values(first),
        target: Target::Labels(&images.labels[..1]),
        ..images.batch()
    };
    let loss = LossSettings { reduction: Reduction::Sum, ..MEAN };
    let plain = gradients(&mut *engine, &images.batch(), loss).losses;
    let weighted =
        gradients(&mut *engine, &TrainBatch { weights: Some(&[2.0, 0.0]), ..images.batch() }, loss)
            .losses;
    assert_eq!(plain, weighted, "losses are those without weights");
    let found = gradients_of(&mut *engine);
    gradients(&mut *engine, &alone, loss);
    let expected = gradients_of(&mut *engine);
    let worst = difference(
        found.values().flatten(),
        expected.values().flatten().map(|&value| 2.0 * f64::from(value)),
    );
    assert!(worst < bench.tolerance(1e-4, 0.03), "{worst}");
}

/// If a step is split into parts, and the mean is over the whole step, the gradients of the parts
/// add up to the step's; also with frozen layers.
pub fn parts_of_a_step_add_up(bench: &Bench<'_>) {
    for architecture in ["resnet18", "efficientnet_b0"] {
        let mut engine = bench.engine(graph(architecture), SIDE);
        engine.freeze(engine.graph().nodes.len() / 2);
        let images = images(3, BATCH, SIDE);
        let whole = gradients(&mut *engine, &images.batch(), MEAN);
        let expected = gradients_of(&mut *engine);
        let length = SIDE * SIDE * 3;
        let mut losses = Vec::new();
        for (place, values) in images.values.chunks_exact(length).enumerate() {
            let batch = TrainBatch {
                input: Input::values(values),
                target: Target::Labels(&images.labels[place..=place]),
                position: place as u32,
                ..images.batch()
            };
            let part =
                StepPart { step_images: BATCH, accumulate: place > 0, is_last: place + 1 == BATCH };
            losses.extend(engine.gradients(&batch, MEAN, part).expect("a batch that fits").losses);
        }
        assert_eq!(
            losses, whole.losses,
            "{architecture}: an image's loss does not depend on its batch"
        );
        let found = gradients_of(&mut *engine);
        let worst = difference(
            found.values().flatten(),
            expected.values().flatten().map(|&value| f64::from(value)),
        );
        assert!(worst < bench.tolerance(1e-4, 0.03), "{architecture}: {worst}");
    }
}

/// Tests SGD, SGD with momentum and AdamW, with weight decay, against their formulas in f64 over
/// three steps.
pub fn optimisers_move_as_their_formulas_say(bench: &Bench<'_>) {
    let settings = AdamSettings::default();
    for optimizer in [
        Optimizer::Sgd { momentum: 0.0 },
        Optimizer::Sgd { momentum: 0.9 },
        Optimizer::AdamW(settings),
    ] {
        let mut engine = bench.engine(graph("efficientnet_b0"), SIDE);
        engine.freeze(engine.graph().nodes_through("blocks.5").expect("a layer"));
        let images = images(4, BATCH, SIDE);
        let (rate, decay) = (1e-3, 0.1);
        let rates = vec![rate; engine.graph().nodes.len()];
        let mut memory: State = State::new();
        let mut squares: State = State::new();
        for step in 1..=3_u64 {
            gradients(&mut *engine, &images.batch(), MEAN);
            let gradient = gradients_of(&mut *engine);
            let before = engine.state();
            // The last step did not change the optimiser's state, because plain gradient descent
            // has none.
            gradients(&mut *engine, &images.batch(), MEAN);
            engine.update(&update(&rates, optimizer, decay, step)).expect("gradients are there");
            let after = engine.state();
            let learned = engine
                .parameters()
                .iter()
                .filter(|info| info.role.is_learned() && info.node >= engine.frozen());
            for info in learned {
                let (gradient, before) = (&gradient[&info.name], &before[&info.name]);
                let memory =
                    memory.entry(info.name.clone()).or_insert_with(|| vec![0.0; gradient.len()]);
                let squares =
                    squares.entry(info.name.clone()).or_insert_with(|| vec![0.0; gradient.len()]);
                let expected: Vec<f64> = (0..gradient.len())
                    .map(|at| {
                        let (value, slope) = (f64::from(before[at]), f64::from(gradient[at]));
                        let (rate, decay) = (f64::from(rate), f64::from(decay));
                        match optimizer {
                            Optimizer::Sgd { momentum } => {
                                let velocity = f64::from(momentum) * f64::from(memory[at])
                                    + slope
                                    + decay * value;
                                memory[at] = velocity as f32;
                                value - rate * velocity
                            }
                            Optimizer::AdamW(AdamSettings { beta1, beta2, epsilon }) => {
                                let (beta1, beta2) = (f64::from(beta1), f64::from(beta2));
                                let first = beta1 * f64::from(memory[at]) + (1.0 - beta1) * slope;
                                let second =
                                    beta2 * f64::from(squares[at]) + (1.0 - beta2) * slope * slope;
                                (memory[at], squares[at]) = (first as f32, second as f32);
                                let first = first / (1.0 - beta1.powi(step as i32));
                                let second = second / (1.0 - beta2.powi(step as i32));
                                value * (1.0 - rate * decay)
                                    - rate * first / (second.sqrt() + f64::from(epsilon))
                            }
                        }
                    })
                    .collect();
                // Gradients close to zero are known from their step to few digits, and AdamW makes
                // full steps of them.
                let known = |at: &usize| {
                    gradient[*at].abs() > 1e-3 || !matches!(optimizer, Optimizer::AdamW(_))
                };
                let kept: Vec<usize> = (0..gradient.len()).filter(known).collect();
                let found: Vec<f32> = kept.iter().map(|&at| after[&info.name][at]).collect();
                let worst = difference(&found, kept.iter().map(|&at| expected[at]));
                assert!(
                    worst < 2e-5,
                    "{optimizer:?}, step {step}: {} is off by {worst}",
                    info.name
                );
            }
        }
    }
}

/// A layer moves at its own rate, a rate of 0 keeps it to the bit, and the gradient is scaled
/// before everything else.
pub fn every_layer_has_its_rate_and_the_gradient_its_scale(bench: &Bench<'_>) {
    let mut engine = bench.engine(graph("efficientnet_b0"), SIDE);
    let images = images(5, BATCH, SIDE);
    gradients(&mut *engine, &images.batch(), MEAN);
    let gradient = gradients_of(&mut *engine);
    let before = engine.state();
    gradients(&mut *engine, &images.batch(), MEAN);
    let rates: Vec<f32> =
        (0..engine.graph().nodes.len()).map(|node| if node % 2 == 0 { 0.0 } else { 0.5 }).collect();
    let plain = update(&rates, Optimizer::Sgd { momentum: 0.0 }, 0.0, 1);
    let clip = Some(engine.gradient_norm() as f32 / 4.0);
    engine.update(&Update { clip, ..plain }).expect("gradients are there");
    let after = engine.state();
    for info in engine.parameters() {
        let (before, after) = (&before[&info.name], &after[&info.name]);
        if !info.role.is_learned() || info.node % 2 == 0 {
            assert_eq!(before, after, "{} has a rate of 0", info.name);
        } else {
            let steps = before
                .iter()
                .zip(&gradient[&info.name])
                .map(|(before, slope)| f64::from(*before) - 0.125 * f64::from(*slope));
            assert!(difference(after, steps) < 1e-5, "{}", info.name);
        }
    }
}

/// Frozen layers stay equal to the bit, running statistics included, and the layers above learn as
/// if nothing were frozen below.
pub fn frozen_layers_stay_to_the_bit(bench: &Bench<'_>) {
    for architecture in ARCHITECTURES {
        let mut graph = graph(architecture);
        graph.set_norm_statistics(NormStatistics::Batch);
        let mut engine = bench.engine(graph, SIDE);
        let images = images(6, BATCH, SIDE);
        let rates = vec![0.1; engine.graph().nodes.len()];
        engine.freeze(engine.graph().nodes.len() / 2);
        let frozen = engine.frozen();
        assert!(
            (1..engine.graph().backbone()).contains(&frozen),
            "{architecture}: {frozen} nodes are frozen"
        );
        let before = engine.state();
        gradients(&mut *engine, &images.batch(), MEAN);
        engine
            .update(&update(&rates, Optimizer::Sgd { momentum: 0.9 }, 0.1, 1))
            .expect("gradients are there");
        let after = engine.state();
        let learned =
            |name: &str| engine.optimizer_state().contains_key(&format!("{name}.momentum"));
        for info in engine.parameters() {
            let stays = before[&info.name] == after[&info.name];
            assert_eq!(
                stays,
                info.node < frozen,
                "{architecture}: {} of node {}",
                info.name,
                info.node
            );
            assert_eq!(
                learned(&info.name),
                info.node >= frozen && info.role.is_learned(),
                "{architecture}: {}",
                info.name
            );
        }
        engine.freeze(usize::MAX);
        assert_eq!(engine.frozen(), engine.graph().backbone(), "the head always learns");
        engine.freeze(0);
        gradients(&mut *engine, &images.batch(), MEAN);
        engine
            .update(&update(&rates, Optimizer::Sgd { momentum: 0.9 }, 0.1, 2))
            .expect("gradients are there");
        let name = &engine.parameters()[0].name;
        assert!(engine.state()[name] != before[name], "{architecture}: {name} learns again");
    }
}

/// A batch of one image trains, even if a layer then sees one value for each channel, which has no
/// variance.
pub fn a_last_batch_of_one_image_trains(bench: &Bench<'_>) {
    for architecture in ["resnet18", "efficientnet_b0"] {
        let mut graph = graph(architecture);
        graph.set_norm_statistics(NormStatistics::Batch);
        let mut engine = bench.engine(graph, SIDE);
        let images = images(7, 1, SIDE);
        let output = gradients(&mut *engine, &images.batch(), MEAN);
        assert!(
            output.losses.iter().all(|loss| loss.is_finite()) && engine.gradient_norm().is_finite(),
            "{architecture}"
        );
        let rates = vec![1e-3; engine.graph().nodes.len()];
        engine
            .update(&update(&rates, Optimizer::Sgd { momentum: 0.0 }, 0.0, 1))
            .expect("gradients are there");
        assert_eq!(engine.first_not_finite(), None, "{architecture}");
    }
}

/// Dropout and stochastic depth draw by seed, epoch and position: the same draws for the same
/// position, others elsewhere, and a batch that is cut in two has the draws of the whole batch.
pub fn random_draws_depend_on_the_place_alone(bench: &Bench<'_>) {
    let mut graph = graph("efficientnet_b0");
    graph.set_head_dropout(0.3);
    for node in &mut graph.nodes {
        if let Operation::Add(add) = &mut node.operation {
            add.drop_rate = 0.3;
        }
    }
    let mut engine = bench.engine(graph, SIDE);
    let images = images(8, BATCH, SIDE);
    let losses = gradients(&mut *engine, &images.batch(), MEAN).losses;
    assert_eq!(
        gradients(&mut *engine, &images.batch(), MEAN).losses,
        losses,
        "the same draws again"
    );
    for other in [
        TrainBatch { seed: 4, ..images.batch() },
        TrainBatch { epoch: 2, ..images.batch() },
        TrainBatch { position: 1, ..images.batch() },
    ] {
        assert!(gradients(&mut *engine, &other, MEAN).losses != losses, "other draws elsewhere");
    }
    let first = SIDE * SIDE * 3;
    let rest = TrainBatch {
        input: Input::values(&images.values[first..]),
        target: Target::Labels(&images.labels[1..]),
        position: 1,
        ..images.batch()
    };
    assert_eq!(
        gradients(&mut *engine, &rest, MEAN).losses,
        losses[1..],
        "in {}",
        Precision::name(bench.precision)
    );
}
