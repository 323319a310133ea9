//! The files that Hugging Face's transformers writes beside a weight file: `config.json` describes
//! the network, and `preprocessor_config.json` how images are prepared for it.
//!
//! The fields and their defaults are those of transformers 4 (`configuration_vit.py`,
//! `configuration_dinov2.py`, `image_processing_vit.py`, `image_processing_bit.py`).

use super::{HubConfig, class_names, described, given, three};
use regraft_data::named_file::{MAX_OPTIONS_BYTES, read_text};
use regraft_data::preprocessing::{Interpolation, Preprocessing, ResizeMode};
use regraft_nn::architectures::{self, Architecture};
use serde_json::{Map, Value};
use std::path::Path;

/// The file about images.
pub(crate) const PREPROCESSOR_NAME: &str = "preprocessor_config.json";

/// Numbers with which Pillow names its filters.
const BILINEAR: u64 = 2;
const BICUBIC: u64 = 3;

/// The architecture of a hidden size and a patch size.
type Member = (u64, u64, &'static str);
/// A kind of networks by its `model_type`, and its members.
type Kind = (&'static str, &'static [Member]);

const KINDS: [Kind; 4] = [
    (
        "vit",
        &[
            (192, 16, "vit_tiny_patch16_224"),
            (384, 16, "vit_small_patch16_224"),
            (384, 32, "vit_small_patch32_224"),
            (768, 16, "vit_base_patch16_224"),
            (768, 32, "vit_base_patch32_224"),
        ],
    ),
    (
        "deit",
        &[
            (192, 16, "deit_tiny_patch16_224"),
            (384, 16, "deit_small_patch16_224"),
            (768, 16, "deit_base_patch16_224"),
        ],
    ),
    ("dinov2", &[(384, 14, "vit_small_patch14_dinov2"), (768, 14, "vit_base_patch14_dinov2")]),
    (
        "dinov2_with_registers",
        &[(384, 14, "vit_small_patch14_reg4_dinov2"), (768, 14, "vit_base_patch14_reg4_dinov2")],
    ),
];

/// The values of fields that the networks here have, with transformers' defaults.
const FIXED: [(&str, u64); 3] =
    [("num_hidden_layers", 12), ("num_channels", 3), ("num_register_tokens", 4)];

/// Whether a `config.json` is of a network of transformers that may be one of those here.
pub(super) fn is_known(json: &Map<String, Value>) -> bool {
    kind(json).is_some()
}

fn kind(json: &Map<String, Value>) -> Option<Kind> {
    let found = json.get("model_type")?.as_str()?;
    KINDS.into_iter().find(|(kind, _)| *kind == found)
}

/// The configuration of a network of transformers.
pub(super) fn parse(path: &Path, json: &Map<String, Value>) -> Result<HubConfig, String> {
    let architecture = architecture(json)?;
    let beside = path.with_file_name(PREPROCESSOR_NAME);
    let text = read_text(&beside, MAX_OPTIONS_BYTES).map_err(|error| {
        format!("{PREPROCESSOR_NAME}, which says how images are prepared, is needed too: {error}")
    })?;
    let images: Map<String, Value> = serde_json::from_str(&text)
        .map_err(|error| format!("{PREPROCESSOR_NAME} cannot be read: {error}"))?;
    let wrong = |reason: String| format!("{PREPROCESSOR_NAME}: {reason}");
    let preprocessing = preprocessing(&images).map_err(wrong)?;
    preprocessing.check().map_err(|error| wrong(error.to_string()))?;
    let mut notes = vec![described(&beside, &preprocessing)];
    let labels = given(json, "id2label").filter(|labels| !is_placeholder(labels));
    let class_names = labels.map_or(Ok(Vec::new()), class_names).unwrap_or_else(|reason| {
        notes.push(format!("{}: id2label {reason}; the names are not used", path.display()));
        Vec::new()
    });
    Ok(HubConfig {
        path: path.to_owned(),
        architecture,
        preprocessing,
        classes: None,
        class_names,
        notes,
    })
}

fn architecture(json: &Map<String, Value>) -> Result<&'static Architecture, String> {
    let (kind, members) = kind(json).ok_or("it has no model_type of those known here")?;
    let number = |name: &str, default: u64| match given(json, name) {
        None => Ok(default),
        Some(value) => value.as_u64().ok_or_else(|| format!("{name} must be a whole number")),
    };
    let (hidden, patch) = (number("hidden_size", 768)?, number("patch_size", 16)?);
    let found = members.iter().find(|(channels, side, _)| (*channels, *side) == (hidden, patch));
    let architecture =
        found.and_then(|(_, _, name)| architectures::find(name)).ok_or_else(|| {
            format!(
                "a {kind} of {hidden} channels with patches of {patch} pixels is not among the \
             architectures that `regraft models` lists"
            )
        })?;
    let differs = |name: &str, value: String| {
        Err(format!("{name} {value} makes another network than {}", architecture.name))
    };
    let inner = if kind.starts_with("dinov2") { "mlp_ratio" } else { "intermediate_size" };
    let usual = if inner == "mlp_ratio" { 4 } else { 4 * hidden };
    let heads = ("num_attention_heads", hidden / 64);
    for (name, expected) in FIXED.into_iter().chain([(inner, usual), heads]) {
        let found = number(name, expected)?;
        if found != expected {
            return differs(name, found.to_string());
        }
    }
    for (name, expected) in [("hidden_act", Value::from("gelu")), ("qkv_bias", true.into())] {
        if let Some(found) = given(json, name).filter(|found| **found != expected) {
            return differs(name, found.to_string());
        }
    }
    match given(json, "use_swiglu_ffn") {
        Some(Value::Bool(true)) => differs("use_swiglu_ffn", "true".to_owned()),
        _ => Ok(architecture),
    }
}

