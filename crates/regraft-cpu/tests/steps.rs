//! Properties of training steps and evaluation other than their numbers: independence of threads
//! and of the batch, exact resuming, random draws that depend only on their keys, frozen layers
//! that do not change, refusal of bad requests.

mod common;

use common::training::{MEAN, pictures};
use common::{bits, engine, generated_state, graph, relative_difference, without_drops};
use regraft_base::adam::AdamSettings;
use regraft_cpu::CpuEngine;
use regraft_kernels::{linear, loss, pooling};
use regraft_nn::engine::{
    Engine, EngineError, Input, Loss, LossSettings, Optimizer, Reduction, State, StepOutput,
    StepPart, Target, TrainBatch, Update,
};
use regraft_nn::graph::{Graph, Node, Source};
use regraft_nn::ops::{GlobalAveragePool, InitialWeights, Linear, NormStatistics, Operation};
use regraft_nn::precision::Precision;

const SGD: Optimizer = Optimizer::Sgd { momentum: 0.9 };
const CLASSES: usize = 4;

fn network(architecture: &str) -> Graph {
    graph(architecture).with_classes(CLASSES)
}

/// One step with these keys of its random draws.
fn step_named(
    engine: &mut CpuEngine,
    images: &[f32],
    labels: &[u32],
    names: (u64, u32, u32),
    update: &Update<'_>,
) -> StepOutput {
    let (seed, epoch, position) = names;
    engine
        .train_step(
            &TrainBatch {
                input: Input::values(images),
                target: Target::Labels(labels),
                weights: None,
                seed,
                epoch,
                position,
            },
            MEAN,
            update,
        )
        .expect("a batch that fits")
}

/// `count` steps, from number `first` on, on images that differ from step to step.
fn steps(
    engine: &mut CpuEngine,
    size: usize,
    optimizer: Optimizer,
    numbers: std::ops::Range<u64>,
) -> Vec<f32> {
    let batch = 6;
    let (images, labels) = pictures(24, size, CLASSES);
    let length = size * size * 3;
    let rates = vec![1e-3; engine.graph().nodes.len()];
    let mut losses = Vec::new();
    for step in numbers {
        let first = (step as usize - 1) * batch % 24;
        let images = &images[first * length..(first + batch) * length];
        let update = Update {
            optimizer,
            learning_rates: &rates,
            weight_decay: 0.01,
            step,
            clip: None,
            decay_bias_norm: true,
        };
        let names = (7, 0, (step as u32 - 1) * batch as u32);
        losses.extend(
            step_named(engine, images, &labels[first..first + batch], names, &update).losses,
        );
    }
    losses
}

fn assert_same(first: &State, second: &State, what: &str) {
    assert!(!first.is_empty() && first.keys().eq(second.keys()), "{what}: names");
    for (name, values) in first {
        assert_eq!(bits(values), bits(&second[name]), "{what}: {name}");
    }
}

#[test]
fn trained_weights_do_not_depend_on_the_number_of_threads() {
    for architecture in ["efficientnet_lite0", "resnet18"] {
        let train = |threads| {
            let mut engine = engine(network(architecture), 48, threads);
            let losses = steps(&mut engine, 48, SGD, 1..4);
            (engine.state(), engine.optimizer_state(), bits(&losses))
        };
        let expected = train(1);
        for threads in [2, 4] {
            let found = train(threads);
            let what = format!("{architecture} on {threads} threads");
            assert_eq!(expected.2, found.2, "{what}: losses");
            assert_same(&expected.0, &found.0, &what);
            assert_same(&expected.1, &found.1, &what);
        }
    }
}

/// An engine in bf16 that holds the generator's weights.
fn engine_in_bf16(graph: Graph, size: usize, threads: usize) -> CpuEngine {
    let state = generated_state(&graph);
    let mut engine = CpuEngine::with_precision(graph, size, threads, Precision::Bf16)
        .expect("images large enough");
    engine.load_state(&state).expect("every tensor");
    engine
}

