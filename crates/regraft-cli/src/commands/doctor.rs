//! `regraft doctor`.

use crate::arguments::DoctorArguments;
use crate::failure::Failure;
use crate::output;
use regraft::amx;
use regraft::config::{DEVICES, PrecisionChoice};
use regraft::isa::{self, InstructionSet};
use regraft::model::{HAS_EMBEDDED, Model};
use serde::Serialize;

/// What `--json` prints; described in docs/json.md.
#[derive(Serialize)]
struct Report {
    regraft_version: &'static str,
    operating_system: &'static str,
    processor: &'static str,
    cores: usize,
    instruction_sets: Vec<&'static str>,
    instruction_set_in_use: &'static str,
    instruction_set_forced: bool,
    amx: String,
    precision_auto: &'static str,
    devices: &'static [&'static str],
    embedded_model: Option<String>,
}

pub fn run(arguments: &DoctorArguments) -> Result<(), Failure> {
    let in_use = isa::in_use().map_err(Failure::input)?;
    let report = Report {
        regraft_version: env!("CARGO_PKG_VERSION"),
        operating_system: std::env::consts::OS,
        processor: std::env::consts::ARCH,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        instruction_sets: InstructionSet::ALL.into_iter().filter(|set| set.is_available()).map(InstructionSet::name).collect(),
        instruction_set_in_use: in_use.name(),
        instruction_set_forced: std::env::var_os(isa::VARIABLE).is_some_and(|value| !value.is_empty()),
        amx: amx::usable().map_or_else(|unusable| unusable.to_string(), |_| "usable".to_owned()),
        precision_auto: PrecisionChoice::Auto.resolve().name(),
        devices: &DEVICES,
        embedded_model: embedded_model()?,
    };
    if arguments.json {
        return output::json(&report);
    }
    let how = if report.instruction_set_forced { format!("forced by {}", isa::VARIABLE) } else { "the best".to_owned() };
    let embedded = report.embedded_model.as_deref().unwrap_or("none (built without the feature `embedded`)");
    for line in [
        format!("regraft          {}", report.regraft_version),
        format!("system           {}, {}", report.operating_system, report.processor),
        format!("cores            {} usable, all used unless --threads and --workers say otherwise", report.cores),
        format!(
            "instructions     {} usable; {} in use ({how})",
            report.instruction_sets.join(", "),
            report.instruction_set_in_use
        ),
        format!("AMX              {}", report.amx),
        format!("precision        f32 unless --precision says otherwise; --precision auto is {} here", report.precision_auto),
        format!("devices          {}", report.devices.join(", ")),
        format!("embedded model   {embedded}"),
    ] {
        output::line(line)?;
    }
    Ok(())
}

/// The name of the model inside the program, which is read to see that it is whole.
fn embedded_model() -> Result<Option<String>, Failure> {
    if !HAS_EMBEDDED {
        return Ok(None);
    }
    let model = Model::embedded().map_err(Failure::under_way)?;
    Ok(Some(model.architecture().to_owned()))
}
