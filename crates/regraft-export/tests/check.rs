//! Tests the check of an exported file: it accepts a correct file, and catches the mistakes that
//! users of other programs report.

mod common;

use common::{image, model};
use regraft::data::preprocessing::{Interpolation, ResizeMode};
use regraft::model::{Model, keys};
use regraft::nn::architectures;
use regraft_export::check::{Agreement, CheckError, check, tolerance};
use regraft_export::images;
use regraft_export::onnx::{Input, OnnxOptions, StorageType, to_bytes};
use std::path::PathBuf;
use tempfile::TempDir;

const SIZE: u32 = 64;

/// A model of ImageNet's colours, and images of several shapes.
struct Bench {
    model: Model,
    folder: TempDir,
}

impl Bench {
    fn new(interpolation: Interpolation) -> Self {
        let mut model =
            model(architectures::find("resnet18").expect("known").graph().with_classes(4), SIZE);
        model.preprocessing =
            common::preprocessing(SIZE, ResizeMode::Crop { short_side: 72 }, interpolation);
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (number, (width, height)) in
            [(200, 150), (150, 200), (80, 80), (75, 300), (500, 90), (133, 90)]
                .into_iter()
                .enumerate()
        {
            let pixels = image(width, height, number as u64).pixels;
            let image = image::RgbImage::from_raw(width, height, pixels)
                .expect("as many as the shape says");
            image.save(folder.path().join(format!("{number}.png"))).expect("a written file");
        }
        Self { model, folder }
    }

    fn images(&self) -> Vec<PathBuf> {
        images::of_folder(self.folder.path()).expect("images")
    }

    fn check(&self, file: &[u8], options: OnnxOptions) -> Result<Agreement, CheckError> {
        check(file, &self.model, options, &self.images(), 1, &mut |_| {})
    }

    /// Whether a file made from a changed model is caught.
    fn catches(&self, options: OnnxOptions, change: impl Fn(&mut Model)) -> bool {
        let mut mutant = self.model.clone();
        change(&mut mutant);
        let file = to_bytes(&mutant, options).expect("an exportable model");
        self.catches_file(&file, options)
    }

    fn catches_file(&self, file: &[u8], options: OnnxOptions) -> bool {
        match self.check(file, options) {
            Err(CheckError::Disagrees(found)) => {
                println!("{options:?}: {found:?}");
                true
            }
            Err(error) => panic!("{error}"),
            Ok(_) => false,
        }
    }
}

fn all_options() -> impl Iterator<Item = OnnxOptions> {
    let weights = [StorageType::F32, StorageType::F16];
    [Input::Pixels, Input::Tensor]
        .into_iter()
        .flat_map(move |input| weights.map(|weights| OnnxOptions { input, weights }))
}

/// `file` with the first `old` after `mark` replaced by `new`.
fn patched(file: &[u8], mark: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let find = |from: usize, wanted: &[u8]| {
        let at = file[from..].windows(wanted.len()).position(|window| window == wanted);
        from + at.unwrap_or_else(|| panic!("no {wanted:?} after {from}"))
    };
    let at = find(find(0, mark), old);
    [&file[..at], new, &file[at + old.len()..]].concat()
}

