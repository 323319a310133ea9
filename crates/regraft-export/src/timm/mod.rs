//! A classifier as a folder for timm, transformers and the Hugging Face Hub: `model.safetensors`,
//! `config.json` and a model card.
//!
//! Fields and defaults are those of timm 1.0 (`models/_hub.py`, `data/config.py`). Tensors have
//! timm's names already.

mod card;

use crate::error::ExportError;
pub use card::{Facts, FactsError};
use regraft::atomic_file::{self, AtomicFileError};
use regraft::data::preprocessing::{Interpolation, Preprocessing, ResizeMode};
use regraft::model::{Model, ModelError};
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};

/// The files of the folder.
pub const FILES: [&str; 3] = ["config.json", "model.safetensors", "README.md"];

/// A folder that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TimmError {
    /// The model lacks a tensor, or timm lacks the network.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The folder cannot be created.
    #[error("cannot create the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] AtomicFileError),
    /// The weights cannot be written.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Writes the folder. Other files in it stay.
///
/// # Errors
/// If timm has no such network, or a file cannot be written.
pub fn write(model: &Model, facts: &Facts, folder: &Path) -> Result<(), TimmError> {
    let config = config(model)?;
    std::fs::create_dir_all(folder)
        .map_err(|source| TimmError::Folder { path: folder.to_owned(), source })?;
    // transformers refuses weights without this entry.
    let mut weights = model.clone();
    weights.metadata.insert("format".to_owned(), "pt".to_owned());
    let [config_name, weights_name, card_name] = FILES.map(|name| folder.join(name));
    weights.save(&weights_name)?;
    atomic_file::write(&config_name, format!("{config:#}\n").as_bytes())?;
    atomic_file::write(&card_name, card::text(model, facts).as_bytes())?;
    Ok(())
}

/// timm's name for an architecture, and the arguments with which its network equals ours.
fn network(architecture: &str) -> (String, Value) {
    match architecture {
        // timm's network without "tf_" has the same padding on all sides.
        lite if lite.starts_with("efficientnet_lite") => (format!("tf_{lite}"), json!({})),
        // torchvision's networks, whose batch norm has another epsilon.
        "mobilenet_v3_small" => ("mobilenetv3_small_100".to_owned(), json!({ "bn_eps": 1e-3 })),
        "mobilenet_v3_large" => ("mobilenetv3_large_100".to_owned(), json!({ "bn_eps": 1e-3 })),
        name => (name.to_owned(), json!({})),
    }
}

/// The `config.json`.
fn config(model: &Model) -> Result<Value, ExportError> {
    let (architecture, mut arguments) = network(model.architecture());
    let is_transformer = model.graph.has_class_token();
    let Preprocessing { image_size, resize, interpolation, mean, std } = model.preprocessing;
    let (crop_mode, crop_share) = match resize {
        ResizeMode::Crop { short_side } => ("center", crop_share(image_size, short_side)),
        ResizeMode::Squash => ("squash", 1.0),
        ResizeMode::Letterbox => ("border", 1.0),
    };
    let interpolation = match interpolation {
        Interpolation::Bilinear => "bilinear",
        Interpolation::Bicubic => "bicubic",
    };
    let classifier = model.graph.nodes.last().map(|node| node.name.as_str());
    let first = model.graph.nodes.first().map(|node| node.name.as_str());
    let mut config = json!({
        "architecture": architecture,
        "num_classes": model.graph.classes(),
        "num_features": model.graph.features(),
        "global_pool": if is_transformer { "token" } else { "avg" },
        "label_names": model.classes,
        "pretrained_cfg": {
            "custom_load": false,
            "input_size": [3, image_size, image_size],
            "fixed_input_size": is_transformer,
            "interpolation": interpolation,
            "crop_pct": crop_share,
            "crop_mode": crop_mode,
            "mean": mean.map(shortest),
            "std": std.map(shortest),
            "num_classes": model.graph.classes(),
            "first_conv": first,
            "classifier": classifier,
        },
    });
    if is_transformer {
        // timm makes a network for its own size otherwise, and interpolates the positions to that.
        arguments["img_size"] = json!(image_size);
    }
    if arguments.as_object().is_some_and(|arguments| !arguments.is_empty()) {
        config["model_args"] = arguments;
    }
    Ok(config)
}

/// A number with as few digits as f32 needs: 0.485, not 0.48500001430511475.
fn shortest(value: f32) -> Value {
    serde_json::from_str(&value.to_string()).unwrap_or_else(|_| json!(value))
}

/// `crop_pct`: timm resizes the short side to `floor(image_size / crop_pct)`, which rounding must
/// not reduce by one.
fn crop_share(image_size: u32, short_side: u32) -> f64 {
    let (image_size, short_side) = (f64::from(image_size), f64::from(short_side));
    let mut share = image_size / short_side;
    while (image_size / share).floor() < short_side {
        share = share.next_down();
    }
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timm_resizes_to_the_same_short_side() {
        for image_size in 1..400 {
            for short_side in (1..600).chain([4096, 16_384]) {
                let share = crop_share(image_size, short_side);
                assert_eq!(
                    (f64::from(image_size) / share).floor(),
                    f64::from(short_side),
                    "{image_size} {short_side}"
                );
            }
        }
        assert_eq!(crop_share(224, 256), 0.875);
    }
}
