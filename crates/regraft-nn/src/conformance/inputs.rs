//! Tests images of any size, as numbers and as pixels, and the output of each layer.

use super::bench::*;
use crate::engine::{Input, Mix, Normalisation, TrainBatch};
use regraft_base::random::{Draws, Purpose};

/// An image's logits do not depend on the other images of its batch, to the bit.
pub fn an_image_does_not_depend_on_its_batch(bench: &Bench<'_>) {
    for architecture in ARCHITECTURES {
        let mut engine = bench.engine(graph(architecture), SIDE);
        let images = images(30, BATCH, SIDE);
        let together =
            engine.evaluate(Input::values(&images.values), BATCH).expect("images that fit");
        assert_eq!(together.len(), BATCH * CLASSES);
        let alone: Vec<f32> = images
            .values
            .chunks_exact(SIDE * SIDE * 3)
            .flat_map(|image| engine.evaluate(Input::values(image), 1).expect("an image that fits"))
            .collect();
        assert_eq!(alone, together, "{architecture}");
    }
}

/// The head's input is the output of the node before it, and a network of the head alone computes
/// the same logits from it.
pub fn features_are_the_heads_input(bench: &Bench<'_>) {
    for architecture in ARCHITECTURES {
        let mut engine = bench.engine(graph(architecture), SIDE);
        let images = images(31, BATCH, SIDE);
        let node = engine.graph().backbone() - 1;
        let shapes = engine.graph().shapes(SIDE).expect("large enough");
        let features =
            engine.features(Input::values(&images.values), BATCH, node).expect("images that fit");
        assert_eq!(features.len(), BATCH * shapes[node].length(), "{architecture}");
        let logits =
            engine.evaluate(Input::values(&images.values), BATCH).expect("images that fit");
        let mut head = bench.bare(engine.graph().head_alone(), 1);
        head.load_state(&engine.state()).expect("the head's tensors are among them");
        let found = head.evaluate(Input::values(&features), BATCH).expect("features that fit");
        let worst = difference(&found, logits.iter().map(|&logit| f64::from(logit)));
        assert!(worst < 1e-6, "{architecture}: {worst}");
        // Every node has an output, even those that an engine never stores.
        for (node, shape) in shapes.iter().enumerate().step_by(7) {
            let output = engine
                .features(Input::values(&images.values), BATCH, node)
                .expect("images that fit");
            assert_eq!(output.len(), BATCH * shape.length(), "{architecture}: node {node}");
            assert!(output.iter().all(|value| value.is_finite()), "{architecture}: node {node}");
        }
    }
}

/// Sizes that no tile, vector or stride divides.
pub fn images_of_odd_sizes_train(bench: &Bench<'_>) {
    for architecture in ARCHITECTURES {
        for (side, count) in [(33, 2), (47, 1), (39, 5)] {
            let mut engine = bench.engine(graph(architecture), side);
            let images = images(32, count, side);
            let output = gradients(&mut *engine, &images.batch(), MEAN);
            assert_eq!((output.losses.len(), output.logits.len()), (count, count * CLASSES));
            let norm = engine.gradient_norm();
            assert!(norm > 0.0 && norm.is_finite(), "{architecture} of {side} pixels: {norm}");
        }
    }
}

/// Pixels that are normalised and mixed while they load give the same bits as normalising and
/// mixing in f32 beforehand.
pub fn pixels_are_normalised_and_mixed_as_they_load(bench: &Bench<'_>) {
    let normalisation = Normalisation { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    let mut draws = Draws::new(17, Purpose::Fixture, 0, 0);
    let length = SIDE * SIDE * 3;
    let pixels: Vec<u8> = (0..BATCH * length).map(|_| (draws.next_u32() >> 24) as u8).collect();
    let mut values = vec![0.0; pixels.len()];
    normalisation.apply(&pixels, &mut values);
    let mut engine = bench.engine(graph("resnet18"), SIDE);
    let expected = engine.evaluate(Input::values(&values), BATCH).expect("images that fit");
    let found =
        engine.evaluate(Input::pixels(&pixels, normalisation), BATCH).expect("images that fit");
    assert_eq!(found, expected, "not mixed");
    let part = Input { part: Some([1, BATCH]), ..Input::pixels(&pixels, normalisation) };
    let found = engine.evaluate(part, BATCH - 1).expect("images that fit");
    assert_eq!(found, expected[CLASSES..], "a part of a batch");

    let (top, left, bottom, right) = (3, 5, 20, 32);
    for mix in [Mix::Blend(0.7), Mix::Paste { top, left, bottom, right }] {
        let mixed: Vec<f32> = (0..values.len())
            .map(|at| {
                let (image, within) = (at / length, at % length);
                let (row, column) = (within / 3 / SIDE, within / 3 % SIDE);
                let other = values[(image + BATCH - 1) % BATCH * length + within];
                match mix {
                    Mix::Blend(kept) => kept * values[at] + (1.0 - kept) * other,
                    Mix::Paste { .. }
                        if (top..bottom).contains(&row) && (left..right).contains(&column) =>
                    {
                        other
                    }
                    Mix::Paste { .. } => values[at],
                }
            })
            .collect();
        let images = images(33, BATCH, SIDE);
        let batch = |input| TrainBatch { input, ..images.batch() };
        let expected = gradients(&mut *engine, &batch(Input::values(&mixed)), MEAN).losses;
        for input in [Input::values(&values), Input::pixels(&pixels, normalisation)] {
            let found =
                gradients(&mut *engine, &batch(Input { mix: Some(mix), ..input }), MEAN).losses;
            assert_eq!(found, expected, "{mix:?}");
        }
    }
}