fn bytes(values: [f32; 3]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn a_right_file_passes_with_a_small_difference() {
    for filter in [Interpolation::Bilinear, Interpolation::Bicubic] {
        let bench = Bench::new(filter);
        for options in all_options() {
            let file = to_bytes(&bench.model, options).expect("an exportable model");
            let found = bench.check(&file, options).expect("a right file");
            println!("{filter:?} {options:?}: {found:?}");
            assert_eq!((found.images, found.classes_differ, found.left_out.len()), (6, 0, 0));
            let share = found.logit_difference / found.logit_range;
            assert!(
                share < tolerance(options.weights).logit_share / 4.0
                    && (share > 1e-4) == (options.weights == StorageType::F16),
                "{share}"
            );
        }
    }
}

#[test]
fn swapped_colours_and_classes_are_caught() {
    let bench = Bench::new(Interpolation::Bilinear);
    for options in all_options() {
        // Blue before red.
        assert!(bench.catches(options, |model| {
            let stem = model.state.get_mut("conv1.weight").expect("a tensor");
            for filter in stem.chunks_exact_mut(3 * 49) {
                filter.rotate_left(49);
                filter[..98].rotate_left(49);
            }
        }));
        // Two classes swapped, in the head or in the list of names.
        assert!(bench.catches(options, |model| {
            let features = model.graph.features();
            let head = model.state.get_mut("fc.weight").expect("a tensor");
            head[..2 * features].rotate_left(features);
            model.state.get_mut("fc.bias").expect("a tensor").swap(0, 1);
        }));
        let mut renamed = bench.model.clone();
        renamed.classes.swap(0, 1);
        let file = to_bytes(&renamed, options).expect("an exportable model");
        let error = bench.check(&file, options).expect_err("other classes");
        assert!(matches!(error, CheckError::Metadata { key: keys::CLASSES }), "{error}");
    }
}

#[test]
fn a_wrong_resize_and_the_mean_of_another_colour_are_caught() {
    for filter in [Interpolation::Bilinear, Interpolation::Bicubic] {
        let bench = Bench::new(filter);
        for weights in [StorageType::F32, StorageType::F16] {
            let options = OnnxOptions { input: Input::Pixels, weights };
            let file = to_bytes(&bench.model, options).expect("an exportable model");
            // `"\x03` begins the name of an operator with three letters. The filter is as wide as a
            // source pixel, however much the image shrinks: no antialiasing.
            let mutant = patched(&file, b"horizontal/support", b"\"\x03Max", b"\"\x03Min");
            let mutant = patched(&mutant, b"vertical/support", b"\"\x03Max", b"\"\x03Min");
            assert!(bench.catches_file(&mutant, options), "{filter:?}");
            let [red, green, blue] = bench.model.preprocessing.mean;
            let mutant = patched(
                &file,
                b"normalise.mean",
                &bytes([red, green, blue]),
                &bytes([red, green, green]),
            );
            assert!(bench.catches_file(&mutant, options), "{filter:?}");
            let [red, green, blue] = bench.model.preprocessing.std;
            let mutant = patched(
                &file,
                b"normalise.std",
                &bytes([red, green, blue]),
                &bytes([blue, green, red]),
            );
            assert!(
                bench.catches_file(&mutant, options) || weights == StorageType::F16,
                "{filter:?}"
            );
            // The crop of a corner instead of the centre.
            let mutant = patched(&file, b"horizontal/Div_2", b"\"\x03Div", b"\"\x03Mod");
            assert!(bench.catches_file(&mutant, options), "{filter:?}");
        }
    }
}

#[test]
fn a_check_without_images_is_an_error_and_unreadable_images_are_reported() {
    let bench = Bench::new(Interpolation::Bilinear);
    let options = OnnxOptions { input: Input::Pixels, weights: StorageType::F32 };
    let file = to_bytes(&bench.model, options).expect("an exportable model");
    let broken = bench.folder.path().join("broken.png");
    std::fs::write(&broken, "no image").expect("a written file");
    let found = bench.check(&file, options).expect("a right file");
    assert_eq!(found.images, 6);
    assert!(found.left_out[0].contains("broken.png"), "{:?}", found.left_out);
    let error =
        check(&file, &bench.model, options, &[broken], 1, &mut |_| {}).expect_err("no image");
    assert!(
        error.to_string().starts_with("none of the 1 images could be used for the check: "),
        "{error}"
    );
}

#[test]
fn a_damaged_file_is_an_error() {
    let bench = Bench::new(Interpolation::Bilinear);
    let options = OnnxOptions { input: Input::Pixels, weights: StorageType::F32 };
    let file = to_bytes(&bench.model, options).expect("an exportable model");
    for length in [0, 100, file.len() / 2, file.len() - 1] {
        bench.check(&file[..length], options).expect_err("a damaged file");
    }
}
