//! `regraft evaluate`.

use super::answering;
use crate::arguments::EvaluateArguments;
use crate::failure::Failure;
use crate::job;
use crate::output;
use crate::progress::Bars;
use regraft::metrics::Evaluation;
use regraft::predictions::write_predictions;
use regraft::report::table::evaluation_table;
use serde::Serialize;

/// The output of `--json`; described in docs/json.md.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    evaluation: &'a Evaluation,
    folder: String,
    model: &'a str,
    architecture: &'a str,
    image_size: u32,
    device: &'a str,
    skipped_images: Vec<String>,
    notes: &'a [String],
    regraft_version: &'static str,
}

pub fn run(arguments: &EvaluateArguments) -> Result<(), Failure> {
    let saved = match (&arguments.saved, arguments.named.is_given()) {
        (Some(path), true) => {
            let path = path.display();
            return Err(Failure::input(anyhow::anyhow!(
                "the model is named twice, by {path} and by --model or --weights; give a weight \
                 file as --weights {path}"
            )));
        }
        (None, false) => {
            let folder = arguments.folder.display();
            return Err(Failure::input(anyhow::anyhow!(
                "which model is to be scored on {folder}? Name a run folder or model file before \
                 it, or --model NAME"
            )));
        }
        (saved, _) => saved.as_deref(),
    };
    let model = job::agree(answering::open(saved, &arguments.named, &arguments.inference))?;
    let mut bars = Bars::default();
    let outcome =
        model.evaluate(&arguments.folder, &arguments.inference.options()?, &mut |progress| {
            bars.progress(progress)
        });
    bars.clear();
    let outcome = outcome?;
    if !job::ranks().is_first() {
        return Ok(());
    }
    if let Some(path) = &arguments.predictions {
        write_predictions(path, &outcome.scored.predictions).map_err(Failure::under_way)?;
    }
    outcome.notes.iter().for_each(|note| output::aside(format!("note: {note}")));
    if arguments.json {
        // In one line: the matrix of a thousand classes has a million numbers.
        return output::compact_json(&Report {
            evaluation: &outcome.scored.evaluation,
            folder: arguments.folder.display().to_string(),
            model: &model.origin(),
            architecture: model.architecture(),
            image_size: model.image_size(),
            device: &outcome.device,
            skipped_images: outcome
                .skipped
                .iter()
                .map(|error| error.path.display().to_string())
                .collect(),
            notes: &outcome.notes,
            regraft_version: env!("CARGO_PKG_VERSION"),
        });
    }
    let evaluation = &outcome.scored.evaluation;
    output::line(evaluation_table(evaluation).trim_end())?;
    if !arguments.named.temperature {
        return Ok(());
    }
    output::line(format!(
        "\nwith the temperature: calibration error {:.4}, Brier score {:.4}",
        evaluation.calibration_error, evaluation.brier_score
    ))
}
