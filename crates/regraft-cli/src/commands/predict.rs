//! `regraft predict`.

use super::{answering, shortened};
use crate::arguments::PredictArguments;
use crate::failure::Failure;
use crate::job;
use crate::output;
use crate::progress::Bars;
use regraft::data::inputs::expand;
use regraft::data::shown::shown;
use regraft::data::source::unpack_folder;
use regraft::pictures::{ignored_note, left_out_notes, reduced_note, truncated_note};
use regraft::predict::Prediction;
use regraft::report::table::printable;
use regraft::sort_into::{CERTAIN_FROM, SortFolders, Sorted};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// An entry of the output of `--json`; described in docs/json.md.
#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    prediction: &'a Prediction,
    copied_to: Option<String>,
}

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
        let saved = saved.display();
        return Err(Failure::input(anyhow::anyhow!(
            "no image is named: `regraft predict {saved} IMAGES...` uses the model {saved}, \
             and `regraft predict --model NAME \
             {saved}` says what is on {saved}"
        )));
    }
    let saved = saved.map(PathBuf::as_path);
    let model = job::agree(answering::open(saved, &arguments.named, &arguments.inference))?;
    let inputs = job::agree(expand(pictures, &unpack_folder()).map_err(Failure::input))?;
    let top = arguments.top.map_or(TOP, |top| top as usize).min(model.classes().len());
    let certain_from = arguments.min_probability.unwrap_or(CERTAIN_FROM);
    let folders = arguments.sort_into.as_deref();
    let folders = folders.map(|folder| SortFolders::new(folder, model.classes(), certain_from));
    let checked = folders.as_ref().map_or(Ok(()), |folders| folders.check(&inputs.paths));
    job::agree(checked.map_err(Failure::input))?;
    let mut bars = Bars::default();
    let options = arguments.inference.options()?;
    let outcome =
        model.predict(&inputs.paths, top, &options, &mut |progress| bars.progress(progress));
    bars.clear();
    let outcome = outcome?;
    if !job::ranks().is_first() {
        return Ok(());
    }
    let notes = model.notes().iter().cloned().chain(inputs.notes);
    let notes = notes
        .chain(ignored_note(&inputs.ignored))
        .chain(left_out_notes(&outcome.skipped))
        .chain(truncated_note(&outcome.truncated))
        .chain(reduced_note(outcome.reduced));
    notes.for_each(|note| output::aside(format!("note: {note}")));
    let sorted = folders.map(|folders| {
        folders.renamed().iter().for_each(|(class, name)| {
            output::aside(format!("note: the folder of class {class:?} is called {name:?}"));
        });
        folders.copy(&outcome.predictions).map_err(Failure::under_way)
    });
    let sorted = sorted.transpose()?;
    if let (Some(sorted), Some(folder)) = (&sorted, &arguments.sort_into) {
        output::aside(describe(sorted, folder, certain_from));
    }
    if arguments.json {
        let copy = |place: usize| Some(sorted.as_ref()?.copies.get(place)?.display().to_string());
        let entries = outcome.predictions.iter().enumerate();
        return output::json(
            &entries
                .map(|(place, prediction)| Entry { prediction, copied_to: copy(place) })
                .collect::<Vec<_>>(),
        );
    }
    if arguments.csv {
        return output::line(csv_table(&outcome.predictions)?.trim_end());
    }
    outcome.predictions.iter().try_for_each(|prediction| output::line(lines(prediction)))
}

/// Where the copies are, in words.
fn describe(sorted: &Sorted, folder: &Path, certain_from: f32) -> String {
    let counts =
        sorted.counts.iter().map(|(name, count)| format!("{count} in {}", printable(name)));
    let already = match sorted.already {
        0 => String::new(),
        count => format!(" ({count} were there already)"),
    };
    format!(
        "copied {} images into {}{already}: {}; those whose class is less probable than \
         {certain_from} are uncertain",
        sorted.copies.len() - sorted.already,
        folder.display(),
        shortened(counts.collect::<Vec<_>>().into_iter())
    )
}

/// The file's name, and a line for each class below it.
fn lines(prediction: &Prediction) -> String {
    let mut lines = vec![printable(&shown(&prediction.path).to_string())];
    lines.extend(
        prediction
            .top
            .iter()
            .map(|guess| format!("  {:.4}  {}", guess.probability, printable(&guess.class))),
    );
    lines.join("\n")
}

/// A row for each class of each image.
fn csv_table(predictions: &[Prediction]) -> Result<String, Failure> {
    let failed = |error: csv::Error| Failure::under_way(error);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["path", "rank", "class", "probability"]).map_err(failed)?;
    for Prediction { path, top } in predictions {
        let path = path.display().to_string();
        for (guess, rank) in top.iter().zip(1..) {
            writer.serialize((&path, rank, &guess.class, guess.probability)).map_err(failed)?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.into_error().into()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft::predict::Guess;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let top = vec![
            Guess { class: "hotdog, hot dog".into(), probability: 0.75 },
            Guess { class: "cat".into(), probability: 0.25 },
        ];
        let cat = vec![Guess { class: "cat".into(), probability: 1.0 }];
        let predictions = [
            Prediction { path: "a \"b\".png".into(), top },
            Prediction { path: "a\nb.png".into(), top: cat },
        ];
        let expected = "path,rank,class,probability\n\"a \"\"b\"\".png\",1,\"hotdog, hot \
            dog\",0.75\n\
                        \"a \"\"b\"\".png\",2,cat,0.25\n\"a\nb.png\",1,cat,1.0\n";
        assert_eq!(csv_table(&predictions).ok().as_deref(), Some(expected));
    }
}
