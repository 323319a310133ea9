//! Values of sixteen neighbouring channels, and arithmetic on them.
//!
//! All of this is compiled for each instruction set by being inlined into the entry points of the
//! transforms. Closures and `array::from_fn` would not be inlined and would fall back to the
//! baseline set; hence plain functions and loops.

use crate::element::Element;
use crate::isa::multiply_add;

/// Channels that are transformed side by side.
pub const LANES: usize = 16;

/// One value for each of [`LANES`] channels.
pub type Lanes = [f32; LANES];

pub const ZEROS: Lanes = [0.0; LANES];

#[inline(always)]
pub fn plus(first: &Lanes, second: &Lanes) -> Lanes {
    let mut sum = *first;
    for (sum, second) in sum.iter_mut().zip(second) {
        *sum += second;
    }
    sum
}

#[inline(always)]
pub fn minus(first: &Lanes, second: &Lanes) -> Lanes {
    let mut difference = *first;
    for (difference, second) in difference.iter_mut().zip(second) {
        *difference -= second;
    }
    difference
}

#[inline(always)]
pub fn times(factor: f32, values: &Lanes) -> Lanes {
    let mut product = *values;
    for value in &mut product {
        *value *= factor;
    }
    product
}

/// `factor * values + to`.
#[inline(always)]
pub fn add_times<const FUSED: bool>(factor: f32, values: &Lanes, to: &Lanes) -> Lanes {
    let mut sum = *to;
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum = multiply_add::<FUSED>(factor, *value, *sum);
    }
    sum
}

#[inline(always)]
pub fn read<E: Element>(values: &[E], at: usize) -> Lanes {
    let mut lanes = ZEROS;
    for (lane, value) in lanes.iter_mut().zip(&values[at..at + LANES]) {
        *lane = value.to_f32();
    }
    lanes
}

#[inline(always)]
pub fn write<E: Element>(target: &mut [E], at: usize, lanes: &Lanes) {
    for (target, value) in target[at..at + LANES].iter_mut().zip(lanes) {
        *target = E::from_f32(*value);
    }
}
