//! The model card: `README.md` with the fields that the Hugging Face Hub reads.

use regraft::config::{ConfigError, TrainConfig, Weights};
use regraft::metrics::wilson_interval_95;
use regraft::model::Model;
use regraft::predictions::{Prediction, PredictionsError, read_predictions};
use regraft::report::summary::{Estimate, Headline, Summary, SummaryError, read_summary};
use regraft::report::table::printable;
use regraft::run_folder::{CONFIG, PREDICTIONS, SUMMARY};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// The most classes, and the most confused pairs of classes, that the card names.
const NAMED_CLASSES: usize = 100;
const NAMED_PAIRS: usize = 10;

/// The facts about a model other than its weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The model's name.
    pub name: String,
    /// The Hub's identifier of the licence that the owner gives the model, such as `apache-2.0`.
    pub licence: Option<String>,
    /// Whether its run began with the ImageNet weights inside Regraft.
    pub began_embedded: bool,
    /// The summary of its run.
    pub summary: Option<Summary>,
    /// Its predictions for the test images or, failing that, for the validation images.
    pub predictions: Vec<Prediction>,
}

/// A run folder whose files cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each is the error of the file that it is named after.
pub enum FactsError {
    #[error(transparent)]
    Summary(#[from] SummaryError),
    #[error(transparent)]
    Predictions(#[from] PredictionsError),
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Facts {
    /// Reads the facts from a run folder, or from the folder of a model file.
    ///
    /// # Errors
    /// If one of its files is damaged.
    pub fn read(run: &Path) -> Result<Self, FactsError> {
        let folder = if run.is_dir() { run } else { run.parent().unwrap_or(run) };
        let [summary, predictions, config] =
            [SUMMARY, PREDICTIONS, CONFIG].map(|name| folder.join(name));
        let mut facts = Self::default();
        if summary.is_file() {
            facts.summary = Some(read_summary(&summary)?);
            if predictions.is_file() {
                facts.predictions = read_predictions(&predictions)?;
            }
        }
        if config.is_file() {
            facts.began_embedded = TrainConfig::read(&config)?.weights == Some(Weights::Embedded);
        }
        Ok(facts)
    }
}

/// The card. It contains no path of the owner's machine.
pub(super) fn text(model: &Model, facts: &Facts) -> String {
    let name = printable(&facts.name);
    let mut text = format!("---\n{}---\n\n# {}\n\n", front_matter(facts, &name), escaped(&name));
    let _ = write!(
        text,
        "Tells {} classes of images apart: {}.\nThe network is {}; it was fine-tuned with \
         [Regraft]({}) {}.\n\n",
        model.classes.len(),
        names(&model.classes),
        code(model.architecture()),
        env!("CARGO_PKG_REPOSITORY"),
        env!("CARGO_PKG_VERSION"),
    );
    text.push_str(&usage(facts));
    if let Some(summary) = &facts.summary {
        text.push_str(&data(summary));
        text.push_str(&results(summary, &facts.predictions));
    }
    text.push_str(&limits(facts));
    text
}

/// The YAML header, in which all text is JSON, which is valid YAML too.
fn front_matter(facts: &Facts, name: &str) -> String {
    let mut lines =
        vec!["library_name: timm".to_owned(), "pipeline_tag: image-classification".to_owned()];
    lines.extend(
        facts.licence.iter().map(|licence| format!("license: {}", Value::from(licence.as_str()))),
    );
    lines.extend(base_model(facts).map(|base| format!("base_model: {base}")));
    lines.push("tags: [image-classification, timm, regraft]".to_owned());
    if let Some(index) = facts.summary.as_ref().and_then(|summary| model_index(summary, name)) {
        lines.push(format!("model-index: {index}"));
    }
    lines.join("\n") + "\n"
}

/// The Hub's name for the weights that the run began with, if it has one.
fn base_model(facts: &Facts) -> Option<&'static str> {
    facts.began_embedded.then_some("timm/tf_efficientnet_lite0.in1k")
}

/// The accuracy in the form of the Hub's `model-index`.
fn model_index(summary: &Summary, name: &str) -> Option<Value> {
    let (part, Headline { images, accuracy, accuracy_interval_95, .. }) = headline(summary)?;
    let [low, high] = accuracy_interval_95;
    Some(json!([{
        "name": name,
        "results": [{
            "task": { "type": "image-classification" },
            "dataset": { "type": "imagefolder", "name": format!("{part} of {images} images") },
            "metrics": [{ "type": "accuracy", "value": accuracy, "name": format!("Accuracy (95 % \
                interval {} to {})", percent(low), percent(high)) }],
        }],
    }]))
}

/// The best estimate of the accuracy, and the name of the images that it is from.
fn headline(summary: &Summary) -> Option<(&'static str, Headline)> {
    let found = Headline::of(summary)?;
    let part = match found.scored_on {
        Estimate::Test => "test set",
        Estimate::OutOfFold => "cross-validation",
        Estimate::Validation => "validation set",
    };
    Some((part, found))
}

fn usage(facts: &Facts) -> String {
    let folder = Value::from(format!("local-dir:{}", facts.name));
    format!(
        "## Use

```python
import timm, torch
from PIL import Image, ImageOps

model = timm.create_model({folder}, pretrained=True).eval()  # on the Hub: \"hf-hub:USER/NAME\"
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), \
is_training=False)
image = ImageOps.exif_transpose(Image.open(\"photo.jpg\")).convert(\"RGB\")
with torch.inference_mode():
    probabilities = model(transform(image)[None]).softmax(-1)[0]
print(model.pretrained_cfg[\"label_names\"][int(probabilities.argmax())], \
float(probabilities.max()))
```

"
    )
}

fn data(summary: &Summary) -> String {
    let mut text = "## Data\n\n| part | images |\n|---|---:|\n".to_owned();
    for (part, images) in [
        ("training", summary.train_images),
        ("validation", summary.val_images),
        ("test", summary.test_images),
    ] {
        let _ = writeln!(text, "| {part} | {images} |");
    }
    text + "\n"
}

fn results(summary: &Summary, predictions: &[Prediction]) -> String {
    let mut text =
        "## Results\n\n| measured on | images | accuracy | 95 % interval |\n|---|---:|---:|---|\n"
            .to_owned();
    let mut row = |part: &str, images: u64, accuracy: f64, [low, high]: [f64; 2]| {
        let _ = writeln!(
            text,
            "| {part} | {images} | {} | {} to {} |",
            percent(accuracy),
            percent(low),
            percent(high)
        );
    };
    for (part, images, accuracy) in [
        ("test set", summary.test_images, summary.test_accuracy),
        ("validation set, which chose the epoch", summary.val_images, summary.val_accuracy),
    ] {
        if let Some(accuracy) = accuracy.filter(|_| images > 0) {
            row(
                part,
                images,
                accuracy,
                wilson_interval_95((accuracy * images as f64).round() as u64, images),
            );
        }
    }
    let out_of_fold = summary.head_fit.as_ref().and_then(|fit| fit.out_of_fold.as_ref());
    if let Some(found) = out_of_fold {
        row(
            "training set, by cross-validation",
            found.images,
            found.accuracy,
            found.accuracy_interval_95,
        );
    }
    text.push('\n');
    let part = if summary.test_images > 0 { "test set" } else { "validation set" };
    text.push_str(&by_class(part, predictions));
    text
}

/// Each class's share of right answers, and the most confused pairs.
fn by_class(part: &str, predictions: &[Prediction]) -> String {
    let mut classes: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    let mut pairs: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for prediction in predictions {
        let [right, all] = classes.entry(&prediction.class).or_default();
        *all += 1;
        if prediction.is_right() {
            *right += 1;
        } else if let Some(predicted) = &prediction.predicted {
            *pairs.entry((&prediction.class, predicted)).or_default() += 1;
        }
    }
    if classes.is_empty() || classes.len() > NAMED_CLASSES {
        return String::new();
    }
    let mut text =
        format!("By class, on the {part}:\n\n| class | images | right |\n|---|---:|---:|\n");
    for (class, [right, all]) in classes {
        let _ = writeln!(
            text,
            "| {} | {all} | {} |",
            escaped(class),
            percent(right as f64 / all as f64)
        );
    }
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_by_key(|&(_, images)| std::cmp::Reverse(images));
    if !pairs.is_empty() {
        text.push_str("\nMost often confused:\n\n");
    }
    for ((class, predicted), images) in pairs.into_iter().take(NAMED_PAIRS) {
        let _ = writeln!(text, "- {} taken for {}: {images}", escaped(class), escaped(predicted));
    }
    text + "\n"
}

fn limits(facts: &Facts) -> String {
    let mut text = "## Limits\n\n- Every image gets one of the classes above, also one that shows \
        none of them.\n"
        .to_owned();
    text.push_str(
        "- The accuracy is that of images like those it was measured on; other cameras, places or \
         subjects may give less.\n",
    );
    if let Some(summary) = &facts.summary {
        if headline(summary).is_none() {
            text.push_str("- Its accuracy was not measured.\n");
        }
        if let Some(found) = summary.head_fit.as_ref().and_then(|fit| fit.out_of_fold.as_ref()) {
            let _ = writeln!(
                text,
                "- Probabilities are off by {} on average (expected calibration error, by \
                 cross-validation).",
                percent(found.calibration_error)
            );
            if found.suspect_label_count > 0 {
                let _ = writeln!(
                    text,
                    "- {} labels of the training set are likely wrong.",
                    found.suspect_label_count
                );
            }
        }
        if !summary.skipped_images.is_empty() {
            let _ = writeln!(
                text,
                "- {} images were left out because they could not be read.",
                summary.skipped_images.len()
            );
        }
    } else {
        text.push_str("- Nothing is known of its training data and accuracy.\n");
    }
    if let Some(base) = base_model(facts) {
        let _ = writeln!(
            text,
            "- It began with ImageNet weights (Apache-2.0), such as {}, and has their biases.",
            code(base)
        );
    }
    text
}

/// The class names; only the first ones if there are many.
fn names(classes: &[String]) -> String {
    let more = classes.len().saturating_sub(NAMED_CLASSES);
    let named: Vec<String> =
        classes.iter().take(NAMED_CLASSES).map(|class| escaped(class)).collect();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    named.join(", ") + &rest
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// Text without active Markdown or HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in printable(text).chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            character if character.is_ascii_punctuation() && !"-.,:'()%/".contains(character) => {
                escaped.extend(['\\', character]);
            }
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_name_cannot_be_markup() {
        assert_eq!(escaped("<img src=x>|a_b`*"), "&lt;img src\\=x\\>\\|a\\_b\\`\\*");
        assert_eq!(escaped("hot-dog (red), 50 %"), "hot-dog (red), 50 %");
        assert!(!escaped("two\nlines").contains('\n'));
    }

    /// A summary of a run with this many validation and test images.
    fn summary(val: (u64, Option<f64>), test: (u64, Option<f64>)) -> Summary {
        let json = json!({
            "train_loss": 0.1, "train_accuracy": 0.9, "val_accuracy": val.1,
                "test_accuracy": test.1, "test_loss": null,
            "best_epoch": 1, "images_per_second": 1.0, "wall_seconds": 1.0, "device": "cpu",
                "instruction_set": "avx2",
            "precision": "f32", "seed": 0, "classes": ["a", "b"], "architecture": "resnet18",
                "image_size": 224, "epochs": 1,
            "optimizer_steps": 1, "train_images": 10, "val_images": val.0, "test_images": test.0,
                "trained_parameters": 1,
            "total_parameters": 1, "head_fit": null, "head_reuse": [], "frozen": null,
                "skipped_images": ["/home/me/broken.png"],
            "regraft_version": "0.1.0", "notes": ["/home/me/photos"],
        });
        serde_json::from_value(json).expect("a summary")
    }

    #[test]
    fn the_headline_uses_images_that_chose_nothing_if_there_are_any() {
        let headline =
            |summary: &Summary| headline(summary).map(|(part, found)| (part, found.images));
        assert_eq!(headline(&summary((5, Some(0.8)), (8, Some(0.75)))), Some(("test set", 8)));
        assert_eq!(headline(&summary((5, Some(0.8)), (0, None))), Some(("validation set", 5)));
        assert_eq!(headline(&summary((0, None), (0, None))), None);
    }

    #[test]
    fn a_card_counts_what_was_left_out_and_names_no_path() {
        let prediction = |class: &str, predicted: &str| Prediction {
            path: "/home/me/photos/1.jpg".into(),
            class: class.into(),
            predicted: Some(predicted.into()),
            probability: Some(0.9),
            ..Prediction::default()
        };
        let summary = summary((0, None), (4, Some(0.75)));
        let predictions = ["b", "a", "a", "a"].map(|predicted| prediction("a", predicted));
        let text = results(&summary, &predictions)
            + &limits(&Facts { summary: Some(summary.clone()), ..Facts::default() });
        for part in [
            "| test set | 4 | 75.0 % |",
            "| a | 4 | 75.0 % |",
            "- a taken for b: 1",
            "1 images were left out",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("/home/me"), "{text}");
    }
}
