//! L-BFGS (J. Nocedal, "Updating quasi-Newton matrices with limited storage", 1980), started from an estimate of the second
//! derivatives that is made anew every few steps.

use super::RegressionError;
use super::curvature::Curvature;
use super::objective::{Objective, Value};
use regraft_kernels::vectors::{add_scaled, dot};
use std::ops::ControlFlow;

/// Pairs of steps and changes of the gradient that are remembered. At 10,000 classes a pair takes 100 MB.
const MEMORY: usize = 5;
/// Steps after which the second derivatives are estimated anew.
const STEPS: usize = 8;
/// Most steps of one minimisation; none was seen to take half as many.
const MOST_STEPS: usize = 1000;
/// Share of the decrease that the slope promises with which a step is content (Armijo's condition).
const SUFFICIENT: f64 = 1e-4;
/// Values of the objective, relative to it, that f32 does not tell apart.
const NOISE: f64 = 2e-7;
/// A smaller decrease of the objective, relative to it, is no progress.
const PROGRESS: f64 = 1e-9;
/// Times a step is shortened.
const SHORTENED: usize = 12;

/// A step with the change of the gradient along it.
struct Pair {
    step: Vec<f32>,
    change: Vec<f32>,
    /// One over their product.
    inverse: f64,
}

/// Moves `parameters` to the minimum: until the decrease that is still to be expected is less than the share `tolerance` of the
/// objective, or less than f32 shows. `go_on` is asked before each step. Returns the value and how often the objective was
/// computed.
pub(super) fn minimise(
    objective: &Objective<'_>,
    tolerance: f64,
    parameters: &mut Vec<f32>,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<(Value, usize), RegressionError> {
    let length = parameters.len();
    let (mut gradient, mut next, mut next_gradient) = (vec![0.0; length], vec![0.0; length], vec![0.0; length]);
    let mut value = objective.evaluate(parameters, &mut gradient);
    let mut evaluations = 1;
    let mut memory: Vec<Pair> = Vec::with_capacity(MEMORY);
    let mut free: Vec<(Vec<f32>, Vec<f32>)> = Vec::new();
    let mut curvature = Curvature::new(objective, parameters);
    let (mut since, mut stuck) = (0, 0);
    for _ in 0..MOST_STEPS {
        if go_on().is_break() {
            return Err(RegressionError::Stopped);
        }
        if since == STEPS || stuck == 1 && since > 0 {
            free.extend(memory.drain(..).map(|pair| (pair.step, pair.change)));
            curvature = Curvature::new(objective, parameters);
            since = 0;
        }
        let (mut step, mut change) = free.pop().unwrap_or_else(|| (vec![0.0; length], vec![0.0; length]));
        step.copy_from_slice(&gradient);
        direction(&mut step, &memory, &curvature);
        let slope = dot(&gradient, &step);
        if slope <= 0.0 || !slope.is_finite() || slope / 2.0 < tolerance * value.objective {
            break;
        }
        let (mut size, mut found) = (1.0, None);
        for _ in 0..SHORTENED {
            next.copy_from_slice(parameters);
            add_scaled(&mut next, -size as f32, &step);
            let there = objective.evaluate(&next, &mut next_gradient);
            evaluations += 1;
            if there.objective <= value.objective - SUFFICIENT * size * slope + NOISE * value.objective.abs() {
                found = Some(there);
                break;
            }
            // The minimum of the parabola through both values with this slope.
            let above = there.objective - value.objective + size * slope;
            let shorter = size * slope * size / (2.0 * above);
            size = if shorter.is_finite() { shorter.clamp(0.1 * size, 0.5 * size) } else { 0.1 * size };
        }
        let Some(there) = found else {
            stuck += 1;
            free.push((step, change));
            if stuck > 2 || since == 0 {
                break;
            }
            continue;
        };
        stuck = if value.objective - there.objective < PROGRESS * value.objective.abs() { stuck + 1 } else { 0 };
        step.iter_mut().for_each(|value| *value *= -size as f32);
        change.copy_from_slice(&next_gradient);
        add_scaled(&mut change, -1.0, &gradient);
        std::mem::swap(parameters, &mut next);
        std::mem::swap(&mut gradient, &mut next_gradient);
        value = there;
        since += 1;
        let product = dot(&step, &change);
        if product > 0.0 && product.is_finite() {
            if memory.len() == MEMORY {
                let oldest = memory.remove(0);
                free.push((oldest.step, oldest.change));
            }
            memory.push(Pair { step, change, inverse: 1.0 / product });
        } else {
            free.push((step, change));
        }
        // Not even from curvature that was estimated anew.
        if stuck > 2 {
            break;
        }
    }
    Ok((value, evaluations))
}

/// Replaces a gradient by the step against it: the two loops of L-BFGS around the estimate of the second derivatives.
fn direction(vector: &mut [f32], memory: &[Pair], curvature: &Curvature<'_>) {
    let mut shares = [0.0; MEMORY];
    for (pair, share) in memory.iter().zip(&mut shares).rev() {
        *share = pair.inverse * dot(&pair.step, vector);
        add_scaled(vector, -*share as f32, &pair.change);
    }
    curvature.solve(vector);
    for (pair, share) in memory.iter().zip(shares) {
        let other = pair.inverse * dot(&pair.change, vector);
        add_scaled(vector, (share - other) as f32, &pair.step);
    }
}
