//! L-BFGS (J. Nocedal, "Updating quasi-Newton matrices with limited storage", 1980), started from
//! an estimate of the second derivatives that is remade every few steps.

use super::RegressionError;
use super::curvature::{Curvature, Weights};
use super::objective::{Objective, Value};
use crate::algebra::softmax_regression::can_be_watched;
use crate::algebra::vectors::{add_scaled, dot, subtract_mean_row};
use std::ops::ControlFlow;

/// Pairs of steps and changes of the gradient that are remembered. At 10,000 classes a pair takes
/// 100 MB.
const MEMORY: usize = 5;
/// Steps after which the second derivatives are estimated again.
const STEPS: usize = 8;
/// Most steps of one minimisation; none was seen to take half as many.
const MOST_STEPS: usize = 1000;
/// Share of the decrease that the slope promises with which a step is content (Armijo's condition).
const SUFFICIENT: f64 = 1e-4;
/// Differences of the objective, relative to it, that f32 does not show.
const NOISE: f64 = 1e-6;
/// The share of the slope that may rise again at the end of a step whose decrease is not shown.
const BEYOND: f64 = 0.8;
/// A smaller decrease of the objective, relative to it, is no progress.
const PROGRESS: f64 = 1e-8;
/// A smaller share of the step that the estimate asks for is too little.
const TOO_SHORT: f64 = 0.5;
/// Times a step is shortened.
const SHORTENED: usize = 12;

/// A step with the change of the gradient along it.
struct Pair {
    step: Vec<f32>,
    change: Vec<f32>,
    /// One over their product.
    inverse: f64,
}

/// Where a minimisation starts, with the objective there.
pub(super) struct Start<'a> {
    pub parameters: &'a [f32],
    pub objective: f64,
}

