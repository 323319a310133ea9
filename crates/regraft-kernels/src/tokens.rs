//! The tokens that a transformer reads: learned tokens, patches, and embeddings of positions.

use crate::element::{Element, with_sums, with_values};
use rayon::prelude::*;

/// The sizes of the tokens of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenShape {
    /// Patches.
    pub patches: usize,
    /// Learned tokens before them.
    pub before: usize,
    /// The first token with a position embedding.
    pub first_embedded: usize,
    /// Channels of a token.
    pub channels: usize,
}

impl TokenShape {
    fn tokens(&self) -> usize {
        self.before + self.patches
    }

    fn skipped(&self) -> usize {
        self.first_embedded * self.channels
    }
}

/// `output` `[N, tokens, C]` is the learned tokens `[before, C]` and the image's `patches` `[N,
/// patches, C]`, with `positions` added from the first embedded token on.
///
/// # Panics
/// If a slice's length is not the shape's.
pub fn forward<E: Element>(
    shape: TokenShape,
    learned: &[&[f32]],
    positions: &[f32],
    patches: &[E],
    output: &mut [E],
) {
    let TokenShape { patches: count, channels, .. } = shape;
    assert_eq!(positions.len() + shape.skipped(), shape.tokens() * channels);
    let images = output.par_chunks_exact_mut(shape.tokens() * channels);
    images.zip(patches.par_chunks_exact(count * channels)).for_each(|(output, patches)| {
        with_values(patches, |patches| {
            with_sums(output, false, |output| {
                let (tokens, of_patches) = output.split_at_mut(shape.before * channels);
                let learned = learned.iter().copied().flatten();
                tokens.iter_mut().zip(learned).for_each(|(token, value)| *token = *value);
                of_patches.copy_from_slice(patches);
                let embedded = output[shape.skipped()..].iter_mut().zip(positions);
                embedded.for_each(|(value, position)| *value += position);
            });
        });
    });
}

/// The gradient of a tensor that is part of every image's tokens from token `first` on: the sum of
/// the images' gradients in their order.
///
/// # Panics
/// If the tensor ends after the last token.
pub fn sum_over_images<E: Element>(
    shape: TokenShape,
    gradient: &[E],
    first: usize,
    target: &mut [f32],
) {
    let image = shape.tokens() * shape.channels;
    let first = first * shape.channels;
    assert!(first + target.len() <= image);
    target.par_iter_mut().with_min_len(256).enumerate().for_each(|(at, target)| {
        let values = gradient[first + at..].iter().step_by(image);
        *target = values.map(|value| f64::from(value.to_f32())).sum::<f64>() as f32;
    });
}

/// The gradient of the patches. If `accumulate`, it is added to the target.
pub fn backward_patches<E: Element>(
    shape: TokenShape,
    gradient: &[E],
    target: &mut [E],
    accumulate: bool,
) {
    let TokenShape { patches, before, channels, .. } = shape;
    let images = target.par_chunks_exact_mut(patches * channels);
    images.zip(gradient.par_chunks_exact(shape.tokens() * channels)).for_each(
        |(target, gradient)| {
            let gradient = &gradient[before * channels..];
            if accumulate {
                for (target, value) in target.iter_mut().zip(gradient) {
                    *target = E::from_f32(target.to_f32() + value.to_f32());
                }
            } else {
                target.copy_from_slice(gradient);
            }
        },
    );
}

/// The first token of each image, `[N, tokens, C]` to `[N, C]`.
pub fn first_forward<E: Element, O: Element>(
    input: &[E],
    tokens: usize,
    channels: usize,
    output: &mut [O],
) {
    let images = input.chunks_exact(tokens * channels).zip(output.chunks_exact_mut(channels));
    for (input, output) in images {
        crate::element::copy(&input[..channels], output);
    }
}

/// The gradient of the input of [`first_forward`]. If `accumulate`, it is added to the target.
pub fn first_backward<E: Element, O: Element>(
    gradient: &[O],
    tokens: usize,
    channels: usize,
    target: &mut [E],
    accumulate: bool,
) {
    let images = target.chunks_exact_mut(tokens * channels).zip(gradient.chunks_exact(channels));
    for (target, gradient) in images {
        let (first, rest) = target.split_at_mut(channels);
        if accumulate {
            for (target, value) in first.iter_mut().zip(gradient) {
                *target = E::from_f32(target.to_f32() + value.to_f32());
            }
        } else {
            crate::element::copy(gradient, first);
            rest.fill(E::default());
        }
    }
}
