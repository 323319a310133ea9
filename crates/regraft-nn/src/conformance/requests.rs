//! Tests requests that an engine refuses, after which it stays usable.

use super::bench::*;
use crate::engine::{
    EngineError, Input, Loss, LossSettings, Optimizer, State, StepPart, Target, TrainBatch,
};

/// Lengths, labels and tensors that do not fit are errors that state the expected value.
pub fn requests_that_do_not_fit_are_refused(bench: &Bench<'_>) {
    let mut engine = bench.engine(graph("resnet18"), SIDE);
    let images = images(60, BATCH, SIDE);
    let length = SIDE * SIDE * 3;
    let before = engine.state();
    let short = Input::values(&images.values[length..]);
    let is_length = |error: Option<EngineError>, lengths: (usize, usize)| match error {
        Some(EngineError::Length { found, expected, .. }) => assert_eq!((found, expected), lengths),
        other => panic!("{other:?}"),
    };
    is_length(engine.evaluate(short, BATCH).err(), (2 * length, 3 * length));
    let reach = Input { part: Some([2, 4]), ..Input::values(&images.values) };
    is_length(engine.evaluate(reach, 2).err(), (3 * length, 4 * length));
    let whole = StepPart::whole(BATCH);
    let mut refused = |batch: TrainBatch<'_>, loss| engine.gradients(&batch, loss, whole).err();
    is_length(
        refused(TrainBatch { input: short, ..images.batch() }, MEAN),
        (2 * length, 3 * length),
    );
    is_length(refused(TrainBatch { weights: Some(&[1.0]), ..images.batch() }, MEAN), (1, BATCH));
    let labels = [0, CLASSES as u32, 1];
    let error = refused(TrainBatch { target: Target::Labels(&labels), ..images.batch() }, MEAN);
    assert_eq!(error, Some(EngineError::Label { label: CLASSES as u32, classes: CLASSES }));
    let squares = LossSettings { loss: Loss::SquaredError, ..MEAN };
    assert_eq!(refused(images.batch(), squares), Some(EngineError::LabelsForNumbers));

    let mut lacking = before.clone();
    lacking.remove("fc.bias");
    assert_eq!(engine.load_state(&lacking), Err(EngineError::Missing("fc.bias".into())));
    assert_eq!(engine.load_average(Some(&lacking)), Err(EngineError::Missing("fc.bias".into())));
    let mut longer = before.clone();
    longer.entry("fc.bias".into()).or_default().push(0.0);
    is_length(engine.load_state(&longer).err(), (CLASSES + 1, CLASSES));
    let memory: State = [("fc.bias.momentum".to_owned(), vec![0.0])].into();
    is_length(engine.load_optimizer_state(&memory).err(), (1, CLASSES));
    assert!(
        same(&engine.state(), &before)
            && !engine.has_average()
            && engine.optimizer_state().is_empty()
    );
    gradients(&mut *engine, &images.batch(), MEAN);
}

/// An update needs gradients of everything that learns, and a rate for every node.
pub fn an_update_without_gradients_is_refused(bench: &Bench<'_>) {
    let mut engine = bench.engine(graph("resnet18"), SIDE);
    let rates = vec![1e-3; engine.graph().nodes.len()];
    let plain = update(&rates, Optimizer::Sgd { momentum: 0.0 }, 0.0, 1);
    assert_eq!(
        engine.update(&plain),
        Err(EngineError::NoGradient(engine.parameters()[0].name.clone()))
    );
    engine.freeze(usize::MAX);
    let images = images(61, BATCH, SIDE);
    gradients(&mut *engine, &images.batch(), MEAN);
    assert_eq!(engine.update(&plain), Ok(()));
    engine.freeze(0);
    assert_eq!(
        engine.update(&plain),
        Err(EngineError::NoGradient(engine.parameters()[0].name.clone()))
    );
    gradients(&mut *engine, &images.batch(), MEAN);
    let short = update(&rates[1..], Optimizer::Sgd { momentum: 0.0 }, 0.0, 1);
    assert!(matches!(engine.update(&short), Err(EngineError::Length { .. })));
    assert_eq!(engine.update(&plain), Ok(()));
}
