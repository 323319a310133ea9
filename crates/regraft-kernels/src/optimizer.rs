//! The optimisers' updates of one parameter, as in PyTorch's `SGD` and `AdamW`, and the operations
//! on gradients before them.

use rayon::prelude::*;
use regraft_base::adam::AdamSettings;

const ELEMENTS_PER_TASK: usize = 1 << 15;

/// The sum of the squares, in f64: it is finite if every element is, whatever their size. The order
/// of the additions depends only on the length.
#[must_use]
pub fn sum_of_squares(values: &[f32]) -> f64 {
    /// Number of partial sums, so that additions do not wait for each other.
    const LANES: usize = 16;
    let of_task = |values: &[f32]| {
        let mut sums = [0.0_f64; LANES];
        let chunks = values.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for (sum, &value) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(value) * f64::from(value);
            }
        }
        let rest: f64 = rest.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        sums.iter().sum::<f64>() + rest
    };
    let partial: Vec<f64> = values.par_chunks(ELEMENTS_PER_TASK).map(of_task).collect();
    partial.iter().sum()
}

/// Multiplies every element by `factor`.
pub fn scale(values: &mut [f32], factor: f32) {
    values
        .par_chunks_mut(ELEMENTS_PER_TASK)
        .for_each(|values| values.iter_mut().for_each(|value| *value *= factor));
}

/// Adds `addend` to `values`; an empty one counts as zero.
pub fn add(values: &mut [f32], addend: &[f32]) {
    if addend.is_empty() {
        return;
    }
    assert_eq!(values.len(), addend.len());
    let tasks = values.par_chunks_mut(ELEMENTS_PER_TASK).zip(addend.par_chunks(ELEMENTS_PER_TASK));
    tasks.for_each(|(values, addend)| {
        values.iter_mut().zip(addend).for_each(|(value, addend)| *value += addend)
    });
}

/// Moves a running average by `share` of its distance to `values`. If an element equals its value,
/// it stays equal to the bit: a sum would turn -0 into 0.
pub fn average(average: &mut [f32], values: &[f32], share: f32) {
    assert_eq!(average.len(), values.len());
    let tasks = average.par_chunks_mut(ELEMENTS_PER_TASK).zip(values.par_chunks(ELEMENTS_PER_TASK));
    tasks.for_each(|(average, values)| {
        for (average, value) in average.iter_mut().zip(values) {
            if *average != *value {
                *average += share * (value - *average);
            }
        }
    });
}

/// Stochastic gradient descent with momentum: `gradient += decay * parameter; velocity = momentum *
/// velocity + gradient; parameter -= rate * velocity`. Without momentum, `velocity` may be empty.
pub fn sgd(
    parameter: &mut [f32],
    gradient: &[f32],
    velocity: &mut [f32],
    rate: f32,
    momentum: f32,
    decay: f32,
) {
    assert_eq!(parameter.len(), gradient.len());
    if momentum == 0.0 {
        let tasks =
            parameter.par_chunks_mut(ELEMENTS_PER_TASK).zip(gradient.par_chunks(ELEMENTS_PER_TASK));
        return tasks.for_each(|(parameter, gradient)| {
            for (parameter, gradient) in parameter.iter_mut().zip(gradient) {
                *parameter -= rate * (gradient + decay * *parameter);
            }
        });
    }
    assert_eq!(parameter.len(), velocity.len());
    let tasks =
        parameter.par_chunks_mut(ELEMENTS_PER_TASK).zip(gradient.par_chunks(ELEMENTS_PER_TASK));
    tasks.zip(velocity.par_chunks_mut(ELEMENTS_PER_TASK)).for_each(
        |((parameter, gradient), velocity)| {
            for ((parameter, gradient), velocity) in
                parameter.iter_mut().zip(gradient).zip(velocity)
            {
                *velocity = momentum * *velocity + (gradient + decay * *parameter);
                *parameter -= rate * *velocity;
            }
        },
    );
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
    assert!(
        parameter.len() == gradient.len()
            && parameter.len() == first.len()
            && parameter.len() == second.len()
    );
    let AdamSettings { beta1, beta2, epsilon } = settings;
    let exponent = i32::try_from(step).unwrap_or(i32::MAX);
    let step_size = (f64::from(rate) / (1.0 - f64::from(beta1).powi(exponent))) as f32;
    let root_correction = (1.0 - f64::from(beta2).powi(exponent)).sqrt() as f32;
    let keep = 1.0 - rate * decay;
    let tasks =
        parameter.par_chunks_mut(ELEMENTS_PER_TASK).zip(gradient.par_chunks(ELEMENTS_PER_TASK));
    let tasks = tasks
        .zip(first.par_chunks_mut(ELEMENTS_PER_TASK))
        .zip(second.par_chunks_mut(ELEMENTS_PER_TASK));
    tasks.for_each(|(((parameter, gradient), first), second)| {
        for (((parameter, gradient), first), second) in
            parameter.iter_mut().zip(gradient).zip(first).zip(second)
        {
            *first += (1.0 - beta1) * (gradient - *first);
            *second = beta2 * *second + (1.0 - beta2) * gradient * gradient;
            *parameter = *parameter * keep
                - step_size * *first / (second.sqrt() / root_correction + epsilon);
        }
    });
}
