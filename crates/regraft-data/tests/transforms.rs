//! Compares transforms with torchvision's (fixtures by `fixtures/images.py`).

mod common;

use common::{bytes, number, preprocessing, source};
use regraft_base::random::{Draws, Purpose};
use regraft_base::resample::Rectangle;
use regraft_data::RgbImage;
use regraft_data::augmentation::{
    Augmentation, AugmentationKind, random_crop, resized_crop, training_pixels,
};
use regraft_data::preprocessing::{Interpolation, Preprocessing, ResizeMode, evaluation_pixels};
use serde_json::Value;

fn cases(kind: &str) -> Vec<Value> {
    let transforms: Vec<Value> =
        serde_json::from_str(include_str!("fixtures/transforms.json")).unwrap();
    let crops: Vec<Value> =
        serde_json::from_str(include_str!("fixtures/random_crops.json")).unwrap();
    let cases: Vec<Value> =
        transforms.into_iter().chain(crops).filter(|case| case["kind"] == kind).collect();
    assert!(!cases.is_empty(), "there are fixtures of kind {kind}");
    cases
}

fn picture(case: &Value) -> RgbImage {
    source(number(&case["sample"]), number(&case["source"][0]), number(&case["source"][1]))
}

fn rectangle(value: &Value) -> Rectangle {
    let side = |place: usize| number(&value[place]) as usize;
    Rectangle { left: side(0), top: side(1), width: side(2), height: side(3) }
}

fn interpolated(case: &Value, resize: ResizeMode) -> Preprocessing {
    let interpolation =
        serde_json::from_value::<Interpolation>(case["interpolation"].clone()).unwrap();
    Preprocessing { interpolation, ..preprocessing(number(&case["side"]), resize) }
}

#[test]
fn evaluation_equals_resize_and_centre_crop() {
    for case in cases("evaluation") {
        let preprocessing =
            interpolated(&case, ResizeMode::Crop { short_side: number(&case["short_side"]) });
        let square = evaluation_pixels(&picture(&case), &preprocessing);
        assert!(square.pixels == bytes(&case["pixels"]), "{:?} {preprocessing:?}", case["source"]);
    }
}

#[test]
fn a_given_crop_equals_resized_crop() {
    for case in cases("crop") {
        let preprocessing = interpolated(&case, ResizeMode::Squash);
        let square = resized_crop(&picture(&case), rectangle(&case["crop"]), &preprocessing);
        assert!(square.pixels == bytes(&case["pixels"]), "{:?} {:?}", case["source"], case["crop"]);
    }
}

#[test]
fn normalisation_equals_to_tensor_and_normalize_to_the_bit() {
    let case = &cases("normalise")[0];
    let preprocessing = preprocessing(1, ResizeMode::Squash);
    assert_eq!(case["mean"], serde_json::json!([0.485, 0.456, 0.406]));
    let ramp: Vec<u8> = (0..=255).flat_map(|level| [level; 3]).collect();
    let mut values = vec![0.0; ramp.len()];
    preprocessing.normalisation().apply(&ramp, &mut values);
    let bits: Vec<u32> = case["bits"].as_array().unwrap().iter().map(number).collect();
    assert_eq!(values.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), bits);
}

#[test]
fn without_a_fitting_crop_the_centre_is_taken() {
    for case in cases("fallback") {
        let pair = |name: &str| [0, 1].map(|place| case[name][place].as_f64().unwrap());
        let augmentation = Augmentation {
            crop_scale: pair("scale").map(|part| part as f32),
            crop_ratio: pair("ratio"),
            ..Augmentation::default()
        };
        let mut draws = Draws::new(1, Purpose::Augment, 0, 0);
        let crop = random_crop(
            number(&case["size"][0]),
            number(&case["size"][1]),
            &augmentation,
            &mut draws,
        );
        assert_eq!(crop, rectangle(&case["crop"]), "{case}");
    }
}

/// The mean and the standard deviation of area, ratio and position agree with torchvision's to
/// within five standard errors of the two samples.
#[test]
fn crops_are_distributed_as_torchvisions() {
    const COUNT: u32 = 40_000;
    for case in cases("distribution") {
        let (width, height) = (number(&case["size"][0]), number(&case["size"][1]));
        let crops: Vec<Rectangle> = (0..COUNT)
            .map(|sample| {
                random_crop(
                    width,
                    height,
                    &Augmentation::default(),
                    &mut Draws::new(3, Purpose::Augment, 1, sample),
                )
            })
            .collect();
        let (width, height) = (f64::from(width), f64::from(height));
        let figures = |crop: &Rectangle| {
            let (crop_width, crop_height) = (crop.width as f64, crop.height as f64);
            let area = crop_width * crop_height / (width * height);
            [
                area,
                (crop_width / crop_height).ln(),
                crop.left as f64 / width,
                crop.top as f64 / height,
            ]
        };
        for (place, name) in ["area", "log_ratio", "left", "top"].into_iter().enumerate() {
            let values: Vec<f64> = crops.iter().map(|crop| figures(crop)[place]).collect();
            let mean = values.iter().sum::<f64>() / f64::from(COUNT);
            let spread = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
                / f64::from(COUNT))
            .sqrt();
            let theirs = [0, 1].map(|place| case[name][place].as_f64().unwrap());
            let tolerance = 5.0 * theirs[1] * (2.0 / f64::from(COUNT)).sqrt();
            assert!(
                (mean - theirs[0]).abs() < tolerance,
                "{:?} {name}: mean {mean}, torchvision's {}",
                case["size"],
                theirs[0]
            );
            assert!(
                (spread - theirs[1]).abs() < tolerance,
                "{:?} {name}: spread {spread}, torchvision's {}",
                case["size"],
                theirs[1]
            );
        }
    }
}

