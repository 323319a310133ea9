//! Blocks of a depthwise convolution between two of 1x1 in evaluation, which one kernel computes.

use crate::step::BlockWeights;
use regraft_kernels::packing::MapElement;
use regraft_kernels::separable::{Block, Pointwise};

/// Computes a block from its parts, in order. `residual` is added before the last activation.
pub(super) fn compute<E: MapElement>(
    parts: &[BlockWeights<'_>],
    input: &[E],
    residual: Option<&[E]>,
    output: &mut [E],
) {
    let block = match parts {
        [first, BlockWeights::Depthwise(depthwise), last] => {
            Block { expand: pointwise(first), depthwise: *depthwise, project: pointwise(last) }
        }
        [first, BlockWeights::Depthwise(depthwise)] => {
            Block { expand: pointwise(first), depthwise: *depthwise, project: None }
        }
        [BlockWeights::Depthwise(depthwise), last] => {
            Block { expand: None, depthwise: *depthwise, project: pointwise(last) }
        }
        _ => unreachable!("a block has one depthwise convolution, with others around it"),
    };
    block.forward(input, residual, output);
}

fn pointwise<'a>(part: &BlockWeights<'a>) -> Option<&'a Pointwise> {
    match part {
        BlockWeights::Pointwise(pointwise) => Some(pointwise),
        BlockWeights::Depthwise(_) => None,
    }
}