#[test]
fn weights_trained_in_bf16_do_not_depend_on_the_number_of_threads() {
    for architecture in ["efficientnet_lite0", "resnet18"] {
        let train = |threads| {
            let mut engine = engine_in_bf16(network(architecture), 48, threads);
            let losses = steps(&mut engine, 48, SGD, 1..3);
            (engine.state(), bits(&losses))
        };
        let expected = train(1);
        for threads in [2, 3] {
            let found = train(threads);
            assert_eq!(expected.1, found.1, "{architecture} on {threads} threads: losses");
            assert_same(&expected.0, &found.0, architecture);
        }
    }
}

/// The features that a head reads are f32, whatever the type of the backbone's feature maps.
#[test]
fn a_head_alone_learns_the_same_as_behind_a_frozen_backbone() {
    let (size, batch) = (32, 5);
    for (architecture, precision) in [
        ("efficientnet_lite0", Precision::F32),
        ("efficientnet_lite0", Precision::Bf16),
        ("resnet18", Precision::Bf16),
    ] {
        let make = if precision == Precision::F32 { engine } else { engine_in_bf16 };
        let mut whole = make(network(architecture), size, 2);
        let head = whole.graph().backbone();
        whole.freeze(head);
        let mut alone =
            CpuEngine::with_precision(whole.graph().head_alone(), 1, 2, precision).expect("a head");
        alone.load_state(&whole.state()).expect("every tensor");
        let (images, labels) = pictures(batch, size, CLASSES);
        let features =
            whole.features(Input::values(&images), batch, head - 1).expect("images that fit");
        for step in 1..=3 {
            let update = |learning_rates| Update {
                optimizer: SGD,
                learning_rates,
                weight_decay: 0.01,
                step,
                clip: None,
                decay_bias_norm: true,
            };
            let rates = vec![0.01; whole.graph().nodes.len()];
            let expected = step_named(&mut whole, &images, &labels, (3, 0, 0), &update(&rates));
            let found =
                step_named(&mut alone, &features, &labels, (3, 0, 0), &update(&rates[head..]));
            assert_eq!(
                bits(&expected.logits),
                bits(&found.logits),
                "{architecture} {precision:?}, step {step}"
            );
            assert_eq!(
                bits(&expected.losses),
                bits(&found.losses),
                "{architecture} {precision:?}, step {step}"
            );
        }
        let trained = alone.state();
        assert_same(
            &trained,
            &whole.state().into_iter().filter(|(name, _)| trained.contains_key(name)).collect(),
            architecture,
        );
    }
}

/// Logits are f32 whatever the type of the feature maps, and close to those of f32.
#[test]
fn evaluation_in_bf16_is_near_that_in_f32() {
    for (architecture, size) in [("efficientnet_lite0", 64), ("resnet18", 65), ("resnet50", 32)] {
        let (images, _) = pictures(3, size, CLASSES);
        let expected = engine(network(architecture), size, 2)
            .evaluate(Input::values(&images), 3)
            .expect("images that fit");
        let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
        let mut engine = engine_in_bf16(network(architecture), size, 2);
        assert!(engine.device().ends_with(", bf16)"), "{}", engine.device());
        let found = engine.evaluate(Input::values(&images), 3).expect("images that fit");
        let difference = relative_difference(&found, &expected);
        assert!(
            found.iter().any(|logit| logit.to_bits() & 0xffff != 0),
            "logits are not rounded to bf16"
        );
        assert!(
            (1e-6..2e-2).contains(&difference),
            "{architecture}: {difference:e} of the largest logit"
        );
        let node = engine
            .graph()
            .nodes_through("global_pool")
            .or(engine.graph().nodes_through("avgpool"))
            .expect("a pool")
            - 2;
        let features = engine.features(Input::values(&images), 3, node).expect("images that fit");
        assert!(features.iter().all(|value| value.to_bits() & 0xffff == 0), "maps are");
    }
}

