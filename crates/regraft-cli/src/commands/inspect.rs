//! `regraft inspect`.

use super::{millions, shortened, thousands};
use crate::arguments::InspectArguments;
use crate::failure::Failure;
use crate::locating;
use crate::output;
use regraft::data::augmentation::Augmentation;
use regraft::data::preprocessing::{Preprocessing, ResizeMode};
use regraft::inspect::{Description, describe};
use regraft::metrics::Temperature;
use regraft::model::{
    DEFAULT_ARCHITECTURE, HAS_EMBEDDED, Metrics, Model, ModelError, architecture, keys,
    source_preprocessing,
};
use regraft::nn::architectures::{self, Architecture};
use regraft::nn::graph::Graph;
use regraft::report::table::{aligned, printable};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;

/// The output of `--json`; described in docs/json.md.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    description: Description,
    file: Option<String>,
    head: Head,
    classes: Option<Vec<String>>,
    preprocessing: Preprocessing,
    augmentation: Option<Augmentation>,
    metrics: Option<Metrics>,
    temperature: Option<Temperature>,
    metadata: BTreeMap<String, String>,
}

/// The layer that gives the logits.
#[derive(Serialize)]
struct Head {
    name: String,
    present: bool,
    features: usize,
    classes: usize,
}

/// The subject: an architecture, or a model with the metadata of its file.
struct Subject {
    graph: Graph,
    preprocessing: Preprocessing,
    file: Option<String>,
    has_head: bool,
    classes: Vec<String>,
    metadata: BTreeMap<String, String>,
}

pub fn run(arguments: &InspectArguments) -> Result<(), Failure> {
    let report = report(subject(arguments)?, arguments.image_size)?;
    if arguments.json {
        return output::json(&report);
    }
    let description = &report.description;
    output::line(format!(
        "{}: {} parameters, {} multiply-adds for an image of {size} x {size}",
        description.architecture,
        thousands(description.parameters as u64),
        millions(description.multiply_adds),
        size = description.image_size
    ))?;
    output::line(format!(
        "\nlayers in order; --freeze through=LAYER takes their names\n{}",
        layers(description)
    ))?;
    output::line(format!(
        "stages; --freeze through=STAGE freezes everything up to and with one\n{}",
        stages(description)
    ))?;
    about(&report).iter().try_for_each(output::line)
}

/// The architecture of that name, or else the model at that path. (A file that is called as an
/// architecture is named as `./resnet18`.)
fn subject(arguments: &InspectArguments) -> Result<Subject, Failure> {
    let path = &arguments.subject;
    // A path that is not UTF-8 is no architecture's name.
    let word = path.to_str().unwrap_or("");
    match architectures::find(word) {
        Some(_) if arguments.model.is_some() => Err(Failure::input(anyhow::anyhow!(
            "{word} is an architecture itself: leave --model out, or name the file as ./{word}"
        ))),
        Some(named) if named.name == DEFAULT_ARCHITECTURE && HAS_EMBEDDED => Ok(Subject {
            file: None,
            ..Subject::of_model(Model::embedded().map_err(Failure::under_way)?)
        }),
        Some(named) => Ok(Subject::of_architecture(named)),
        None if is_like_a_name(path) => {
            architecture(word).map(Subject::of_architecture).map_err(Failure::input)
        }
        None => locating::named(path, arguments.model.as_deref())
            .map(Subject::of_model)
            .map_err(Failure::of),
    }
}

/// Whether a word that is no architecture is rather a mistyped one than a missing file.
fn is_like_a_name(path: &Path) -> bool {
    !path.exists() && path.to_str().is_some_and(|word| !word.contains(['/', '\\', '.', ':']))
}

impl Subject {
    fn of_model(model: Model) -> Self {
        let Model { graph, preprocessing, origin, has_head, classes, metadata, notes, .. } = model;
        notes.iter().for_each(|note| output::aside(format!("note: {note}")));
        Self { graph, preprocessing, file: Some(origin), has_head, classes, metadata }
    }

    fn of_architecture(architecture: &Architecture) -> Self {
        let preprocessing = source_preprocessing(architecture);
        let graph = architecture.graph();
        Self {
            graph,
            preprocessing,
            file: None,
            has_head: true,
            classes: Vec::new(),
            metadata: BTreeMap::new(),
        }
    }

    /// Takes an entry that is JSON out of the metadata.
    fn take<T: DeserializeOwned>(&mut self, key: &'static str) -> Result<Option<T>, Failure> {
        let parsed = self.metadata.remove(key).map(|text| serde_json::from_str(&text)).transpose();
        let origin = || self.file.clone().unwrap_or_default();
        parsed.map_err(|error| {
            Failure::input(ModelError::Metadata {
                origin: origin(),
                key,
                reason: error.to_string(),
            })
        })
    }
}

