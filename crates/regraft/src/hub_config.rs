//! The `config.json` that timm writes beside a weight file for the Hugging Face Hub. It names the
//! network, how images are prepared for it, and its classes. `transformers` reads that of
//! Hugging Face's transformers.
//!
//! The fields and their defaults are those of timm 1.0 (`models/_hub.py`, `data/config.py`).

mod transformers;

use regraft_data::named_file::{MAX_OPTIONS_BYTES, read_text};
use regraft_data::preprocessing::{Interpolation, Preprocessing, ResizeMode};
use regraft_nn::architectures::{self, Architecture};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The names of a hub's weight files, in the order in which timm looks for them in a folder. A
/// `config.json` is used only beside one of these: beside any other file it may be about something
/// else.
pub(crate) const WEIGHT_NAMES: [&str; 4] =
    ["model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth"];

/// The name of the file.
pub(crate) const CONFIG_NAME: &str = "config.json";

/// timm's defaults of fields that a `config.json` does not have.
const DEFAULT_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEFAULT_STD: [f32; 3] = [0.229, 0.224, 0.225];
const DEFAULT_CROP: f64 = 0.875;
const DEFAULT_SIZE: u32 = 224;

/// Arguments of timm's models that change nothing in evaluation, or that are checked elsewhere.
const HARMLESS_ARGUMENTS: [&str; 8] = [
    "drop_rate",
    "drop_path_rate",
    "drop_block_rate",
    "num_classes",
    "in_chans",
    "zero_init_last",
    "img_size",
    "dynamic_img_size",
];

/// A `config.json` that contradicts the weights beside it or cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} cannot be followed: {reason}; use other weights, or, if the file is about something else, \
     move the weight file away from it",
    path.display()
)]
pub struct HubConfigError {
    /// The `config.json`.
    pub path: PathBuf,
    /// The problem with it.
    pub reason: String,
}

/// The content of a `config.json`.
#[derive(Debug)]
pub struct HubConfig {
    path: PathBuf,
    /// The network.
    pub architecture: &'static Architecture,
    /// How images are prepared.
    pub preprocessing: Preprocessing,
    classes: Option<usize>,
    class_names: Vec<String>,
    /// Notes to the user, one sentence each.
    pub notes: Vec<String>,
}

impl HubConfig {
    /// The configuration beside a hub's weight file; `None` if there is none.
    ///
    /// # Errors
    /// [`HubConfigError`] if it cannot be read or used, or is of a network that is not available
    /// here.
    pub fn beside(weights: &Path) -> Result<Option<Self>, HubConfigError> {
        let is_named =
            weights.file_name().is_some_and(|name| WEIGHT_NAMES.iter().any(|&known| name == known));
        let path = weights.with_file_name(CONFIG_NAME);
        if !is_named || !path.exists() {
            return Ok(None);
        }
        let failed = |reason: String| HubConfigError { path: path.clone(), reason };
        let text =
            read_text(&path, MAX_OPTIONS_BYTES).map_err(|error| failed(error.to_string()))?;
        let json: Map<String, Value> =
            serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        match author(&json) {
            Author::Timm => parse(&path, &json).map(Some).map_err(failed),
            Author::Transformers => transformers::parse(&path, &json).map(Some).map_err(failed),
            // Other libraries name the tensors in another way, which is found later.
            Author::Other => Ok(None),
        }
    }