#[test]
fn an_image_is_evaluated_the_same_alone_and_in_a_batch() {
    let cases = [("efficientnet_lite0", 64), ("resnet18", 65), ("resnet50", 32)];
    for ((architecture, size), narrow) in
        cases.into_iter().flat_map(|case| [(case, false), (case, true)])
    {
        let make = if narrow { engine_in_bf16 } else { engine };
        let mut engine = make(network(architecture), size, 2);
        let (images, _) = pictures(7, size, CLASSES);
        let together = engine.evaluate(Input::values(&images), 7).expect("images that fit");
        let alone = images
            .chunks_exact(size * size * 3)
            .map(|image| engine.evaluate(Input::values(image), 1).expect("an image that fits"));
        assert_eq!(bits(&together), bits(&alone.collect::<Vec<_>>().concat()), "{architecture}");
        assert_ne!(together[..CLASSES], together[CLASSES..2 * CLASSES], "different images");
    }
}

/// Values that evaluation derives from the parameters are computed again after each change.
#[test]
fn evaluation_follows_training() {
    for frozen in [0, 19] {
        let mut engine = engine(network("efficientnet_lite0"), 32, 2);
        engine.freeze(frozen);
        let (images, _) = pictures(2, 32, CLASSES);
        let mut seen = vec![engine.evaluate(Input::values(&images), 2).expect("images that fit")];
        for step in 1..3 {
            steps(&mut engine, 32, SGD, step..step + 1);
            let logits = engine.evaluate(Input::values(&images), 2).expect("images that fit");
            let mut fresh =
                CpuEngine::new(network("efficientnet_lite0"), 32, 2).expect("large enough");
            fresh.load_state(&engine.state()).expect("every tensor");
            assert_eq!(
                bits(&logits),
                bits(&fresh.evaluate(Input::values(&images), 2).expect("images that fit")),
                "after step {step}"
            );
            assert_ne!(Some(&logits), seen.last());
            seen.push(logits);
        }
        engine.load_state(&generated_state(engine.graph())).expect("every tensor");
        assert_eq!(
            bits(&seen[0]),
            bits(&engine.evaluate(Input::values(&images), 2).expect("images that fit")),
            "back at the start"
        );
    }
}

/// The sum's gradient is the mean's times the number of images: with eight images, a power of two,
/// there is no rounding.
#[test]
fn the_loss_is_the_sum_or_the_mean_with_smoothed_labels() {
    let (images, labels) = pictures(8, 32, CLASSES);
    let batch = TrainBatch {
        input: Input::values(&images),
        target: Target::Labels(&labels),
        weights: None,
        seed: 0,
        epoch: 0,
        position: 0,
    };
    let train = |reduction, label_smoothing, rate: f32| {
        let mut engine = engine(network("resnet18"), 32, 2);
        let rates = vec![rate; engine.graph().nodes.len()];
        let optimizer = Optimizer::Sgd { momentum: 0.0 };
        let update = Update {
            optimizer,
            learning_rates: &rates,
            weight_decay: 0.0,
            step: 1,
            clip: None,
            decay_bias_norm: true,
        };
        let settings =
            LossSettings { loss: Loss::SoftmaxCrossEntropy { label_smoothing }, reduction };
        let output = engine.train_step(&batch, settings, &update).expect("a batch that fits");
        (output, engine.state())
    };
    let (plain, _) = train(Reduction::Mean, 0.0, 1e-3);
    let (mean, after_mean) = train(Reduction::Mean, 0.1, 8e-3);
    let (sum, after_sum) = train(Reduction::Sum, 0.1, 1e-3);
    assert_same(&after_mean, &after_sum, "mean and sum");
    assert_eq!((bits(&mean.losses), bits(&mean.logits)), (bits(&sum.losses), bits(&sum.logits)));
    let (mut losses, mut gradient) = ([0.0; 8], [0.0; 8 * CLASSES]);
    loss::cross_entropy(&mean.logits, &labels, CLASSES, 0.1, 1.0, &mut losses, &mut gradient);
    assert_eq!(bits(&losses), bits(&mean.losses));
    assert_ne!(bits(&losses), bits(&plain.losses));
}

