//! `regraft export --format timm`.

use crate::arguments::ExportArguments;
use crate::failure::Failure;
use crate::output;
use regraft::model::Model;
use regraft_export::timm::{FILES, Facts, write};
use serde::Serialize;

/// The output of `--json`; described in docs/json.md.
#[derive(Serialize)]
struct Report<'a> {
    format: &'static str,
    output: String,
    files: [&'static str; 3],
    architecture: &'a str,
    classes: &'a [String],
    notes: &'a [String],
    regraft_version: &'static str,
}

pub fn run(arguments: &ExportArguments, model: &Model) -> Result<(), Failure> {
    for (flag, is_given) in [
        ("--input", arguments.input.is_some()),
        ("--weights", arguments.weights.is_some()),
        ("--check", arguments.check.is_some()),
    ] {
        if is_given {
            return Err(Failure::input(anyhow::anyhow!(
                "{flag} is for --format onnx; leave it out"
            )));
        }
    }
    let folder = &arguments.output;
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
    let facts = Facts { name, licence: arguments.license.clone(), ..read_facts(arguments)? };
    write(model, &facts, folder).map_err(Failure::under_way)?;
    model.notes.iter().for_each(|note| output::aside(format!("note: {note}")));
    if arguments.json {
        return output::json(&Report {
            format: "timm",
            output: folder.display().to_string(),
            files: FILES,
            architecture: model.architecture(),
            classes: &model.classes,
            notes: &model.notes,
            regraft_version: env!("CARGO_PKG_VERSION"),
        });
    }
    let folder = folder.display();
    let [config, weights, card] = FILES;
    output::line(format!(
        "wrote {folder}: {config}, {weights} and the model card {card}, whose text shows how to \
         load it"
    ))?;
    if arguments.license.is_none() {
        output::aside(
            "note: the model card names no licence; --license apache-2.0, for instance, would",
        );
    }
    Ok(())
}

fn read_facts(arguments: &ExportArguments) -> Result<Facts, Failure> {
    Facts::read(&arguments.saved).map_err(Failure::input)
}