    /// The configuration in a hub's folder; `None` if there is none.
    ///
    /// # Errors
    /// As [`HubConfig::beside`].
    pub fn of_folder(folder: &Path) -> Result<Option<Self>, HubConfigError> {
        Self::beside(&folder.join(WEIGHT_NAMES[0]))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The class names, if there is one for each class of the head, which has `head_classes`.
    ///
    /// # Errors
    /// [`HubConfigError`] if the head is for another number of classes than the configuration says.
    pub fn class_names(
        &mut self,
        head_classes: usize,
    ) -> Result<Option<Vec<String>>, HubConfigError> {
        if let Some(classes) = self.classes.filter(|&classes| classes != head_classes) {
            let reason = format!(
                "it says num_classes {classes}, but the head of the weight file is for \
                 {head_classes}"
            );
            return Err(HubConfigError { path: self.path.clone(), reason });
        }
        let names = std::mem::take(&mut self.class_names);
        if names.is_empty() || names.len() == head_classes {
            return Ok(Some(names).filter(|names| !names.is_empty()));
        }
        let path = self.path.display();
        self.notes.push(format!(
            "{path}: label_names has {} names for {head_classes} classes; they are not used",
            names.len()
        ));
        Ok(None)
    }
}

/// The library that a `config.json` is from.
enum Author {
    Timm,
    Transformers,
    Other,
}

fn author(json: &Map<String, Value>) -> Author {
    if json.contains_key("architecture") || json.contains_key("pretrained_cfg") {
        Author::Timm
    } else if transformers::is_known(json) {
        Author::Transformers
    } else {
        Author::Other
    }
}

/// The name of the further file that a `config.json` needs, if it needs one.
#[cfg(feature = "fetch")]
pub(crate) fn companion(config: &Path) -> Option<&'static str> {
    let text = read_text(config, MAX_OPTIONS_BYTES).ok()?;
    match author(&serde_json::from_str(&text).ok()?) {
        Author::Transformers => Some(transformers::PREPROCESSOR_NAME),
        Author::Timm | Author::Other => None,
    }
}

fn parse(path: &Path, json: &Map<String, Value>) -> Result<HubConfig, String> {
    // In old files the whole is what newer ones have as `pretrained_cfg`.
    let nested = json.get("pretrained_cfg").and_then(Value::as_object);
    let pretrained = nested.unwrap_or(json);
    // Values at the top win.
    let either = |name: &str| given(json, name).or_else(|| given(pretrained, name));
    let name = either("architecture")
        .and_then(Value::as_str)
        .ok_or("it has no architecture, which must be text")?;
    let architecture = architecture_of(name)?;
    check_arguments(json, name, architecture)?;
    let mut notes = Vec::new();
    let mut preprocessing = preprocessing(path, pretrained, &mut notes)?;
    let own = preprocessing.image_size;
    if architecture.name.ends_with("dinov2") && own != architecture.image_size {
        preprocessing = resized(&preprocessing, architecture.image_size);
        notes.push(format!(
            "images have {0} pixels instead of {own} for speed, which is the usual size for \
             DINOv2's features; --image-size sets another",
            architecture.image_size
        ));
    }
    let classes = either("num_classes")
        .map(|value| value.as_u64().ok_or("num_classes must be a whole number"))
        .transpose()?;
    let labels =
        either("label_names").or_else(|| nested.is_none().then(|| given(json, "labels")).flatten());
    let class_names = labels.map(class_names).unwrap_or(Ok(Vec::new())).unwrap_or_else(|reason| {
        notes.push(format!("{}: label_names {reason}; they are not used", path.display()));
        Vec::new()
    });
    notes.insert(0, described(path, &preprocessing));
    Ok(HubConfig {
        path: path.to_owned(),
        architecture,
        preprocessing,
        classes: classes.and_then(|classes| usize::try_from(classes).ok()),
        class_names,
        notes,
    })
}

/// The note that a file says how images are prepared.
fn described(path: &Path, preprocessing: &Preprocessing) -> String {
    let Preprocessing { mean, std, .. } = preprocessing;
    let size = preprocessing.size_in_words();
    let interpolation = match preprocessing.interpolation {
        Interpolation::Bilinear => "bilinear",
        Interpolation::Bicubic => "bicubic",
    };
    format!(
        "{} says how images are prepared: {size}, {interpolation}, mean {mean:?}, std {std:?}",
        path.display()
    )
}

/// The same preparation for images of another size.
fn resized(preprocessing: &Preprocessing, image_size: u32) -> Preprocessing {
    let resize = match preprocessing.resize {
        ResizeMode::Crop { short_side } => {
            let ratio = f64::from(short_side) / f64::from(preprocessing.image_size);
            ResizeMode::Crop { short_side: (ratio * f64::from(image_size)).round() as u32 }
        }
        other => other,
    };
    Preprocessing { image_size, resize, ..preprocessing.clone() }
}

