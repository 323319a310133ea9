//! `regraft report`.

use crate::arguments::ReportArguments;
use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;
use regraft::run_folder::{REPORT, run_name};
use regraft::run_report::{ReportOptions, report, write};
use std::path::PathBuf;

pub fn run(arguments: &ReportArguments) -> Result<(), Failure> {
    let mut bars = Bars::default();
    let options = ReportOptions { images: !arguments.no_images };
    let found = report(&arguments.run, arguments.data.as_deref(), &options, &mut |progress| {
        bars.progress(progress);
    });
    bars.clear();
    let found = found.map_err(Failure::of)?;
    let path = path(arguments)?;
    write(&path, &found).map_err(Failure::of)?;
    found.notes.iter().for_each(|note| output::aside(format!("note: {note}")));
    if arguments.json {
        output::aside(format!("wrote {}", path.display()));
        return output::compact_json(&found.numbers);
    }
    output::line(format!("wrote {}", path.display()))
}

/// Where the page goes.
fn path(arguments: &ReportArguments) -> Result<PathBuf, Failure> {
    if let Some(path) = &arguments.output {
        return Ok(path.clone());
    }
    let name = match &arguments.data {
        Some(data) => format!("report-{}.html", run_name(data).map_err(Failure::input)?),
        None => REPORT.to_owned(),
    };
    Ok(arguments.run.join(name))
}
