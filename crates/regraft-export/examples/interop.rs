//! Writes the files that `.ci/interop` opens in other programs: for each family of networks with
//! generated weights, the exported files, and the input and the answers of Regraft's engine for
//! generated images.
//!
//!     cargo run -p regraft-export --example interop -- FOLDER

#[path = "../tests/common/mod.rs"]
mod common;

use common::{channels_first, image, logits, model};
use regraft::data::preprocessing::{Interpolation, ResizeMode, evaluation_pixels};
use regraft::model::Model;
use regraft::nn::architectures;
use regraft::nn::graph::Graph;
use regraft_export::onnx::{Input, OnnxOptions, StorageType, to_bytes};
use regraft_export::timm::{self, Facts};
use serde_json::json;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

const SIZE: u32 = 64;
/// Two of them are resized vertically first.
const SHAPES: [(u32, u32); 8] =
    [(200, 150), (150, 200), (64, 64), (33, 45), (500, 90), (60, 400), (40, 30), (300, 900)];

/// An architecture with a way to resize and a filter.
const NETWORKS: [(&str, ResizeMode, Interpolation); 13] = [
    ("efficientnet_lite0", ResizeMode::Crop { short_side: 73 }, Interpolation::Bicubic),
    ("efficientnet_b0", ResizeMode::Squash, Interpolation::Bicubic),
    ("tf_efficientnet_b0", ResizeMode::Letterbox, Interpolation::Bilinear),
    ("mobilenet_v3_large", ResizeMode::Crop { short_side: 64 }, Interpolation::Bilinear),
    ("mobilenetv3_large_100", ResizeMode::Squash, Interpolation::Bilinear),
    ("resnet18", ResizeMode::Crop { short_side: 73 }, Interpolation::Bilinear),
    ("resnet34", ResizeMode::Crop { short_side: 48 }, Interpolation::Bilinear),
    ("resnet50", ResizeMode::Letterbox, Interpolation::Bicubic),
    ("convnext_tiny", ResizeMode::Crop { short_side: 67 }, Interpolation::Bicubic),
    ("mobilenetv4_conv_small", ResizeMode::Crop { short_side: 67 }, Interpolation::Bicubic),
    ("regnety_004", ResizeMode::Crop { short_side: 73 }, Interpolation::Bilinear),
    ("vit_tiny_patch16_224", ResizeMode::Crop { short_side: 71 }, Interpolation::Bicubic),
    ("vit_small_patch14_reg4_dinov2", ResizeMode::Crop { short_side: 64 }, Interpolation::Bicubic),
];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("name the folder to write")?);
    fs::create_dir_all(&folder)?;
    let images: Vec<_> =
        (0..).zip(SHAPES).map(|(number, (width, height))| image(width, height, number)).collect();
    for (number, image) in images.iter().enumerate() {
        image::save_buffer(
            folder.join(format!("{number}.png")),
            &image.pixels,
            image.width,
            image.height,
            image::ExtendedColorType::Rgb8,
        )?;
    }
    for (name, resize, interpolation) in NETWORKS {
        let known = architectures::find(name).ok_or("an unknown architecture")?;
        let graph = Graph { image_size: SIZE as usize, ..known.graph().with_classes(10) };
        let preprocessing = common::preprocessing(SIZE, resize, interpolation);
        let model = Model { preprocessing, ..model(graph, SIZE) };
        let mut inputs = Vec::new();
        for image in &images {
            let mut normalised = vec![0.0; model.preprocessing.input_length()];
            let square = evaluation_pixels(image, &model.preprocessing);
            model.preprocessing.normalisation().apply(&square.pixels, &mut normalised);
            inputs.extend(normalised);
        }
        write(&folder.join(name), &model, &inputs)?;
        println!("{name}");
    }
    Ok(())
}

/// Writes the exported files of a model, and its engine's input, `[N, S, S, 3]`, and answers.
fn write(folder: &Path, model: &Model, inputs: &[f32]) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for (name, input, weights) in [
        ("pixels.onnx", Input::Pixels, StorageType::F32),
        ("tensor.onnx", Input::Tensor, StorageType::F32),
        ("f16.onnx", Input::Pixels, StorageType::F16),
    ] {
        fs::write(folder.join(name), to_bytes(model, OnnxOptions { input, weights })?)?;
    }
    let facts =
        Facts { name: "interop".into(), licence: Some("apache-2.0".into()), ..Facts::default() };
    timm::write(model, &facts, &folder.join("timm"))?;
    let planes = channels_first(inputs, SIZE as usize);
    fs::write(
        folder.join("inputs.f32"),
        planes.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>(),
    )?;
    let answers = json!({
        "size": SIZE,
        "std": model.preprocessing.std,
        "bicubic": model.preprocessing.interpolation == Interpolation::Bicubic,
        "logits": logits(model, inputs).chunks_exact(model.classes.len()).collect::<Vec<_>>(),
    });
    fs::write(folder.join("answers.json"), answers.to_string())?;
    Ok(())
}