/// A field that is there and not null.
fn given<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// The architecture that timm calls `name`, which may have the tag of its weights after a dot.
fn architecture_of(name: &str) -> Result<&'static Architecture, String> {
    match name.split('.').next().unwrap_or(name) {
        lite if lite.starts_with("tf_efficientnet_lite") => {
            architectures::find(lite.trim_start_matches("tf_"))
        }
        // Its maps are padded alike on all sides, those of TensorFlow's network are not.
        lite if lite.starts_with("efficientnet_lite") => {
            return Err(format!(
                "timm's {lite} is another network than the {lite} here, which timm calls tf_{lite}"
            ));
        }
        plain => architectures::find(plain),
    }
    .ok_or_else(|| {
        format!(
            "the weights are of {name}, which is not among the architectures that \
        `regraft models` lists"
        )
    })
}

/// Refuses arguments that make another network of the architecture, whose tensors may have the same
/// names and shapes.
fn check_arguments(
    json: &Map<String, Value>,
    name: &str,
    architecture: &Architecture,
) -> Result<(), String> {
    let own = if architecture.graph().has_class_token() { "token" } else { "avg" };
    let arguments = given(json, "model_args").and_then(Value::as_object);
    let changed = |(argument, value): &(&String, &Value)| match argument.as_str() {
        "global_pool" => *value != own,
        argument => !HARMLESS_ARGUMENTS.contains(&argument),
    };
    let pool = given(json, "global_pool").filter(|pool| *pool != own);
    let pool = pool.map(|pool| ("global_pool".to_owned(), pool));
    let found = arguments
        .into_iter()
        .flatten()
        .find(changed)
        .map(|(argument, value)| (argument.clone(), value));
    match found.or(pool) {
        Some((argument, value)) => {
            Err(format!("{argument} {value} makes another network of {name} than the one here"))
        }
        None => Ok(()),
    }
}

fn preprocessing(
    path: &Path,
    pretrained: &Map<String, Value>,
    notes: &mut Vec<String>,
) -> Result<Preprocessing, String> {
    let mut differs = |what: String| notes.push(format!("{}: {what}", path.display()));
    let image_size = match given(pretrained, "input_size") {
        None => DEFAULT_SIZE,
        Some(value) => square(value)
            .ok_or_else(|| format!("input_size is {value}, and must be [3, SIDE, SIDE]"))?,
    };
    let crop = match given(pretrained, "crop_pct") {
        None => DEFAULT_CROP,
        Some(value) => {
            value.as_f64().filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(|| {
                format!("crop_pct is {value}, and must be a share above 0 and up to 1")
            })?
        }
    };
    let interpolation =
        match given(pretrained, "interpolation").map(|value| value.as_str().unwrap_or("")) {
            None | Some("bicubic") => Interpolation::Bicubic,
            Some("bilinear") => Interpolation::Bilinear,
            Some(other) => {
                differs(format!(
                    "the interpolation {other:?} is not available; bicubic is used instead"
                ));
                Interpolation::Bicubic
            }
        };
    let short_side = (f64::from(image_size) / crop).floor() as u32;
    let resize = match given(pretrained, "crop_mode").map(|value| value.as_str().unwrap_or("")) {
        None | Some("center") => ResizeMode::Crop { short_side },
        Some(mode @ ("squash" | "border")) => {
            if short_side != image_size {
                differs(format!(
                    "crop_mode {mode} with crop_pct {crop} is not available; the whole image is \
                     used"
                ));
            }
            if mode == "squash" { ResizeMode::Squash } else { ResizeMode::Letterbox }
        }
        Some(other) => {
            return Err(format!("crop_mode is {other:?}, and must be center, squash or border"));
        }
    };
    let colour = |name: &str, default: [f32; 3]| match given(pretrained, name) {
        None => Ok(default),
        Some(value) => {
            three(value).ok_or_else(|| format!("{name} is {value}, and must be three numbers"))
        }
    };
    let (mean, std) = (colour("mean", DEFAULT_MEAN)?, colour("std", DEFAULT_STD)?);
    let found = Preprocessing { image_size, resize, interpolation, mean, std };
    found.check().map_err(|error| error.to_string())?;
    Ok(found)
}

