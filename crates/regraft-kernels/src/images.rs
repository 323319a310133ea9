//! A batch of images as the first layer reads it: normalised, mixed in pairs, and rounded to the
//! type of the feature maps.

use crate::element::{Element, with_sums};
use crate::scratch::with_scratch;
use rayon::prelude::*;
use regraft_base::mix::Mix;
use regraft_base::normalisation::look_up;
use std::ops::Range;

/// The content of a batch, `[N, H, W, C]`.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Numbers that the network reads directly.
    Values(&'a [f32]),
    /// Levels of three channels, and the value for each level
    /// ([`Normalisation::tables`](regraft_base::normalisation::Normalisation::tables)).
    Levels(&'a [u8], &'a [[f32; 256]; 3]),
}

impl<'a> Content<'a> {
    /// Number of its elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Levels(levels, _) => levels.len(),
        }
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn image(self, number: usize, length: usize) -> Self {
        let place = number * length..(number + 1) * length;
        match self {
            Self::Values(values) => Self::Values(&values[place]),
            Self::Levels(levels, tables) => Self::Levels(&levels[place], tables),
        }
    }

    /// Writes the elements from `start` on in the form that the network reads.
    fn write(self, start: usize, output: &mut [f32]) {
        match self {
            Self::Values(values) => output.copy_from_slice(&values[start..][..output.len()]),
            Self::Levels(levels, tables) => {
                look_up(tables, &levels[start..][..output.len()], output)
            }
        }
    }
}

/// The size of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

/// Writes some images of a batch to `output`, each mixed with the one before it as `mix` says, and
/// the batch's first with its last.
///
/// # Panics
/// If the lengths do not match.
pub fn load<E: Element>(
    content: Content<'_>,
    images: Range<usize>,
    mix: Option<Mix>,
    size: ImageSize,
    output: &mut [E],
) {
    let row_length = size.width * size.channels;
    let length = size.height * row_length;
    assert!(length > 0 && content.len().is_multiple_of(length), "a batch has whole images");
    let count = content.len() / length;
    assert_eq!(images.len() * length, output.len(), "images and their buffer have the same length");
    output.par_chunks_exact_mut(length).zip(images).for_each(|(output, number)| {
        let own = content.image(number, length);
        let other = content.image((number + count - 1) % count, length);
        for (row, output) in output.chunks_exact_mut(row_length).enumerate() {
            let start = row * row_length;
            with_sums(output, false, |output| {
                own.write(start, output);
                match mix {
                    Some(Mix::Blend(kept)) => with_scratch(row_length, |others: &mut [f32]| {
                        other.write(start, others);
                        let pairs = output.iter_mut().zip(&*others);
                        pairs.for_each(|(value, other)| {
                            *value = kept * *value + (1.0 - kept) * other
                        });
                    }),
                    Some(Mix::Paste { top, left, bottom, right })
                        if (top..bottom).contains(&row) =>
                    {
                        let columns = left * size.channels..right * size.channels;
                        other.write(start + columns.start, &mut output[columns]);
                    }
                    Some(Mix::Paste { .. }) | None => {}
                }
            });
        }
    });
}
