//! Prepares a fitted head so that the backbone can learn from it: gradients that every image adds
//! to, and a rate that the loss bears.

use super::curvature::largest_curvature;
use super::epoch::Trainer;
use super::feed::Batch;
use super::observer::{Halt, Observer};
use super::state::TrainState;
use crate::config::OptimizerName;
use crate::note::NoteKind;
use crate::transfer;
use regraft_nn::engine::{Engine, EngineError};

/// The root mean square to which a fitted head's logits are scaled down. A head that fits its
/// training images closely has large logits (7 for the hand signs of docs/recipes.md): its images
/// have next to no gradient, and the loss bends so sharply that only tiny steps are stable. Smaller
/// logits change no answer, and the head is fitted again after each epoch.
const LOGITS: f64 = 1.0;
/// With momentum 0.9, steps of gradient descent are stable up to a rate of 3.8 / curvature; those
/// of small batches need a fraction of that. Times `1 - momentum`, for momentum multiplies what a
/// rate comes to.
const SHARE: f64 = 4.0;
/// The highest rate that is chosen, however flat the loss: at twice that, the first epoch on trash
/// (docs/recipes.md) cost 5 points.
const HIGHEST: f64 = 1e-3;

impl Trainer<'_> {
    /// Scales a fitted head down and measures the learning rate, unless one is given, if the
    /// backbone is to learn.
    pub(super) fn prepare_steps(
        &mut self,
        state: &mut TrainState,
        observer: &mut Observer<'_>,
    ) -> Result<(), Halt> {
        let last = self.config.epoch_count().saturating_sub(1);
        let freeze = self.config.freeze.as_ref();
        let learning = freeze
            .map_or(Ok(0), |freeze| transfer::frozen_nodes(self.engine.graph(), freeze, last))?;
        if learning == self.engine.graph().backbone() {
            return Ok(());
        }
        let batches = self.first_batches(observer)?;
        scale_head(&mut *self.engine, &batches)?;
        if self.config.lr.is_some() || self.config.optimizer != OptimizerName::Sgd {
            return Ok(());
        }
        let frozen = self.engine.frozen();
        self.engine.freeze(learning);
        let mut curvature = 0.0;
        for batch in &batches {
            let classes = self.pictures.classes.len();
            let found =
                largest_curvature(&mut *self.engine, batch, classes, self.loss, &self.multipliers)?;
            curvature += found / batches.len() as f64;
        }
        self.engine.freeze(frozen);
        let rate = (SHARE * f64::from(1.0 - self.config.momentum)
            / curvature.max(f64::MIN_POSITIVE))
        .min(HIGHEST) as f32;
        let text =
            format!("the learning rate is {rate:.1e}: the curvature of the loss is {curvature:.0}");
        observer.note_in(state, NoteKind::LearningRate, text);
        state.measured_rate = Some(rate);
        Ok(())
    }

    /// The first batches of the first epoch.
    fn first_batches(&mut self, observer: &mut Observer<'_>) -> Result<Vec<Batch>, Halt> {
        let mut order = self.order(0);
        order.truncate(self.rate_batches.saturating_mul(self.config.batch_size));
        let mut batches = self.feed.batches(0, order, observer)?;
        let found: Result<Vec<Batch>, _> = std::iter::from_fn(|| batches.next()).collect();
        observer.agree(found)
    }
}

/// Scales the head down until the logits of these images have a root mean square of [`LOGITS`].
fn scale_head(engine: &mut dyn Engine, batches: &[Batch]) -> Result<(), EngineError> {
    let (mut sum, mut count) = (0.0, 0);
    for batch in batches {
        let logits = engine.evaluate(batch.input(), batch.labels.len())?;
        sum += logits.iter().map(|&logit| f64::from(logit).powi(2)).sum::<f64>();
        count += logits.len();
    }
    let scale = LOGITS / (sum / count.max(1) as f64).sqrt();
    if scale >= 1.0 {
        return Ok(());
    }
    let mut tensors = engine.state();
    let head = engine.graph().backbone();
    for parameter in engine.parameters().iter().filter(|parameter| parameter.node >= head) {
        let values = tensors.get_mut(&parameter.name).into_iter().flatten();
        values.for_each(|value| *value *= scale as f32);
    }
    engine.load_state(&tensors)
}
