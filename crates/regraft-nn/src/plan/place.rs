//! The places of a pass's buffers.

use crate::precision::Precision;
use std::ops::Range;

/// The place and the type of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its units of the pass's memory ([`super::Memory::unit_bytes`]).
    pub units: Range<usize>,
    /// Number of elements.
    pub elements: usize,
    /// Their type.
    pub precision: Precision,
}

impl Place {
    /// The place of a buffer that does not exist.
    pub const NOWHERE: Self = Self { units: 0..0, elements: 0, precision: Precision::F32 };
}

/// The place for the gradient of a step's input, and whether the gradient is added to the current
/// content. `None` if the gradient is not needed.
pub type Target = Option<(Place, bool)>;
