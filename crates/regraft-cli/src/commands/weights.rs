//! `regraft weights`.

use super::{shortened, thousands};
use crate::arguments::{ConvertArguments, StoredType, WeightsArguments, WeightsCommand};
use crate::failure::Failure;
use crate::output;
use regraft::hub_metadata::hub_metadata;
use regraft::nn::weights::{ConvertReport, StorageType, WeightError, WeightFormat, convert};

pub fn run(arguments: &WeightsArguments) -> Result<(), Failure> {
    match &arguments.command {
        WeightsCommand::Convert(arguments) => run_convert(arguments),
    }
}

fn run_convert(arguments: &ConvertArguments) -> Result<(), Failure> {
    let (input, output) = (arguments.input.display(), arguments.output.display());
    if arguments.output.exists() && !arguments.force {
        return Err(Failure::input(anyhow::anyhow!(
            "{output} is there already: name another file, or replace it with --force"
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
    hub_notes.iter().chain(rest).for_each(|note| output::aside(format!("note: {note}")));
    describe(&report).iter().try_for_each(|line| output::line(format!("{input}: {line}")))?;
    output::line(format!("wrote {output}: {} bytes", thousands(report.bytes)))
}

fn describe(report: &ConvertReport) -> Vec<String> {
    let format = match report.format {
        WeightFormat::Safetensors => "safetensors",
        WeightFormat::TorchZip => "torch.save's zip",
        WeightFormat::TorchLegacy => "torch.save's stream of before PyTorch 1.6",
    };
    let mut lines = vec![format!(
        "{format}, {} tensors, {} parameters",
        report.tensors,
        thousands(report.parameters as u64)
    )];
    if !report.prefix_stripped.is_empty() {
        lines.push(format!("the prefix {} was taken off the names", report.prefix_stripped));
    }
    if report.names_translated {
        lines.push("the names were translated to timm's".to_owned());
    }
    if let Some(tensor) = &report.largest_rounding_error_in {
        lines.push(format!(
            "rounding changes no value by more than {:e} (in {tensor}), nor by more than {:.4} % \
             of its tensor's largest",
            report.largest_rounding_error,
            report.largest_relative_rounding_error * 100.0
        ));
    }
    if !report.non_finite.is_empty() {
        let tensors = shortened(report.non_finite.iter().map(ToString::to_string));
        lines.push(format!(
            "elements are NaN or infinite, so that no network can use them: {tensors}"
        ));
    }
    if !report.ignored.is_empty() {
        lines.push(format!("left out: {}", report.ignored.join(", ")));
    }
    lines
}
