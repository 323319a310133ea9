//! `regraft models`.

mod suggest;

use super::{millions, thousands};
use crate::arguments::ModelsArguments;
use crate::failure::Failure;
use crate::output;
use regraft::config::PrecisionChoice;
use regraft::hub::HubSettings;
use regraft::inspect::describe;
use regraft::model::HAS_EMBEDDED;
use regraft::nn::architectures::{Architecture, all};
use regraft::report::table::aligned;
use regraft::speeds::{Speed, SpeedSettings, remembered};
use regraft::zoo::{UsualWeights, usual_weights};
use serde::Serialize;

/// An architecture in `--json`; described in docs/json.md.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    parameters: usize,
    multiply_adds: u64,
    image_size: u32,
    source_accuracy: f64,
    accuracy_source: &'static str,
    licence: &'static str,
    embedded: bool,
    repository: Option<&'static str>,
    download_bytes: Option<u64>,
    cached_bytes: Option<u64>,
    images_per_second: Option<f64>,
    weights: &'static str,
}

pub fn run(arguments: &ModelsArguments) -> Result<(), Failure> {
    if let Some(data) = &arguments.suggest {
        return suggest::run(arguments, data);
    }
    let settings = HubSettings::from_env();
    let config = arguments.flags.on_defaults()?;
    let here = SpeedSettings::of(&config.device, PrecisionChoice::F32, config.threads);
    let speeds = remembered().map_err(Failure::under_way)?;
    let entries = all().map(|architecture| entry(architecture, &settings, &speeds, &here));
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    if arguments.cached {
        entries.retain(|entry| entry.embedded || entry.cached_bytes.is_some());
    }
    if arguments.json {
        return output::json(&entries);
    }
    let header = [
        "name",
        "parameters",
        "multiply-adds",
        "input",
        "ImageNet top-1",
        "by",
        "licence",
        "weights",
        "images/s",
    ];
    let rows = entries.iter().map(|entry| {
        vec![
            entry.name.to_owned(),
            thousands(entry.parameters as u64),
            millions(entry.multiply_adds),
            format!("{0} x {0}", entry.image_size),
            format!("{:.1} %", entry.source_accuracy * 100.0),
            entry.accuracy_source.to_owned(),
            entry.licence.to_owned(),
            place(entry),
            entry.images_per_second.map_or("–".to_owned(), |speed| format!("{speed:.1}")),
        ]
    });
    let header = header.map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    output::line(aligned(&rows, &[0, 5, 6, 7]).trim_end())?;
    output::line(
        "\n--model NAME takes the weights from the cache or downloads them from the Hugging Face \
         Hub; --weights FILE takes a file of your own; `regraft bench zoo` measures images/s on \
         this machine",
    )
}

/// Where an architecture's weights are.
fn place(entry: &Entry) -> String {
    let size = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    match (entry.cached_bytes, entry.download_bytes) {
        _ if entry.embedded => "inside the program".to_owned(),
        (Some(bytes), _) => format!("cached, {}", size(bytes)),
        (None, Some(bytes)) => format!("download, {}", size(bytes)),
        (None, None) => "--weights FILE".to_owned(),
    }
}

fn entry(
    architecture: &Architecture,
    settings: &HubSettings,
    speeds: &[Speed],
    here: &SpeedSettings,
) -> Result<Entry, Failure> {
    let usual = usual_weights(architecture, settings);
    let UsualWeights { repository, embedded, image_size, accuracy, accuracy_source, .. } = usual;
    let description =
        describe(&architecture.graph(), image_size as usize).map_err(Failure::under_way)?;
    let speed =
        speeds.iter().find(|speed| speed.model == architecture.name && speed.settings == *here);
    Ok(Entry {
        name: architecture.name,
        parameters: description.parameters,
        multiply_adds: description.multiply_adds,
        image_size,
        source_accuracy: accuracy,
        accuracy_source,
        licence: usual.licence,
        embedded,
        repository,
        download_bytes: usual.download_bytes,
        cached_bytes: usual.cached_bytes,
        images_per_second: speed.map(|speed| speed.images_per_second),
        weights: if architecture.weights == "embedded" && !HAS_EMBEDDED {
            "--weights FILE (this build has none inside)"
        } else {
            architecture.weights
        },
    })
}
