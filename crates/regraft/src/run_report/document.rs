//! A report as a document.

use super::answers::Drawn;
use super::{Numbers, ReportError, Run, ShownAnswer, Subject};
use crate::config::{Keep, shown};
use crate::metrics::{Evaluation, Temperature};
use crate::report::curves::curves_svg;
use crate::report::document::{Block, Document, Finding, Gallery, Matrix, Table, Thumbnail};
use crate::report::reliability::reliability_svg;
use crate::report::strengths::strengths_svg;
use crate::run_folder::CURVES;
use serde_json::Value;

/// Up to this many classes, the whole confusion matrix is shown.
const MOST_IN_MATRIX: usize = 20;
/// Confused pairs that are listed otherwise.
const MOST_PAIRS: usize = 40;
/// Suspect labels that are shown.
const MOST_SUSPECTS: usize = 12;

pub(super) fn document(
    run: &Run,
    numbers: &Numbers,
    images: &Drawn,
) -> Result<Document, ReportError> {
    let mut document = Document::new(format!("Report on {}", numbers.run));
    headline(&mut document, numbers);
    scores(&mut document, numbers);
    training(&mut document, run)?;
    confusion(&mut document, &numbers.evaluation);
    classes(&mut document, &numbers.evaluation);
    probabilities(&mut document, numbers)?;
    gallery(
        &mut document,
        "Most confident mistakes",
        "The wrong predictions with the highest probabilities. A label that is wrong itself is \
         often among them.",
        &numbers.mistakes,
        images,
    );
    gallery(
        &mut document,
        "Least certain hits",
        "The right predictions with the lowest probabilities.",
        &numbers.uncertain,
        images,
    );
    data(&mut document, run, images);
    origin(&mut document, run, numbers);
    Ok(document)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// The images, in words.
fn images_in_words(numbers: &Numbers) -> String {
    match numbers.scored_on {
        Subject::Test => "test images".to_owned(),
        Subject::OutOfFold => "training images, out of fold".to_owned(),
        Subject::Validation => "validation images".to_owned(),
        Subject::Given => {
            format!("images in {}", numbers.data.as_deref().unwrap_or("the named folder"))
        }
    }
}

fn headline(document: &mut Document, numbers: &Numbers) {
    let Evaluation { images, correct, accuracy, accuracy_interval_95, .. } = &numbers.evaluation;
    let [low, high] = accuracy_interval_95.map(percent);
    document.blocks.push(Block::Headline {
        value: percent(*accuracy),
        text: format!(
            "{correct} of {images} {} are right (95 % interval {low} to {high})",
            images_in_words(numbers)
        ),
    });
    let summary = &numbers.summary;
    document.prose(format!(
        "{} with {} classes, trained on {} images in {:.0} s: {}.",
        summary.architecture,
        summary.classes.len(),
        summary.train_images,
        summary.wall_seconds,
        match (summary.epochs, summary.best_epoch) {
            (0, _) => "a head fitted to the features of the backbone".to_owned(),
            (epochs, 0) => format!("the fitted head, which none of {epochs} epochs improved"),
            (epochs, best) => format!("the weights of epoch {best} of {epochs}"),
        }
    ));
    match numbers.scored_on {
        Subject::OutOfFold => document.prose(
            "Nothing was held out. Each image is predicted by a head of the cross-validation that \
             was fitted without it, so these numbers estimate those of new images.",
        ),
        Subject::Validation => document.prose(
            "There are no test images. If the run chose its epoch by the validation images, their \
             numbers are slightly optimistic.",
        ),
        Subject::Test | Subject::Given => {}
    }
}

fn scores(document: &mut Document, numbers: &Numbers) {
    let found = &numbers.evaluation;
    let mut table = Table::new(["score", "value"], 1);
    let mut row = |name: &str, value: String| table.push(vec![name.to_owned(), value]);
    row("balanced accuracy", percent(found.balanced_accuracy));
    if let Some(top5) = found.top5_accuracy {
        row("top-5 accuracy", percent(top5));
    }
    row("cross-entropy in nats", decimal(found.loss));
    row("calibration error (ECE)", percent(found.calibration_error));
    row("Brier score, from 0 to 2", format!("{:.4}", found.brier_score));
    if found.images_without_prediction > 0 {
        row("images without a prediction", found.images_without_prediction.to_string());
    }
    document.table(table);
}

fn decimal(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"))
}

fn training(document: &mut Document, run: &Run) -> Result<(), ReportError> {
    let name = run.name();
    let fitted = run.summary.head_fit.as_ref().filter(|fit| fit.chosen().is_some());
    let (svg, caption) = match fitted {
        Some(fit) if run.rows.len() <= 1 => {
            let caption = "Loss and accuracy of held-out training images by the strength of the \
                           regression; the line is the chosen one";
            (strengths_svg(&name, fit)?, caption)
        }
        _ if run.rows.is_empty() => return Ok(()),
        _ => {
            let best = Some(run.summary.best_epoch).filter(|_| run.config.keep == Keep::Best);
            let caption = "Loss and accuracy by epoch";
            (curves_svg(&name, &run.rows, best)?, caption)
        }
    };
    document.heading("Training");
    document.blocks.push(Block::Figure {
        svg,
        file: CURVES.to_owned(),
        caption: caption.to_owned(),
    });
    Ok(())
}

fn confusion(document: &mut Document, evaluation: &Evaluation) {
    document.heading("Confusion");
    if evaluation.classes.len() <= MOST_IN_MATRIX {
        document.prose("Rows are true classes, columns are predicted classes.");
        document.blocks.push(Block::Matrix(Matrix {
            names: evaluation.classes.clone(),
            counts: evaluation.confusion.clone(),
        }));
        return;
    }
    let mut pairs: Vec<(u64, usize, usize)> = Vec::new();
    for (class, counts) in evaluation.confusion.iter().enumerate() {
        let wrong =
            counts.iter().enumerate().filter(|&(other, &count)| count > 0 && other != class);
        pairs.extend(wrong.map(|(other, &count)| (count, class, other)));
    }
    if pairs.is_empty() {
        document.prose("No class was taken for another.");
        return;
    }
    pairs.sort_by_key(|&(count, ..)| std::cmp::Reverse(count));
    let all = pairs.len();
    let mut table = Table::new(["true class", "taken for", "images", "of"], 2);
    for (count, class, other) in pairs.into_iter().take(MOST_PAIRS) {
        table.push(vec![
            evaluation.classes[class].clone(),
            evaluation.classes[other].clone(),
            count.to_string(),
            evaluation.per_class[class].images.to_string(),
        ]);
    }
    document.prose(format!(
        "The most confused of {all} pairs of classes. The numbers in this page have all of them."
    ));
    document.table(table);
}

fn classes(document: &mut Document, evaluation: &Evaluation) {
    document.heading("Classes");
    let mut table = Table::new(["class", "images", "precision", "recall", "F1"], 1);
    let used = evaluation.per_class.iter().filter(|class| class.f1.is_some());
    for class in used {
        table.push(vec![
            class.class.clone(),
            class.images.to_string(),
            decimal(class.precision),
            decimal(class.recall),
            decimal(class.f1),
        ]);
    }
    let left_out = evaluation.classes.len() - table.rows.len();
    document.table(table);
    if left_out > 0 {
        document.prose(format!(
            "{left_out} other classes have no images, and none of them was predicted."
        ));
    }
}

fn probabilities(document: &mut Document, numbers: &Numbers) -> Result<(), ReportError> {
    document.heading("How far the probabilities can be trusted");
    document.blocks.push(Block::Figure {
        svg: reliability_svg(&numbers.reliability)?,
        file: "reliability.svg".to_owned(),
        caption: "The share of right predictions by their probability. Calibrated probabilities \
                  lie on the diagonal; the bars show how many images have them."
            .to_owned(),
    });
    document.prose(format!(
        "Predictions are off by {} on average (expected calibration error, 15 bins). It depends on \
         the bins; the cross-entropy and the Brier score above do not.",
        percent(numbers.evaluation.calibration_error)
    ));
    match &numbers.temperature {
        Some(found) => document.prose(temperature(found)),
        None => document.prose(
            "The run has no temperature, because it held out no images to fit one to after the \
             network had learned from the others.",
        ),
    }
    Ok(())
}

fn temperature(found: &Temperature) -> String {
    if found.temperature == 1.0 {
        return format!(
            "The temperature stays 1: all {} images that it could be {} to are predicted right.",
            found.images,
            found.fitted_on.words()
        );
    }
    format!(
        "Dividing the logits by the temperature {:.3} ({}, {} images) calibrates them: there, the \
         cross-entropy is {:.4} instead of {:.4}, and the calibration error {} instead of {}. The \
         flag --temperature of evaluate, predict and export applies it; this page shows the \
         probabilities without it.",
        found.temperature,
        found.fitted_on.words(),
        found.images,
        found.loss_after,
        found.loss_before,
        percent(found.calibration_error_after),
        percent(found.calibration_error_before)
    )
}

fn gallery(
    document: &mut Document,
    title: &str,
    meaning: &str,
    answers: &[ShownAnswer],
    images: &Drawn,
) {
    document.heading(title);
    if answers.is_empty() {
        document.prose("There are none.");
        return;
    }
    document.prose(meaning);
    if images.has_maps() {
        document.prose(
            "The shaded copies are class activation maps: they are bright where the image speaks \
             for the class. The maps are coarse, a few cells a side.",
        );
    } else if images.has_images() {
        document.prose(
            "There are no activation maps: this network has other layers between the mean of its \
             last feature map and its head, so no map gives a class's logit.",
        );
    }
    let findings = answers.iter().map(|answer| {
        let ShownAnswer { path, class, predicted, probability, class_probability } = answer;
        let remark = if class == predicted {
            format!("{class}, with probability {probability:.3}")
        } else {
            let own = class_probability
                .map_or_else(String::new, |probability| format!(" ({probability:.3})"));
            format!("taken for {predicted} ({probability:.3}), is {class}{own}")
        };
        let mut thumbnails =
            vec![Thumbnail { path: path.clone(), jpeg: images.plain(path).cloned() }];
        let mut classes = vec![predicted];
        classes.extend((class != predicted).then_some(class));
        for class in classes {
            if let Some(jpeg) = images.shaded(path, class) {
                thumbnails
                    .push(Thumbnail { path: format!("for {class}"), jpeg: Some(jpeg.clone()) });
            }
        }
        Finding { remark, images: thumbnails, more: 0 }
    });
    document.blocks.push(Block::Gallery(Gallery { findings: findings.collect(), more: 0 }));
}

/// The findings in the run's images.
fn data(document: &mut Document, run: &Run, images: &Drawn) {
    document.heading("The run's data and remarks");
    let summary = &run.summary;
    let mut table = Table::new(["part", "images"], 1);
    for (part, count) in [
        ("training", summary.train_images),
        ("validation", summary.val_images),
        ("test", summary.test_images),
        ("left out, because they cannot be read", summary.skipped_images.len() as u64),
    ] {
        table.push(vec![part.to_owned(), count.to_string()]);
    }
    document.table(table);
    summary.notes.iter().for_each(|note| document.prose(note.clone()));
    let Some(found) = summary.head_fit.as_ref().and_then(|fit| fit.out_of_fold.as_ref()) else {
        return;
    };
    if found.suspect_labels.is_empty() {
        return;
    }
    document.heading(format!("Labels that are likely wrong ({})", found.suspect_label_count));
    document.prose("The command regraft audit lists all of them and writes a list of fixes.");
    let suspects = found.suspect_labels.iter().take(MOST_SUSPECTS);
    let findings: Vec<Finding> = suspects
        .map(|suspect| Finding {
            remark: format!("labelled {}, likelier {}", suspect.given, suspect.likely),
            images: vec![Thumbnail {
                path: suspect.path.clone(),
                jpeg: images.plain(&suspect.path).cloned(),
            }],
            more: 0,
        })
        .collect();
    let more = found.suspect_label_count as usize - findings.len();
    document.blocks.push(Block::Gallery(Gallery { findings, more }));
}

/// Options, versions and hashes.
fn origin(document: &mut Document, run: &Run, numbers: &Numbers) {
    document.heading("How it was made");
    let mut table = Table::new(["", "value"], 2);
    let mut row = |name: &str, value: &str| table.push(vec![name.to_owned(), value.to_owned()]);
    row("trained by Regraft", &run.summary.regraft_version);
    row("report by Regraft", &numbers.regraft_version);
    row("device", &run.summary.device);
    row("instruction set", &run.summary.instruction_set);
    row("precision", &run.summary.precision);
    row("SHA-256 of model.safetensors", &numbers.model_sha256);
    if let Some(hash) = &numbers.data_sha256 {
        row("SHA-256 of the list of images", hash);
    }
    document.table(table);
    let mut table = Table::new(["option", "value"], 2);
    for (name, value) in numbers.options.iter().filter(|(_, value)| **value != Value::Null) {
        table.push(vec![name.clone(), shown(Some(value))]);
    }
    document.table(table);
}
