//! `regraft doctor`.

use crate::arguments::DoctorArguments;
use crate::failure::Failure;
use crate::output;
use regraft::config::PrecisionChoice;
use regraft::engines::{self, DeviceChoice, Graphics, Listed, Processor};
use regraft::model::{HAS_EMBEDDED, Model};
use serde::Serialize;

/// The output of `--json`; described in docs/json.md.
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
    devices: Vec<String>,
    unusable_devices: Vec<Unusable>,
    gpus: Vec<Gpu>,
    embedded_model: Option<String>,
}

/// A device that cannot be used.
#[derive(Serialize)]
struct Unusable {
    device: String,
    why: String,
}

/// A graphics processor.
#[derive(Serialize)]
struct Gpu {
    device: String,
    name: String,
    kind: &'static str,
    interface: &'static str,
    driver: String,
    largest_buffer: u64,
    shared_memory: u32,
    f16: bool,
    subgroups: bool,
    matrices: Vec<[u32; 3]>,
}

impl Gpu {
    fn new(device: &str, graphics: &Graphics) -> Self {
        Self {
            device: device.to_owned(),
            name: graphics.name.clone(),
            kind: graphics.kind,
            interface: graphics.interface,
            driver: graphics.driver.clone(),
            largest_buffer: graphics.largest_buffer,
            shared_memory: graphics.shared_memory,
            f16: graphics.has_f16,
            subgroups: graphics.has_subgroups,
            matrices: graphics.matrices.clone(),
        }
    }

    fn line(&self) -> String {
        let mut abilities = Vec::new();
        if self.f16 {
            abilities.push("f16".to_owned());
        }
        if self.subgroups {
            abilities.push("subgroups".to_owned());
        }
        let matrices =
            self.matrices.iter().map(|[rows, columns, depth]| format!("{rows}x{columns}x{depth}"));
        abilities.extend(matrices.map(|size| format!("matrices of {size}")));
        let abilities =
            if abilities.is_empty() { "f32 alone".to_owned() } else { abilities.join(", ") };
        let note = if self.kind == "software" {
            "; it computes on the processor and is used only if --device gpu asks for it"
        } else {
            ""
        };
        format!(
            "{:<16} {} ({}, {}, {}): buffers up to {} MiB, {} KiB of shared memory, \
             {abilities}{note}",
            self.device,
            self.name,
            self.kind,
            self.interface,
            self.driver,
            self.largest_buffer >> 20,
            self.shared_memory >> 10
        )
    }
}

pub fn run(arguments: &DoctorArguments) -> Result<(), Failure> {
    let Processor { instruction_sets, in_use, forced_by, amx } = engines::processor();
    let (usable, unusable): (Vec<Listed>, Vec<Listed>) =
        engines::devices().into_iter().partition(|found| found.unusable.is_none());
    let unusable = unusable
        .into_iter()
        .filter_map(|Listed { device, unusable, .. }| Some(Unusable { device, why: unusable? }));
    let gpus = usable
        .iter()
        .filter_map(|Listed { device, graphics, .. }| Some(Gpu::new(device, graphics.as_ref()?)));
    let report = Report {
        regraft_version: env!("CARGO_PKG_VERSION"),
        operating_system: std::env::consts::OS,
        processor: std::env::consts::ARCH,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        instruction_sets,
        instruction_set_in_use: in_use,
        instruction_set_forced: forced_by.is_some(),
        amx,
        precision_auto: PrecisionChoice::Auto.resolve(&DeviceChoice::Auto).name(),
        gpus: gpus.collect(),
        devices: usable.iter().map(|found| found.device.clone()).collect(),
        unusable_devices: unusable.collect(),
        embedded_model: embedded_model()?,
    };
    if arguments.json {
        return output::json(&report);
    }
    let how =
        forced_by.map_or_else(|| "the best".to_owned(), |variable| format!("forced by {variable}"));
    let unusable: String = report
        .unusable_devices
        .iter()
        .map(|Unusable { device, why }| format!("; not {device}: {why}"))
        .collect();
    let embedded =
        report.embedded_model.as_deref().unwrap_or("none (built without the feature `embedded`)");
    let lines = [
        format!("regraft          {}", report.regraft_version),
        format!("system           {}, {}", report.operating_system, report.processor),
        format!(
            "cores            {} usable, all used unless --threads and --workers say otherwise",
            report.cores
        ),
        format!(
            "instructions     {} usable; {} in use ({how})",
            report.instruction_sets.join(", "),
            report.instruction_set_in_use
        ),
        format!("AMX              {}", report.amx),
        format!(
            "precision        f32 unless --precision says otherwise; --precision auto is {} here",
            report.precision_auto
        ),
        format!("devices          {}{unusable}", report.devices.join(", ")),
        format!("embedded model   {embedded}"),
    ];
    for line in lines.into_iter().chain(report.gpus.iter().map(Gpu::line)) {
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
