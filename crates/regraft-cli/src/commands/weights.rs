//! `regraft weights`.

use super::{shortened, thousands};
use crate::arguments::{ConvertArguments, StoredType, WeightsArguments, WeightsCommand};
use crate::failure::Failure;
use crate::output;
use regraft::hub_metadata::hub_metadata;
use regraft::nn::weights::{ConvertReport, StorageType, WeightError, WeightFormat, convert};
use serde::Serialize;

/// The object that `--json` prints; described in docs/json.md.
#[derive(Serialize)]
struct Report<'a> {
    input: String,
    output: String,
    format: &'static str,
    dtype: &'static str,
    tensors: usize,
    parameters: usize,
    bytes: u64,
    largest_rounding_error: f32,
    largest_rounding_error_in: Option<&'a str>,
    largest_relative_rounding_error: f32,
    prefix_stripped: &'a str,
    names_translated: bool,
    ignored: &'a [String],
    non_finite: Vec<String>,
    notes: &'a [&'a String],
    regraft_version: &'static str,
}

impl<'a> Report<'a> {
    fn new(
        arguments: &ConvertArguments,
        report: &'a ConvertReport,
        notes: &'a [&'a String],
    ) -> Self {
        Self {
            input: arguments.input.display().to_string(),
            output: arguments.output.display().to_string(),
            format: match report.format {
                WeightFormat::Safetensors => "safetensors",
                WeightFormat::TorchZip => "torch_zip",
                WeightFormat::TorchLegacy => "torch_legacy",
            },
            dtype: match arguments.dtype {
                StoredType::F32 => "f32",
                StoredType::F16 => "f16",
            },
            tensors: report.tensors,
            parameters: report.parameters,
            bytes: report.bytes,
            largest_rounding_error: report.largest_rounding_error,
            largest_rounding_error_in: report.largest_rounding_error_in.as_deref(),
            largest_relative_rounding_error: report.largest_relative_rounding_error,
            prefix_stripped: &report.prefix_stripped,
            names_translated: report.names_translated,
            ignored: &report.ignored,
            non_finite: report.non_finite.iter().map(ToString::to_string).collect(),
            notes,
            regraft_version: env!("CARGO_PKG_VERSION"),
        }
    }
}

pub fn run(arguments: &WeightsArguments) -> Result<(), Failure> {
    match &arguments.command {
        WeightsCommand::Convert(arguments) => run_convert(arguments),
    }
}

fn run_convert(arguments: &ConvertArguments) -> Result<(), Failure> {
    let (input, output) = (arguments.input.display(), arguments.output.display());
    if arguments.output.exists() && !arguments.force {
        return Err(Failure::input(anyhow::anyhow!(
            "{output} already exists: name another file, or replace it with --force"
        )));
    }
    let storage = match arguments.dtype {
        StoredType::F32 => StorageType::F32,
        StoredType::F16 => StorageType::F16,
    };
    let (metadata, hub_notes) = hub_metadata(&arguments.input);
    let report =
        convert(&arguments.input, &arguments.output, storage, &metadata).map_err(|error| {
            match error {
                WeightError::Write { .. } => Failure::under_way(error),
                _ => Failure::input(error),
            }
        })?;
    // Reading the weights gave both lists the same notes about them.
    let rest = report.notes.iter().filter(|note| !hub_notes.contains(note));
    let notes: Vec<&String> = hub_notes.iter().chain(rest).collect();
    notes.iter().for_each(|note| output::aside(format!("note: {note}")));
    if arguments.json {
        return output::json(&Report::new(arguments, &report, &notes));
    }
    describe(&report).iter().try_for_each(|line| output::line(format!("{input}: {line}")))?;
    output::line(format!("wrote {output}: {} bytes", thousands(report.bytes)))
}

fn describe(report: &ConvertReport) -> Vec<String> {
    let format = match report.format {
        WeightFormat::Safetensors => "safetensors",
        WeightFormat::TorchZip => "a zip file of torch.save",
        WeightFormat::TorchLegacy => "a file of torch.save from before PyTorch 1.6",
    };
    let mut lines = vec![format!(
        "{format}, {} tensors, {} parameters",
        report.tensors,
        thousands(report.parameters as u64)
    )];
    if !report.prefix_stripped.is_empty() {
        lines.push(format!("the prefix {} was removed from the names", report.prefix_stripped));
    }
    if report.names_translated {
        lines.push("the names were translated to timm's".to_owned());
    }
    if let Some(tensor) = &report.largest_rounding_error_in {
        lines.push(format!(
            "rounding changes no value by more than {:e} (in {tensor}) or by more than {:.4} % of \
             the largest value of its tensor",
            report.largest_rounding_error,
            report.largest_relative_rounding_error * 100.0
        ));
    }
    if !report.non_finite.is_empty() {
        let tensors = shortened(report.non_finite.iter().map(ToString::to_string));
        lines.push(format!(
            "these tensors hold NaN or infinite values, with which no network works: {tensors}"
        ));
    }
    if !report.ignored.is_empty() {
        lines.push(format!("left out: {}", report.ignored.join(", ")));
    }
    lines
}
