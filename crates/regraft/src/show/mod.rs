//! An image of what the network really sees: images of each class as in evaluation, and beneath
//! them the same ones as training augments them.

mod cells;
mod layout;
mod text;

use std::io;
use std::path::{Path, PathBuf};

use image::{ExtendedColorType, ImageEncoder, ImageError, codecs::png::PngEncoder};
use regraft_base::random::{Draws, Purpose};
use regraft_base::resample::Rectangle;
use regraft_data::RgbImage;
use regraft_data::augmentation::{Augmentation, AugmentationError, AugmentationKind};
use regraft_data::catalogue::Sample;
use regraft_data::decode::{DecodeError, DecodeOptions};
use regraft_data::preprocessing::{Preprocessing, PreprocessingError};

use crate::atomic_file::{self, AtomicFileError};
use regraft_data::shown::shown;

/// The most pixels that a grid may have; it takes three bytes for each.
pub const MOST_PIXELS: u64 = 100_000_000;

/// Which images are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShowOptions {
    /// Images of each class.
    pub per_class: usize,
    /// The most classes; the others are named.
    pub classes: usize,
    /// Seed of the choice, and of the augmentation.
    pub seed: u64,
    /// The epoch, counted from 0, whose augmentation is shown.
    pub epoch: u32,
    /// Whether the augmented images are shown too. (Where training does not augment, they are
    /// left out in any case.)
    pub augmented: bool,
    /// Whether large JPEGs are decoded whole, not at a part of their size that leaves more detail
    /// than is shown.
    pub full_decode: bool,
}

impl Default for ShowOptions {
    fn default() -> Self {
        Self { per_class: 8, classes: 20, seed: 0, epoch: 0, augmented: true, full_decode: false }
    }
}

/// A grid of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The grid itself.
    pub image: RgbImage,
    /// Its classes, from top to bottom.
    pub shown: Vec<ShownClass>,
    /// The chosen files that cannot be read; the grid has a grey cell for each.
    pub unreadable: Vec<DecodeError>,
    /// The classes beyond [`ShowOptions::classes`].
    pub left_out_classes: Vec<String>,
}

/// A class in a grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownClass {
    /// Its name.
    pub class: String,
    /// How many images it has in all.
    pub pictures: usize,
    /// Those that the grid shows, from left to right.
    pub shown: Vec<ShownPicture>,
}

/// An image in a grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownPicture {
    /// Its place in the list of samples.
    pub sample: u32,
    /// Its file.
    pub path: PathBuf,
    /// Where in the grid it is shown as in evaluation.
    pub evaluation: Rectangle,
    /// Where in the grid it is shown as augmented.
    pub augmented: Option<Rectangle>,
}

/// A grid that cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ShowError {
    /// No images.
    #[error("no images to show")]
    NoPictures,
    /// Nothing was asked for.
    #[error("nothing would be shown: ask for at least one class and at least one image of each")]
    NothingAskedFor,
    /// The grid would take too much memory.
    #[error(
        "the grid would have {width} x {height} pixels, more than {MOST_PIXELS}: show fewer \
         images of a class, or fewer classes"
    )]
    TooLarge {
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
    },
    /// A sample of no class.
    #[error("{}: its label is {label}, but there are only {classes} classes", shown(.path))]
    UnknownLabel {
        /// The file.
        path: PathBuf,
        /// Its label.
        label: u32,
        /// How many classes there are.
        classes: usize,
    },
    /// A preprocessing that cannot be carried out.
    #[error(transparent)]
    Preprocessing(#[from] PreprocessingError),
    /// An augmentation that cannot be carried out.
    #[error(transparent)]
    Augmentation(#[from] AugmentationError),
}

/// The images chosen of one class.
struct Chosen<'a> {
    class: &'a str,
    /// How many it has in all.
    pictures: usize,
    /// Places in the list of samples.
    samples: Vec<u32>,
}

/// Draws a grid of images as the network sees them, before normalisation. Each class has a row
/// for evaluation and one for training.
///
/// `samples` must be the whole list that training uses: an image's augmentation depends on its
/// place in it, and what is shown is exactly what a [`Loader`](regraft_data::loader::Loader) makes
/// of that place with the same seed and epoch. Images that `decode` does not allow count as
/// unreadable. Decoding runs in parallel; the outcome depends on the arguments and the files alone.
///
/// # Errors
/// If there is nothing to show or too much, or the preprocessing or augmentation makes no sense.
/// A file that cannot be read is no error: it is listed in the grid.
pub fn grid(
    samples: &[Sample],
    classes: &[String],
    preprocessing: &Preprocessing,
    augmentation: &Augmentation,
    options: &ShowOptions,
    decode: &DecodeOptions,
) -> Result<Grid, ShowError> {
    preprocessing.check()?;
    augmentation.check()?;
    if options.per_class == 0 || options.classes == 0 {
        return Err(ShowError::NothingAskedFor);
    }
    let chosen = choose(samples, classes, options)?;
    let left_out = classes[chosen.len()..].to_vec();
    let drawn = (options.augmented && augmentation.kind != AugmentationKind::None)
        .then_some((options.seed, options.epoch));
    let settings = layout::Settings { preprocessing, augmentation, drawn, left_out: &left_out };
    let layout = layout::Layout::new(&chosen, &settings);
    let (width, height) = layout.size();
    if width * height > MOST_PIXELS {
        return Err(ShowError::TooLarge { width, height });
    }
    let recipe = cells::Recipe {
        preprocessing,
        augmentation,
        drawn,
        side: layout.cell_side,
        decode: *decode,
        full_decode: options.full_decode,
    };
    let wanted = chosen.iter().flat_map(|class| class.samples.iter().copied()).collect::<Vec<_>>();
    let cells = cells::make(samples, &wanted, &recipe);
    let (image, shown) = layout.draw(samples, &chosen, &settings, &cells);
    let unreadable = cells.into_iter().filter_map(Result::err).collect();
    Ok(Grid { image, shown, unreadable, left_out_classes: left_out })
}

/// Draws images of each class that is shown, without replacement. Fewer images are a part of
/// more.
fn choose<'a>(
    samples: &[Sample],
    classes: &'a [String],
    options: &ShowOptions,
) -> Result<Vec<Chosen<'a>>, ShowError> {
    if samples.is_empty() {
        return Err(ShowError::NoPictures);
    }
    let mut members = vec![Vec::new(); classes.len()];
    for (sample, place) in samples.iter().zip(0_u32..) {
        match members.get_mut(sample.label as usize) {
            Some(members) => members.push(place),
            None => {
                let Sample { path, label } = sample.clone();
                return Err(ShowError::UnknownLabel { path, label, classes: classes.len() });
            }
        }
    }
    let chosen = classes.iter().zip(members).zip(0..).take(options.classes).map(
        |((class, mut members), label)| {
            let pictures = members.len();
            Draws::new(options.seed, Purpose::Show, 0, label).shuffle(&mut members);
            members.truncate(options.per_class);
            Chosen { class, pictures, samples: members }
        },
    );
    Ok(chosen.collect())
}

/// Writes an image as PNG, replacing a file that is there.
///
/// # Errors
/// If the file cannot be written; an earlier one is unchanged.
pub fn write_png(path: &Path, image: &RgbImage) -> Result<(), AtomicFileError> {
    atomic_file::write_with(path, |file| {
        PngEncoder::new(file)
            .write_image(&image.pixels, image.width, image.height, ExtendedColorType::Rgb8)
            .map_err(|error| match error {
                ImageError::IoError(error) => error,
                error => io::Error::other(error),
            })
    })
}
