//! Eigenvectors of a symmetric matrix: Householder's reduction to a tridiagonal matrix and the
//! implicit QL algorithm (G. H. Golub and C. F. Van Loan, "Matrix Computations", 8.3), in f64.
//!
//! The vectors are orthogonal to f64's precision for any matrix, so changing to their coordinates
//! is a rotation.

use crate::isa::for_each_isa;
use rayon::prelude::*;

/// Rows of the vectors in one task of the product of reflections.
const ROWS_PER_TASK: usize = 16;
/// Columns of the vectors that one task rotates: those of all rows stay in the second-level cache.
const COLUMNS_PER_TASK: usize = 64;
/// Number of rotations that are collected before the vectors are rotated.
const BATCH: usize = 1 << 15;
/// The most sweeps for one eigenvalue; more than about three are never needed.
const MOST_SWEEPS: usize = 60;

/// Replaces a symmetric matrix `[size, size]` by its eigenvectors, one in each row, and returns the
/// eigenvalues, the largest first. Computes on the current rayon thread pool; the results do not
/// depend on its size.
///
/// # Panics
/// If the length is not that of a square matrix.
pub fn eigenvectors(matrix: &mut [f64], size: usize) -> Vec<f64> {
    assert_eq!(matrix.len(), size * size);
    if size == 0 {
        return Vec::new();
    }
    let (mut diagonal, mut beside) = reduce(matrix, size);
    let mut vectors = product_of_reflections(matrix, size);
    diagonalise(&mut diagonal, &mut beside, &mut vectors, size);
    let mut order: Vec<usize> = (0..size).collect();
    order
        .sort_by(|&left, &right| diagonal[right].total_cmp(&diagonal[left]).then(left.cmp(&right)));
    for (target, &place) in matrix.chunks_exact_mut(size).zip(&order) {
        target.copy_from_slice(&vectors[place * size..][..size]);
    }
    order.into_iter().map(|place| diagonal[place]).collect()
}

/// Reduces the matrix by reflections `1 - v v'`, and leaves each step's `v` in its row, right of
/// the diagonal. Returns the diagonal and the off-diagonal of the tridiagonal matrix.
fn reduce(matrix: &mut [f64], size: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut diagonal, mut beside) = (vec![0.0; size], vec![0.0; size]);
    for step in 0..size {
        let (above, below) = matrix.split_at_mut((step + 1) * size);
        let row = &mut above[step * size..][step..];
        diagonal[step] = row[0];
        let v = &mut row[1..];
        let Some((&first, rest)) = v.split_first() else { break };
        let mut rest_squared = 0.0;
        dot(rest, rest, &mut rest_squared);
        if rest_squared == 0.0 {
            beside[step] = first;
            v.fill(0.0);
            continue;
        }
        let length = (first * first + rest_squared).sqrt();
        // The sign that avoids cancellation.
        let signed = if first > 0.0 { -length } else { length };
        beside[step] = signed;
        // `v` with `v' v = 2`.
        v[0] = first - signed;
        let scale = (2.0 / (v[0] * v[0] + rest_squared)).sqrt();
        v.iter_mut().for_each(|value| *value *= scale);
        let v = &*v;
        let mut product = vec![0.0; v.len()];
        product.par_iter_mut().zip(below.par_chunks_exact(size)).with_min_len(64).for_each(
            |(product, row)| {
                dot(&row[step + 1..], v, product);
            },
        );
        let mut half = 0.0;
        dot(&product, v, &mut half);
        product.iter_mut().zip(v).for_each(|(product, v)| *product -= 0.5 * half * v);
        let w = &product;
        below.par_chunks_exact_mut(size).zip(v.par_iter().zip(w)).with_min_len(64).for_each(
            |(row, (&own_v, &own_w))| {
                subtract_two(&mut row[step + 1..], own_v, w, own_w, v);
            },
        );
    }
    (diagonal, beside)
}

