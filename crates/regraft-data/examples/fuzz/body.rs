//! The path from a file's bytes to the network's input, with checks of properties that must hold
//! for any bytes.

use regraft_base::random::{Draws, Purpose};
use regraft_data::augmentation::{Augmentation, training_pixels};
use regraft_data::decode::{DecodeOptions, DecodeReason, decode_bytes};
use regraft_data::preprocessing::{Interpolation, Preprocessing, ResizeMode, evaluation_pixels};

/// Images with more pixels are refused, so that a run tries many.
const MAX_PIXELS: u64 = 1 << 20;

/// Decodes `bytes` in every way and makes tensors of the results. If a decoder panicked, returns
/// the reason, which a user sees as that file's error.
///
/// # Panics
///
/// If a required property does not hold.
pub fn bytes_to_tensors(bytes: &[u8]) -> Option<DecodeReason> {
    let mut panicked = None;
    let strict = DecodeOptions { max_pixels: MAX_PIXELS, ..DecodeOptions::default() };
    let mut whole = None;
    for options in [
        strict,
        DecodeOptions { least_side: Some(24), ..strict },
        DecodeOptions { least_side: Some(1), ..strict },
        DecodeOptions { allow_truncated: true, ..strict },
    ] {
        let decoded = match decode_bytes(bytes, &options) {
            Ok(decoded) => decoded,
            Err(reason @ DecodeReason::Panicked { .. }) => {
                panicked = Some(reason);
                continue;
            }
            Err(_) => continue,
        };
        let image = &decoded.image;
        let pixels = u64::from(image.width) * u64::from(image.height);
        assert!(pixels > 0 && pixels <= MAX_PIXELS, "{} x {} pixels", image.width, image.height);
        assert_eq!(image.pixels.len() as u64, pixels * 3, "three levels for each pixel");
        assert!(decoded.reduction.is_power_of_two() && decoded.reduction <= 8);
        assert!(
            options.allow_truncated || !decoded.truncated,
            "nothing is cut off unless that is allowed"
        );
        match (&whole, options.least_side) {
            // An image that is decoded at reduced size has the reduced dimensions.
            (Some((width, height)), Some(_)) => {
                let part = |side: &u32| side.div_ceil(decoded.reduction);
                assert_eq!((image.width, image.height), (part(width), part(height)));
            }
            (None, Some(_)) => assert!(panicked.is_some(), "a fault is found at any size"),
            (None, None) => whole = Some((image.width, image.height)),
            _ => {}
        }
        to_tensor(&decoded.image);
    }
    panicked
}

fn to_tensor(image: &regraft_data::RgbImage) {
    for resize in [ResizeMode::Crop { short_side: 18 }, ResizeMode::Squash, ResizeMode::Letterbox] {
        let preprocessing = Preprocessing {
            image_size: 16,
            resize,
            interpolation: Interpolation::Bicubic,
            mean: [0.485; 3],
            std: [0.229; 3],
        };
        let mut draws = Draws::new(1, Purpose::Augment, 0, image.width);
        let squares = [
            evaluation_pixels(image, &preprocessing),
            training_pixels(image, &preprocessing, &Augmentation::default(), &mut draws),
        ];
        for square in squares {
            let mut tensor = vec![f32::NAN; preprocessing.input_length()];
            preprocessing.normalisation().apply(&square.pixels, &mut tensor);
            assert!(tensor.iter().all(|value| value.is_finite()), "a tensor of numbers");
        }
    }
}
