//! Finishes a patch of sums while it is in the cache.

use super::panels::PANEL;
use crate::activation::{Epilogue, clamp};
use crate::element::Element;
use crate::finish::Finish;
use crate::isa::{for_each_isa, multiply_add};

/// Marks a position whose sums nobody reads.
pub(super) const NOWHERE: u32 = u32::MAX;

/// The use of a block's sums.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use<'a, E> {
    /// See [`Finish::Epilogue`]; the block begins at this element of the output.
    Epilogue(Epilogue<'a, E>, usize),
    /// See [`Finish::Add`].
    Add,
    /// See [`Finish::Statistics`].
    Statistics,
}

impl<'a, E: Element> Use<'a, E> {
    /// The use by a block that begins at this element of the output.
    pub(super) fn of(finish: &Finish<'a, E>, start: usize) -> Self {
        match finish {
            Finish::Epilogue(epilogue) => Self::Epilogue(*epilogue, start),
            Finish::Add => Self::Add,
            Finish::Statistics(_) => Self::Statistics,
        }
    }
}

/// Sums of a panel's columns around a value of each column.
///
/// The value is a sample, so the squares around it are at most `n + 1` times those around the mean
/// of `n` samples, which bounds the error of their difference.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Moments {
    pivot: [f32; PANEL],
    sum: [f32; PANEL],
    squares: [f32; PANEL],
    count: usize,
}

impl Moments {
    pub(super) const NONE: Self =
        Self { pivot: [0.0; PANEL], sum: [0.0; PANEL], squares: [0.0; PANEL], count: 0 };

    /// Writes each column's mean and its squared deviations.
    pub(super) fn write(&self, mean: &mut [f32], squares: &mut [f32]) {
        let share = 1.0 / (self.count.max(1)) as f32;
        for (column, (mean, squares)) in mean.iter_mut().zip(squares).enumerate().take(PANEL) {
            let sum = self.sum[column];
            *mean = self.pivot[column] + sum * share;
            *squares = (self.squares[column] - sum * sum * share).max(0.0);
        }
    }
}

/// A panel of a block's output.
#[derive(Debug)]
pub(super) struct Sink<'a, E> {
    pub(super) output: &'a mut [E],
    pub(super) channels: usize,
    /// First channel of the panel.
    pub(super) first: usize,
    pub(super) moments: Moments,
    pub(super) use_: Use<'a, E>,
}

impl<E: Element> Sink<'_, E> {
    /// Takes a patch of sums, whose rows are the pixels with these indices in the output.
    pub(super) fn take(&mut self, patch: &[f32], pixels: &[u32]) {
        let columns = PANEL.min(self.channels - self.first);
        let place = Place { channels: self.channels, first: self.first, columns };
        match &self.use_ {
            Use::Statistics => {
                if self.moments.count == 0
                    && let Some(row) = pixels.iter().position(|&pixel| pixel != NOWHERE)
                {
                    self.moments.pivot.copy_from_slice(&patch[row * PANEL..][..PANEL]);
                }
                count_and_store(patch, pixels, place, &mut self.moments, self.output);
            }
            Use::Add => add(patch, pixels, place, self.output),
            Use::Epilogue(epilogue, start) => {
                let (low, high) = epilogue.activation.bounds();
                let mut bias = [0.0; PANEL];
                if let Some(values) = epilogue.bias {
                    bias[..columns].copy_from_slice(&values[self.first..][..columns]);
                }
                match epilogue.residual {
                    Some(residual) => {
                        let residual = &residual[*start..];
                        store_with(patch, pixels, place, &bias, residual, low, high, self.output);
                    }
                    None => store(patch, pixels, place, &bias, low, high, self.output),
                }
            }
        }
    }
}

/// A panel's columns in an output of whole pixels.
#[derive(Clone, Copy, Debug)]
struct Place {
    channels: usize,
    first: usize,
    columns: usize,
}

