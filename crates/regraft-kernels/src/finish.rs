//! The operations on a convolution's sums while a block of them is in the cache.

use crate::activation::Epilogue;
use crate::batch_norm::{Statistics, block_statistics};
use crate::element::{Element, with_sums};
use rayon::prelude::*;

/// The use of a convolution's sums.
#[derive(Debug)]
pub enum Finish<'a, E = f32> {
    /// The epilogue of the sums is the output.
    Epilogue(Epilogue<'a, E>),
    /// The sums are added to the output.
    Add,
    /// The sums are the output, and the statistics of each of its channels are computed.
    Statistics(&'a mut Statistics),
}

impl<E: Element> Finish<'_, E> {
    /// The sums are the output.
    pub const NOTHING: Self = Self::Epilogue(Epilogue::NONE);

    /// If `accumulate`, the sums are added to the output, otherwise they are the output.
    pub(crate) fn added_where(accumulate: bool) -> Self {
        if accumulate { Self::Add } else { Self::NOTHING }
    }

    /// Computes an output of whole pixels of `channels` channels in blocks, which cover it in order
    /// and are separate tasks.
    ///
    /// `compute` receives a block's key, f32 memory for its sums, and whether the sums are to be
    /// added to the memory.
    pub(crate) fn run<B: Send>(
        self,
        channels: usize,
        blocks: Vec<(B, &mut [E])>,
        compute: impl Fn(B, &mut [f32], bool) + Sync,
    ) {
        match self {
            Self::Epilogue(epilogue) => {
                let mut end = 0;
                let placed = blocks.into_iter().map(|(block, output)| {
                    let start = end;
                    end += output.len();
                    (start, block, output)
                });
                let blocks: Vec<_> = placed.collect();
                blocks.into_par_iter().for_each(|(start, block, output)| {
                    with_sums(output, false, |sums| {
                        compute(block, sums, false);
                        epilogue.apply(sums, start, channels);
                    });
                });
            }
            Self::Add => blocks.into_par_iter().for_each(|(block, output)| {
                with_sums(output, true, |sums| compute(block, sums, true));
            }),
            Self::Statistics(statistics) => {
                let pixels: Vec<usize> =
                    blocks.iter().map(|(_, output)| output.len() / channels).collect();
                let partial =
                    statistics.partial(blocks.len(), channels).par_chunks_exact_mut(2 * channels);
                blocks.into_par_iter().zip(partial).for_each(|((block, output), partial)| {
                    with_sums(output, false, |sums| {
                        compute(block, sums, false);
                        block_statistics(sums, partial);
                    });
                });
                statistics.combine(&pixels, channels);
            }
        }
    }
}
