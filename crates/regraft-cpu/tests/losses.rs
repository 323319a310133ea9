//! Losses other than softmax cross-entropy.

mod common;

use common::training::pictures;
use common::{bits, engine, graph, without_drops};
use regraft_kernels::loss;
use regraft_nn::engine::{
    Engine, EngineError, Input, Loss, LossSettings, Optimizer, Reduction, StepPart, Target,
    TrainBatch, Update,
};

const CLASSES: usize = 4;

/// Several labels of an image, and numbers: gradients equal those of the kernels' losses, and a
/// head learns its targets.
#[test]
fn heads_learn_several_labels_and_numbers() {
    let (images, labels) = pictures(8, 32, CLASSES);
    // Image i has label l if bit l of i is set; as a number, that is i's own digits.
    let values: Vec<f32> =
        (0..8 * CLASSES).map(|at| ((at / CLASSES) >> (at % CLASSES) & 1) as f32).collect();
    for (loss, rate) in [(Loss::SigmoidCrossEntropy, 0.02), (Loss::SquaredError, 2e-4)] {
        let mut engine = engine(without_drops(graph("resnet18").with_classes(CLASSES)), 32, 2);
        engine.freeze(engine.graph().backbone());
        let settings = LossSettings { loss, reduction: Reduction::Mean };
        let rates = vec![rate; engine.graph().nodes.len()];
        let batch = TrainBatch {
            input: Input::values(&images),
            target: Target::Values(&values),
            weights: None,
            seed: 0,
            epoch: 0,
            position: 0,
        };
        let mut means = Vec::new();
        for step in 1..=60 {
            let update = Update {
                optimizer: Optimizer::Sgd { momentum: 0.9 },
                learning_rates: &rates,
                weight_decay: 0.0,
                decay_bias_norm: true,
                step,
                clip: None,
            };
            let output = engine.train_step(&batch, settings, &update).expect("a batch that fits");
            let (mut losses, mut gradient) = ([0.0; 8], [0.0; 8 * CLASSES]);
            match loss {
                Loss::SquaredError => {
                    loss::squared_error(
                        &output.logits,
                        &values,
                        CLASSES,
                        1.0,
                        &mut losses,
                        &mut gradient,
                    );
                }
                _ => loss::sigmoid_cross_entropy(
                    &output.logits,
                    &values,
                    CLASSES,
                    1.0,
                    &mut losses,
                    &mut gradient,
                ),
            }
            assert_eq!(bits(&losses), bits(&output.losses));
            means.push(losses.iter().sum::<f32>() / 8.0);
        }
        assert!(means[59] < 0.5 * means[0], "{loss:?}: {means:?}");
    }
    let mut engine = engine(graph("resnet18").with_classes(CLASSES), 32, 2);
    let batch = TrainBatch {
        input: Input::values(&images),
        target: Target::Labels(&labels),
        weights: None,
        seed: 0,
        epoch: 0,
        position: 0,
    };
    let numbers = LossSettings { loss: Loss::SquaredError, reduction: Reduction::Mean };
    assert_eq!(
        engine.gradients(&batch, numbers, StepPart::whole(8)).err(),
        Some(EngineError::LabelsForNumbers)
    );
}
