//! An estimate of the objective's second derivatives that is cheap to invert.
//!
//! The rows of the second derivatives that belong to one class are `sum over n of w_n x_n x_n'`
//! plus the penalty, where `w_n = p_n (1 - p_n)` and `p_n` is the probability of the class for
//! example `n`. What couples two classes is left out; twice the weights make up for it, since
//! `diag(p) - p p'` is nowhere larger than `2 diag(p (1 - p))` (Gershgorin's circles). Once a
//! regression fits its examples, a few of them carry most of the weight: those near the class's
//! boundary. These are taken as they are, and of all others only their total weight and the
//! variance of each feature. The sum of a diagonal and a matrix of low rank is inverted by
//! Woodbury's identity.

use super::objective::Objective;
use crate::algebra::gemm::{Left, Matrix, Packed, multiply};
use crate::algebra::vectors::{add_rows, dots_with_rows};
use rayon::prelude::*;

/// Numbers that the factors of all classes have together, at most: 16 MiB.
const MOST_FACTORS: usize = 1 << 22;
/// Examples of a class that are taken as they are: at least and at most. More would take longer
/// than the evaluations they save.
const HEAVIEST: (usize, usize) = (8, 64);
/// Classes whose examples one task weighs.
const CLASSES_PER_TASK: usize = 64;
/// Examples of less weight are never taken as they are.
const LEAST_WEIGHT: f32 = 1e-4;
/// The weight of the rest is no smaller a share of the whole, and of what the mean class has: a
/// direction that only the rest holds must not seem flat.
const LEAST_REST: f64 = 1e-2;
/// The mean class has no smaller a share of the weight that it has before anything is learned.
const LEAST_MEAN: f64 = 1e-2;

/// The estimate at some parameters.
pub(super) struct Curvature<'a> {
    objective: &'a Objective<'a>,
    classes: Vec<OfClass>,
}

#[derive(Default)]
struct OfClass {
    /// Mean weight of the examples that are not taken as they are.
    rest: f32,
    /// Places of those that are.
    heavy: Vec<u32>,
    /// `[heavy, heavy]`, of which the lower triangle is used: the Cholesky factor of `1 / w + X
    /// D^-1 X'`.
    factor: Vec<f32>,
}

/// Examples of a class by weight, of which only the heaviest are kept.
#[derive(Clone, Default)]
struct Heaviest {
    total: f64,
    kept: Vec<(f32, u32)>,
}

impl Heaviest {
    fn prune(&mut self, count: usize) {
        if self.kept.len() > count {
            self.kept.sort_unstable_by(|left, right| {
                right.0.total_cmp(&left.0).then(left.1.cmp(&right.1))
            });
            self.kept.truncate(count);
        }
    }
}

/// The weight of each example for each class: the sum, and the heaviest.
pub(super) struct Weights<'a> {
    objective: &'a Objective<'a>,
    classes: Vec<Heaviest>,
    /// Examples of a class that are kept.
    most: usize,
}

impl<'a> Weights<'a> {
    pub fn new(objective: &'a Objective<'a>) -> Self {
        let classes = objective.examples.classes();
        let most = ((MOST_FACTORS / classes) as f64).sqrt() as usize;
        let most =
            most.min((2.0 * objective.count as f64).sqrt() as usize).clamp(HEAVIEST.0, HEAVIEST.1);
        Self { objective, classes: vec![Heaviest::default(); classes], most }
    }

    /// The weights at some parameters.
    pub fn at(objective: &'a Objective<'a>, parameters: &[f32]) -> Self {
        let mut weights = Self::new(objective);
        objective.probabilities(parameters, &mut |first, block| {
            weights.add(first, block, |count| (count, 1.0))
        });
        weights
    }

    /// Adds the examples of a block by their slopes, as [`Objective::evaluate`] shows them.
    pub fn add_slopes(&mut self, first: usize, slopes: &[f32]) {
        // A slope is a probability, or what is left of 1, times the example's count.
        self.add(first, slopes, |count| (1.0, if count > 0.0 { 1.0 / count } else { 0.0 }));
    }