fn preprocessing(json: &Map<String, Value>) -> Result<Preprocessing, String> {
    let is_set = |name: &str, default: bool| match given(json, name) {
        None => Ok(default),
        Some(value) => value.as_bool().ok_or_else(|| format!("{name} must be true or false")),
    };
    if !is_set("do_resize", true)? || !is_set("do_normalize", true)? {
        return Err("images that are not resized and normalised are not supported".to_owned());
    }
    let side = |value: &Value, name: &str| {
        let number = |value: &Value| u32::try_from(value.as_u64()?).ok().filter(|side| *side > 0);
        let of = |name: &str| value.get(name).and_then(number);
        let square = of("height").filter(|height| of("width") == Some(*height));
        number(value)
            .or(square)
            .ok_or_else(|| format!("{name} {value} is not the side of a square"))
    };
    let size = given(json, "size").ok_or("it has no size")?;
    let short = size.get("shortest_edge").and_then(Value::as_u64);
    let (image_size, resize) = match (short, is_set("do_center_crop", short.is_some())?) {
        (Some(short), true) => {
            let crop = given(json, "crop_size").ok_or("it has no crop_size")?;
            let short_side = u32::try_from(short).map_err(|error| error.to_string())?;
            (side(crop, "crop_size")?, ResizeMode::Crop { short_side })
        }
        (Some(_), false) => return Err("images that are not squares are not supported".to_owned()),
        (None, true) => {
            let crop = given(json, "crop_size").ok_or("it has no crop_size")?;
            let (resized, cropped) = (side(size, "size")?, side(crop, "crop_size")?);
            if resized != cropped {
                return Err(format!(
                    "squashing images to {resized} pixels and cutting {cropped} out is not \
                     supported"
                ));
            }
            (cropped, ResizeMode::Squash)
        }
        (None, false) => (side(size, "size")?, ResizeMode::Squash),
    };
    let interpolation = match given(json, "resample").map(Value::as_u64) {
        None | Some(Some(BILINEAR)) => Interpolation::Bilinear,
        Some(Some(BICUBIC)) => Interpolation::Bicubic,
        Some(_) => return Err("resample must be 2 (bilinear) or 3 (bicubic)".to_owned()),
    };
    let colour = |name: &str| {
        let value = given(json, name).ok_or_else(|| format!("it has no {name}"))?;
        three(value).ok_or_else(|| format!("{name} is {value}, and must be three numbers"))
    };
    let (mean, std) = (colour("image_mean")?, colour("image_std")?);
    Ok(Preprocessing { image_size, resize, interpolation, mean, std })
}

