//! `regraft bench`.

use crate::arguments::{BenchArguments, BenchCommand, LoadArguments, StepArguments, ZooArguments};
use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;
use regraft::bench::load::load;
use regraft::bench::step;
use regraft::config::PrecisionChoice;
use regraft::model::architecture;
use regraft::nn::architectures::all;
use regraft::speeds::{measure, remember};

pub fn run(arguments: &BenchArguments) -> Result<(), Failure> {
    match &arguments.command {
        BenchCommand::Step(arguments) => run_step(arguments),
        BenchCommand::Zoo(arguments) => run_zoo(arguments),
        BenchCommand::Load(arguments) => run_load(arguments),
    }
}

fn run_zoo(arguments: &ZooArguments) -> Result<(), Failure> {
    let config = arguments.flags.on_defaults()?;
    let named = arguments.models.iter().map(|name| architecture(name));
    let mut chosen = named.collect::<Result<Vec<_>, _>>().map_err(Failure::input)?;
    if chosen.is_empty() {
        chosen = all().collect();
    }
    let mut speeds = Vec::new();
    for architecture in chosen {
        let speed = measure(
            architecture,
            &config.device,
            PrecisionChoice::F32,
            config.threads,
            arguments.batch as usize,
            arguments.steps,
        )
        .map_err(Failure::input)?;
        remember(&speed).map_err(Failure::under_way)?;
        if !arguments.json {
            let (name, rate) = (architecture.name, speed.images_per_second);
            output::line(format!("{name}: {rate:.1} images/s"))?;
        }
        speeds.push(speed);
    }
    if arguments.json {
        return output::json(&speeds);
    }
    Ok(())
}

fn run_load(arguments: &LoadArguments) -> Result<(), Failure> {
    let mut bars = Bars::default();
    let outcome = load(&arguments.options()?, &mut |epoch, done, total| {
        bars.show(&format!("epoch {epoch}"), done, total, String::new());
    });
    bars.clear();
    let report = outcome.map_err(Failure::input)?;
    if arguments.json {
        return output::json(&report);
    }
    report.epochs.iter().try_for_each(|epoch| {
        let cached = match epoch.cached_images {
            0 => String::new(),
            cached => format!(", {cached} of them in memory before"),
        };
        output::line(format!(
            "epoch {}: {} images at {:.1} a second{cached}; first batch after {:.2} s",
            epoch.epoch, epoch.images, epoch.images_per_second, epoch.first_batch_seconds
        ))
    })
}

fn run_step(arguments: &StepArguments) -> Result<(), Failure> {
    let report = step(&arguments.options()?).map_err(Failure::input)?;
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