    /// Adds the examples of a block `[n, classes]`. Of each value `v` the weight is `2 a v (1 - b
    /// v)`, where `(a, b)` depend on what the example counts.
    fn add(&mut self, first: usize, block: &[f32], factors: impl Fn(f32) -> (f32, f32) + Sync) {
        let rows = self.objective.examples.rows();
        let (classes, most) = (self.classes.len(), self.most);
        self.classes.par_chunks_mut(CLASSES_PER_TASK).enumerate().for_each(|(task, found)| {
            for (row, values) in block.chunks_exact(classes).enumerate() {
                let (a, b) = factors(rows.class_weights[rows.labels[first + row] as usize]);
                let values = &values[task * CLASSES_PER_TASK..][..found.len()];
                for (found, value) in found.iter_mut().zip(values) {
                    let value = value.abs();
                    let weight = 2.0 * a * value * (1.0 - b * value);
                    found.total += f64::from(weight);
                    if weight > LEAST_WEIGHT {
                        found.kept.push((weight, (first + row) as u32));
                        if found.kept.len() == 4 * HEAVIEST.1 {
                            found.prune(most);
                        }
                    }
                }
            }
        });
    }
}

impl<'a> Curvature<'a> {
    /// The estimate where all parameters are 0: all classes are as probable for all examples, and
    /// none is heavier than another.
    pub fn at_zero(objective: &'a Objective<'a>) -> Self {
        let share = 1.0 / objective.examples.classes() as f64;
        let rest = (share * (1.0 - share)).max(f64::from(f32::MIN_POSITIVE)) as f32;
        let of_class =
            |&weight: &f32| OfClass { rest: rest * weight.max(f32::EPSILON), ..OfClass::default() };
        Self {
            objective,
            classes: objective.examples.rows().class_weights.iter().map(of_class).collect(),
        }
    }

    /// The estimate by the weights of the examples.
    pub fn new(weights: Weights<'a>) -> Self {
        let Weights { objective, classes: found, most } = weights;
        let (classes, count) = (found.len(), objective.count as f64);
        // A class whose examples are all certain would seem flat.
        let mean = found.iter().map(|found| found.total).sum::<f64>() / classes as f64;
        let least = mean.max(LEAST_MEAN * count / classes as f64);
        let of_class = |mut found: Heaviest| {
            found.prune(most);
            let heavy: f64 = found.kept.iter().map(|&(weight, _)| f64::from(weight)).sum();
            let rest = (found.total - heavy).max(LEAST_REST * found.total.max(least)) / count;
            OfClass::new(objective, rest as f32, &found.kept)
        };
        Self { objective, classes: found.into_par_iter().map(of_class).collect() }
    }

    /// Replaces a gradient by the step that the estimate makes of it: multiplies with its inverse.
    pub fn solve(&self, gradient: &mut [f32]) {
        let channels = self.objective.examples.channels();
        let (weight, bias) = gradient.split_at_mut(self.classes.len() * channels);
        let tasks = weight.par_chunks_exact_mut(channels).zip(bias).zip(&self.classes);
        tasks.for_each(|((weight, bias), class)| class.solve(self.objective, weight, bias));
    }
}

impl OfClass {
    fn new(objective: &Objective<'_>, rest: f32, heavy: &[(f32, u32)]) -> Self {
        let (channels, count) = (objective.examples.channels(), heavy.len());
        let mut class = Self {
            rest,
            heavy: heavy.iter().map(|&(_, row)| row).collect(),
            factor: vec![0.0; count * count],
        };
        // X D^-1/2, with the bias as one feature more, which is 1.
        let features = objective.examples.rows().features;
        let scales: Vec<f32> = class
            .diagonal(objective)
            .map(|value| value.sqrt().recip())
            .chain([rest.sqrt().recip()])
            .collect();
        let mut scaled = Vec::with_capacity(count * scales.len());
        for &row in &class.heavy {
            let row = features[row as usize * channels..][..channels].iter().chain(&[1.0]);
            scaled.extend(row.zip(&scales).map(|(value, scale)| value * scale));
        }
        if count > 0 {
            let mut packed = Packed::default();
            packed.pack(
                Matrix::Columns { data: &scaled, stride: scales.len() },
                scales.len(),
                count,
            );
            multiply(
                Left::rows(&scaled, scales.len()),
                count,
                &packed,
                &mut class.factor,
                count,
                false,
            );
        }
        for (place, &(weight, _)) in heavy.iter().enumerate() {
            class.factor[place * count + place] += objective.count as f32 / weight;
        }
        factorise(&mut class.factor, count);
        class
    }

