//! `regraft train`.

use super::shortened;
use crate::arguments::TrainArguments;
use crate::failure::Failure;
use crate::job;
use crate::output;
use crate::progress::{Narration, duration};
use crate::signals::Signals;
use regraft::config::TrainConfig;
use regraft::error_kind::{Classified, ErrorKind};
use regraft::evaluate::EvaluateError;
use regraft::report::epochs::EpochRow;
use regraft::report::table::{evaluation_table, printable};
use regraft::run_folder::{NewFolder, REPORT, RunFolder, checkpoint_files};
use regraft::run_report::{ReportError, ReportOptions, report, write};
use regraft::train::preview::resolved;
use regraft::train::{
    Destination, Event, Finished, Outcome, Settings, Start, Stop, TrainError, train,
};
use std::path::{Path, PathBuf};

pub fn run(arguments: &TrainArguments) -> Result<(), Failure> {
    let config = resolve(arguments)?;
    if arguments.print_config {
        let mut narration = Narration::new(true);
        let resolved = resolved(&config, &mut |event| show_training(event, &mut narration));
        narration.end()?;
        let resolved = resolved.map_err(Failure::of)?;
        return output::line(resolved.to_toml().map_err(Failure::input)?.trim_end());
    }
    let signals = Signals::default();
    let settings = Settings {
        destination: destination(arguments),
        budget: arguments.budget,
        stop: signals.stop(),
        ranks: job::ranks().clone(),
    };
    let mut narration = Narration::new(arguments.json);
    let mut caught = Ok(());
    let mut folder = None;
    let outcome = train(&config, &settings, &mut |event| {
        if let Event::Started(start) = &event {
            folder = start.folder.clone();
            // Before there is anything to save, a signal may end the program as it always does.
            caught = signals.catch();
        }
        show_training(event, &mut narration);
    });
    let written = narration.end();
    let outcome = outcome.map_err(|error| {
        // After a divergence, a resumed run would end the same way.
        let resumes = error.kind() == ErrorKind::Failure
            && !matches!(
                error,
                TrainError::Diverged(_) | TrainError::Evaluate(EvaluateError::NotFinite { .. })
            );
        Failure::of(error).or_hint(|| {
            let folder = folder.filter(|folder| resumes && has_checkpoint(folder))?;
            Some(format!(
                "everything up to the last checkpoint is saved; once the problem is fixed, resume \
                 with: regraft train --resume {}",
                folder.display()
            ))
        })
    })?;
    written?;
    caught?;
    let finished = match outcome {
        Outcome::Finished(finished) => finished,
        Outcome::Stopped(Stop { folder, place }) => {
            let resume = folder.map_or_else(String::new, |folder| {
                format!("; resume with: regraft train --resume {}", folder.display())
            });
            let stopped = anyhow::anyhow!("stopped {place}{resume}");
            let received = job::ranks().exchange_values(&signals.received());
            let received = received.into_iter().find(|&signal| signal > 0).unwrap_or(0);
            return Err(Failure::stopped(stopped, received));
        }
    };
    if !job::ranks().is_first() {
        return Ok(());
    }
    let Finished { folder, summary, test, had_ended, .. } = *finished;
    let folder = folder.unwrap_or_default();
    let page = if arguments.no_report || had_ended { None } else { write_report(&folder) };
    let folder = folder.display();
    if had_ended {
        let epochs = summary.epochs;
        let epochs = match epochs {
            0 => "its fitted head".to_owned(),
            1 => "its 1 epoch".to_owned(),
            epochs => format!("its {epochs} epochs"),
        };
        output::aside(format!(
            "note: {folder} is complete, with {epochs}: nothing to resume (with a constant \
             schedule, a larger --epochs trains longer)"
        ));
    }
    if arguments.json {
        return output::json(&summary);
    }
    if let Some(test) = &test {
        let weights = match summary.best_epoch {
            0 => "with the fitted head".to_owned(),
            epoch => format!("with the weights of epoch {epoch}"),
        };
        output::line(format!("\ntest images, scored {weights}:"))?;
        output::line(evaluation_table(test).trim_end())?;
    }
    let test =
        summary.test_accuracy.map_or(String::new(), |accuracy| format!(", test acc {accuracy:.3}"));
    let validation = match summary.val_accuracy {
        Some(accuracy) => format!(", val acc {accuracy:.3}"),
        None => String::new(),
    };
    output::line(format!(
        "\nloss {:.3}, train acc {:.3}{validation}{test}\n{:.1} examples/sec on {}",
        summary.train_loss.unwrap_or(f64::NAN),
        summary.train_accuracy.unwrap_or(f64::NAN),
        summary.images_per_second,
        summary.device
    ))?;
    output::line(format!("{folder}/model.safetensors is ready: regraft predict {folder} IMAGE"))?;
    page.map_or(Ok(()), |page| output::line(format!("{} shows what it does", page.display())))
}

