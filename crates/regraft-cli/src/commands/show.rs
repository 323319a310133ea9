//! `regraft show`.

use crate::arguments::ShowArguments;
use crate::failure::Failure;
use crate::output;
use regraft::config::{Recipe, TrainConfig, Weights};
use regraft::data::augmentation::Augmentation;
use regraft::data::catalogue::{self, SplitOptions};
use regraft::data::preprocessing::Preprocessing;
use regraft::model::{DEFAULT_ARCHITECTURE, Model, architecture, source_preprocessing};
use regraft::pictures::ignored_note;
use regraft::show::{ShowError, ShowOptions, grid, write_png};
use regraft::transfer::target_preprocessing;

pub fn run(arguments: &ShowArguments) -> Result<(), Failure> {
    if let Some(folder) = arguments.output.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        let folder = folder.display();
        return Err(Failure::input(anyhow::anyhow!(
            "{folder}: there is no such folder to write into; make it, or name another --output"
        )));
    }
    let given = &arguments.preparation;
    let preprocessing = target_preprocessing(&source(arguments)?, given.image_size, given.resize);
    let recipe = TrainConfig::recipe(arguments.recipe.unwrap_or(Recipe::Default), &arguments.data);
    let augmentation = Augmentation {
        kind: given.augment.unwrap_or(recipe.augment),
        crop_scale: given.crop_scale.unwrap_or(recipe.crop_scale),
        ..Augmentation::default()
    };
    // What is drawn for a picture depends on its place in the list, so the list must be the one that training has.
    let split = SplitOptions { validation_fraction: given.val_fraction.or(recipe.val_fraction), seed: arguments.seed };
    let data = catalogue::scan(&arguments.data, &split).map_err(Failure::input)?;
    let options = ShowOptions {
        per_class: arguments.per_class,
        classes: arguments.classes,
        seed: arguments.seed,
        epoch: arguments.epoch - 1,
        augmented: true,
        full_decode: arguments.reading.full_decode,
    };
    let drawn = grid(&data.train, &data.classes, &preprocessing, &augmentation, &options, &arguments.reading.decode_options());
    let drawn = drawn.map_err(|error: ShowError| Failure::input(error))?;
    write_png(&arguments.output, &drawn.image).map_err(Failure::under_way)?;
    let ignored = ignored_note(&data.ignored).into_iter();
    let unreadable = drawn.unreadable.iter().map(|error| format!("cannot be read: {error}"));
    ignored.chain(unreadable).for_each(|note| output::aside(format!("note: {note}")));
    let pictures: usize = drawn.shown.iter().map(|class| class.shown.len()).sum();
    output::line(format!(
        "wrote {}: {pictures} training pictures of {} classes, {} x {} pixels",
        arguments.output.display(),
        drawn.shown.len(),
        drawn.image.width,
        drawn.image.height
    ))?;
    if !drawn.left_out_classes.is_empty() {
        output::line(format!("not shown (see --classes): {}", super::shortened(drawn.left_out_classes.into_iter())))?;
    }
    Ok(())
}

/// How the source model prepares its pictures. Its weights are read only where a file is named, which may say.
fn source(arguments: &ShowArguments) -> Result<Preprocessing, Failure> {
    let name = arguments.source.model.as_deref();
    match arguments.source.weights() {
        Some(Weights::File(path)) => Ok(Model::load(&path, name).map_err(Failure::input)?.preprocessing),
        _ => Ok(source_preprocessing(architecture(name.unwrap_or(DEFAULT_ARCHITECTURE)).map_err(Failure::input)?)),
    }
}