    /// The estimate for each weight without the heavy examples.
    fn diagonal(&self, objective: &Objective<'_>) -> impl Iterator<Item = f32> {
        let (rest, penalty) = (self.rest, objective.penalty);
        objective.examples.variance().iter().map(move |variance| rest * variance + penalty)
    }

    fn solve(&self, objective: &Objective<'_>, weight: &mut [f32], bias: &mut f32) {
        weight
            .iter_mut()
            .zip(self.diagonal(objective))
            .for_each(|(value, diagonal)| *value /= diagonal);
        *bias /= self.rest;
        if self.heavy.is_empty() {
            return;
        }
        let features = objective.examples.rows().features;
        let mut products = vec![0.0; self.heavy.len()];
        dots_with_rows(features, &self.heavy, weight, &mut products);
        products.iter_mut().for_each(|product| *product += *bias);
        solve_factorised(&self.factor, &mut products);
        let mut taken = vec![0.0; weight.len()];
        add_rows(features, &self.heavy, &products, &mut taken);
        let taken = taken.iter().zip(self.diagonal(objective));
        weight
            .iter_mut()
            .zip(taken)
            .for_each(|(value, (taken, diagonal))| *value -= taken / diagonal);
        *bias -= products.iter().sum::<f32>() / self.rest;
    }
}

/// Replaces the lower triangle of a positive definite matrix by its Cholesky factor.
fn factorise(matrix: &mut [f32], size: usize) {
    for row in 0..size {
        let (above, own) = matrix.split_at_mut(row * size);
        for column in 0..=row {
            let other =
                if column < row { &above[column * size..][..column] } else { &own[..column] };
            let sum: f32 = own[..column].iter().zip(other).map(|(left, right)| left * right).sum();
            let rest = own[column] - sum;
            own[column] = if column < row {
                rest / above[column * size + column]
            } else {
                // Rounding may leave nothing of a row that is nearly a sum of others.
                rest.max(own[column] * f32::EPSILON).sqrt()
            };
        }
    }
}

/// Solves for the matrix that was factorised.
fn solve_factorised(factor: &[f32], vector: &mut [f32]) {
    let size = vector.len();
    for row in 0..size {
        let known = factor[row * size..][..row].iter().zip(&*vector);
        let sum: f32 = known.map(|(left, right)| left * right).sum();
        vector[row] = (vector[row] - sum) / factor[row * size + row];
    }
    for row in (0..size).rev() {
        let value = vector[row] / factor[row * size + row];
        vector[row] = value;
        let column = &factor[row * size..][..row];
        vector[..row].iter_mut().zip(column).for_each(|(left, factor)| *left -= factor * value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factorised_matrix_is_solved_for() {
        let matrix = [4.0, 2.0, 1.0, 2.0, 3.0, 0.5, 1.0, 0.5, 2.0];
        let expected = [1.0, -2.0, 3.0];
        let mut vector: Vec<f32> = matrix
            .chunks_exact(3)
            .map(|row: &[f32]| row.iter().zip(&expected).map(|(left, right)| left * right).sum())
            .collect();
        let mut factor = matrix;
        factorise(&mut factor, 3);
        solve_factorised(&factor, &mut vector);
        assert!(
            vector.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5),
            "{vector:?}"
        );
    }
}
