//! The coordinates in which a regression is solved: along the principal axes of the examples.
//!
//! The penalty is the same in all rotated coordinates, and so is the solution. But in these the
//! second derivatives are nearly diagonal, which halves the steps that a solver takes (1,000
//! examples of 100 classes: 569 evaluations became 299). Fewer examples than features leave
//! directions in which nothing varies; they are left out.

use super::Examples;
use crate::algebra::gemm::{Left, Matrix, Operand, Packed, Rows, Sums, multiply};
use crate::algebra::symmetric::{add_scaled, dot, eigenvectors};
use rayon::prelude::*;

/// Examples that are centred at a time.
const BLOCK: usize = 512;
/// Rows of the covariance that one task takes.
const ROWS_PER_TASK: usize = 84;
/// Eigenvectors take about a nanosecond for the third power of their number, and what they save of
/// a regression about 30 for each product of examples, features and classes (two cores with
/// AVX-512).
const SAVED: usize = 30;
/// Axes along which the examples spread less than this share of the largest spread are left out, if
/// there are fewer examples than features: they cannot be told from rounding.
const LEAST_SPREAD: f64 = 1e-4;

/// Axes as rows, `[axes, channels]`, orthogonal and of length 1.
pub(super) struct Basis {
    axes: Vec<f32>,
    channels: usize,
}

impl Basis {
    /// The principal axes of the examples; `None` if finding them takes longer than they save.
    pub fn of(examples: &Examples<'_>, mean: &[f64]) -> Option<Self> {
        let (count, channels) = (examples.labels.len(), examples.channels);
        Self::axes_for(count, channels, examples.classes)?;
        let axes = if count < channels { few(examples, mean) } else { many(examples, mean) };
        Some(Self { axes, channels })
    }

    /// How many axes there are at most; `None` if finding them takes longer than they save.
    pub fn axes_for(examples: usize, channels: usize, classes: usize) -> Option<usize> {
        let size = examples.min(channels);
        let saved = examples.saturating_mul(channels).saturating_mul(classes).saturating_mul(SAVED);
        (size.saturating_pow(3) <= saved).then_some(size)
    }

    pub fn axes(&self) -> usize {
        self.axes.len() / self.channels
    }

    /// The coordinates `[N, axes]` of centred rows `[N, channels]`.
    pub fn coordinates(&self) -> impl Fn(&[f32], &mut [f32]) {
        let mut packed = Packed::default();
        packed.pack(
            Matrix::Columns { data: &self.axes, stride: self.channels },
            self.channels,
            self.axes(),
        );
        let (channels, axes) = (self.channels, self.axes());
        move |rows, coordinates| {
            let tasks = coordinates
                .par_chunks_mut(ROWS_PER_TASK * axes)
                .zip(rows.par_chunks(ROWS_PER_TASK * channels));
            tasks.for_each(|(coordinates, rows)| {
                multiply(
                    Left::rows(rows, channels),
                    rows.len() / channels,
                    &packed,
                    coordinates,
                    axes,
                    false,
                );
            });
        }
    }

    /// Weights `[classes, axes]` as weights of the features, `[classes, channels]`.
    pub fn weights(&self, weights: &[f32]) -> Vec<f32> {
        let (channels, axes) = (self.channels, self.axes());
        let mut packed = Packed::default();
        packed.pack(Matrix::Rows { data: &self.axes, stride: channels }, axes, channels);
        let mut found = vec![0.0; weights.len() / axes * channels];
        let tasks = found
            .par_chunks_mut(ROWS_PER_TASK * channels)
            .zip(weights.par_chunks(ROWS_PER_TASK * axes));
        tasks.for_each(|(found, weights)| {
            multiply(
                Left::rows(weights, axes),
                weights.len() / axes,
                &packed,
                found,
                channels,
                false,
            );
        });
        found
    }
}

/// By the covariance of the features. The axes are orthogonal to f64's precision even if the
/// covariance, in f32, is not exact.
fn many(examples: &Examples<'_>, mean: &[f64]) -> Vec<f32> {
    let channels = examples.channels;
    let mut covariance = vec![0.0f32; channels * channels];
    let mut centred = Vec::with_capacity(BLOCK * channels);
    for rows in examples.features.chunks(BLOCK * channels) {
        centred.clear();
        centred.extend(rows.chunks_exact(channels).flat_map(|row| {
            row.iter().zip(mean).map(|(&value, mean)| (f64::from(value) - mean) as f32)
        }));
        let count = centred.len() / channels;
        covariance.par_chunks_mut(ROWS_PER_TASK * channels).enumerate().for_each(
            |(task, covariance)| {
                let (first, rows) = (task * ROWS_PER_TASK, covariance.len() / channels);
                let packed = &mut Packed::default();
                let left = Rows { data: &centred[first..], stride: channels, columns: rows };
                let right = Rows { data: &centred, stride: channels, columns: channels };
                let sums = Sums { data: covariance, stride: channels, accumulate: true };
                f32::multiply_transposed(left, right, count, sums, packed);
            },
        );
    }
    let mut vectors: Vec<f64> = covariance.iter().map(|&value| f64::from(value)).collect();
    for row in 0..channels {
        for column in 0..row {
            vectors[row * channels + column] = vectors[column * channels + row];
        }
    }
    eigenvectors(&mut vectors, channels);
    vectors.into_iter().map(|value| value as f32).collect()
}

/// By the examples' products with each other, of which there are fewer. In f64, because an axis is
/// a sum of examples divided by its spread.
fn few(examples: &Examples<'_>, mean: &[f64]) -> Vec<f32> {
    let (count, channels) = (examples.labels.len(), examples.channels);
    let rows: Vec<f64> = examples
        .features
        .chunks_exact(channels)
        .flat_map(|row| row.iter().zip(mean).map(|(&value, mean)| f64::from(value) - mean))
        .collect();
    let mut products = vec![0.0; count * count];
    products.par_chunks_exact_mut(count).zip(rows.par_chunks_exact(channels)).for_each(
        |(products, row)| {
            for (product, other) in products.iter_mut().zip(rows.chunks_exact(channels)) {
                dot(row, other, product);
            }
        },
    );
    let squares = eigenvectors(&mut products, count);
    let least = LEAST_SPREAD * LEAST_SPREAD * squares[0];
    let kept = squares.iter().take_while(|&&square| square > least).count().max(1);
    let mut axes = vec![0.0f32; kept * channels];
    axes.par_chunks_exact_mut(channels)
        .zip(products.par_chunks_exact(count))
        .zip(&squares)
        .for_each(|((axis, shares), square)| {
            let mut sum = vec![0.0; channels];
            for (row, share) in rows.chunks_exact(channels).zip(shares) {
                add_scaled(&mut sum, *share, row);
            }
            let length = square.max(f64::MIN_POSITIVE).sqrt();
            axis.iter_mut().zip(&sum).for_each(|(axis, sum)| *axis = (sum / length) as f32);
        });
    axes
}
