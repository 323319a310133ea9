//! Tests steps that are requested first and fetched later.

use super::bench::*;
use crate::engine::{Engine, Input, Optimizer, StepPart, TrainBatch, Update};

const SGD: Optimizer = Optimizer::Sgd { momentum: 0.9 };

/// Steps whose results are fetched later give the same, to the bit, as gradients and updates one by
/// one.
pub fn steps_can_be_fetched_later(bench: &Bench<'_>) {
    let [mut one, mut queue] = [0, 1].map(|_| bench.engine(graph("efficientnet_b0"), SIDE));
    let rates = vec![1e-2; one.graph().nodes.len()];
    let moves: Vec<Update<'_>> =
        (1..=3).map(|step| Update { clip: Some(0.5), ..update(&rates, SGD, 1e-3, step) }).collect();
    let batches: Vec<Images> = (80..83).map(|number| images(number, BATCH, SIDE)).collect();
    let pending: Vec<_> = batches
        .iter()
        .zip(&moves)
        .map(|(images, update)| {
            let whole = StepPart::whole(BATCH);
            queue.step(&images.batch(), MEAN, whole, Some(update)).expect("a batch that fits")
        })
        .collect();
    for ((images, update), pending) in batches.iter().zip(&moves).zip(pending) {
        let expected = gradients(&mut *one, &images.batch(), MEAN);
        let norm = one.gradient_norm();
        one.update(update).expect("gradients are there");
        let found = queue.outcome(pending).expect("a step that was asked for");
        assert_eq!((found.losses, found.logits), (expected.losses, expected.logits));
        assert_eq!((found.gradient_norm, found.is_refused), (Some(norm), false));
    }
    assert!(same(&one.state(), &queue.state()));
    assert!(same(&one.optimizer_state(), &queue.optimizer_state()));
}

/// The last part of a step requests the update with the gradients of all parts; the results of
/// earlier parts have no norm.
pub fn the_last_part_of_a_step_asks_for_the_update(bench: &Bench<'_>) {
    let [mut one, mut queue] = [0, 1].map(|_| bench.engine(graph("resnet18"), SIDE));
    let rates = vec![1e-2; one.graph().nodes.len()];
    let update = update(&rates, SGD, 0.0, 1);
    let images = images(83, 4, SIDE);
    let part = |first: usize, is_last: bool| {
        let input = Input { part: Some([first, first + 2]), ..Input::values(&images.values) };
        let target = crate::engine::Target::Labels(&images.labels[first..first + 2]);
        let batch = TrainBatch { input, target, position: first as u32, ..images.batch() };
        (batch, StepPart { step_images: 4, accumulate: first > 0, is_last })
    };
    let parts = [part(0, false), part(2, true)];
    let pending = parts.map(|(batch, part)| {
        let update = part.is_last.then_some(&update);
        queue.step(&batch, MEAN, part, update).expect("a batch that fits")
    });
    let norms = pending
        .map(|pending| queue.outcome(pending).expect("a step that was asked for"))
        .map(|output| output.gradient_norm.is_some());
    assert_eq!(norms, [false, true]);
    for (batch, part) in [part(0, false), part(2, true)] {
        one.gradients(&batch, MEAN, part).expect("a batch that fits");
    }
    one.update(&update).expect("gradients are there");
    assert!(same(&one.state(), &queue.state()));
}

/// If a gradient is too long, it is scaled, and otherwise not, as in PyTorch's `clip_grad_norm_`.
pub fn only_a_long_gradient_is_clipped(bench: &Bench<'_>) {
    let moved = |clip: Option<f32>| {
        let mut engine = bench.engine(graph("resnet18"), SIDE);
        let images = images(84, BATCH, SIDE);
        gradients(&mut *engine, &images.batch(), MEAN);
        let norm = engine.gradient_norm();
        let rates = vec![1e-2; engine.graph().nodes.len()];
        let plain = update(&rates, Optimizer::Sgd { momentum: 0.0 }, 0.0, 1);
        engine.update(&Update { clip, ..plain }).expect("gradients are there");
        (norm, engine.state())
    };
    let (norm, plain) = moved(None);
    let (_, long) = moved(Some(norm as f32 * 2.0));
    assert!(same(&plain, &long), "a short gradient stays as it is");
    let (_, clipped) = moved(Some(norm as f32 * 0.5));
    assert!(!same(&plain, &clipped));
}

/// If a value is not finite, the engine skips the update and those of the steps behind it in the
/// queue. Once the result has been fetched, steps update again.
pub fn no_update_is_made_of_what_is_not_finite(bench: &Bench<'_>) {
    let mut engine = bench.engine(graph("resnet18"), SIDE);
    let before = engine.state();
    let rates = vec![1e-2; engine.graph().nodes.len()];
    let update = update(&rates, SGD, 0.0, 1);
    let good = images(85, BATCH, SIDE);
    let mut bad = images(85, BATCH, SIDE);
    bad.values[7] = f32::NAN;
    let step = |engine: &mut dyn Engine, images: &Images| {
        let whole = StepPart::whole(BATCH);
        engine.step(&images.batch(), MEAN, whole, Some(&update)).expect("a batch that fits")
    };
    let pending = [&bad, &good].map(|images| step(&mut *engine, images));
    let [first, second] =
        pending.map(|pending| engine.outcome(pending).expect("a step that was asked for"));
    assert!(!first.is_finite() && first.is_refused && second.is_finite() && second.is_refused);
    assert!(same(&engine.state(), &before) && engine.optimizer_state().is_empty());
    let pending = step(&mut *engine, &good);
    let third = engine.outcome(pending).expect("a step that was asked for");
    assert!(!third.is_refused && !same(&engine.state(), &before));
}
