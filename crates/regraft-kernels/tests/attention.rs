//! Attention on every instruction set against plain loops in f64; the gradient against finite
//! differences of those loops.

mod common;

use common::{assert_close, draw, on_every_instruction_set, to, wide};
use regraft_kernels::attention::{AttentionShape, backward, forward};
use regraft_kernels::element::{Bf16, Element};

/// Tokens, heads and channels of a head: below, at and above a block of queries and a vector; and
/// images, below and above the number that is computed at a time.
const SIZES: [(usize, [usize; 3]); 6] = [
    (1, [1, 1, 1]),
    (2, [3, 2, 4]),
    (9, [17, 3, 5]),
    (1, [64, 1, 16]),
    (1, [65, 2, 33]),
    (2, [197, 1, 64]),
];

fn shape([tokens, heads, channels]: [usize; 3]) -> AttentionShape {
    AttentionShape { tokens, heads, channels }
}

/// The output for `input` `[N, tokens, 3, heads, channels]`.
fn reference(shape: AttentionShape, input: &[f64]) -> Vec<f64> {
    let AttentionShape { tokens, heads, channels } = shape;
    let at = |image: usize, token: usize, part: usize, head: usize| {
        (((image * tokens + token) * 3 + part) * heads + head) * channels
    };
    let images = input.len() / (tokens * 3 * heads * channels);
    let mut output = Vec::with_capacity(input.len() / 3);
    for image in 0..images {
        for query in 0..tokens {
            for head in 0..heads {
                let product = |key: usize| {
                    let (query, key) = (at(image, query, 0, head), at(image, key, 1, head));
                    let products = (0..channels).map(|c| input[query + c] * input[key + c]);
                    products.sum::<f64>() / (channels as f64).sqrt()
                };
                let products: Vec<f64> = (0..tokens).map(product).collect();
                let largest = products.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> =
                    products.iter().map(|product| (product - largest).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for c in 0..channels {
                    let values = weights.iter().enumerate();
                    let values =
                        values.map(|(key, weight)| weight * input[at(image, key, 2, head) + c]);
                    output.push(values.sum::<f64>() / sum);
                }
            }
        }
    }
    output
}

fn check<E: Element>(tolerance: f64) {
    for (place, (images, sizes)) in (0..).zip(SIZES) {
        let shape = shape(sizes);
        let length = images * sizes.iter().product::<usize>();
        let drawn: Vec<f32> = draw(place, 3 * length).iter().map(|value| 2.0 * value).collect();
        let input: Vec<E> = to(&drawn);
        let mut output = vec![E::from_f32(f32::NAN); length];
        let mut partial = Vec::new();
        forward(shape, &input, &mut output, &mut partial);
        let exact = wide(&input);
        assert_close("output", &output, &reference(shape, &exact), tolerance);

        let gradient: Vec<E> = to(&draw(100 + place, length));
        let mut found = vec![E::from_f32(f32::NAN); 3 * length];
        backward(shape, &input, &gradient, &mut found, false, &mut partial);
        let slopes = wide(&gradient);
        // A few elements of each part and of every size: each costs two passes.
        for sample in 0..24 {
            let element = (sample * 7919 + 13 * sample * sample) % (3 * length);
            let along = |step: f64| {
                let mut moved = exact.clone();
                moved[element] += step;
                let output = reference(shape, &moved);
                output.iter().zip(&slopes).map(|(value, slope)| value * slope).sum::<f64>()
            };
            let expected = (along(1e-4) - along(-1e-4)) / 2e-4;
            let difference = (f64::from(found[element].to_f32()) - expected).abs();
            assert!(
                difference < tolerance * expected.abs().max(0.3),
                "{sizes:?} at {element}: {} instead of {expected}",
                found[element].to_f32()
            );
        }

        let mut twice = found.clone();
        backward(shape, &input, &gradient, &mut twice, true, &mut partial);
        let doubled: Vec<f64> = wide(&found).iter().map(|value| 2.0 * value).collect();
        assert_close("accumulated gradient", &twice, &doubled, tolerance);
    }
}

#[test]
fn attention_equals_its_formula() {
    on_every_instruction_set("attention_equals_its_formula", || {
        check::<f32>(5e-6);
        check::<Bf16>(2e-2);
    });
}

/// An image's output is the same alone and in a batch, to the bit.
#[test]
fn an_image_does_not_depend_on_its_batch() {
    let shape = shape([70, 2, 8]);
    let length = 70 * 2 * 8;
    let input = draw(7, 12 * 3 * length);
    let (mut together, mut alone) = (vec![0.0; 12 * length], vec![0.0; length]);
    forward(shape, &input, &mut together, &mut Vec::new());
    for image in [0, 7, 8, 11] {
        forward(shape, &input[image * 3 * length..][..3 * length], &mut alone, &mut Vec::new());
        assert_eq!(alone, together[image * length..][..length]);
    }
}

#[test]
fn values_that_are_not_finite_stay() {
    let shape = shape([5, 1, 4]);
    for (at, value) in [(0, f32::NAN), (4, f32::INFINITY), (8, f32::NAN)] {
        let mut input = draw(8, 3 * 20);
        input[at] = value;
        let mut output = vec![0.0; 20];
        forward(shape, &input, &mut output, &mut Vec::new());
        assert!(output.iter().any(|value| !value.is_finite()), "{at}");
    }
}
