//! The optimisers' updates of one parameter, as PyTorch's `SGD` and `AdamW` compute them.

use rayon::prelude::*;

const ELEMENTS_PER_TASK: usize = 1 << 15;

/// Stochastic gradient descent with momentum: `gradient += decay * parameter; velocity = momentum * velocity + gradient;
/// parameter -= rate * velocity`. Without momentum `velocity` may be empty.
pub fn sgd(parameter: &mut [f32], gradient: &[f32], velocity: &mut [f32], rate: f32, momentum: f32, decay: f32) {
    assert_eq!(parameter.len(), gradient.len());
    if momentum == 0.0 {
        let tasks = parameter.par_chunks_mut(ELEMENTS_PER_TASK).zip(gradient.par_chunks(ELEMENTS_PER_TASK));
        return tasks.for_each(|(parameter, gradient)| {
            for (parameter, gradient) in parameter.iter_mut().zip(gradient) {
                *parameter -= rate * (gradient + decay * *parameter);
            }
        });
    }
    assert_eq!(parameter.len(), velocity.len());
    let tasks = parameter.par_chunks_mut(ELEMENTS_PER_TASK).zip(gradient.par_chunks(ELEMENTS_PER_TASK));
    tasks.zip(velocity.par_chunks_mut(ELEMENTS_PER_TASK)).for_each(|((parameter, gradient), velocity)| {
        for ((parameter, gradient), velocity) in parameter.iter_mut().zip(gradient).zip(velocity) {
            *velocity = momentum * *velocity + (gradient + decay * *parameter);
            *parameter -= rate * *velocity;
        }
    });
}

/// AdamW's settings beside rate and decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamSettings {
    /// Decay of the gradient's running mean.
    pub beta1: f32,
    /// Decay of the squared gradient's running mean.
    pub beta2: f32,
    /// Added to the denominator.
    pub epsilon: f32,
}

impl Default for AdamSettings {
    /// PyTorch's: 0.9, 0.999, 1e-8.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// AdamW (Loshchilov and Hutter 2019) at `step`, counted from 1.
pub fn adamw(
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    step: u64,
    rate: f32,
    decay: f32,
    settings: AdamSettings,
) {
    assert!(parameter.len() == gradient.len() && parameter.len() == first.len() && parameter.len() == second.len());
    let AdamSettings { beta1, beta2, epsilon } = settings;
    let exponent = i32::try_from(step).unwrap_or(i32::MAX);
    let step_size = (f64::from(rate) / (1.0 - f64::from(beta1).powi(exponent))) as f32;
    let root_correction = (1.0 - f64::from(beta2).powi(exponent)).sqrt() as f32;
    let keep = 1.0 - rate * decay;
    let tasks = parameter.par_chunks_mut(ELEMENTS_PER_TASK).zip(gradient.par_chunks(ELEMENTS_PER_TASK));
    let tasks = tasks.zip(first.par_chunks_mut(ELEMENTS_PER_TASK)).zip(second.par_chunks_mut(ELEMENTS_PER_TASK));
    tasks.for_each(|(((parameter, gradient), first), second)| {
        for (((parameter, gradient), first), second) in parameter.iter_mut().zip(gradient).zip(first).zip(second) {
            *first += (1.0 - beta1) * (gradient - *first);
            *second = beta2 * *second + (1.0 - beta2) * gradient * gradient;
            *parameter = *parameter * keep - step_size * *first / (second.sqrt() / root_correction + epsilon);
        }
    });
}
