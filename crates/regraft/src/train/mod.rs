//! The training run, from a folder of pictures to a run folder. [`train`] reads from top to bottom.

mod epoch;
mod error;
mod events;

pub use error::TrainError;
pub use events::{Event, Outcome, Output, Start, StepReport};

use crate::config::{BatchNormMode, Freeze, Keep, Resize, TrainConfig, Weights, cores_or};
use crate::evaluate::EVALUATION_BATCH;
use crate::model::{DEFAULT_ARCHITECTURE, Metrics, Model, ModelError, json, keys};
use crate::pictures::{self, Pictures, PicturesError, Preparing};
use crate::report::{curves, epochs, summary};
use crate::run_folder::{RunFolder, run_name};
use crate::{atomic_file, transfer};
use epoch::Trainer;
use regraft_data::augmentation::Augmentation;
use regraft_data::loader::LoaderOptions;
use regraft_data::preprocessing::Preprocessing;
use regraft_nn::cpu::CpuEngine;
use regraft_nn::engine::{Engine, State};
use regraft_nn::graph::NormStatistics;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Fine-tunes a source model on the pictures of a folder.
///
/// # Errors
/// When an option, the folder, a picture or the weight file is wrong, before anything is written; or when the training diverges or a
/// file cannot be written.
pub fn train(config: &TrainConfig, output: &Output, report: &mut (dyn FnMut(Event<'_>) + Send)) -> Result<Outcome, TrainError> {
    let started = Instant::now();
    config.check()?;
    RunFolder::check(&output.parent, output.folder.as_deref(), output.force)?;
    let source = Model::source(config.model.as_deref(), config.weights.as_ref(), config.seed)?;
    let (config, preprocessing, augmentation) = resolve(config, &source)?;
    let frozen = transfer::frozen_nodes(&source.graph, config.freeze.as_ref().unwrap_or(&Freeze::None))?;
    source.graph.shapes(preprocessing.image_size as usize)?;
    let workers = cores_or(config.workers);
    let pictures = check_pictures(&config, workers, report)?;
    let mut notes = pictures.notes.clone();

    let origin = source.origin.clone();
    let (mut graph, state) = transfer::graft(source, pictures.classes.len(), config.seed);
    graph.set_norm_statistics(match config.batch_norm {
        Some(BatchNormMode::Running) => NormStatistics::Running,
        Some(BatchNormMode::Batch) | None => NormStatistics::Batch,
    });
    if let Some(momentum) = config.batch_norm_momentum {
        graph.set_batch_norm_momentum(momentum);
    }
    let mut engine = CpuEngine::new(graph.clone(), preprocessing.image_size as usize, config.threads)?;
    engine.load_state(&state)?;
    engine.freeze(frozen);
    drop(state);

    let (folder, renamed) = RunFolder::create(&output.parent, &run_name(&config.data)?, output.folder.as_deref(), output.force)?;
    notes.extend(renamed);
    notes.iter().for_each(|note| report(Event::Note(note)));
    atomic_file::write(&folder.config(), config.to_toml()?.as_bytes())?;
    epochs::write_epochs(&folder.metrics(), &[])?;
    let parameters = transfer::parameter_counts(&graph, frozen);
    report(Event::Started(&Start {
        folder: folder.path().to_owned(),
        source: origin,
        classes: pictures.classes.clone(),
        images: [pictures.train.len(), pictures.validation.len(), pictures.test.len()],
        parameters,
        device: engine.device(),
    }));

    let mut model = Model {
        graph,
        state: State::new(),
        classes: pictures.classes.clone(),
        aliases: Vec::new(),
        preprocessing: preprocessing.clone(),
        origin: folder.model().display().to_string(),
        metadata: [(keys::AUGMENTATION.to_owned(), json(&augmentation))].into(),
        has_head: true,
    };
    let loading = LoaderOptions {
        workers,
        augmentation,
        decode: config.decode_options(),
        cache: Some(Arc::clone(&pictures.cache)),
        ..LoaderOptions::new(preprocessing, EVALUATION_BATCH)
    };
    let name = folder.path().file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
    let mut trainer = Trainer::new(&config, &mut engine, &pictures, &loading);
    let mut rows: Vec<epochs::EpochRow> = Vec::new();
    let mut best: Option<Best> = None;
    let mut last_test = None;
    for epoch in 0..config.epochs {
        let mut row = trainer.run_epoch(epoch, report).map_err(|error| match (error, &best) {
            (TrainError::Diverged { epoch, image, path, loss, learning_rate, .. }, Some(best)) => {
                TrainError::Diverged { epoch, image, path, loss, learning_rate, kept: Some((folder.model(), best.epoch)) }
            }
            (error, _) => error,
        })?;
        let validation = trainer.score("validation", &pictures.validation, report)?;
        last_test = if config.test_each_epoch { trainer.score("test", &pictures.test, report)? } else { None };
        row.validation_loss = validation.as_ref().and_then(|validation| validation.loss);
        row.validation_accuracy = validation.as_ref().map(|validation| validation.accuracy);
        row.test_accuracy = last_test.as_ref().map(|test| test.accuracy);
        let kept = config.keep == Keep::Last || best.as_ref().is_none_or(|best| best.is_beaten_by(&row));
        if kept {
            best = Some(Best { epoch: row.epoch, accuracy: row.validation_accuracy, loss: row.validation_loss });
            model.state = trainer.engine.state();
            save(&mut model, &folder, &row, row.test_accuracy)?;
        }
        epochs::append_epoch(&folder.metrics(), &row)?;
        report(Event::Epoch { row: &row, epochs: config.epochs, kept });
        rows.push(row);
        let marked = best.as_ref().filter(|_| config.keep == Keep::Best).map(|best| best.epoch);
        curves::write_curves(&folder.curves(), &name, &rows, marked)?;
    }

    // The test pictures are scored once, with the weights that the run leaves; they never choose anything.
    let best_epoch = best.map_or(config.epochs, |best| best.epoch);
    let kept_row = &rows[best_epoch as usize - 1];
    let test = if last_test.is_some() && best_epoch == config.epochs {
        last_test
    } else {
        if best_epoch != config.epochs {
            trainer.engine.load_state(&model.state)?;
        }
        let test = trainer.score("test", &pictures.test, report)?;
        if let Some(test) = &test {
            save(&mut model, &folder, kept_row, Some(test.accuracy))?;
        }
        test
    };
    let (images, seconds, steps) = (trainer.images, trainer.seconds, trainer.steps_done);
    let last = rows.last().unwrap_or(kept_row);
    let summary = summary::Summary {
        train_loss: Some(last.train_loss).filter(|loss| loss.is_finite()),
        train_accuracy: Some(last.train_accuracy),
        val_accuracy: kept_row.validation_accuracy,
        test_accuracy: test.as_ref().map(|test| test.accuracy),
        best_epoch,
        images_per_second: images as f64 / seconds,
        wall_seconds: started.elapsed().as_secs_f64(),
        device: engine.device(),
        seed: config.seed,
        classes: model.classes.clone(),
        architecture: model.architecture().to_owned(),
        image_size: model.preprocessing.image_size,
        epochs: config.epochs,
        optimizer_steps: steps,
        train_images: pictures.train.len() as u64,
        val_images: pictures.validation.len() as u64,
        test_images: pictures.test.len() as u64,
        trained_parameters: parameters.0 as u64,
        total_parameters: parameters.1 as u64,
        skipped_images: pictures.skipped.iter().map(|error| error.path.display().to_string()).collect(),
        regraft_version: env!("CARGO_PKG_VERSION").into(),
        notes,
    };
    summary::write_summary(&folder.summary(), &summary)?;
    Ok(Outcome { folder: folder.path().to_owned(), summary, test })
}

/// The epoch whose weights the model file holds.
struct Best {
    epoch: u32,
    accuracy: Option<f64>,
    loss: Option<f64>,
}

impl Best {
    /// A higher accuracy wins; among equals, a lower loss.
    fn is_beaten_by(&self, row: &epochs::EpochRow) -> bool {
        match (self.accuracy, row.validation_accuracy) {
            (Some(best), Some(new)) if new == best => row.validation_loss.unwrap_or(f64::MAX) < self.loss.unwrap_or(f64::MAX),
            (Some(best), Some(new)) => new > best,
            // Without validation pictures the last epoch is as good as any.
            _ => true,
        }
    }
}

fn save(model: &mut Model, folder: &RunFolder, row: &epochs::EpochRow, test_accuracy: Option<f64>) -> Result<(), ModelError> {
    let metrics = Metrics { epoch: row.epoch, val_accuracy: row.validation_accuracy, test_accuracy };
    model.metadata.insert(keys::METRICS.into(), json(&metrics));
    model.save(&folder.model())
}

/// Fills in what follows from the source model.
fn resolve(config: &TrainConfig, source: &Model) -> Result<(TrainConfig, Preprocessing, Augmentation), TrainError> {
    let mut config = config.clone();
    let embedded = source.architecture() == DEFAULT_ARCHITECTURE && config.weights.is_none();
    config.model = Some(source.architecture().to_owned());
    if embedded {
        config.weights = Some(Weights::Embedded);
    }
    let from_scratch = config.weights == Some(Weights::None);
    config.freeze.get_or_insert(if from_scratch { Freeze::None } else { Freeze::Trunk });
    config.batch_norm.get_or_insert(if from_scratch { BatchNormMode::Batch } else { BatchNormMode::Running });
    let preprocessing = transfer::target_preprocessing(&source.preprocessing, config.image_size, config.resize);
    config.image_size = Some(preprocessing.image_size);
    config.resize = Some(Resize::of(preprocessing.resize));
    preprocessing.check()?;
    let augmentation = Augmentation { kind: config.augment, crop_scale: config.crop_scale, ..Augmentation::default() };
    augmentation.check()?;
    Ok((config, preprocessing, augmentation))
}

fn check_pictures(
    config: &TrainConfig,
    workers: usize,
    report: &mut (dyn FnMut(Event<'_>) + Send),
) -> Result<Pictures, PicturesError> {
    let report = Mutex::new(report);
    pictures::prepare(config, workers, &|progress| {
        report.lock().unwrap_or_else(PoisonError::into_inner)(match progress {
            Preparing::Listing { found } => Event::Listing { found },
            Preparing::Checking { done, total } => Event::Checking { done, total },
        });
    })
}
