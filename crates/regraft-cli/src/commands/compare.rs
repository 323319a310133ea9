//! `regraft compare`.

use super::train::show_training;
use crate::arguments::CompareArguments;
use crate::failure::Failure;
use crate::output;
use crate::progress::{Bars, duration};
use crate::signals::Signals;
use regraft::compare::arms::DEFAULT_ARMS;
use regraft::compare::{CompareError, CompareEvent, PAGE, PICTURE, RESULT, compare, comparison_table};
use regraft::report::table::printable;
use regraft::run_folder::run_name;
use regraft::train::Event;
use std::path::PathBuf;

pub fn run(arguments: &CompareArguments) -> Result<(), Failure> {
    if arguments.print_arms {
        return output::line(DEFAULT_ARMS.trim_end());
    }
    let data = arguments.data.clone().unwrap_or_default();
    let signals = Signals::default();
    let config = arguments.resolve(&data, signals.stop())?;
    let folder = match &arguments.output {
        Some(folder) => folder.clone(),
        None => PathBuf::from("runs").join(format!("{}-compare", run_name(&data).map_err(Failure::input)?)),
    };
    signals.catch()?;
    let mut bars = Bars::default();
    let mut written = Ok(());
    let to_error = arguments.json;
    let mut say = |bars: &mut Bars, text: String| {
        bars.clear();
        if to_error {
            output::aside(text);
        } else if written.is_ok() {
            written = output::line(text);
        }
    };
    say(&mut bars, format!("{} arms, {} runs each, in {}", config.arms.len(), config.seeds.len(), folder.display()));
    let outcome = compare(&config, &folder, &mut |event| match event {
        CompareEvent::Run { arm, seed, number: (number, total) } => {
            say(&mut bars, format!("\nrun {number} of {total}: {}, seed {seed}", printable(arm)));
        }
        // What a run says of itself at its start, it would say in each run.
        CompareEvent::Training(Event::Started(_) | Event::Note(_)) => {}
        CompareEvent::Training(event) => show_training(event, &mut bars, &mut say),
        CompareEvent::Finished { arm, seed, run, earlier } => {
            let accuracy = run.summary.test_accuracy.or(run.summary.val_accuracy);
            let accuracy = accuracy.map_or_else(String::new, |accuracy| format!(", accuracy {accuracy:.4}"));
            let before = if earlier { " (finished earlier)" } else { "" };
            let seconds = duration(run.summary.wall_seconds);
            say(&mut bars, format!("{}, seed {seed}: {seconds}{accuracy}{before}", printable(arm)));
        }
        CompareEvent::Failed { arm, seed, error } => {
            say(&mut bars, format!("{}, seed {seed}, failed: {error}", printable(arm)));
        }
    });
    bars.clear();
    let outcome = outcome.map_err(|error| match error {
        CompareError::Changed { .. } => Failure::input(error),
        CompareError::Stopped { .. } => Failure::stopped(error, signals.received()),
        error => Failure::under_way(error),
    })?;
    written?;
    if arguments.json {
        return output::json(&outcome);
    }
    output::line(format!("\n{}", comparison_table(&outcome).trim_end()))?;
    let folder = folder.display();
    output::line(format!(
        "\n{folder}/{PAGE} is the page to read; {folder}/{PICTURE} and {folder}/{RESULT} have its picture and its numbers"
    ))
}
