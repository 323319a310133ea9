//! How many pixels of a large image a view of it needs.

use crate::augmentation::{Augmentation, AugmentationKind};
use crate::preprocessing::{Preprocessing, ResizeMode};
use crate::transform::Transform;

/// Pixels that are kept for each pixel of the network's input, along a side. With a factor of 1,
/// the reduced image's own filter shows (3 levels in the mean on mosaics of small images, which
/// have more detail than any photograph). With 1.5 the difference is below one level there, and 0.3
/// on photographs, which is as much as two JPEG decoders differ by.
const OVERSAMPLING: f64 = 1.5;

/// The least short side, in pixels, to which an image may be reduced before `transform`: the
/// smallest crop that can be drawn from it then has 1.5 pixels for each of the network's input.
#[must_use]
pub fn least_side(
    transform: Transform,
    preprocessing: &Preprocessing,
    augmentation: &Augmentation,
) -> u32 {
    let side = f64::from(preprocessing.image_size);
    let needed = match (transform, augmentation.kind) {
        (Transform::Evaluate, _) | (_, AugmentationKind::None) => match preprocessing.resize {
            ResizeMode::Crop { short_side } => f64::from(short_side),
            ResizeMode::Squash | ResizeMode::Letterbox => side,
        },
        // The smallest area in the most extreme shape, of a square image; longer images have larger
        // crops.
        _ => {
            let [low, high] = augmentation.crop_ratio;
            side / (f64::from(augmentation.crop_scale[0]) * low.min(1.0 / high)).sqrt()
        }
    };
    (needed * OVERSAMPLING).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocessing::Interpolation;

    #[test]
    fn a_view_needs_a_least_side() {
        let preprocessing = Preprocessing {
            image_size: 224,
            resize: ResizeMode::Crop { short_side: 256 },
            interpolation: Interpolation::Bilinear,
            mean: [0.5; 3],
            std: [0.5; 3],
        };
        let train = Transform::Train { seed: 0, epoch: 0 };
        let whole = Augmentation { kind: AugmentationKind::None, ..Augmentation::default() };
        assert_eq!(least_side(Transform::Evaluate, &preprocessing, &Augmentation::default()), 384);
        assert_eq!(least_side(train, &preprocessing, &whole), 384);
        // 1.5 * 224 / sqrt(0.08 * 0.75)
        assert_eq!(least_side(train, &preprocessing, &Augmentation::default()), 1372);
        let squashed = Preprocessing { resize: ResizeMode::Squash, ..preprocessing };
        assert_eq!(least_side(Transform::Evaluate, &squashed, &whole), 336);
    }
}
