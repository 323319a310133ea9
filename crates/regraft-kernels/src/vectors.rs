//! Products of long vectors and of selected rows of a matrix, for a solver.

use crate::isa::{for_each_isa, multiply_add};
use rayon::prelude::*;

const LANES: usize = 16;
/// Number of elements in a task.
const PER_TASK: usize = 1 << 14;
/// Elements that are summed in f32 before they are added to a sum in f64.
const IN_SINGLE: usize = 512;

/// The scalar product, summed in an order that does not depend on the number of threads.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn dot(left: &[f32], right: &[f32]) -> f64 {
    assert_eq!(left.len(), right.len());
    let of_task = |(left, right): (&[f32], &[f32])| {
        let mut sum = 0.0;
        dot_task(left, right, &mut sum);
        sum
    };
    if left.len() <= PER_TASK {
        return of_task((left, right));
    }
    let sums: Vec<f64> =
        left.par_chunks(PER_TASK).zip(right.par_chunks(PER_TASK)).map(of_task).collect();
    sums.into_iter().sum()
}

/// `target += factor x source`.
///
/// # Panics
/// If the lengths differ.
pub fn add_scaled(target: &mut [f32], factor: f32, source: &[f32]) {
    assert_eq!(target.len(), source.len());
    let tasks = target.par_chunks_mut(PER_TASK).zip(source.par_chunks(PER_TASK));
    tasks.for_each(|(target, source)| add_task(target, factor, source));
}

/// Subtracts the mean row of a matrix from each of its rows.
///
/// # Panics
/// If the length is not a multiple of `columns`.
pub fn subtract_mean_row(matrix: &mut [f32], columns: usize) {
    assert!(columns > 0 && matrix.len().is_multiple_of(columns));
    let rows = matrix.len() / columns;
    let part = (PER_TASK / columns).max(1) * columns;
    let of_part = |part: &[f32]| {
        let mut sum = vec![0.0; columns];
        part.chunks_exact(columns).for_each(|row| add_task(&mut sum, 1.0, row));
        sum
    };
    let sums: Vec<Vec<f32>> = matrix.par_chunks(part).map(of_part).collect();
    let mut mean = vec![0.0; columns];
    sums.iter().for_each(|sum| add_task(&mut mean, 1.0 / rows as f32, sum));
    matrix.par_chunks_mut(part).for_each(|part| {
        part.chunks_exact_mut(columns).for_each(|row| add_task(row, -1.0, &mean));
    });
}

/// The scalar products of `vector` with selected rows of a matrix, which have the same length.
///
/// # Panics
/// If a row is not in the matrix.
pub fn dots_with_rows(matrix: &[f32], rows: &[u32], vector: &[f32], products: &mut [f32]) {
    for (product, &row) in products.iter_mut().zip(rows) {
        let mut sum = 0.0;
        dot_task(&matrix[row as usize * vector.len()..][..vector.len()], vector, &mut sum);
        *product = sum as f32;
    }
}

/// Adds selected rows of a matrix, each times its factor, to a vector of the same length.
///
/// # Panics
/// If a row is not in the matrix.
pub fn add_rows(matrix: &[f32], rows: &[u32], factors: &[f32], vector: &mut [f32]) {
    for (&factor, &row) in factors.iter().zip(rows) {
        add_task(vector, factor, &matrix[row as usize * vector.len()..][..vector.len()]);
    }
}

for_each_isa! {
    fn dot_task(left: &[f32], right: &[f32], result: &mut f64) => dot_body
}
#[inline(always)]
fn dot_body<const FUSED: bool>(left: &[f32], right: &[f32], result: &mut f64) {
    *result = 0.0;
    for (left, right) in left.chunks(IN_SINGLE).zip(right.chunks(IN_SINGLE)) {
        let ((left, left_rest), (right, right_rest)) =
            (left.as_chunks::<LANES>(), right.as_chunks::<LANES>());
        let mut lanes = [0.0; LANES];
        for (left, right) in left.iter().zip(right) {
            for ((lane, &left), &right) in lanes.iter_mut().zip(left).zip(right) {
                *lane = multiply_add::<FUSED>(left, right, *lane);
            }
        }
        *result += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
        *result += left_rest
            .iter()
            .zip(right_rest)
            .map(|(&left, &right)| f64::from(left) * f64::from(right))
            .sum::<f64>();
    }
}

for_each_isa! {
    fn add_task(target: &mut [f32], factor: f32, source: &[f32]) => add_body
}
#[inline(always)]
fn add_body<const FUSED: bool>(target: &mut [f32], factor: f32, source: &[f32]) {
    for (target, &source) in target.iter_mut().zip(source) {
        *target = multiply_add::<FUSED>(factor, source, *target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_base::random::{Draws, Purpose};

    #[test]
    fn products_are_those_of_plain_loops() {
        for length in [1, 15, 16, 513, PER_TASK, 3 * PER_TASK + 7] {
            let mut draws = Draws::new(length as u64, Purpose::Fixture, 0, 0);
            let mut normal = || -> Vec<f32> { (0..length).map(|_| draws.normal()).collect() };
            let (mut left, right) = (normal(), normal());
            let expected: f64 = left
                .iter()
                .zip(&right)
                .map(|(&left, &right)| f64::from(left) * f64::from(right))
                .sum();
            assert!(
                (dot(&left, &right) - expected).abs() < 1e-5 * (length as f64).sqrt(),
                "{length}"
            );
            let sums: Vec<f32> =
                left.iter().zip(&right).map(|(left, right)| left - 0.5 * right).collect();
            add_scaled(&mut left, -0.5, &right);
            assert!(
                left.iter().zip(&sums).all(|(found, expected)| (found - expected).abs() < 1e-6),
                "{length}"
            );
        }
    }

    #[test]
    fn the_mean_row_is_subtracted_from_all() {
        for (rows, columns) in [(1, 3), (4, 1), (7, 5), (300, 130)] {
            let mut draws = Draws::new(rows as u64, Purpose::Fixture, 0, 0);
            let start: Vec<f32> = (0..rows * columns).map(|_| draws.normal()).collect();
            let mut found = start.clone();
            subtract_mean_row(&mut found, columns);
            for column in 0..columns {
                let mean = start.iter().skip(column).step_by(columns).sum::<f32>() / rows as f32;
                let pairs = start.iter().zip(&found).skip(column).step_by(columns);
                assert!(
                    pairs.into_iter().all(|(start, found)| (start - mean - found).abs() < 1e-5),
                    "{rows} {columns}"
                );
            }
        }
    }

    #[test]
    fn rows_are_chosen_by_their_place() {
        let matrix = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut products = [0.0; 2];
        dots_with_rows(&matrix, &[2, 0], &[1.0, -1.0], &mut products);
        assert_eq!(products, [-1.0, -1.0]);
        let mut vector = [1.0, 1.0];
        add_rows(&matrix, &[2, 1], &[1.0, -2.0], &mut vector);
        assert_eq!(vector, [0.0, -1.0]);
    }
}