/// Without batch statistics and drops, a batch's gradient is the sum of its parts': two halves,
/// computed one after the other, move the parameters like the whole batch, up to rounding.
#[test]
fn gradients_of_parts_add_up_to_the_whole_steps() {
    let (images, labels) = pictures(8, 32, CLASSES);
    let length = images.len() / 8;
    let part = |range: std::ops::Range<usize>| TrainBatch {
        input: Input::values(&images[range.start * length..range.end * length]),
        target: Target::Labels(&labels[range.clone()]),
        weights: None,
        seed: 0,
        epoch: 0,
        position: range.start as u32,
    };
    for frozen in [0, 22] {
        let mut engines = [(); 2].map(|()| {
            let mut graph = without_drops(network("resnet18"));
            graph.set_norm_statistics(NormStatistics::Running);
            let mut engine = engine(graph, 32, 2);
            engine.freeze(frozen);
            engine
        });
        let [whole, parts] = &mut engines;
        let expected =
            whole.gradients(&part(0..8), MEAN, StepPart::whole(8)).expect("a batch that fits");
        // Gradients of an earlier step must not count.
        parts.gradients(&part(2..4), MEAN, StepPart::whole(2)).expect("a batch that fits");
        let mut losses = Vec::new();
        for (range, accumulate) in [(0..3, false), (3..8, true)] {
            let output = parts
                .gradients(
                    &part(range),
                    MEAN,
                    StepPart { step_images: 8, accumulate, is_last: true },
                )
                .expect("a batch that fits");
            losses.extend(output.losses);
        }
        assert_eq!(bits(&expected.losses), bits(&losses));
        let norms = [whole.gradient_norm(), parts.gradient_norm()];
        assert!(norms[0] > 0.0 && (norms[0] - norms[1]).abs() < 1e-5 * norms[0], "norms {norms:?}");
        let rates = vec![1.0; whole.graph().nodes.len()];
        let optimizer = Optimizer::Sgd { momentum: 0.0 };
        let update = Update {
            optimizer,
            learning_rates: &rates,
            weight_decay: 0.0,
            step: 1,
            clip: None,
            decay_bias_norm: true,
        };
        let before = whole.state();
        whole.update(&update).expect("gradients are there");
        parts.update(&update).expect("gradients are there");
        let (moved, in_parts) = (whole.state(), parts.state());
        let mut squares = 0.0;
        for (name, before) in &before {
            let distance = |first: &[f32], second: &[f32]| {
                first
                    .iter()
                    .zip(second)
                    .map(|(first, second)| f64::from(first - second).powi(2))
                    .sum::<f64>()
            };
            let step = distance(before, &moved[name]);
            assert!(distance(&moved[name], &in_parts[name]) <= 1e-8 * step, "{name}");
            squares += step;
        }
        // At a rate of 1 the parameters move by the gradient itself.
        assert!(
            (squares.sqrt() - norms[0]).abs() < 1e-4 * norms[0],
            "{} and {}",
            squares.sqrt(),
            norms[0]
        );
    }
}

/// The norm does not overflow if squares would in f32, and is not finite if a gradient is not.
#[test]
fn a_gradient_norm_shows_non_finite_gradients() {
    let (images, labels) = pictures(4, 32, CLASSES);
    let norm = |factor: f32| {
        let mut engine = engine(network("resnet18"), 32, 2);
        let mut state = engine.state();
        // Logits stay the same; the backbone's gradients grow with the head's weights.
        state.get_mut("fc.weight").expect("a head").iter_mut().for_each(|weight| *weight *= factor);
        engine.load_state(&state).expect("every tensor");
        let batch = TrainBatch {
            input: Input::values(&images),
            target: Target::Labels(&labels),
            weights: None,
            seed: 0,
            epoch: 0,
            position: 0,
        };
        engine.gradients(&batch, MEAN, StepPart::whole(4)).expect("a batch that fits");
        engine.gradient_norm()
    };
    let large = norm(1e30);
    assert!(large.is_finite() && large > 1e25, "{large}");
    assert!(!norm(f32::NAN).is_finite() && !norm(f32::INFINITY).is_finite());
}

