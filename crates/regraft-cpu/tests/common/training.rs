//! Short trainings that `fixtures/training.py` in the repository describes.

use super::{drawn_pictures, number, numbers};
use regraft_base::adam::AdamSettings;
use regraft_nn::engine::{
    Engine, Input, Loss, LossSettings, Optimizer, Reduction, StepOutput, Target, TrainBatch, Update,
};
use serde_json::Value;

/// The mean cross-entropy.
pub const MEAN: LossSettings = LossSettings {
    loss: Loss::SoftmaxCrossEntropy { label_smoothing: 0.0 },
    reduction: Reduction::Mean,
};

/// The generator's striped images, `[N, H, W, 3]`, and their labels: the class is the width of the
/// stripes.
pub fn pictures(count: usize, size: usize, classes: usize) -> (Vec<f32>, Vec<u32>) {
    let images = drawn_pictures(2_000_000, count, size, |u, picture, row| {
        let stripe = row >> (picture % classes + 1);
        (2.0 * u - 1.0) + if stripe.is_multiple_of(2) { 0.5 } else { -0.5 }
    });
    (images, (0..count).map(|picture| (picture % classes) as u32).collect())
}

/// A training run.
pub struct Run {
    pub architecture: String,
    pub frozen_through: Option<String>,
    /// Number of images in each step.
    pub batches: Vec<usize>,
    pub image_size: usize,
    pub pictures: usize,
    pub classes: usize,
    pub optimizer: Optimizer,
    pub rate: f32,
    pub head_multiplier: f32,
    pub weight_decay: f32,
}

impl Run {
    pub fn of(record: &Value) -> Self {
        let text = |key: &str| record[key].as_str().map(str::to_owned);
        let optimizer = match text("optimizer").as_deref() {
            Some("sgd") => Optimizer::Sgd { momentum: number(record, "momentum") as f32 },
            Some("adamw") => {
                let [beta1, beta2] = numbers(&record["betas"])[..] else { panic!("two betas") };
                let epsilon = number(record, "eps") as f32;
                Optimizer::AdamW(AdamSettings { beta1: beta1 as f32, beta2: beta2 as f32, epsilon })
            }
            optimizer => panic!("an unknown optimiser {optimizer:?}"),
        };
        Self {
            architecture: text("architecture").expect("an architecture"),
            frozen_through: text("frozen_through"),
            batches: numbers(&record["batches"]).into_iter().map(|size| size as usize).collect(),
            image_size: number(record, "image_size") as usize,
            pictures: number(record, "pictures") as usize,
            classes: number(record, "classes") as usize,
            optimizer,
            rate: number(record, "lr") as f32,
            head_multiplier: number(record, "head_multiplier") as f32,
            weight_decay: number(record, "weight_decay") as f32,
        }
    }

    /// Makes step number `step`, counted from 1, with the images `chosen` of `images`.
    pub fn step(
        &self,
        engine: &mut impl Engine,
        images: &[f32],
        labels: &[u32],
        chosen: &[usize],
        step: u64,
    ) -> StepOutput {
        let length = images.len() / labels.len();
        let batch: Vec<f32> = chosen
            .iter()
            .flat_map(|&picture| &images[picture * length..][..length])
            .copied()
            .collect();
        let labels: Vec<u32> = chosen.iter().map(|&picture| labels[picture]).collect();
        let mut rates = vec![self.rate; engine.graph().nodes.len()];
        rates[engine.graph().backbone()..]
            .iter_mut()
            .for_each(|rate| *rate *= self.head_multiplier);
        let batch = TrainBatch {
            input: Input::values(&batch),
            target: Target::Labels(&labels),
            weights: None,
            seed: 0,
            epoch: 0,
            position: 0,
        };
        let update = Update {
            optimizer: self.optimizer,
            learning_rates: &rates,
            weight_decay: self.weight_decay,
            decay_bias_norm: true,
            step,
            clip: None,
        };
        engine.train_step(&batch, MEAN, &update).expect("a batch that fits")
    }
}