/// The configuration. Of several ranks, the first one reads the run to resume, whose folder the
/// others need not see.
fn resolve(arguments: &TrainArguments) -> Result<TrainConfig, Failure> {
    let ranks = job::ranks();
    if ranks.is_alone() {
        return arguments.resolve();
    }
    let own = if ranks.is_first() { arguments.resolve().map(Some) } else { Ok(None) };
    let own = job::agree(own)?;
    let first = ranks.of_first(&own);
    own.or(first).ok_or_else(Failure::of_peer)
}

/// Writes the page about a complete run, and returns its path. The run is complete without it, so a
/// page that cannot be written is only a warning.
fn write_report(folder: &Path) -> Option<PathBuf> {
    let path = folder.join(REPORT);
    let options = ReportOptions::default();
    let found = report(folder, None, &options, &mut |_| {}).and_then(|found| {
        write(&path, &found)?;
        Ok(found.notes)
    });
    match found {
        Ok(notes) => {
            notes.iter().for_each(|note| output::aside(format!("note: {note}")));
            Some(path)
        }
        // Without images to score there is nothing to show.
        Err(ReportError::NoPredictions { .. }) => None,
        Err(error) => {
            let folder = folder.display();
            output::aside(format!(
                "warning: no report was written: {error}; `regraft report {folder}` writes it"
            ));
            None
        }
    }
}

fn destination(arguments: &TrainArguments) -> Destination {
    match (&arguments.resume, &arguments.output) {
        (Some(folder), _) => Destination::Resume(folder.clone()),
        (None, Some(folder)) if arguments.force => {
            Destination::New(NewFolder::Replacing(folder.clone()))
        }
        (None, Some(folder)) => Destination::New(NewFolder::At(folder.clone())),
        (None, None) => Destination::default(),
    }
}

fn has_checkpoint(folder: &Path) -> bool {
    checkpoint_files(&RunFolder::existing(folder).checkpoints())
        .is_ok_and(|files| !files.is_empty())
}

/// Shows the events of a run.
pub(super) fn show_training(event: Event, narration: &mut Narration) {
    let bars = &mut narration.bars;
    match event {
        Event::Note(note) => narration.say(format!("note: {note}")),
        Event::Progress(progress) => bars.progress(progress),
        Event::Started(start) => {
            narration.say(describe(&start));
        }
        Event::Step(step) => {
            let left = (step.images.1 - step.images.0) as f64 / step.images_per_second;
            let title = format!("epoch {}/{}", step.epoch.0, step.epoch.1);
            let message = format!(
                "{:.1} images/s, {} left, loss {:.3}, acc {:.3}",
                step.images_per_second,
                duration(left),
                step.loss,
                step.accuracy
            );
            bars.show(&title, step.images.0, step.images.1, message);
        }
        Event::Epoch { row, epochs, kept } => narration.say(epoch_line(&row, epochs, kept)),
    }
}

fn describe(start: &Start) -> String {
    let [train, validation, test] = start.images;
    let (trained, all) = start.parameters;
    format!(
        "{} classes: {}\n{train} images to train on, {validation} to choose the epoch, {test} to \
         test\n{}; {trained} of {all} parameters learn, on {}\nwriting to {}",
        start.classes.len(),
        shortened(
            start
                .classes
                .iter()
                .enumerate()
                .map(|(number, class)| format!("{number} {}", printable(class)))
        ),
        start.source,
        start.device,
        start.folder.as_deref().unwrap_or(Path::new("nowhere")).display()
    )
}

fn epoch_line(row: &EpochRow, epochs: u32, kept: bool) -> String {
    let shown = |name: &str, value: Option<f64>| {
        value.map_or(String::new(), |value| format!(", {name} {value:.3}"))
    };
    let name = if row.epoch == 0 {
        "fitted head".to_owned()
    } else {
        format!("epoch {}/{epochs}", row.epoch)
    };
    format!(
        "{name}: loss {:.3}, train acc {:.3}{}{}{}, {:.1} images/s, {}{}",
        row.train_loss,
        row.train_accuracy,
        shown("val loss", row.validation_loss),
        shown("val acc", row.validation_accuracy),
        shown("test acc", row.test_accuracy),
        row.images_per_second,
        duration(row.seconds),
        if kept { ", kept" } else { "" }
    )
}
