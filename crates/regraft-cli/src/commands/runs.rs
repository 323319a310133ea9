//! `regraft runs` and `regraft diff`.

use crate::arguments::{DiffArguments, RunsArguments};
use crate::failure::Failure;
use crate::output;
use regraft::runs::{RunEntry, diff, diff_document, list, runs_document, sort};

pub fn run(arguments: &RunsArguments) -> Result<(), Failure> {
    let (mut runs, problems) = list(&arguments.folder).map_err(Failure::of)?;
    problems.iter().for_each(|problem| output::aside(format!("note: {problem}")));
    let contains = |value: &str, wanted: &Option<String>| {
        let wanted = wanted.as_ref().map(|wanted| wanted.to_lowercase());
        wanted.is_none_or(|wanted| value.to_lowercase().contains(&wanted))
    };
    let is_wanted = |run: &RunEntry| {
        contains(&run.data, &arguments.data)
            && contains(run.model.as_deref().unwrap_or_default(), &arguments.model)
            && (run.finished || !arguments.finished)
    };
    let found = runs.len();
    runs.retain(is_wanted);
    sort(&mut runs, arguments.sort);
    if arguments.reverse {
        runs.reverse();
    }
    if runs.is_empty() {
        let folder = arguments.folder.display();
        output::aside(match found {
            0 => format!("note: {folder} holds no runs"),
            _ => format!("note: none of the {found} runs in {folder} passes the filters"),
        });
    }
    if arguments.json {
        return output::json(&runs);
    }
    if runs.is_empty() {
        return Ok(());
    }
    output::line(runs_document(&runs).terminal().trim_end())
}

pub fn compare(arguments: &DiffArguments) -> Result<(), Failure> {
    let found = diff([&arguments.first, &arguments.second]).map_err(Failure::of)?;
    if arguments.json {
        return output::json(&found);
    }
    output::line(diff_document(&found).terminal().trim_end())
}
