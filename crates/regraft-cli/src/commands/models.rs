//! `regraft models`.

use super::{millions, thousands};
use crate::arguments::ModelsArguments;
use crate::failure::Failure;
use crate::output;
use regraft::inspect::describe;
use regraft::model::HAS_EMBEDDED;
use regraft::nn::architectures::{Architecture, all};
use regraft::report::table::aligned;
use serde::Serialize;

/// An architecture in `--json`; described in docs/json.md.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    parameters: usize,
    multiply_adds: u64,
    image_size: u32,
    source_accuracy: Option<f64>,
    embedded: bool,
    weights: &'static str,
}

pub fn run(arguments: &ModelsArguments) -> Result<(), Failure> {
    let entries = all().map(entry).collect::<Result<Vec<_>, _>>()?;
    if arguments.json {
        return output::json(&entries);
    }
    let header = ["name", "parameters", "multiply-adds", "input", "ImageNet top-1", "weights"]
        .map(str::to_owned)
        .to_vec();
    let rows = entries.iter().map(|entry| {
        vec![
            entry.name.to_owned(),
            thousands(entry.parameters as u64),
            millions(entry.multiply_adds),
            format!("{0} x {0}", entry.image_size),
            entry
                .source_accuracy
                .map_or("–".to_owned(), |accuracy| format!("{:.1} %", accuracy * 100.0)),
            entry.weights.to_owned(),
        ]
    });
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    output::line(aligned(&rows, &[0, 5]).trim_end())?;
    output::line(
        "\nthe accuracy is the one published with the weights; a file of your own goes in by \
         --weights FILE too",
    )
}

fn entry(architecture: &Architecture) -> Result<Entry, Failure> {
    let description = describe(&architecture.graph(), architecture.image_size as usize)
        .map_err(Failure::under_way)?;
    let is_inside = architecture.weights == "embedded";
    Ok(Entry {
        name: architecture.name,
        parameters: description.parameters,
        multiply_adds: description.multiply_adds,
        image_size: architecture.image_size,
        // Read with its exponent rather than divided: 69.758 % is 0.69758.
        source_accuracy: format!("{}e-2", architecture.source_accuracy).parse().ok(),
        embedded: is_inside && HAS_EMBEDDED,
        weights: if is_inside && !HAS_EMBEDDED {
            "--weights FILE (this build has none inside)"
        } else {
            architecture.weights
        },
    })
}
