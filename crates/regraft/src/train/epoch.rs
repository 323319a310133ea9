//! One epoch: steps over the training pictures, and scoring between epochs.

use super::{Event, StepReport, TrainError};
use crate::config::{LossReduction, OptimizerName, TrainConfig};
use crate::evaluate::evaluate;
use crate::metrics::{Evaluation, predicted_class};
use crate::pictures::Pictures;
use crate::report::epochs;
use crate::{schedule, transfer};
use regraft_data::catalogue::Sample;
use regraft_data::loader::{Loader, LoaderOptions, Transform};
use regraft_kernels::optimizer::AdamSettings;
use regraft_kernels::random::{Draws, Purpose};
use regraft_nn::engine::{Engine, LossSettings, Optimizer, Reduction, TrainBatch, Update};
use std::sync::Arc;
use std::time::Instant;

/// What stays the same from epoch to epoch, and what is counted over them.
pub(super) struct Trainer<'a> {
    config: &'a TrainConfig,
    pub engine: &'a mut dyn Engine,
    pictures: &'a Pictures,
    loading: &'a LoaderOptions,
    multipliers: Vec<f32>,
    optimizer: Optimizer,
    loss: LossSettings,
    steps_per_epoch: u64,
    /// Updates made so far.
    pub steps_done: u64,
    /// Training pictures of all epochs.
    pub images: usize,
    /// Wall time of all epochs' training.
    pub seconds: f64,
}

impl<'a> Trainer<'a> {
    pub fn new(config: &'a TrainConfig, engine: &'a mut dyn Engine, pictures: &'a Pictures, loading: &'a LoaderOptions) -> Self {
        Self {
            multipliers: transfer::rate_multipliers(engine.graph(), config.head_lr_mult),
            optimizer: match config.optimizer {
                OptimizerName::Sgd => Optimizer::Sgd { momentum: config.momentum },
                OptimizerName::AdamW => Optimizer::AdamW(AdamSettings::default()),
            },
            loss: LossSettings {
                reduction: match config.loss {
                    LossReduction::Mean => Reduction::Mean,
                    LossReduction::Sum => Reduction::Sum,
                },
                label_smoothing: config.label_smoothing,
            },
            steps_per_epoch: pictures.train.len().div_ceil(config.batch_size) as u64,
            steps_done: 0,
            images: 0,
            seconds: 0.0,
            config,
            engine,
            pictures,
            loading,
        }
    }

    /// The trunk's learning rate at the next step.
    fn learning_rate(&self) -> f32 {
        let steps = self.steps_per_epoch * u64::from(self.config.epochs);
        let warmup = (f64::from(self.config.warmup) * self.steps_per_epoch as f64).round() as u64;
        self.config.lr * schedule::factor(self.config.schedule, self.steps_done, steps, warmup)
    }

    /// One pass over the training pictures, in an order of its own.
    pub fn run_epoch(&mut self, epoch: u32, report: &mut (dyn FnMut(Event<'_>) + Send)) -> Result<epochs::EpochRow, TrainError> {
        let started = Instant::now();
        let count = self.pictures.train.len();
        let mut order: Vec<u32> = (0..count as u32).collect();
        Draws::new(self.config.seed, Purpose::Shuffle, epoch, 0).shuffle(&mut order);
        let transform = Transform::Train { seed: self.config.seed, epoch };
        let options = LoaderOptions { batch_size: self.config.batch_size, transform, ..self.loading.clone() };
        let mut loader = Loader::start(Arc::clone(&self.pictures.train), order, options);
        let (mut done, mut right, mut loss_sum, mut learning_rate) = (0, 0, 0.0, 0.0);
        while let Some(batch) = loader.next() {
            let batch = batch?;
            learning_rate = self.learning_rate();
            let rates: Vec<f32> = self.multipliers.iter().map(|multiplier| learning_rate * multiplier).collect();
            let update = Update {
                optimizer: self.optimizer,
                learning_rates: &rates,
                weight_decay: self.config.weight_decay,
                step: self.steps_done + 1,
            };
            let step =
                TrainBatch { images: &batch.images, labels: &batch.labels, seed: self.config.seed, epoch, position: done as u32 };
            let output = self.engine.train_step(&step, self.loss, &update)?;
            if let Some(place) = output.losses.iter().position(|loss| !loss.is_finite()) {
                let path = self.pictures.train[batch.indices[place] as usize].path.clone();
                let (image, loss) = (done + place + 1, output.losses[place]);
                let learning_rate = self.config.lr;
                return Err(TrainError::Diverged { epoch: epoch + 1, image, path, loss, learning_rate, kept: None });
            }
            let classes = output.logits.len() / batch.labels.len();
            let rows = output.logits.chunks_exact(classes).zip(&batch.labels);
            right += rows.filter(|(row, label)| predicted_class(row) == Some(**label as usize)).count();
            loss_sum += output.losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            done += batch.labels.len();
            self.steps_done += 1;
            loader.recycle(batch);
            report(Event::Step(&StepReport {
                epoch: (epoch + 1, self.config.epochs),
                images: (done, count),
                loss: loss_sum / done as f64,
                accuracy: right as f64 / done as f64,
                images_per_second: done as f64 / started.elapsed().as_secs_f64(),
            }));
        }
        let seconds = started.elapsed().as_secs_f64();
        self.images += done;
        self.seconds += seconds;
        Ok(epochs::EpochRow {
            epoch: epoch + 1,
            train_loss: loss_sum / done as f64,
            train_accuracy: right as f64 / done as f64,
            validation_loss: None,
            validation_accuracy: None,
            test_accuracy: None,
            learning_rate: f64::from(learning_rate),
            seconds,
            images_per_second: done as f64 / seconds,
            data_wait_fraction: loader.waited().as_secs_f64() / seconds,
        })
    }

    /// Scores a part's pictures with the weights as they are; `None` where there are none.
    pub fn score(
        &mut self,
        part: &'static str,
        samples: &Arc<[Sample]>,
        report: &mut (dyn FnMut(Event<'_>) + Send),
    ) -> Result<Option<Evaluation>, TrainError> {
        if samples.is_empty() {
            return Ok(None);
        }
        let total = samples.len();
        let mut progress = |done| report(Event::Scoring { part, done, total });
        Ok(Some(evaluate(self.engine, samples, &self.pictures.classes, self.loading.clone(), &mut progress)?))
    }
}