#[test]
fn half_of_the_training_images_are_mirrored() {
    let image = source(1, 9, 8);
    let preprocessing = preprocessing(8, ResizeMode::Squash);
    let augmentation = Augmentation::default();
    let mirrored = (0..1000).filter(|&sample| {
        let draws = Draws::new(5, Purpose::Augment, 2, sample);
        let square = training_pixels(&image, &preprocessing, &augmentation, &mut draws.clone());
        let mut plain = resized_crop(
            &image,
            random_crop(9, 8, &augmentation, &mut draws.clone()),
            &preprocessing,
        );
        if square == plain {
            return false;
        }
        plain.flip_horizontally();
        assert_eq!(square, plain);
        true
    });
    let count = mirrored.count();
    assert!((450..550).contains(&count), "{count} of 1000");
}

#[test]
fn without_augmentation_training_is_evaluation() {
    let image = source(2, 30, 20);
    let preprocessing = preprocessing(12, ResizeMode::Crop { short_side: 14 });
    let augmentation = Augmentation { kind: AugmentationKind::None, ..Augmentation::default() };
    let square = training_pixels(
        &image,
        &preprocessing,
        &augmentation,
        &mut Draws::new(1, Purpose::Augment, 0, 0),
    );
    assert_eq!(square, evaluation_pixels(&image, &preprocessing));
}

#[test]
fn a_letterbox_keeps_the_shape_and_fills_with_the_mean() {
    let image = RgbImage::filled(40, 20, [10, 20, 30]);
    let square = evaluation_pixels(&image, &preprocessing(16, ResizeMode::Letterbox));
    let rows: Vec<&[u8]> = square.pixels.chunks(3).step_by(16).collect();
    let mean: &[u8] = &[124, 116, 104];
    let inside: &[u8] = &[10, 20, 30];
    assert_eq!(rows, [vec![mean; 4], vec![inside; 8], vec![mean; 4]].concat());
    let tall = evaluation_pixels(
        &RgbImage::filled(1, 500, [9; 3]),
        &preprocessing(7, ResizeMode::Letterbox),
    );
    assert_eq!(
        tall.pixels[..21].iter().filter(|&&level| level == 9).count(),
        3,
        "a side never vanishes"
    );
}

#[test]
fn a_letterboxed_side_of_a_half_pixel_is_rounded_up() {
    // 31.5, 59.5 and 115.5 rows, for which products in f64 give slightly less.
    for (height, rows) in [(45, 32), (85, 60), (165, 116)] {
        let square = evaluation_pixels(
            &RgbImage::filled(320, height, [9; 3]),
            &preprocessing(224, ResizeMode::Letterbox),
        );
        assert_eq!(
            square.pixels.iter().filter(|&&level| level == 9).count(),
            rows * 224 * 3,
            "{height}"
        );
    }
}

#[test]
fn preprocessing_is_stored_in_the_users_words() {
    let stored =
        serde_json::to_value(preprocessing(224, ResizeMode::Crop { short_side: 256 })).unwrap();
    assert_eq!(stored["resize"], serde_json::json!({"crop": {"short_side": 256}}));
    assert_eq!(stored["interpolation"], "bilinear");
    let squash = Preprocessing {
        interpolation: Interpolation::Bicubic,
        ..preprocessing(224, ResizeMode::Squash)
    };
    let stored = serde_json::to_string(&squash).unwrap();
    assert!(stored.contains("\"squash\"") && stored.contains("\"bicubic\""), "{stored}");
    assert_eq!(serde_json::from_str::<Preprocessing>(&stored).unwrap(), squash);
}

#[test]
fn impossible_values_are_refused() {
    let good = preprocessing(224, ResizeMode::Crop { short_side: 256 });
    assert_eq!(good.check(), Ok(()));
    let bad = [
        Preprocessing { image_size: 0, ..good.clone() },
        Preprocessing { resize: ResizeMode::Crop { short_side: 0 }, ..good.clone() },
        Preprocessing { std: [0.2, 0.0, 0.2], ..good.clone() },
        Preprocessing { mean: [f32::NAN, 0.0, 0.0], ..good },
    ];
    for preprocessing in bad {
        assert!(preprocessing.check().is_err(), "{preprocessing:?}");
    }
    let good = Augmentation::default();
    assert_eq!(good.check(), Ok(()));
    for augmentation in [
        Augmentation { crop_scale: [0.5, 0.2], ..good.clone() },
        Augmentation { crop_scale: [0.5, 1.2], ..good.clone() },
        Augmentation { crop_ratio: [0.0, 1.0], ..good.clone() },
        Augmentation { flip_probability: f32::NAN, ..good },
    ] {
        assert!(augmentation.check().is_err(), "{augmentation:?}");
    }
}
