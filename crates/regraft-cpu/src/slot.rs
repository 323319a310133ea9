//! The buffers of a pass, borrowed from its memory.

use regraft_kernels::element::{Element, copy, with_sums, with_values};
use regraft_kernels::memory::{CacheLine, elements_mut};
use regraft_nn::plan::Place;
use regraft_nn::precision::Precision;

/// Evaluates an expression with the element type of a precision.
macro_rules! with_element {
    ($precision:expr, $element:ident => $work:expr) => {
        match $precision {
            regraft_nn::precision::Precision::F32 => {
                type $element = f32;
                $work
            }
            regraft_nn::precision::Precision::Bf16 => {
                type $element = regraft_kernels::element::Bf16;
                $work
            }
            regraft_nn::precision::Precision::F16 => {
                unreachable!("the CPU engine is not created in f16")
            }
        }
    };
}
pub(crate) use with_element;

/// A buffer.
pub(crate) struct Slot<'a> {
    lines: &'a mut [CacheLine],
    elements: usize,
    precision: Precision,
}

impl<'a> Slot<'a> {
    /// Its elements, which have type `E`; empty if there is no buffer.
    pub fn of<E: Element>(self) -> &'a mut [E] {
        assert!(
            self.elements == 0 || E::NAME == self.precision.name(),
            "a buffer of {} is no {}",
            self.precision.name(),
            E::NAME
        );
        elements_mut(self.lines, self.elements)
    }

    /// Its elements of any type, as f32.
    pub fn into_vec(self) -> Vec<f32> {
        let mut values = vec![0.0; self.elements];
        with_element!(self.precision, E =>
            copy(elements_mut::<E>(self.lines, self.elements), &mut values));
        values
    }

    /// Lends its elements of any type, as f32.
    pub fn read<R>(self, work: impl FnOnce(&[f32]) -> R) -> R {
        with_element!(self.precision, E => with_values(self.of::<E>(), work))
    }

    /// Lends f32 values, which are then stored as its elements. At first they are its current
    /// elements if `keeps`, otherwise arbitrary.
    pub fn write<R>(self, keeps: bool, work: impl FnOnce(&mut [f32]) -> R) -> R {
        with_element!(self.precision, E => with_sums(self.of::<E>(), keeps, work))
    }
}

/// Buffers that do not overlap, which the planner guarantees.
pub(crate) fn disjoint<const COUNT: usize>(
    memory: &mut [CacheLine],
    places: [Place; COUNT],
) -> [Slot<'_>; COUNT] {
    let kinds = places.each_ref().map(|place| (place.elements, place.precision));
    let lines = memory.get_disjoint_mut(places.map(|place| place.units)).unwrap_or_else(|error| {
        panic!("the planner laid two living buffers over each other: {error}")
    });
    let mut kinds = kinds.into_iter();
    lines.map(|lines| {
        let (elements, precision) = kinds.next().unwrap_or((0, Precision::F32));
        Slot { lines, elements, precision }
    })
}
