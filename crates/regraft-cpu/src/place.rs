//! Where a pass's buffers lie.

use regraft_nn::precision::Precision;
use std::ops::Range;

/// Where a buffer lies, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Cache lines of the pass's memory.
    pub lines: Range<usize>,
    /// Elements in them.
    pub elements: usize,
    /// Their type.
    pub precision: Precision,
}

impl Place {
    /// The place of no buffer.
    pub const NOWHERE: Self = Self { lines: 0..0, elements: 0, precision: Precision::F32 };
}

/// Where a gradient goes: the gradient of what a step read, and whether it is added to what is
/// there. `None` if nothing needs it.
pub(crate) type Target = Option<(Place, bool)>;
