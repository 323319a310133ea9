//! Small copies of images, for a page.

use crate::config::cores_or;
use crate::report::jpeg::jpeg;
use regraft_base::resample::{Filter, Rectangle, resize_rgb};
use regraft_data::decode::{DecodeOptions, decode};
use regraft_data::parallel;
use std::collections::HashMap;
use std::path::Path;

/// Longest side of a copy in pixels.
const SIDE: u32 = 180;

/// Small copies of images by path.
#[derive(Default)]
pub(super) struct Thumbnails(HashMap<String, Option<String>>);

impl Thumbnails {
    /// Those of some images, which are read as `options` say.
    pub fn of(mut paths: Vec<String>, options: &DecodeOptions) -> Self {
        paths.sort_unstable();
        paths.dedup();
        let copy =
            |place: usize| (paths[place].clone(), small_copy(Path::new(&paths[place]), options));
        Self(parallel::map(paths.len(), cores_or(0), &copy, &|_| {}).into_iter().collect())
    }

    /// A copy as a JPEG in base 64; `None` if the image cannot be read.
    pub fn get(&self, path: &str) -> Option<String> {
        self.0.get(path).cloned().flatten()
    }
}

fn small_copy(path: &Path, options: &DecodeOptions) -> Option<String> {
    let image = decode(path, &DecodeOptions { least_side: Some(SIDE), ..*options }).ok()?;
    let scale = (f64::from(SIDE) / f64::from(image.width.max(image.height))).min(1.0);
    let [width, height] =
        [image.width, image.height].map(|side| ((f64::from(side) * scale).round() as usize).max(1));
    let size = (image.width as usize, image.height as usize);
    let whole = Rectangle::whole(size.0, size.1);
    let window = Rectangle::whole(width, height);
    let mut pixels = vec![0; width * height * 3];
    let to = (width, height);
    resize_rgb(&image.pixels, size, whole, to, window, Filter::Bilinear, &mut pixels);
    jpeg(&pixels, width as u32, height as u32)
}