/// The side of `[3, SIDE, SIDE]`.
fn square(value: &Value) -> Option<u32> {
    let [channels, height, width] = &value.as_array()?[..] else { return None };
    let side = u32::try_from(height.as_u64()?).ok()?;
    (channels.as_u64() == Some(3) && width.as_u64() == Some(u64::from(side)) && side > 0)
        .then_some(side)
}

fn three(value: &Value) -> Option<[f32; 3]> {
    let numbers: Option<Vec<f32>> = value
        .as_array()?
        .iter()
        .map(|number| number.as_f64().map(|number| number as f32))
        .collect();
    numbers?.try_into().ok()
}

/// Names by class: a list, or an object whose keys are the classes' numbers without a gap.
/// Otherwise, or if a name occurs twice, the reason why they are of no use.
fn class_names(labels: &Value) -> Result<Vec<String>, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let names: Option<Vec<String>> = match labels {
        Value::Array(names) => names.iter().map(text).collect(),
        Value::Object(names) => {
            (0..names.len()).map(|class| names.get(&class.to_string()).and_then(text)).collect()
        }
        _ => None,
    };
    let names =
        names.ok_or("is neither a list of names nor an object with a name for each class")?;
    let mut seen = std::collections::HashSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(format!("has the name {name:?} twice")),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<HubConfig, String> {
        parse(Path::new("hub/config.json"), &serde_json::from_str(text).expect("JSON"))
    }

    #[test]
    fn fields_and_defaults_are_timms() {
        let text = r#"{"architecture": "resnet50", "num_classes": 2, "label_names": ["cat",
            "dog"], "global_pool": "avg",
            "pretrained_cfg": {"tag": "a1_in1k", "num_classes": 1000, "input_size": [3, 224,
            224], "test_input_size": [3, 288, 288],
            "interpolation": "bicubic", "crop_pct": 0.95, "crop_mode": "center", "mean": [0.5,
            0.4, 0.3], "std": [0.2, 0.2, 0.1]}}"#;
        let mut config = parsed(text).expect("a configuration");
        let expected = Preprocessing {
            image_size: 224,
            resize: ResizeMode::Crop { short_side: 235 },
            interpolation: Interpolation::Bicubic,
            mean: [0.5, 0.4, 0.3],
            std: [0.2, 0.2, 0.1],
        };
        assert_eq!((config.architecture.name, &config.preprocessing), ("resnet50", &expected));
        assert!(
            config.notes[0].contains("hub/config.json")
                && config.notes[0].contains("short side of 235"),
            "{:?}",
            config.notes
        );
        let names = config.class_names(2).expect("two classes");
        assert_eq!(names, Some(vec!["cat".to_owned(), "dog".to_owned()]));

        // The old form, with nothing but what it must have.
        let config = parsed(r#"{"architecture": "resnet18", "mean": null, "labels": ["a", "b"]}"#)
            .expect("a configuration");
        let expected = Preprocessing {
            image_size: 224,
            resize: ResizeMode::Crop { short_side: 256 },
            interpolation: Interpolation::Bicubic,
            mean: DEFAULT_MEAN,
            std: DEFAULT_STD,
        };
        assert_eq!(
            (config.preprocessing, config.class_names),
            (expected, vec!["a".to_owned(), "b".to_owned()])
        );
        let squashed = r#"{"architecture": "resnet18", "crop_mode": "squash", "crop_pct": 1.0,
            "input_size": [3, 96, 96]}"#;
        let squashed = parsed(squashed).expect("a configuration");
        assert_eq!((squashed.preprocessing.resize, squashed.notes.len()), (ResizeMode::Squash, 1));
    }

    #[test]
    fn no_text_makes_the_parser_panic() {
        let text = r#"{"architecture": "resnet50", "num_classes": 2, "label_names": {"0": "cat",
            "1": "dog"}, "model_args": {},
            "pretrained_cfg": {"input_size": [3, 224, 224], "interpolation": "bicubic",
            "crop_pct": 0.95, "crop_mode": "squash",
            "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}}"#;
        let mut draws =
            regraft_base::random::Draws::new(1, regraft_base::random::Purpose::Fixture, 0, 0);
        let replacements = b"0123456789.-+e\"[]{}:,nul";
        let (mut read, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..1 + draws.next_u32() % 3 {
                let place = draws.next_u32() as usize % bytes.len();
                bytes[place] = replacements[draws.next_u32() as usize % replacements.len()];
            }
            let Ok(json) = serde_json::from_slice(&bytes) else { continue };
            match parse(Path::new("config.json"), &json) {
                Ok(mut config) => {
                    read += 1;
                    let _ = (config.preprocessing.check(), config.class_names(2));
                }
                Err(_) => refused += 1,
            }
        }
        assert!(read > 100 && refused > 100, "{read} {refused}");
    }

    #[test]
    fn what_cannot_be_done_as_in_timm_is_said() {
        let notes = |fields: &str| {
            parsed(&format!(r#"{{"architecture": "resnet18", {fields}}}"#)).expect("possible").notes
        };
        assert!(
            notes(r#""interpolation": "lanczos""#)[1]
                .contains("\"lanczos\" is not available; bicubic is used")
        );
        assert!(
            notes(r#""crop_mode": "border", "crop_pct": 0.9"#)[1]
                .contains("border with crop_pct 0.9 is not available")
        );
        let error = |text: &str| parsed(text).expect_err("impossible");
        assert!(error(r#"{"pretrained_cfg": {}}"#).contains("no architecture"));
        assert!(error(r#"{"architecture": "vit_base"}"#).contains("the weights are of vit_base"));
        assert!(
            error(r#"{"architecture": "efficientnet_lite0"}"#).contains("tf_efficientnet_lite0")
        );
        let name = parsed(r#"{"architecture": "tf_efficientnet_lite0.in1k"}"#)
            .expect("known")
            .architecture
            .name;
        assert_eq!(name, "efficientnet_lite0");
        for (fields, part) in [
            (r#""input_size": [3, 224, 256]"#, "input_size"),
            (r#""input_size": [1, 224, 224]"#, "input_size"),
            (r#""crop_pct": 0"#, "crop_pct"),
            (r#""mean": [0.5]"#, "mean"),
            (r#""std": "small""#, "std"),
            (r#""model_args": {"output_stride": 16}"#, "output_stride 16"),
            (r#""global_pool": "catavgmax""#, "global_pool"),
        ] {
            let error = error(&format!(r#"{{"architecture": "resnet18", {fields}}}"#));
            assert!(error.contains(part), "{error}");
        }
        parsed(
            r#"{"architecture": "resnet18", "model_args": {"drop_rate": 0.1,
            "global_pool": "avg"}}"#,
        )
        .expect("harmless");
        let transformer = |pool: &str| {
            parsed(&format!(
                r#"{{"architecture": "vit_small_patch14_dinov2.lvd142m", "global_pool": "{pool}",
                "num_classes": 0, "pretrained_cfg": {{"input_size": [3, 518, 518],
                "crop_pct": 1.0, "fixed_input_size": true}}}}"#
            ))
        };
        let config = transformer("token").expect("possible");
        assert_eq!(
            (config.preprocessing.image_size, config.preprocessing.resize),
            (224, ResizeMode::Crop { short_side: 224 })
        );
        assert!(config.notes[1].contains("224 pixels instead of 518"), "{:?}", config.notes);
        assert!(transformer("avg").expect_err("other features").contains("global_pool"));
        let mut config =
            parsed(r#"{"architecture": "resnet18", "label_names": ["a"]}"#).expect("possible");
        assert_eq!(config.class_names(2).expect("no number of classes is given"), None);
        assert!(config.notes[1].contains("1 names for 2 classes"));
        assert!(
            notes(r#""label_names": ["crane", "dog", "crane"]"#)[1]
                .contains("has the name \"crane\" twice")
        );
        assert!(
            notes(r#""label_names": {"0": "cat", "2": "dog"}"#)[1]
                .contains("neither a list of names")
        );
        let mut config =
            parsed(r#"{"architecture": "resnet18", "num_classes": 3}"#).expect("possible");
        assert!(
            config
                .class_names(2)
                .expect_err("another number")
                .to_string()
                .contains("num_classes 3")
        );
    }
}