/// Whether names of classes are those that transformers writes if it knows none.
fn is_placeholder(labels: &Value) -> bool {
    labels.get("0").and_then(Value::as_str) == Some("LABEL_0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn network(change: Value) -> Result<&'static str, String> {
        let mut config = json!({
            "model_type": "vit", "architectures": ["ViTForImageClassification"],
            "hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536,
            "patch_size": 16, "qkv_bias": true, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        });
        let fields = change.as_object().expect("an object").clone();
        config.as_object_mut().expect("an object").extend(fields);
        architecture(config.as_object().expect("an object")).map(|found| found.name)
    }

    #[test]
    fn networks_are_told_apart_by_kind_and_size() {
        assert_eq!(network(json!({})), Ok("vit_small_patch16_224"));
        assert_eq!(network(json!({"patch_size": 32})), Ok("vit_small_patch32_224"));
        assert_eq!(network(json!({"model_type": "deit"})), Ok("deit_small_patch16_224"));
        let dinov2 = json!({"model_type": "dinov2", "patch_size": 14, "mlp_ratio": 4});
        assert_eq!(network(dinov2), Ok("vit_small_patch14_dinov2"));
        for (change, part) in [
            (json!({"hidden_size": 1024}), "a vit of 1024 channels"),
            (json!({"num_hidden_layers": 24}), "num_hidden_layers 24"),
            (json!({"num_attention_heads": 12}), "num_attention_heads 12"),
            (json!({"intermediate_size": 768}), "intermediate_size 768"),
            (json!({"hidden_act": "gelu_new"}), "hidden_act \"gelu_new\""),
            (json!({"qkv_bias": false}), "qkv_bias false"),
            (json!({"patch_size": [16, 16]}), "patch_size must be"),
        ] {
            let error = network(change).expect_err("another network");
            assert!(error.contains(part), "{error}");
        }
        let other = json!({"model_type": "swin"});
        assert!(!is_known(other.as_object().expect("an object")));
    }

    fn prepared(json: Value) -> Result<Preprocessing, String> {
        let mut all = json!({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.5, 0.5]});
        all.as_object_mut().expect("an object").extend(json.as_object().expect("one").clone());
        preprocessing(all.as_object().expect("an object"))
    }

    #[test]
    fn images_are_prepared_as_transformers_does() {
        let found = prepared(json!({"size": {"height": 224, "width": 224}, "resample": 2}));
        let expected = Preprocessing {
            image_size: 224,
            resize: ResizeMode::Squash,
            interpolation: Interpolation::Bilinear,
            mean: [0.5, 0.4, 0.3],
            std: [0.5; 3],
        };
        assert_eq!(found, Ok(expected.clone()));
        assert_eq!(prepared(json!({"size": 224})), Ok(expected.clone()));
        let cropped = prepared(json!({
            "size": {"shortest_edge": 256}, "do_center_crop": true, "resample": 3,
            "crop_size": {"height": 224, "width": 224}
        }));
        let (resize, interpolation) =
            (ResizeMode::Crop { short_side: 256 }, Interpolation::Bicubic);
        assert_eq!(cropped, Ok(Preprocessing { resize, interpolation, ..expected }));
        for (wrong, part) in [
            (json!({}), "no size"),
            (json!({"size": {"height": 224, "width": 256}}), "is not the side of a square"),
            (json!({"size": {"shortest_edge": 256}, "do_center_crop": false}), "not squares"),
            (json!({"size": 256, "do_center_crop": true, "crop_size": 224}), "cutting 224 out"),
            (json!({"size": 224, "resample": 1}), "resample"),
            (json!({"size": 224, "do_normalize": false}), "normalised"),
            (json!({"size": 224, "image_mean": 0.5}), "image_mean"),
        ] {
            let error = prepared(wrong).expect_err("impossible");
            assert!(error.contains(part), "{error}");
        }
    }
}
