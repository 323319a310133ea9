//! Models with generated weights, and images, for the tests of exported files.

// Every test file compiles this module separately and uses a part of it.
#![allow(dead_code)]

use regraft::config::PrecisionChoice;
use regraft::data::RgbImage;
use regraft::data::preprocessing::{Interpolation, Preprocessing, ResizeMode, evaluation_pixels};
use regraft::engines::DeviceChoice;
use regraft::model::Model;
use regraft::nn::engine::{Input, State};
use regraft::nn::graph::Graph;
use regraft::nn::parameters::{Role, parameters};
use regraft::ranks::Ranks;
use std::collections::BTreeMap;

/// Pseudorandom numbers that are the same everywhere (Steele, Lea and Flood's splitmix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to 1.
    pub fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// From -1 to 1.
    pub fn signed(&mut self) -> f32 {
        2.0 * self.uniform() - 1.0
    }
}

/// Weights with which every tensor has an influence and no feature map grows without bound.
pub fn generated_state(graph: &Graph) -> State {
    let mut numbers = Numbers(7);
    let tensor = |parameter: regraft::nn::parameters::ParameterInfo| {
        let fan_in = parameter.shape.iter().skip(1).product::<usize>().max(1) as f32;
        let mut value = || match parameter.role {
            Role::Weight => numbers.signed() * (5.0 / fan_in).sqrt(),
            Role::RunningVariance => 0.5 + numbers.uniform(),
            Role::NormWeight => 0.5 + numbers.uniform(),
            Role::Scale => 0.3 + 0.4 * numbers.uniform(),
            Role::Bias | Role::NormBias | Role::RunningMean => 0.3 * numbers.signed(),
            Role::ClassToken | Role::Registers | Role::Positions => 0.3 * numbers.signed(),
        };
        let values = (0..parameter.length()).map(|_| value()).collect();
        (parameter.name, values)
    };
    parameters(graph).into_iter().map(tensor).collect()
}

pub fn preprocessing(size: u32, resize: ResizeMode, interpolation: Interpolation) -> Preprocessing {
    Preprocessing {
        image_size: size,
        resize,
        interpolation,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    }
}

/// A model of a graph for images of `size` pixels.
pub fn model(graph: Graph, size: u32) -> Model {
    let graph = Graph { image_size: size as usize, ..graph };
    Model {
        state: generated_state(&graph),
        classes: (0..graph.classes()).map(|class| format!("class {class}")).collect(),
        graph,
        aliases: Vec::new(),
        preprocessing: preprocessing(
            size,
            ResizeMode::Crop { short_side: size + size / 8 },
            Interpolation::Bilinear,
        ),
        origin: "generated".into(),
        metadata: BTreeMap::new(),
        has_head: true,
        notes: Vec::new(),
    }
}

/// Logits of Regraft's own engine for normalised images `[N, S, S, 3]`.
pub fn logits(model: &Model, images: &[f32]) -> Vec<f32> {
    let mut engine = regraft::inference::engine(
        model,
        &DeviceChoice::Auto,
        1,
        PrecisionChoice::F32,
        &Ranks::default(),
    )
    .expect("a network that fits");
    engine
        .evaluate(Input::values(images), images.len() / model.preprocessing.input_length())
        .expect("images that fit")
}

/// Logits of Regraft's own engine for an unprepared image.
pub fn logits_of_image(model: &Model, image: &RgbImage) -> Vec<f32> {
    let square = evaluation_pixels(image, &model.preprocessing);
    let mut normalised = vec![0.0; model.preprocessing.input_length()];
    model.preprocessing.normalisation().apply(&square.pixels, &mut normalised);
    logits(model, &normalised)
}

/// `[N, S, S, 3]` as `[N, 3, S, S]`.
pub fn channels_first(images: &[f32], size: usize) -> Vec<f32> {
    let pixels = size * size;
    let of_image = |image: &[f32]| -> Vec<f32> {
        (0..3 * pixels).map(|at| image[at % pixels * 3 + at / pixels]).collect()
    };
    images.chunks_exact(3 * pixels).flat_map(of_image).collect()
}

/// Noise in the range of normalised images, `[count, size, size, 3]`.
pub fn noise(count: usize, size: usize) -> Vec<f32> {
    let mut numbers = Numbers(11);
    (0..count * size * size * 3).map(|_| 2.0 * numbers.signed()).collect()
}

/// An image with soft and hard edges.
pub fn image(width: u32, height: u32, seed: u64) -> RgbImage {
    let mut numbers = Numbers(seed);
    let mut image = RgbImage::filled(width, height, [0; 3]);
    for (at, level) in image.pixels.iter_mut().enumerate() {
        let (column, row, channel) = (at / 3 % width as usize, at / 3 / width as usize, at % 3);
        let wave =
            ((column * (channel + 1)) as f32 / 9.0).sin() * 60.0 + (row as f32 / 5.0).cos() * 60.0;
        let block = if (column / 4 + row / 7) % 3 == channel { 90.0 } else { 0.0 };
        *level = (80.0 + wave + block + 40.0 * numbers.signed()).clamp(0.0, 255.0) as u8;
    }
    image
}

/// The largest difference of two lists. NaN if either has one.
pub fn largest_difference(first: &[f32], second: &[f32]) -> f32 {
    assert_eq!(first.len(), second.len());
    let differences = first.iter().zip(second).map(|(first, second)| (first - second).abs());
    differences.fold(
        0.0,
        |worst, difference| if worst.is_nan() || difference <= worst { worst } else { difference },
    )
}
