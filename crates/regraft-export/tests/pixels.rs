//! Compares resizing, cropping and normalising in an exported file with Regraft's own, which equal
//! Pillow's.

mod common;

use common::{channels_first, image, largest_difference, logits_of_image, model};
use regraft::data::RgbImage;
use regraft::data::preprocessing::{Interpolation, Preprocessing, ResizeMode, evaluation_pixels};
use regraft::model::Model;
use regraft::nn::architectures;
use regraft_export::onnx::{Input, OnnxOptions, PIXELS, StorageType, to_bytes};
use regraft_export::runtime::Runtime;
use rten::{ModelOptions, Value};

const OPTIONS: OnnxOptions = OnnxOptions { input: Input::Pixels, weights: StorageType::F32 };

fn resnet(preprocessing: Preprocessing) -> Model {
    let graph = architectures::find("resnet18").expect("known").graph().with_classes(3);
    let size = preprocessing.image_size;
    Model { preprocessing, ..model(graph, size) }
}

/// The input of the network in an exported file, `[3, S, S]`.
struct Reader(rten::Model);

impl Reader {
    fn new(model: &Model) -> Self {
        let file = to_bytes(model, OPTIONS).expect("an exportable model");
        // With optimisation, the value would become part of something else.
        Self(
            ModelOptions::with_all_ops()
                .enable_optimization(false)
                .load(file)
                .expect("a file that rten takes"),
        )
    }

    fn read(&self, image: &RgbImage) -> Vec<f32> {
        let node = |name| self.0.node_id(name).expect("a node");
        let pixels = Value::from_shape(
            [1, image.height as usize, image.width as usize, 3],
            image.pixels.clone(),
        );
        let inputs = vec![(node(PIXELS), pixels.expect("as many as the shape says").into())];
        let [found] =
            self.0.run_n(inputs, [node("normalise/Div_2_output")], None).expect("a file that runs");
        found.into_shape_vec::<f32, 4>().expect("an image").1
    }
}

/// Number of pixel values that differ, and the largest difference in levels.
fn differing(found: &[f32], image: &RgbImage, preprocessing: &Preprocessing) -> (usize, f32) {
    let square = evaluation_pixels(image, preprocessing);
    let mut expected = vec![0.0; preprocessing.input_length()];
    preprocessing.normalisation().apply(&square.pixels, &mut expected);
    let size = preprocessing.image_size as usize;
    let expected = channels_first(&expected, size);
    let levels = |(at, (found, expected)): (usize, (&f32, &f32))| {
        (found - expected).abs() * preprocessing.std[at / (size * size)] * 255.0
    };
    let differences: Vec<f32> = found.iter().zip(&expected).enumerate().map(levels).collect();
    (
        differences.iter().filter(|&&levels| levels > 0.01).count(),
        differences.into_iter().fold(0.0, f32::max),
    )
}

fn preprocessings() -> Vec<Preprocessing> {
    let modes = [
        ResizeMode::Crop { short_side: 37 },
        ResizeMode::Crop { short_side: 32 },
        // Smaller than the square: margins on all sides.
        ResizeMode::Crop { short_side: 21 },
        ResizeMode::Squash,
        ResizeMode::Letterbox,
    ];
    let filters = [Interpolation::Bilinear, Interpolation::Bicubic];
    modes
        .into_iter()
        .flat_map(|mode| filters.map(|filter| common::preprocessing(32, mode, filter)))
        .collect()
}

#[test]
fn pixels_are_those_that_our_engine_sees() {
    // The last four are resized vertically first, at least if they are squashed.
    let sizes = [
        (1, 1),
        (300, 7),
        (211, 37),
        (32, 32),
        (33, 32),
        (5, 3),
        (64, 64),
        (640, 480),
        (7, 300),
        (37, 211),
        (31, 40),
        (480, 640),
    ];
    let (mut total, mut count) = (0, 0);
    for preprocessing in preprocessings() {
        let reader = Reader::new(&resnet(preprocessing.clone()));
        for (width, height) in sizes {
            let image = image(width, height, u64::from(width * 1000 + height));
            let found = reader.read(&image);
            let (differ, levels) = differing(&found, &image, &preprocessing);
            let what = format!(
                "{width} x {height}, {preprocessing:?}: {differ} of {} by {levels}",
                found.len()
            );
            // The triangle filter's weights are exact; those of the cubic filter are rounded to f32
            // before they are rounded to Pillow's 22 bits.
            assert!(
                levels < 1.01
                    && (differ == 0 || preprocessing.interpolation == Interpolation::Bicubic),
                "{what}"
            );
            (total, count) = (total + found.len(), count + differ);
        }
    }
    println!("{count} of {total} values differ, by one level");
    assert!(count * 10_000 <= total, "{count} of {total} values differ");
}

#[test]
fn large_images_are_shrunk_exactly_too() {
    for (side, mode) in [
        (224, ResizeMode::Crop { short_side: 256 }),
        (224, ResizeMode::Letterbox),
        (96, ResizeMode::Squash),
    ] {
        for filter in [Interpolation::Bilinear, Interpolation::Bicubic] {
            let preprocessing = common::preprocessing(side, mode, filter);
            let reader = Reader::new(&resnet(preprocessing.clone()));
            // The third image's 31.5 rows are rounded to 32; the fourth image is resized vertically
            // first.
            for (width, height) in [(2048, 1365), (1500, 2000), (320, 45), (600, 2400)] {
                let image = image(width, height, 3);
                let found = reader.read(&image);
                let (differ, levels) = differing(&found, &image, &preprocessing);
                let what = format!(
                    "{width} x {height}, {preprocessing:?}: {differ} of {} by {levels}",
                    found.len()
                );
                println!("{what}");
                assert!(levels < 1.01 && differ * 10_000 <= found.len(), "{what}");
            }
        }
    }
}

/// The size of the resized image and the margins are integers that must be exact for every shape.
#[test]
fn an_image_of_any_shape_lies_where_it_should() {
    let image_of = |width, height| RgbImage::filled(width, height, [255, 255, 255]);
    for preprocessing in preprocessings() {
        let reader = Reader::new(&resnet(preprocessing.clone()));
        for at in 0..150u32 {
            let (width, height) = (1 + at * 7 % 97, 1 + at * at % 103);
            let image = image_of(width, height);
            let (differ, _) = differing(&reader.read(&image), &image, &preprocessing);
            assert_eq!(differ, 0, "{width} x {height}, {preprocessing:?}");
        }
    }
}

#[test]
fn a_file_answers_for_an_image_of_any_size_as_the_engine_does() {
    // Processors may round one value of the cubic filter in 10,000 to the next level (see above),
    // which changes these logits by up to 2e-3.
    let crop = ResizeMode::Crop { short_side: 73 };
    for (mode, filter, tolerance) in [
        (crop, Interpolation::Bicubic, 5e-3),
        (crop, Interpolation::Bilinear, 1e-4),
        (ResizeMode::Letterbox, Interpolation::Bilinear, 1e-4),
    ] {
        let model = resnet(common::preprocessing(64, mode, filter));
        let runtime = Runtime::load(&to_bytes(&model, OPTIONS).expect("an exportable model"), 1)
            .expect("a file for rten");
        for (width, height) in [(91, 64), (200, 150), (64, 90), (64, 64)] {
            let image = image(width, height, 5);
            let answers = runtime.pixels(&image).expect("a file that runs");
            let difference = largest_difference(&answers.logits, &logits_of_image(&model, &image));
            assert!(difference < tolerance, "{filter:?}, {width} x {height}: {difference}");
        }
    }
}
