//! `regraft models --suggest`.

use crate::arguments::ModelsArguments;
use crate::failure::Failure;
use crate::output;
use crate::progress::{Bars, duration};
use regraft::hub::HubSettings;
use regraft::report::table::aligned;
use regraft::suggest::{SuggestEvent, Suggestion, Suggestions, suggest};
use std::path::Path;

/// Images that the models are tried on, unless asked otherwise.
const SAMPLE: u32 = 400;

pub fn run(arguments: &ModelsArguments, data: &Path) -> Result<(), Failure> {
    let mut config = arguments.flags.on_defaults()?;
    config.data = data.to_owned();
    // Every image is one to train on.
    config.val_fraction = Some(0.0);
    let sample = arguments.sample.unwrap_or(SAMPLE) as usize;
    let budget = arguments.budget.map(|budget| budget.0);
    let mut bars = Bars::default();
    let outcome =
        suggest(&config, sample, budget, &HubSettings::from_env(), &mut |event| match event {
            SuggestEvent::Model(name) => {
                bars.clear();
                output::aside(format!("trying {name}"));
            }
            SuggestEvent::Progress(progress) => bars.progress(progress),
        });
    bars.clear();
    let found = outcome.map_err(Failure::of)?;
    found.notes.iter().for_each(|note| output::aside(format!("note: {note}")));
    if arguments.json {
        return output::json(&found);
    }
    output::line(table(&found).trim_end())?;
    output::line(format!(
        "\naccuracy: of heads that are fitted to {} of {} training images, on those that they did \
         not see, with its 95 % interval; time: for the features and the head of all of them",
        found.sample, found.images
    ))?;
    match found.models.first().filter(|best| best.within_budget) {
        Some(best) => {
            let (data, model) = (data.display(), best.model);
            output::line(format!("try: regraft train {data} --model {model}"))
        }
        None if found.models.is_empty() => Ok(()),
        None => output::line("no model fits into the budget"),
    }
}

fn table(found: &Suggestions) -> String {
    let header = ["model", "accuracy", "interval", "images/s", "time", "in the budget"];
    let row = |suggestion: &Suggestion| {
        let [low, high] = suggestion.accuracy_interval_95;
        vec![
            suggestion.model.to_owned(),
            format!("{:.3}", suggestion.accuracy),
            format!("{low:.3} to {high:.3}"),
            format!("{:.1}", suggestion.images_per_second),
            duration(suggestion.expected_seconds),
            if suggestion.within_budget { "yes" } else { "no" }.to_owned(),
        ]
    };
    let header = header.map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> =
        std::iter::once(header).chain(found.models.iter().map(row)).collect();
    aligned(&rows, &[0])
}