/// The transposed product of the reflections that [`reduce`] left.
fn product_of_reflections(reduced: &[f64], size: usize) -> Vec<f64> {
    let mut vectors = vec![0.0; size * size];
    vectors.par_chunks_mut(ROWS_PER_TASK * size).enumerate().for_each(|(task, rows)| {
        let first = task * ROWS_PER_TASK;
        for (place, row) in rows.chunks_exact_mut(size).enumerate() {
            row[first + place] = 1.0;
        }
        let last = (first + rows.len() / size).min(size) - 1;
        for step in (0..last).rev() {
            let v = &reduced[step * size..][step + 1..size];
            // Rows before the step's own are still those of the identity.
            for row in rows.chunks_exact_mut(size).skip((step + 1).saturating_sub(first)) {
                let row = &mut row[step + 1..];
                let mut product = 0.0;
                dot(row, v, &mut product);
                add_scaled(row, -product, v);
            }
        }
    });
    vectors
}

/// A rotation of a row and the next: the row, cosine and sine.
type Rotation = (usize, f64, f64);

/// Diagonalises the tridiagonal matrix, and rotates the vectors with it.
fn diagonalise(diagonal: &mut [f64], beside: &mut [f64], vectors: &mut [f64], size: usize) {
    let mut rotations: Vec<Rotation> = Vec::with_capacity(BATCH + size);
    for first in 0..size {
        for _ in 0..MOST_SWEEPS {
            // The matrix splits here.
            let is_small = |place: usize| {
                let scale = diagonal[place].abs() + diagonal[place + 1].abs();
                beside[place].abs() <= f64::EPSILON * scale
            };
            let last = (first..size - 1).find(|&place| is_small(place)).unwrap_or(size - 1);
            if last == first {
                break;
            }
            // Wilkinson's shift.
            let half = (diagonal[first + 1] - diagonal[first]) / (2.0 * beside[first]);
            let root = half.hypot(1.0);
            let mut g =
                diagonal[last] - diagonal[first] + beside[first] / (half + root.copysign(half));
            let (mut sine, mut cosine, mut shift) = (1.0, 1.0, 0.0);
            let mut whole = true;
            for place in (first..last).rev() {
                let (f, b) = (sine * beside[place], cosine * beside[place]);
                let length = f.hypot(g);
                beside[place + 1] = length;
                if length == 0.0 {
                    // The matrix splits within the sweep.
                    diagonal[place + 1] -= shift;
                    beside[last] = 0.0;
                    whole = false;
                    break;
                }
                (sine, cosine) = (f / length, g / length);
                g = diagonal[place + 1] - shift;
                let r = (diagonal[place] - g) * sine + 2.0 * cosine * b;
                shift = sine * r;
                diagonal[place + 1] = g + shift;
                g = cosine * r - b;
                rotations.push((place, cosine, sine));
            }
            if whole {
                diagonal[first] -= shift;
                beside[first] = g;
                beside[last] = 0.0;
            }
            if rotations.len() >= BATCH {
                rotate(&rotations, vectors, size);
                rotations.clear();
            }
        }
    }
    rotate(&rotations, vectors, size);
}

/// Rotates the rows of the vectors in order; each task rotates some of their columns.
fn rotate(rotations: &[Rotation], vectors: &mut [f64], size: usize) {
    // Each task gets its columns of all rows.
    let mut tasks: Vec<Vec<&mut [f64]>> =
        (0..size.div_ceil(COLUMNS_PER_TASK)).map(|_| Vec::with_capacity(size)).collect();
    for row in vectors.chunks_exact_mut(size) {
        tasks
            .iter_mut()
            .zip(row.chunks_mut(COLUMNS_PER_TASK))
            .for_each(|(task, columns)| task.push(columns));
    }
    tasks.into_par_iter().for_each(|mut rows| rotate_rows(rotations, &mut rows));
}

for_each_isa! {
    fn rotate_rows(rotations: &[Rotation], rows: &mut [&mut [f64]]) => rotate_rows_body
}
#[inline(always)]
fn rotate_rows_body<const FUSED: bool>(rotations: &[Rotation], rows: &mut [&mut [f64]]) {
    for &(place, cosine, sine) in rotations {
        let [row, next] = &mut rows[place..place + 2] else { continue };
        for (value, next) in row.iter_mut().zip(next.iter_mut()) {
            (*value, *next) = (cosine * *value - sine * *next, sine * *value + cosine * *next);
        }
    }
}

const LANES: usize = 8;

