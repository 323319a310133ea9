//! `regraft export`.

mod onnx;
mod timm;

use crate::arguments::{ExportArguments, ExportFormat};
use crate::failure::Failure;
use crate::locating;
use regraft::model::{DEFAULT_ARCHITECTURE, Model, ModelError};

pub fn run(arguments: &ExportArguments) -> Result<(), Failure> {
    let target = &arguments.output;
    let is_free = match arguments.format {
        ExportFormat::Onnx => !target.exists(),
        ExportFormat::Timm => {
            !target.exists() || target.read_dir().is_ok_and(|mut entries| entries.next().is_none())
        }
    };
    if !is_free && !arguments.force {
        let target = target.display();
        return Err(Failure::input(anyhow::anyhow!(
            "{target} is there already: name another, or replace it with --force"
        )));
    }
    let mut model = model(arguments).and_then(Model::into_classifier).map_err(Failure::input)?;
    if arguments.temperature {
        let (calibrated, temperature) = model.into_calibrated().map_err(Failure::input)?;
        model = calibrated;
        model.notes.push(format!(
            "logits are divided by the temperature {:.3}, {}",
            temperature.temperature,
            temperature.fitted_on.words()
        ));
    }
    match arguments.format {
        ExportFormat::Onnx => onnx::run(arguments, &model),
        ExportFormat::Timm => timm::run(arguments, &model),
    }
}

/// The model that is named: a file, a run, or the one inside of the program.
fn model(arguments: &ExportArguments) -> Result<Model, ModelError> {
    let saved = &arguments.saved;
    if saved.as_os_str() == DEFAULT_ARCHITECTURE && !saved.exists() {
        return Model::embedded();
    }
    locating::named(saved, arguments.model.as_deref())
}
