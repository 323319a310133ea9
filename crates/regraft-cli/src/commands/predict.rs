//! `regraft predict`.

use super::{inference_failure, show_progress};
use crate::arguments::PredictArguments;
use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;
use regraft::data::inputs::expand;
use regraft::data::source::unpack_folder;
use regraft::pictures::{ignored_note, left_out_notes, reduced_note, truncated_note};
use regraft::predict::{Prediction, predict_files};
use regraft::report::table::printable;
use std::path::Path;

/// Classes that are listed unless --top says otherwise.
const TOP: usize = 5;

pub fn run(arguments: &PredictArguments) -> Result<(), Failure> {
    let (saved, pictures) = if arguments.named.is_given() {
        (None, &arguments.words[..])
    } else {
        let (saved, pictures) = arguments.words.split_first().unzip();
        (saved, pictures.unwrap_or_default())
    };
    if let (Some(saved), true) = (saved, pictures.is_empty()) {
        return Err(Failure::input(anyhow::anyhow!(
            "no picture is named: `regraft predict {saved} PICTURES...` uses the model {saved}, and `regraft predict --model NAME \
             {saved}` says what is on {saved}"
        )));
    }
    let model = arguments.named.classifier(saved.map(Path::new))?;
    let inputs = expand(pictures, &unpack_folder()).map_err(Failure::input)?;
    let top = arguments.top.map_or(TOP, |top| top as usize).min(model.classes.len());
    let mut bars = Bars::default();
    let options = arguments.inference.options();
    let outcome = predict_files(&model, &inputs.paths, top, &options, &mut |progress| show_progress(&mut bars, progress));
    bars.clear();
    let outcome = outcome.map_err(inference_failure)?;
    let notes = inputs.notes.into_iter();
    let notes = notes
        .chain(ignored_note(&inputs.ignored))
        .chain(left_out_notes(&outcome.skipped))
        .chain(truncated_note(&outcome.truncated))
        .chain(reduced_note(outcome.reduced));
    notes.for_each(|note| output::aside(format!("note: {note}")));
    if arguments.json {
        return output::json(&outcome.predictions);
    }
    if arguments.csv {
        output::line("path,rank,class,probability")?;
    }
    let form = if arguments.csv { csv_rows } else { lines };
    outcome.predictions.iter().try_for_each(|prediction| output::line(form(prediction)))
}

/// The file's name, and a line for each class below it.
fn lines(prediction: &Prediction) -> String {
    let mut lines = vec![printable(&prediction.path.display().to_string())];
    lines.extend(prediction.top.iter().map(|guess| format!("  {:.4}  {}", guess.probability, printable(&guess.class))));
    if prediction.top.is_empty() {
        lines.push("  the network gave no finite numbers".to_owned());
    }
    lines.join("\n")
}

/// A row for each class; one without class where the network gave no finite numbers.
fn csv_rows(prediction: &Prediction) -> String {
    let path = csv_field(&prediction.path.display().to_string());
    if prediction.top.is_empty() {
        return format!("{path},,,");
    }
    let rows = prediction.top.iter().zip(1..);
    let rows = rows.map(|(guess, rank)| format!("{path},{rank},{},{}", csv_field(&guess.class), guess.probability));
    rows.collect::<Vec<_>>().join("\n")
}

/// A field of a CSV file, quoted where it must be (RFC 4180).
fn csv_field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft::predict::Guess;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let top =
            vec![Guess { class: "hotdog, hot dog".into(), probability: 0.75 }, Guess { class: "cat".into(), probability: 0.25 }];
        let prediction = Prediction { path: "a \"b\".png".into(), top };
        let expected = "\"a \"\"b\"\".png\",1,\"hotdog, hot dog\",0.75\n\"a \"\"b\"\".png\",2,cat,0.25";
        assert_eq!(csv_rows(&prediction), expected);
        assert_eq!(csv_rows(&Prediction { path: "a.png".into(), top: Vec::new() }), "a.png,,,");
    }
}