/// Calls `work` with the sums and the output's values of each row of a patch that has a pixel, in
/// pieces whose lengths the compiler knows, except for the last few of a row.
#[inline(always)]
fn each_row<E: Element>(
    patch: &[f32],
    pixels: &[u32],
    place: Place,
    output: &mut [E],
    mut work: impl FnMut(usize, usize, &[f32], &mut [E]),
) {
    const EIGHT: usize = 8;
    for (sums, &pixel) in patch.as_chunks::<PANEL>().0.iter().zip(pixels) {
        if pixel == NOWHERE {
            continue;
        }
        let start = pixel as usize * place.channels + place.first;
        if place.columns == PANEL {
            work(start, 0, sums, &mut output[start..][..PANEL]);
            continue;
        }
        let output = &mut output[start..][..place.columns];
        for at in (0..place.columns).step_by(EIGHT) {
            if at + EIGHT <= place.columns {
                work(start + at, at, &sums[at..][..EIGHT], &mut output[at..][..EIGHT]);
            } else {
                work(start + at, at, &sums[at..place.columns], &mut output[at..]);
            }
        }
    }
}

for_each_isa! {
    fn count_and_store<E: Element>(patch: &[f32], pixels: &[u32], place: Place,
        moments: &mut Moments, output: &mut [E]) => count_and_store_body
}
#[inline(always)]
fn count_and_store_body<const FUSED: bool, E: Element>(
    patch: &[f32],
    pixels: &[u32],
    place: Place,
    moments: &mut Moments,
    output: &mut [E],
) {
    let pivot = moments.pivot;
    // Sums of the patch alone, so that many pixels round no worse than one patch.
    let (mut total, mut squares) = ([0.0; PANEL], [0.0; PANEL]);
    let mut count = 0;
    for (sums, &pixel) in patch.as_chunks::<PANEL>().0.iter().zip(pixels) {
        if pixel == NOWHERE {
            continue;
        }
        count += 1;
        for column in 0..PANEL {
            let deviation = sums[column] - pivot[column];
            total[column] += deviation;
            squares[column] = multiply_add::<FUSED>(deviation, deviation, squares[column]);
        }
    }
    each_row(patch, pixels, place, output, |_, _, sums, output| {
        output.iter_mut().zip(sums).for_each(|(output, sum)| *output = E::from_f32(*sum));
    });
    for column in 0..PANEL {
        moments.sum[column] += total[column];
        moments.squares[column] += squares[column];
    }
    moments.count += count;
}

for_each_isa! {
    fn add<E: Element>(patch: &[f32], pixels: &[u32], place: Place, output: &mut [E]) => add_body
}
#[inline(always)]
fn add_body<const FUSED: bool, E: Element>(
    patch: &[f32],
    pixels: &[u32],
    place: Place,
    output: &mut [E],
) {
    each_row(patch, pixels, place, output, |_, _, sums, output| {
        for (output, sum) in output.iter_mut().zip(sums) {
            *output = E::from_f32(output.to_f32() + sum);
        }
    });
}

for_each_isa! {
    fn store<E: Element>(patch: &[f32], pixels: &[u32], place: Place, bias: &[f32; PANEL],
        low: f32, high: f32, output: &mut [E]) => store_body
}
#[inline(always)]
fn store_body<const FUSED: bool, E: Element>(
    patch: &[f32],
    pixels: &[u32],
    place: Place,
    bias: &[f32; PANEL],
    low: f32,
    high: f32,
    output: &mut [E],
) {
    each_row(patch, pixels, place, output, |_, at, sums, output| {
        for ((output, sum), bias) in output.iter_mut().zip(sums).zip(&bias[at..]) {
            *output = E::from_f32(clamp(sum + bias, low, high));
        }
    });
}

for_each_isa! {
    fn store_with<E: Element>(patch: &[f32], pixels: &[u32], place: Place, bias: &[f32; PANEL],
        residual: &[E], low: f32, high: f32, output: &mut [E]) => store_with_body
}
#[inline(always)]
fn store_with_body<const FUSED: bool, E: Element>(
    patch: &[f32],
    pixels: &[u32],
    place: Place,
    bias: &[f32; PANEL],
    residual: &[E],
    low: f32,
    high: f32,
    output: &mut [E],
) {
    each_row(patch, pixels, place, output, |start, at, sums, output| {
        let residual = &residual[start..][..sums.len()];
        for (((output, sum), bias), residual) in
            output.iter_mut().zip(sums).zip(&bias[at..]).zip(residual)
        {
            *output = E::from_f32(clamp(sum + bias + residual.to_f32(), low, high));
        }
    });
}