fn report(mut subject: Subject, image_size: Option<u32>) -> Result<Report, Failure> {
    let size = image_size.unwrap_or(subject.preprocessing.image_size);
    let (augmentation, metrics) = (subject.take(keys::AUGMENTATION)?, subject.take(keys::METRICS)?);
    let temperature = subject.take(keys::TEMPERATURE)?;
    for key in [keys::ARCHITECTURE, keys::CLASSES, keys::PREPROCESSING] {
        subject.metadata.remove(key);
    }
    let head = &subject.graph.nodes[subject.graph.output()];
    Ok(Report {
        description: describe(&subject.graph, size as usize).map_err(Failure::input)?,
        file: subject.file,
        head: Head {
            name: head.name.clone(),
            present: subject.has_head,
            features: subject.graph.features(),
            classes: subject.graph.classes(),
        },
        classes: Some(subject.classes).filter(|classes| !classes.is_empty()),
        preprocessing: subject.preprocessing,
        augmentation,
        metrics,
        temperature,
        metadata: subject.metadata,
    })
}

fn layers(description: &Description) -> String {
    let header = [
        "layer",
        "operation",
        "output",
        "kernel",
        "stride",
        "groups",
        "parameters",
        "multiply-adds",
        "adds",
    ];
    let number = |value: Option<usize>| value.map_or(String::new(), |value| value.to_string());
    let rows = description.layers.iter().map(|layer| {
        vec![
            layer.name.clone(),
            layer.operation.to_owned(),
            map(layer.output),
            number(layer.kernel),
            number(layer.stride),
            number(layer.groups),
            count(layer.parameters as u64),
            count(layer.multiply_adds),
            layer.residual.clone().unwrap_or_default(),
        ]
    });
    table(&header, rows, &[0, 1, 8])
}

fn stages(description: &Description) -> String {
    let header =
        ["stage", "layers", "output", "parameters", "multiply-adds", "still learn after it"];
    let rows = description.stages.iter().map(|stage| {
        vec![
            stage.name.clone(),
            stage.layers.to_string(),
            map(stage.output),
            count(stage.parameters as u64),
            count(stage.multiply_adds),
            count(stage.parameters_after as u64),
        ]
    });
    table(&header, rows, &[0])
}

/// A line for each thing that is known beyond the layers.
fn about(report: &Report) -> Vec<String> {
    let head = &report.head;
    let mut lines = vec![if head.present {
        format!(
            "head           {}: {} features to {} classes",
            head.name, head.features, head.classes
        )
    } else {
        "head           none: the file is a backbone alone".to_owned()
    }];
    if let Some(classes) = &report.classes {
        lines.push(format!(
            "classes        {}",
            shortened(classes.iter().map(|class| printable(class)))
        ));
    }
    lines.push(format!("preprocessing  {}", preparation(&report.preprocessing)));
    if let Some(augmentation) = &report.augmentation {
        let [low, high] = augmentation.crop_scale;
        lines.push(format!(
            "augmentation   {}, crops of {low} to {high} of the area",
            word(&augmentation.kind)
        ));
    }
    if let Some(metrics) = &report.metrics {
        let shown = |name: &str, value: Option<f64>| {
            value.map_or(String::new(), |value| format!(", {name} {value:.4}"))
        };
        let accuracies =
            shown("val acc", metrics.val_accuracy) + &shown("test acc", metrics.test_accuracy);
        lines.push(format!("metrics        epoch {}{accuracies}", metrics.epoch));
    }
    if let Some(found) = &report.temperature {
        let words = found.fitted_on.words();
        lines.push(format!("temperature    {:.3}, {words}", found.temperature));
    }
    lines.extend(report.file.iter().map(|file| format!("file           {}", printable(file))));
    lines.extend(
        report.metadata.iter().map(|(key, value)| {
            format!("metadata       {} = {}", printable(key), printable(value))
        }),
    );
    lines
}

fn preparation(preprocessing: &Preprocessing) -> String {
    let resize = match preprocessing.resize {
        ResizeMode::Crop { short_side } => format!("short side to {short_side}, centre cut out"),
        ResizeMode::Squash => "both sides resized".to_owned(),
        ResizeMode::Letterbox => "long side resized, the rest filled".to_owned(),
    };
    let side = preprocessing.image_size;
    let [red, green, blue] = preprocessing.mean;
    let [red_std, green_std, blue_std] = preprocessing.std;
    format!(
        "{side} x {side} pixels, {resize} ({}), mean {red:.3} {green:.3} {blue:.3}, std \
         {red_std:.3} {green_std:.3} {blue_std:.3}",
        word(&preprocessing.interpolation)
    )
}

/// The word for a value in files and on the command line.
fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn map([height, width, channels]: [usize; 3]) -> String {
    format!("{height} x {width} x {channels}")
}

/// Nothing for zero, so that layers with weights catch the eye.
fn count(number: u64) -> String {
    if number == 0 { String::new() } else { thousands(number) }
}

fn table(
    header: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
    left_aligned: &[usize],
) -> String {
    let header = header.iter().map(|&cell| cell.to_owned()).collect();
    aligned(&std::iter::once(header).chain(rows).collect::<Vec<_>>(), left_aligned)
}