#[test]
fn an_update_needs_gradients() {
    let mut engine = engine(network("resnet18"), 32, 2);
    let rates = vec![1e-3; engine.graph().nodes.len()];
    let update = Update {
        optimizer: SGD,
        learning_rates: &rates,
        weight_decay: 0.0,
        step: 1,
        clip: None,
        decay_bias_norm: true,
    };
    assert!(matches!(engine.update(&update),
            Err(EngineError::NoGradient(name)) if name == "conv1.weight"));
    assert_eq!(engine.gradient_norm(), 0.0);
}

/// The network up to and including `layer`, and a head on its mean.
fn cut_after(graph: &Graph, layer: &str) -> Graph {
    let count = graph.nodes_through(layer).expect("a layer");
    let channels = graph.shapes(64).expect("large enough")[count - 1].channels;
    let mut nodes = graph.nodes[..count].to_vec();
    let mut add = |name: &str, input, operation| {
        nodes.push(Node { name: name.to_owned(), inputs: vec![Source::Node(input)], operation });
    };
    add("mean", count - 1, Operation::GlobalAveragePool(GlobalAveragePool));
    let linear = Linear {
        inputs: channels,
        outputs: CLASSES,
        bias: true,
        initial: InitialWeights::FanOut,
        stream: 0,
    };
    add("head", count, Operation::Linear(linear));
    Graph { nodes, ..graph.clone() }
}

/// Features that are computed once with `features` and kept equal those that a training with frozen
/// layers uses.
#[test]
fn features_equal_those_of_a_training_with_frozen_layers() {
    for (architecture, layer) in [
        ("resnet18", "layer2"),
        ("efficientnet_lite0", "blocks.3"),
        ("efficientnet_lite0", "blocks.2.1.conv_dw"),
    ] {
        let whole = network(architecture);
        let cut = cut_after(&whole, layer);
        let frozen = whole.nodes_through(layer).expect("a layer");
        let (size, batch) = (64, 5);
        let (images, labels) = pictures(batch, size, CLASSES);

        let mut whole = engine(whole, size, 2);
        let features =
            whole.features(Input::values(&images), batch, frozen - 1).expect("images that fit");
        let shape = whole.graph().shapes(size).expect("large enough")[frozen - 1];
        let mut state = generated_state(&cut);
        state.extend(whole.state());
        let mut training = CpuEngine::new(cut, size, 2).expect("large enough");
        training.load_state(&state).expect("every tensor");
        training.freeze(frozen);
        // Steps that change the head do not change its input.
        let rates = vec![0.002; training.graph().nodes.len()];
        let mut means = vec![0.0; batch * shape.channels];
        pooling::average_forward(&features, shape.height * shape.width, shape.channels, &mut means);
        let mut seen = Vec::new();
        for step in 1..=3 {
            let state = training.state();
            let mut logits = vec![0.0; batch * CLASSES];
            linear::forward(
                &means,
                &state["head.weight"],
                &state["head.bias"],
                shape.channels,
                &mut logits,
            );
            let update = Update {
                optimizer: SGD,
                learning_rates: &rates,
                weight_decay: 0.0,
                step,
                clip: None,
                decay_bias_norm: true,
            };
            let output = step_named(&mut training, &images, &labels, (0, 0, 0), &update);
            assert_eq!(bits(&logits), bits(&output.logits), "{architecture} {layer} step {step}");
            seen.push(output.losses.iter().sum::<f32>());
        }
        assert!(seen[2] < seen[0], "the head learns: {seen:?}");
    }
}