/// Moves `parameters` to the minimum, from their present values or `otherwise`, whichever has the
/// smaller objective: until the decrease that is still to be expected is less than the share
/// `tolerance` of the objective, or less than f32 shows. `go_on` is asked before each step. Returns
/// the value and how often the objective was computed.
pub(super) fn minimise<'a>(
    objective: &'a Objective<'a>,
    tolerance: f64,
    parameters: &mut Vec<f32>,
    otherwise: Option<Start<'_>>,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<(Value, usize), RegressionError> {
    let length = parameters.len();
    let (mut gradient, mut next, mut next_gradient) =
        (vec![0.0; length], vec![0.0; length], vec![0.0; length]);
    let mut weights = None;
    let is_zero = otherwise.is_none()
        && !objective.examples.has_prior()
        && parameters.iter().all(|&value| value == 0.0);
    let mut value =
        evaluate(objective, parameters, &mut gradient, (!is_zero).then_some(&mut weights));
    let mut evaluations = 1;
    if let Some(other) =
        otherwise.filter(|other| other.objective.total_cmp(&value.objective).is_lt())
    {
        parameters.copy_from_slice(other.parameters);
        value = evaluate(objective, parameters, &mut gradient, Some(&mut weights));
        evaluations += 1;
    }
    let mut memory: Vec<Pair> = Vec::with_capacity(MEMORY);
    let mut free: Vec<(Vec<f32>, Vec<f32>)> = Vec::new();
    let estimate = |parameters: &[f32], weights: &mut Option<Weights<'a>>| {
        Curvature::new(weights.take().unwrap_or_else(|| Weights::at(objective, parameters)))
    };
    let mut curvature =
        if is_zero { Curvature::at_zero(objective) } else { estimate(parameters, &mut weights) };
    let (mut since, mut stuck) = (0, 0);
    for _ in 0..MOST_STEPS {
        if go_on().is_break() {
            return Err(RegressionError::Stopped);
        }
        if since == STEPS || stuck == 1 && since > 0 {
            free.extend(memory.drain(..).map(|pair| (pair.step, pair.change)));
            curvature = estimate(parameters, &mut weights);
            since = 0;
        }
        let (mut step, mut change) =
            free.pop().unwrap_or_else(|| (vec![0.0; length], vec![0.0; length]));
        step.copy_from_slice(&gradient);
        direction(&mut step, &memory, &curvature, objective.examples.channels());
        let slope = dot(&gradient, &step);
        if slope <= 0.0 || !slope.is_finite() || slope / 2.0 < tolerance * value.objective {
            break;
        }
        let (mut size, mut found) = (1.0, None);
        for attempt in 0..SHORTENED {
            next.copy_from_slice(parameters);
            add_scaled(&mut next, -size as f32, &step);
            // Where the estimate is remade next.
            let watch = since + 1 == STEPS || attempt > 0;
            weights = None;
            let there =
                evaluate(objective, &next, &mut next_gradient, watch.then_some(&mut weights));
            evaluations += 1;
            let decrease = value.objective - there.objective;
            // Where values cannot be told apart, slopes can: the step must not lead far beyond the
            // minimum.
            let slope_there = dot(&next_gradient, &step);
            let is_noise = decrease.abs() <= NOISE * value.objective.abs();
            if decrease >= SUFFICIENT * size * slope || is_noise && slope_there >= -BEYOND * slope {
                found = Some(there);
                break;
            }
            let shorter = if is_noise {
                // Where a line through both slopes is 0.
                size * slope / (slope - slope_there)
            } else {
                // The minimum of the parabola through both values with this slope.
                size * slope * size / (2.0 * (size * slope - decrease))
            };
            size = if shorter.is_finite() {
                shorter.clamp(0.1 * size, 0.5 * size)
            } else {
                0.1 * size
            };
        }
        let Some(there) = found else {
            weights = None;
            stuck += 1;
            free.push((step, change));
            if stuck > 2 || since == 0 {
                break;
            }
            continue;
        };
        stuck = if value.objective - there.objective < PROGRESS * value.objective.abs() {
            stuck + 1
        } else {
            0
        };
        step.iter_mut().for_each(|value| *value *= -size as f32);
        change.copy_from_slice(&next_gradient);
        add_scaled(&mut change, -1.0, &gradient);
        std::mem::swap(parameters, &mut next);
        std::mem::swap(&mut gradient, &mut next_gradient);
        value = there;
        // A step that had to be shortened much shows that the estimate is wrong here.
        since = if size < TOO_SHORT { STEPS } else { since + 1 };
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
        // Not even from curvature that was estimated again.
        if stuck > 2 {
            break;
        }
    }
    Ok((value, evaluations))
}

/// The value with its gradient and, if asked for, what the examples weigh there, provided that
/// costs next to nothing.
fn evaluate<'a>(
    objective: &'a Objective<'a>,
    parameters: &[f32],
    gradient: &mut [f32],
    weights: Option<&mut Option<Weights<'a>>>,
) -> Value {
    let Some(weights) = weights.filter(|_| can_be_watched(objective.examples.classes())) else {
        return objective.evaluate(parameters, gradient, None);
    };
    let found = weights.insert(Weights::new(objective));
    objective.evaluate(
        parameters,
        gradient,
        Some(&mut |first, slopes| found.add_slopes(first, slopes)),
    )
}

/// Replaces a gradient by the step against it: the two loops of L-BFGS around the estimate of the
/// second derivatives.
fn direction(vector: &mut [f32], memory: &[Pair], curvature: &Curvature<'_>, channels: usize) {
    let mut shares = [0.0; MEMORY];
    for (pair, share) in memory.iter().zip(&mut shares).rev() {
        *share = pair.inverse * dot(&pair.step, vector);
        add_scaled(vector, -*share as f32, &pair.change);
    }
    curvature.solve(vector);
    // What all classes have in common changes no probability, and is 0 at the minimum. The estimate
    // knows nothing of that.
    let (weight, bias) = vector.split_at_mut(vector.len() / (channels + 1) * channels);
    subtract_mean_row(weight, channels);
    subtract_mean_row(bias, 1);
    for (pair, share) in memory.iter().zip(shares) {
        let other = pair.inverse * dot(&pair.change, vector);
        add_scaled(vector, (share - other) as f32, &pair.step);
    }
}
