//! The elements of feature maps, widened to f32 when read and rounded when written.

use crate::isa::for_each_isa;
use crate::scratch::with_scratch;
pub use regraft_base::element::{Bf16, Element};

/// Lends f32 memory for the sums that become `output`: the output itself if it is f32, otherwise
/// this thread's scratch memory, which is then rounded into the output. At first it holds the
/// output's values if `keeps`, otherwise arbitrary ones.
#[inline]
pub fn with_sums<E: Element, R>(
    output: &mut [E],
    keeps: bool,
    work: impl FnOnce(&mut [f32]) -> R,
) -> R {
    match E::as_f32_mut(output) {
        Ok(output) => work(output),
        Err(output) => with_scratch(output.len(), |sums: &mut [f32]| {
            if keeps {
                copy(output, sums);
            }
            let result = work(sums);
            copy(sums, output);
            result
        }),
    }
}

/// Lends the values as f32: the values themselves if they are f32, otherwise a copy in this
/// thread's scratch memory.
#[inline]
pub fn with_values<E: Element, R>(values: &[E], work: impl FnOnce(&[f32]) -> R) -> R {
    match E::as_f32(values) {
        Some(values) => work(values),
        None => with_scratch(values.len(), |wide: &mut [f32]| {
            copy(values, wide);
            work(wide)
        }),
    }
}

/// A type that holds every value of `E` exactly.
pub trait CopyFrom<E>: Element {
    /// Copies values without changing them.
    fn copy_run(from: &[E], to: &mut [Self]);

    /// The values themselves, if the types are the same.
    fn in_place(values: &[E]) -> Option<&[Self]>;
}

impl<E: Element> CopyFrom<E> for f32 {
    #[inline]
    fn copy_run(from: &[E], to: &mut [Self]) {
        match E::as_f32(from) {
            Some(from) => copy_short_run(from, to),
            None => to.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f32()),
        }
    }

    fn in_place(values: &[E]) -> Option<&[Self]> {
        E::as_f32(values)
    }
}

impl CopyFrom<Self> for Bf16 {
    #[inline]
    fn copy_run(from: &[Self], to: &mut [Self]) {
        copy_short_run(from, to);
    }

    fn in_place(values: &[Self]) -> Option<&[Self]> {
        Some(values)
    }
}

/// Like `copy_from_slice`, which is a function call: too slow for the many short runs of a patch
/// with few channels.
#[inline]
fn copy_short_run<T: Copy>(from: &[T], to: &mut [T]) {
    const WHOLE: usize = 8;
    assert_eq!(from.len(), to.len());
    let length = from.len();
    if !(WHOLE..=8 * WHOLE).contains(&length) {
        return to.copy_from_slice(from);
    }
    let (pieces, _) = from.as_chunks::<WHOLE>();
    let (targets, _) = to.as_chunks_mut::<WHOLE>();
    targets.iter_mut().zip(pieces).for_each(|(to, from)| *to = *from);
    // The last piece overlaps the previous one, so that it ends at the end.
    to[length - WHOLE..].copy_from_slice(&from[length - WHOLE..]);
}

for_each_isa! {
    /// Copies values from one type to another, rounding if necessary.
    pub fn copy<From: Element, To: Element>(from: &[From], to: &mut [To]) => copy_body
}
#[inline(always)]
fn copy_body<const FUSED: bool, From: Element, To: Element>(from: &[From], to: &mut [To]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = To::from_f32(from.to_f32());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_begin_with_the_output_if_it_is_kept() {
        let mut output = [1.0, 2.0].map(Bf16::from_f32);
        with_sums(&mut output, true, |sums| sums.iter_mut().for_each(|sum| *sum += 0.5));
        assert_eq!(output, [1.5, 2.5].map(Bf16::from_f32));
        with_sums(&mut output, false, |sums| sums.fill(3.0));
        assert_eq!(output, [3.0, 3.0].map(Bf16::from_f32));
    }
}
