//! Batches as the first layer reads them: torchvision's mixing, and pixels as their normalised
//! values.

use regraft_base::mix::Mix;
use regraft_base::normalisation::Normalisation;
use regraft_base::random::{Draws, Purpose};
use regraft_kernels::element::{Bf16, Element};
use regraft_kernels::images::{Content, ImageSize, load};
use std::ops::Range;

const SIDE: usize = 6;
const LENGTH: usize = SIDE * SIDE * 3;
const SIZE: ImageSize = ImageSize { height: SIDE, width: SIDE, channels: 3 };

fn paste() -> Mix {
    Mix::Paste { top: 1, left: 0, bottom: 4, right: 3 }
}

/// Some images of a batch.
fn loaded<E: Element>(content: Content<'_>, images: Range<usize>, mix: Option<Mix>) -> Vec<E> {
    let mut output = vec![E::default(); images.len() * LENGTH];
    load(content, images, mix, SIZE, &mut output);
    output
}

/// The mixing of `fixtures/augmentation.py`.
#[test]
fn mixed_images_are_torchvisions() {
    let cases: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("fixtures/mixing.json")).expect("JSON");
    assert_eq!(cases.len(), 4);
    for case in &cases {
        let numbers = |name: &str| -> Vec<f64> {
            case[name]
                .as_array()
                .expect("a list")
                .iter()
                .map(|value| value.as_f64().expect("a number"))
                .collect()
        };
        let mix = match case["kind"].as_str() {
            Some("mixup") => Mix::Blend(case["kept"].as_f64().expect("a number") as f32),
            _ => {
                let [left, top, right, bottom] =
                    [0, 1, 2, 3].map(|side| numbers("box")[side] as usize);
                Mix::Paste { top, left, bottom, right }
            }
        };
        let mut draws = Draws::new(7, Purpose::Fixture, 0, 400);
        let images: Vec<f32> = (0..3 * LENGTH).map(|_| draws.uniform()).collect();
        let found: Vec<f32> = loaded(Content::Values(&images), 0..3, Some(mix));
        assert!(found != images, "something is mixed");
        let expected = numbers("images");
        assert_eq!(found.len(), expected.len());
        let worst = found
            .iter()
            .zip(&expected)
            .map(|(found, expected)| (f64::from(*found) - expected).abs());
        assert!(worst.fold(0.0, f64::max) < 2e-7, "{}", case["kind"]);
    }
}

/// Normalising and mixing while loading gives the same bits as doing one after the other in f32 and
/// rounding at the end.
#[test]
fn pixels_load_with_the_bits_of_normalised_numbers() {
    let normalisation = Normalisation { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    let tables = normalisation.tables();
    let mut draws = Draws::new(1, Purpose::Fixture, 0, 0);
    for count in [1, 2, 5] {
        let pixels: Vec<u8> = (0..count * LENGTH).map(|_| (draws.next_u32() >> 24) as u8).collect();
        let mut values = vec![0.0; pixels.len()];
        normalisation.apply(&pixels, &mut values);
        let levels = Content::Levels(&pixels, &tables);
        for mix in [None, Some(Mix::Blend(0.3)), Some(paste())] {
            let wide: Vec<f32> = loaded(levels, 0..count, mix);
            let expected: Vec<f32> = loaded(Content::Values(&values), 0..count, mix);
            assert_eq!(wide, expected, "{mix:?} of {count}");
            let narrow: Vec<Bf16> = loaded(levels, 0..count, mix);
            assert!(
                narrow.iter().zip(&wide).all(|(narrow, wide)| *narrow == Bf16::from_f32(*wide)),
                "{mix:?} of {count}"
            );
        }
    }
}

/// A part of a batch is mixed as in the whole batch.
#[test]
fn a_part_of_a_batch_is_mixed_as_in_the_whole() {
    let mut draws = Draws::new(2, Purpose::Fixture, 0, 0);
    let values: Vec<f32> = (0..5 * LENGTH).map(|_| draws.uniform()).collect();
    for mix in [Mix::Blend(0.75), paste()] {
        let part = |images: Range<usize>| -> Vec<f32> {
            loaded(Content::Values(&values), images, Some(mix))
        };
        assert_eq!([part(0..2), part(2..5)].concat(), part(0..5));
    }
}
