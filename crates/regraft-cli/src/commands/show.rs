//! `regraft show`.

use crate::arguments::{ShowArguments, Use};
use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;
use regraft::data::augmentation::AugmentationKind;
use regraft::data::loader::{LoaderOptions, Transform};
use regraft::show::{Grid, ShowError, ShowOptions, ShownClass, grid, write_png};
use regraft::train::Event;
use regraft::train::preview::{Preview, preview};
use serde::Serialize;

/// The object that `--json` prints; described in docs/json.md.
#[derive(Serialize)]
struct Report<'a> {
    output: String,
    width: u32,
    height: u32,
    training_images: usize,
    classes: Vec<ClassReport<'a>>,
    left_out_classes: &'a [String],
    unreadable: Vec<String>,
    notes: &'a [String],
    regraft_version: &'static str,
}

/// A class in the drawing.
#[derive(Serialize)]
struct ClassReport<'a> {
    class: &'a str,
    images: usize,
    shown: Vec<String>,
}

pub fn run(arguments: &ShowArguments) -> Result<(), Failure> {
    if let Some(folder) = arguments
        .output
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
    {
        let folder = folder.display();
        return Err(Failure::input(anyhow::anyhow!(
            "{folder}: there is no such folder to write into; create it, or name another --output"
        )));
    }
    let config = arguments.options.resolve(arguments.data.as_deref(), None, Use::Other)?;
    let mut bars = Bars::default();
    let found = preview(&config, arguments.epoch - 1, &mut |event| match event {
        Event::Progress(progress) => bars.progress(progress),
        Event::Note(note) => {
            bars.clear();
            output::aside(format!("note: {note}"));
        }
        _ => {}
    });
    bars.clear();
    let found = found.map_err(Failure::of)?;
    let LoaderOptions { preprocessing, augmentation, decode, full_decode, transform, .. } =
        &found.loading;
    let (seed, epoch) = match *transform {
        Transform::Train { seed, epoch } => (seed, epoch),
        Transform::Evaluate => (found.config.seed, arguments.epoch - 1),
    };
    let options = ShowOptions {
        per_class: arguments.per_class,
        classes: arguments.classes,
        seed,
        epoch,
        augmented: true,
        full_decode: *full_decode,
    };
    let drawn = grid(&found.train, &found.classes, preprocessing, augmentation, &options, decode);
    let drawn = drawn.map_err(|error: ShowError| Failure::input(error))?;
    write_png(&arguments.output, &drawn.image).map_err(Failure::under_way)?;
    let unreadable = drawn
        .unreadable
        .iter()
        .map(|error| format!("cannot be read, so training would stop: {error}"));
    let notes = found.notes.iter().cloned().chain(training_notes(&found)).chain(unreadable);
    let notes: Vec<String> = notes.collect();
    notes.iter().for_each(|note| output::aside(format!("note: {note}")));
    if arguments.json {
        return output::json(&report(arguments, &drawn, found.train.len(), &notes));
    }
    let images: usize = drawn.shown.iter().map(|class| class.shown.len()).sum();
    output::line(format!(
        "wrote {}: {images} of {} training images in {} classes, {} x {} pixels",
        arguments.output.display(),
        found.train.len(),
        drawn.shown.len(),
        drawn.image.width,
        drawn.image.height
    ))?;
    if !drawn.left_out_classes.is_empty() {
        output::line(format!(
            "not shown (see --classes): {}",
            super::shortened(drawn.left_out_classes.into_iter())
        ))?;
    }
    Ok(())
}

fn report<'a>(
    arguments: &ShowArguments,
    drawn: &'a Grid,
    training_images: usize,
    notes: &'a [String],
) -> Report<'a> {
    let class = |class: &'a ShownClass| ClassReport {
        class: &class.class,
        images: class.pictures,
        shown: class.shown.iter().map(|image| image.path.display().to_string()).collect(),
    };
    let unreadable = drawn.unreadable.iter().map(|error| error.path.display().to_string());
    Report {
        output: arguments.output.display().to_string(),
        width: drawn.image.width,
        height: drawn.image.height,
        training_images,
        classes: drawn.shown.iter().map(class).collect(),
        left_out_classes: &drawn.left_out_classes,
        unreadable: unreadable.collect(),
        notes,
        regraft_version: env!("CARGO_PKG_VERSION"),
    }
}

/// How training differs from the drawing.
fn training_notes(found: &Preview) -> Vec<String> {
    let config = &found.config;
    let mut notes = Vec::new();
    if config.augment != AugmentationKind::None
        && config.epoch_count() == 0
        && config.views.is_none()
    {
        notes.push(
            "with these options no epoch is trained, so training sees only the upper row of each \
             class; --epochs, --views or --head new makes use of the lower row"
                .to_owned(),
        );
    }
    if config.mixup > 0.0 || config.cutmix > 0.0 {
        notes.push("--mixup and --cutmix mix the images of a batch, which is not drawn".to_owned());
    }
    notes
}