#[test]
fn a_training_resumes_from_saved_state_to_the_bit() {
    let adamw = Optimizer::AdamW(AdamSettings::default());
    for (architecture, optimizer, suffixes) in [
        ("efficientnet_lite0", SGD, &["momentum"][..]),
        ("efficientnet_lite0", adamw, &["first", "second"]),
        ("resnet18", adamw, &["first", "second"]),
    ] {
        let size = 32;
        let mut first = engine(network(architecture), size, 2);
        assert!(first.optimizer_state().is_empty());
        steps(&mut first, size, optimizer, 1..3);
        let (state, memory) = (first.state(), first.optimizer_state());
        let learned =
            first.parameters().iter().filter(|parameter| parameter.role.is_learned()).count();
        assert_eq!(memory.len(), learned * suffixes.len());
        assert!(
            memory
                .keys()
                .all(|name| suffixes.iter().any(|suffix| name.ends_with(&format!(".{suffix}"))))
        );

        let resume = |memory: Option<&State>| {
            let mut engine = CpuEngine::new(network(architecture), size, 2).expect("large enough");
            engine.load_state(&state).expect("every tensor");
            if let Some(memory) = memory {
                engine.load_optimizer_state(memory).expect("every tensor");
            }
            let losses = steps(&mut engine, size, optimizer, 3..5);
            (engine.state(), engine.optimizer_state(), bits(&losses))
        };
        let losses = steps(&mut first, size, optimizer, 3..5);
        let resumed = resume(Some(&memory));
        assert_eq!(bits(&losses), resumed.2);
        assert_same(&first.state(), &resumed.0, architecture);
        assert_same(&first.optimizer_state(), &resumed.1, architecture);
        let forgetful = resume(None);
        assert_ne!(bits(&losses), forgetful.2, "without its memory an optimiser goes elsewhere");

        // Loading an empty optimiser state makes an engine forget its own.
        first.load_state(&state).expect("every tensor");
        first.load_optimizer_state(&State::new()).expect("nothing to refuse");
        steps(&mut first, size, optimizer, 3..5);
        assert_same(&first.state(), &forgetful.0, architecture);
    }
}

/// The losses of a first step of Lite0.
fn first_losses(graph: Graph, names: (u64, u32, u32)) -> Vec<u32> {
    let mut engine = engine(graph, 32, 2);
    let (images, labels) = pictures(8, 32, CLASSES);
    let rates = vec![1e-3; engine.graph().nodes.len()];
    let update = Update {
        optimizer: SGD,
        learning_rates: &rates,
        weight_decay: 0.0,
        step: 1,
        clip: None,
        decay_bias_norm: true,
    };
    bits(&step_named(&mut engine, &images, &labels, names, &update).losses)
}

#[test]
fn drops_act_and_depend_only_on_their_keys() {
    let whole = network("efficientnet_lite0");
    let plain = first_losses(without_drops(whole.clone()), (1, 2, 3));
    assert_eq!(
        plain,
        first_losses(without_drops(whole.clone()), (4, 5, 6)),
        "without drops nothing is drawn"
    );
    let mut only_dropout = without_drops(whole.clone());
    let mut only_drop_connect = whole.clone();
    let head = whole.backbone();
    only_dropout.nodes[head] = whole.nodes[head].clone();
    only_drop_connect.nodes[head] = without_drops(whole.clone()).nodes[head].clone();
    for graph in [whole, only_dropout, only_drop_connect] {
        let losses = first_losses(graph.clone(), (1, 2, 3));
        assert_ne!(losses, plain);
        assert_eq!(
            losses,
            first_losses(graph.clone(), (1, 2, 3)),
            "the same names, the same draws"
        );
        for other in [(2, 2, 3), (1, 3, 3), (1, 2, 11)] {
            assert_ne!(losses, first_losses(graph.clone(), other), "other names, other draws");
        }
    }
}

