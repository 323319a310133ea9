//! The images of a grid, decoded, transformed and brought to the size of a cell.

use crate::config::cores_or;
use regraft_base::random::{Draws, Purpose};
use regraft_base::resample::{Filter, Rectangle, resize_rgb};
use regraft_data::RgbImage;
use regraft_data::augmentation::{Augmentation, training_pixels};
use regraft_data::catalogue::Sample;
use regraft_data::decode::{DecodeError, DecodeOptions, decode};
use regraft_data::detail::least_side;
use regraft_data::loader::Transform;
use regraft_data::parallel;
use regraft_data::preprocessing::{Preprocessing, evaluation_pixels};

/// The treatment of each image.
pub(super) struct Recipe<'a> {
    pub preprocessing: &'a Preprocessing,
    pub augmentation: &'a Augmentation,
    /// Seed and epoch of the augmented image, if one is wanted.
    pub drawn: Option<(u64, u32)>,
    /// Side of a cell in pixels.
    pub side: u32,
    /// The limits within which a file counts as a readable image.
    pub decode: DecodeOptions,
    /// Whether large JPEGs are decoded whole.
    pub full_decode: bool,
}

/// One image's cells.
pub(super) struct Cells {
    /// As in evaluation.
    pub evaluation: RgbImage,
    /// As in training.
    pub augmented: Option<RgbImage>,
}

/// The cells of the samples at the places `wanted`, in that order.
pub(super) fn make(
    samples: &[Sample],
    wanted: &[u32],
    recipe: &Recipe<'_>,
) -> Vec<Result<Cells, DecodeError>> {
    let cells = |place: usize| {
        let sample = wanted[place];
        let path = &samples[sample as usize].path;
        // Each view reads the file as a loader does for it.
        let read = |transform| {
            let needed = least_side(transform, recipe.preprocessing, recipe.augmentation);
            decode(
                path,
                &DecodeOptions {
                    least_side: (!recipe.full_decode).then_some(needed),
                    ..recipe.decode
                },
            )
        };
        let picture = read(Transform::Evaluate)?;
        let evaluation = scaled(evaluation_pixels(&picture, recipe.preprocessing), recipe.side);
        let augmented = recipe.drawn.map(|(seed, epoch)| {
            let picture = read(Transform::Train { seed, epoch })?;
            // The stream that the loader opens for this image.
            let mut draws = Draws::new(seed, Purpose::Augment, epoch, sample);
            Ok(scaled(
                training_pixels(&picture, recipe.preprocessing, recipe.augmentation, &mut draws),
                recipe.side,
            ))
        });
        let augmented = augmented.transpose()?;
        Ok(Cells { evaluation, augmented })
    };
    parallel::map(wanted.len(), cores_or(0), &cells, &|_| {})
}

/// The side of a cell for images of `image_size` pixels, in at most `limit` pixels: as they are
/// or a whole number of times as large, so that every pixel shows as it is; smaller only where they
/// must be.
pub(super) fn side(image_size: u32, limit: u32) -> u32 {
    if image_size <= limit { limit / image_size * image_size } else { limit }
}

/// A square image brought to `side` pixels: enlarged by repeating pixels, reduced with Pillow's
/// antialiased triangle filter.
fn scaled(square: RgbImage, side: u32) -> RgbImage {
    if square.width == side {
        return square;
    }
    let mut cell = RgbImage::filled(side, side, [0; 3]);
    let (from, to) = (square.width as usize, side as usize);
    if to > from {
        for (place, pixel) in cell.pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (row, column) = (place / to * from / to, place % to * from / to);
            pixel.copy_from_slice(&square.pixels[(row * from + column) * 3..][..3]);
        }
    } else {
        let (whole, outcome) = (Rectangle::whole(from, from), Rectangle::whole(to, to));
        resize_rgb(
            &square.pixels,
            (from, from),
            whole,
            (to, to),
            outcome,
            Filter::Bilinear,
            &mut cell.pixels,
        );
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_keep_every_pixel_where_they_can() {
        assert_eq!(side(224, 160), 160);
        assert_eq!(side(160, 160), 160);
        assert_eq!(side(81, 160), 81);
        assert_eq!(side(28, 160), 140);
    }

    #[test]
    fn small_pictures_are_enlarged_pixel_by_pixel() {
        let square =
            RgbImage { width: 2, height: 2, pixels: vec![1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4] };
        let levels: Vec<u8> = scaled(square, 4).pixels.chunks(3).map(|pixel| pixel[0]).collect();
        assert_eq!(levels, [1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4]);
    }
}
