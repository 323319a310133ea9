//! `regraft bench`.

use crate::arguments::{BenchArguments, BenchCommand};
use crate::failure::Failure;
use crate::output;
use regraft::bench::step;

pub fn run(arguments: &BenchArguments) -> Result<(), Failure> {
    let BenchCommand::Step(arguments) = &arguments.command;
    let report = step(&arguments.options()).map_err(Failure::input)?;
    if arguments.json {
        return output::json(&report);
    }
    let memory = report.peak_mib.map_or(String::new(), |peak| format!(", peak memory {peak} MiB"));
    output::line(format!(
        "{:.1} images/s (best {:.1}) on {} thread{}, {}, {}{memory}",
        report.images_per_second,
        report.best,
        report.threads,
        if report.threads == 1 { "" } else { "s" },
        report.isa,
        report.precision
    ))
}
