//! Uploads the input of a pass: images, targets, weights, arguments.

use crate::arguments::Arguments;
use crate::device::Fault;
use crate::memory::Memory;
use crate::record::Buffer;
use regraft_nn::engine::{Content, Input, Normalisation, Target};
use std::ops::Range;

/// Uploads some images of a batch, of `length` elements each. Before them lies the image before the
/// first, with which it is mixed: of the batch's first, the last.
pub(crate) fn images(
    memory: &mut Memory,
    input: &Input<'_>,
    images: &Range<usize>,
    length: usize,
    known: &mut Option<Normalisation>,
) -> Result<(), Fault> {
    let all = input.content.length() / length;
    let before = input.mix.map(|_| (images.start + all - 1) % all);
    let unit = match input.content {
        Content::Values(_) => 4,
        Content::Pixels(..) => 1,
    };
    let bytes: &[u8] = match input.content {
        Content::Values(values) => bytemuck::cast_slice(values),
        Content::Pixels(pixels, normalisation) => {
            if *known != Some(normalisation) {
                memory.write_f32(Buffer::Levels, normalisation.tables().as_flattened())?;
                *known = Some(normalisation);
            }
            pixels
        }
    };
    let image = length * unit;
    let needed = (images.len() + 1) * image;
    let whole = needed.next_multiple_of(4) as u64;
    memory.reserve(Buffer::Images, whole)?;
    let buffer = memory.of(Buffer::Images);
    let size = std::num::NonZeroU64::new(whole);
    let view = size.and_then(|size| memory.device.queue.write_buffer_with(buffer, 0, size));
    let Some(mut view) = view else {
        memory.device.check()?;
        return Err(Fault("the device takes no images".to_owned()));
    };
    if let Some(before) = before {
        view.slice(..image).copy_from_slice(&bytes[before * image..(before + 1) * image]);
    }
    let own = &bytes[images.start * image..images.end * image];
    view.slice(image..needed).copy_from_slice(own);
    Ok(())
}

/// Uploads the targets and the weights of images.
pub(crate) fn targets(
    memory: &mut Memory,
    target: &Target<'_>,
    weights: Option<&[f32]>,
) -> Result<(), Fault> {
    match target {
        Target::Labels(labels) => memory.write(Buffer::Targets, labels)?,
        Target::Values(values) => memory.write_f32(Buffer::Targets, values)?,
    }
    if let Some(weights) = weights {
        memory.write_f32(Buffer::Weights, weights)?;
    }
    Ok(())
}

/// Uploads the arguments.
pub(crate) fn arguments(memory: &mut Memory, arguments: &Arguments) -> Result<(), Fault> {
    memory.write(Buffer::Arguments, &arguments.words())
}