/// An image's draws follow its position in the epoch, however the epoch is divided into batches.
#[test]
fn draws_belong_to_a_place_in_the_epoch() {
    let mut engine = engine(network("efficientnet_lite0"), 32, 2);
    engine.freeze(engine.graph().backbone());
    let (images, labels) = pictures(6, 32, CLASSES);
    let rates = vec![0.0; engine.graph().nodes.len()];
    let update = Update {
        optimizer: SGD,
        learning_rates: &rates,
        weight_decay: 0.0,
        step: 1,
        clip: None,
        decay_bias_norm: true,
    };
    let mut logits = |range: std::ops::Range<usize>, position: u32| {
        let images = &images[range.start * 32 * 32 * 3..range.end * 32 * 32 * 3];
        step_named(&mut engine, images, &labels[range], (1, 0, position), &update).logits
    };
    let together = logits(0..6, 0);
    assert_eq!(bits(&together), bits(&[logits(0..4, 0), logits(4..6, 4)].concat()));
    assert_ne!(bits(&together[4 * CLASSES..]), bits(&logits(4..6, 0)));
}

/// Makes two steps of plain gradient descent on one batch, and fails if the loss does not fall as
/// its gradients predict: by `rate x |gradient|^2` at a rate so small that the loss falls linearly.
fn assert_gradients_hold(engine: &mut CpuEngine, images: &[f32], labels: &[u32], rate: f32) {
    let rates = vec![rate; engine.graph().nodes.len()];
    let update = Update {
        optimizer: Optimizer::Sgd { momentum: 0.0 },
        learning_rates: &rates,
        weight_decay: 0.0,
        decay_bias_norm: true,
        step: 1,
        clip: None,
    };
    let step = |engine: &mut CpuEngine| {
        let losses = step_named(engine, images, labels, (1, 2, 3), &update).losses;
        losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64
    };
    let start = engine.state();
    let before = step(engine);
    let state = engine.state();
    let learned = engine.parameters().iter().filter(|parameter| parameter.role.is_learned());
    let changes =
        learned.flat_map(|parameter| start[&parameter.name].iter().zip(&state[&parameter.name]));
    let promised =
        changes.map(|(old, new)| (f64::from(*old) - f64::from(*new)).powi(2)).sum::<f64>()
            / f64::from(rate);
    let fall = before - step(engine);
    println!(
        "{}: loss {before}, falls by {fall:.3e}, its gradients promise {promised:.3e}",
        engine.graph().architecture
    );
    assert!(
        (fall / promised - 1.0).abs() < 0.05,
        "the loss {before} falls by {fall}, its gradients promise {promised}"
    );
}

/// At 32 pixels the last feature maps of ResNet-18 have one pixel, so a batch of one image has no
/// variance there.
#[test]
fn one_image_on_maps_of_one_pixel_trains_with_running_statistics() {
    let size = 32;
    let mut engine = engine(network("resnet18"), size, 2);
    let start = engine.state();
    let shapes = engine.graph().shapes(size).expect("large enough");
    let (image, label) = pictures(1, size, CLASSES);
    assert_gradients_hold(&mut engine, &image, &label, 1e-6);
    let state = engine.state();
    let mut single = 0;
    for parameter in engine.parameters() {
        let (old, new) = (&start[&parameter.name], &state[&parameter.name]);
        assert!(new.iter().all(|value| value.is_finite()), "{}", parameter.name);
        if !parameter.role.is_learned() {
            let one_pixel = shapes[parameter.node].height == 1;
            single += usize::from(one_pixel);
            assert_eq!(bits(old) == bits(new), one_pixel, "{}", parameter.name);
        }
    }
    assert_eq!(single, 2 * 5, "mean and variance of the five convolutions of layer4");
}

/// PyTorch's trainings have no drops, so the backward pass with drops is checked by the predicted
/// fall of the loss.
#[test]
fn gradients_hold_with_dropout_and_drop_connect() {
    let mut engine = engine(network("efficientnet_lite0"), 64, 2);
    let (images, labels) = pictures(8, 64, CLASSES);
    assert_gradients_hold(&mut engine, &images, &labels, 1e-5);
}