for_each_isa! {
    /// The scalar product.
    pub fn dot(left: &[f64], right: &[f64], result: &mut f64) => dot_body
}
#[inline(always)]
fn dot_body<const FUSED: bool>(left: &[f64], right: &[f64], result: &mut f64) {
    let ((left, left_rest), (right, right_rest)) =
        (left.as_chunks::<LANES>(), right.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (left, right) in left.iter().zip(right) {
        for ((lane, &left), &right) in lanes.iter_mut().zip(left).zip(right) {
            *lane = if FUSED { left.mul_add(right, *lane) } else { left * right + *lane };
        }
    }
    let rest = left_rest.iter().zip(right_rest).map(|(left, right)| left * right);
    *result = lanes.iter().sum::<f64>() + rest.sum::<f64>();
}

for_each_isa! {
    /// `target += factor x source`.
    pub fn add_scaled(target: &mut [f64], factor: f64, source: &[f64]) => add_scaled_body
}
#[inline(always)]
fn add_scaled_body<const FUSED: bool>(target: &mut [f64], factor: f64, source: &[f64]) {
    target.iter_mut().zip(source).for_each(|(target, source)| *target += factor * source);
}

for_each_isa! {
    /// `target -= first x w + second x v`.
    fn subtract_two(target: &mut [f64], first: f64, w: &[f64], second: f64, v: &[f64])
        => subtract_two_body
}
#[inline(always)]
fn subtract_two_body<const FUSED: bool>(
    target: &mut [f64],
    first: f64,
    w: &[f64],
    second: f64,
    v: &[f64],
) {
    for ((target, w), v) in target.iter_mut().zip(w).zip(v) {
        *target -= first * w + second * v;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_base::random::{Draws, Purpose};

    /// `sum of scale^k g g'` for random `g`, of the rank `rank`.
    fn covariance(size: usize, rank: usize) -> Vec<f64> {
        let mut draws = Draws::new(size as u64, Purpose::Fixture, 0, rank as u32);
        let mut matrix = vec![0.0; size * size];
        for place in 0..rank {
            let vector: Vec<f64> =
                (0..size).map(|_| f64::from(draws.normal()) / (1 + place) as f64).collect();
            for (row, left) in matrix.chunks_exact_mut(size).zip(&vector) {
                row.iter_mut().zip(&vector).for_each(|(value, right)| *value += left * right);
            }
        }
        matrix
    }

    #[test]
    fn vectors_are_orthogonal_and_are_only_stretched() {
        for (size, rank) in
            [(1, 1), (2, 2), (3, 1), (7, 7), (40, 12), (131, 131), (200, 60), (64, 0)]
        {
            let matrix = covariance(size, rank);
            let mut vectors = matrix.clone();
            let values = eigenvectors(&mut vectors, size);
            assert!(values.windows(2).all(|pair| pair[0] >= pair[1]), "{values:?}");
            let scale = values[0].abs().max(1e-30);
            for (place, vector) in vectors.chunks_exact(size).enumerate() {
                for (other, row) in vectors.chunks_exact(size).enumerate() {
                    let product: f64 =
                        vector.iter().zip(row).map(|(left, right)| left * right).sum();
                    assert!(
                        (product - f64::from(u8::from(place == other))).abs() < 1e-12,
                        "{size}: {place} {other} {product}"
                    );
                }
                for (row, own) in matrix.chunks_exact(size).zip(vector) {
                    let product: f64 =
                        row.iter().zip(vector).map(|(left, right)| left * right).sum();
                    assert!(
                        (product - values[place] * own).abs() < 1e-12 * scale * size as f64,
                        "{size}: {product}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_diagonal_matrix_and_equal_values_are_handled() {
        let mut matrix = vec![0.0; 25];
        (0..5).for_each(|place| matrix[place * 6] = if place < 3 { 2.0 } else { place as f64 });
        assert_eq!(eigenvectors(&mut matrix, 5), [4.0, 3.0, 2.0, 2.0, 2.0]);
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let of = |threads: usize| {
            let mut matrix = covariance(150, 150);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let values = pool.install(|| eigenvectors(&mut matrix, 150));
            (values, matrix)
        };
        assert!(of(1) == of(3));
    }
}
