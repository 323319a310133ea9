//! `regraft compare`.

use super::train::show_training;
use crate::arguments::CompareArguments;
use crate::failure::Failure;
use crate::output;
use crate::progress::{Narration, duration};
use crate::signals::Signals;
use regraft::compare::arms::DEFAULT_ARMS;
use regraft::compare::{
    CompareError, CompareEvent, PAGE, PICTURE, RESULT, compare, comparison_document,
};
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
        None => PathBuf::from("runs")
            .join(format!("{}-compare", run_name(&data).map_err(Failure::input)?)),
    };
    signals.catch()?;
    let mut narration = Narration::new(arguments.json || arguments.markdown);
    narration.say(format!(
        "{} arms, {} runs each, in {}",
        config.arms.len(),
        config.seeds.len(),
        folder.display()
    ));
    let outcome = compare(&config, &folder, &mut |event| match event {
        CompareEvent::Run { arm, seed, number: (number, total) } => {
            narration.say(format!("\nrun {number} of {total}: {}, seed {seed}", printable(arm)));
        }
        // The same in each run.
        CompareEvent::Training(Event::Started(_) | Event::Note(_)) => {}
        CompareEvent::Training(event) => show_training(event, &mut narration),
        CompareEvent::Finished { arm, seed, run, earlier } => {
            let accuracy = run.summary.test_accuracy.or(run.summary.val_accuracy);
            let accuracy =
                accuracy.map_or_else(String::new, |accuracy| format!(", accuracy {accuracy:.4}"));
            let before = if earlier { " (finished earlier)" } else { "" };
            let seconds = duration(run.summary.wall_seconds);
            narration.say(format!("{}, seed {seed}: {seconds}{accuracy}{before}", printable(arm)));
        }
        CompareEvent::Failed { arm, seed, error } => {
            narration.say(format!("{}, seed {seed}, failed: {error}", printable(arm)));
        }
    });
    let written = narration.end();
    let outcome = outcome.map_err(|error| match error {
        CompareError::Stopped { .. } => Failure::stopped(error, signals.received()),
        error => Failure::of(error),
    })?;
    written?;
    if arguments.json {
        return output::json(&outcome);
    }
    // The page and the file have the curves.
    let document = comparison_document(&outcome, "");
    if arguments.markdown {
        return output::line(document.markdown().trim_end());
    }
    output::line(format!("\n{}", document.terminal().trim_end()))?;
    let folder = folder.display();
    output::line(format!(
        "\n{folder}/{PAGE} is the page to read; {folder}/{PICTURE} and {folder}/{RESULT} hold its \
         curves and its numbers"
    ))
}