/// For every cut: the plan's memory is sufficient, frozen tensors stay, and others move.
#[test]
fn every_cut_between_frozen_and_trained_layers_trains() {
    // The larger network is tested for its bottlenecks; a few cuts of it are enough.
    for (architecture, every) in [("resnet18", 1), ("resnet50", 9), ("efficientnet_lite0", 1)] {
        let graph = network(architecture);
        let mut engine = engine(graph.clone(), 32, 2);
        let start = engine.state();
        for (index, layer) in graph.layers().into_iter().step_by(every).enumerate() {
            let frozen = layer.nodes.start;
            let batch = 2 + index % 2;
            engine.load_state(&start).expect("every tensor");
            engine.load_optimizer_state(&State::new()).expect("nothing to refuse");
            // A cut within a layer freezes only the layers before it.
            engine.freeze(layer.nodes.end - 1);
            assert_eq!(engine.frozen(), frozen);
            let (images, labels) = pictures(batch, 32, CLASSES);
            let rates = vec![1e-2; graph.nodes.len()];
            let update = Update {
                optimizer: SGD,
                learning_rates: &rates,
                weight_decay: 1e-3,
                step: 1,
                clip: None,
                decay_bias_norm: true,
            };
            let losses = step_named(&mut engine, &images, &labels, (0, 0, 0), &update).losses;
            assert!(
                losses.iter().all(|loss| loss.is_finite()),
                "{architecture} {frozen}: {losses:?}"
            );
            let state = engine.state();
            for parameter in engine.parameters() {
                let moved = bits(&state[&parameter.name]) != bits(&start[&parameter.name]);
                assert_eq!(
                    moved,
                    parameter.node >= frozen,
                    "{architecture} frozen before {frozen}: {}",
                    parameter.name
                );
            }
            assert!(engine.optimizer_state().values().flatten().all(|value| value.is_finite()));
        }
    }
}

#[test]
fn bad_requests_are_refused() {
    let mut engine = engine(network("resnet18"), 32, 1);
    let (images, labels) = pictures(2, 32, CLASSES);
    let rates = vec![0.1; engine.graph().nodes.len()];
    let start = engine.state();
    let update = Update {
        optimizer: SGD,
        learning_rates: &rates,
        weight_decay: 0.0,
        step: 1,
        clip: None,
        decay_bias_norm: true,
    };
    let batch = TrainBatch {
        input: Input::values(&images),
        target: Target::Labels(&labels),
        weights: None,
        seed: 0,
        epoch: 0,
        position: 0,
    };

    let foreign =
        engine.train_step(&TrainBatch { target: Target::Labels(&[0, 4]), ..batch }, MEAN, &update);
    assert_eq!(foreign.err(), Some(EngineError::Label { label: 4, classes: CLASSES }));
    let length = |error: Option<EngineError>| match error {
        Some(EngineError::Length { found, expected, .. }) => (found, expected),
        error => panic!("{error:?}"),
    };
    let short = engine.train_step(
        &TrainBatch { input: Input::values(&images[1..]), ..batch },
        MEAN,
        &update,
    );
    assert_eq!(length(short.err()), (2 * 3072 - 1, 2 * 3072));
    let few = engine.train_step(&batch, MEAN, &Update { learning_rates: &rates[1..], ..update });
    assert_eq!(length(few.err()), (rates.len() - 1, rates.len()));
    assert_eq!(length(engine.evaluate(Input::values(&images), 3).err()), (2 * 3072, 3 * 3072));

    let mut incomplete = start.clone();
    incomplete.remove("layer1.0.bn1.running_var");
    assert_eq!(
        engine.load_state(&incomplete),
        Err(EngineError::Missing("layer1.0.bn1.running_var".into()))
    );
    let mut longer = start.clone();
    longer.entry("fc.bias".into()).or_default().push(0.0);
    assert_eq!(length(engine.load_state(&longer).err()), (CLASSES + 1, CLASSES));
    assert_same(&engine.state(), &start, "a refused state changes nothing");
}
