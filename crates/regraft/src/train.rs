//! The training run, from a folder of pictures to a run folder. [`train`] reads from top to bottom.

use crate::config::{ConfigError, Keep, LossReduction, OptimizerName, Resize, TrainConfig, Weights};
use crate::evaluate::{EVALUATION_BATCH, EvaluateError, evaluate};
use crate::metrics::{Evaluation, predicted_class};
use crate::model::{DEFAULT_ARCHITECTURE, Metrics, Model, ModelError, json, keys};
use crate::pictures::{self, Pictures, PicturesError};
use crate::report::{curves, epochs, summary};
use crate::run_folder::{RunFolder, RunFolderError, run_name};
use crate::{atomic_file, schedule, transfer};
use regraft_data::augmentation::{Augmentation, AugmentationError};
use regraft_data::catalogue::Sample;
use regraft_data::loader::{Loader, LoaderError, LoaderOptions, Transform};
use regraft_data::preprocessing::{Preprocessing, PreprocessingError};
use regraft_kernels::optimizer::AdamSettings;
use regraft_kernels::random::{Draws, Purpose};
use regraft_nn::cpu::{CpuEngine, CpuError};
use regraft_nn::engine::{Engine, EngineError, LossSettings, Optimizer, Reduction, State, TrainBatch, Update};
use regraft_nn::graph::GraphError;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Where a run's files go.
#[derive(Clone, Debug)]
pub struct Output {
    /// The folder in which run folders are made: `runs`.
    pub parent: PathBuf,
    /// The run folder, where the user named it.
    pub folder: Option<PathBuf>,
    /// Whether a named folder that is not empty may be written to.
    pub force: bool,
}

/// What happens in a run, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something the user should know.
    Note(&'a str),
    /// Files are being checked.
    Checking {
        /// Files done.
        done: usize,
        /// Files in all.
        total: usize,
    },
    /// Training begins.
    Started(&'a Start),
    /// A step was made.
    Step(&'a StepReport),
    /// Pictures are being scored.
    Scoring {
        /// `validation` or `test`.
        part: &'static str,
        /// Pictures done.
        done: usize,
        /// Pictures in all.
        total: usize,
    },
    /// An epoch ended.
    Epoch {
        /// Its row of `metrics.csv`.
        row: &'a epochs::EpochRow,
        /// Epochs of the run.
        epochs: u32,
        /// Whether the model file now holds this epoch's weights.
        kept: bool,
    },
}

/// What is about to be trained.
#[derive(Clone, Debug)]
pub struct Start {
    /// The run folder.
    pub folder: PathBuf,
    /// The source model in words.
    pub source: String,
    /// Class names.
    pub classes: Vec<String>,
    /// Pictures of train, validation and test.
    pub images: [usize; 3],
    /// Parameters that learn, and all.
    pub parameters: (usize, usize),
    /// The device in words.
    pub device: String,
}

/// How far an epoch is.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// The epoch, counted from 1, and epochs in all.
    pub epoch: (u32, u32),
    /// Pictures of the epoch done, and in all.
    pub images: (usize, usize),
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// Accuracy of the epoch so far.
    pub accuracy: f64,
    /// Training pictures a second in this epoch so far.
    pub images_per_second: f64,
}

/// What a run leaves.
#[derive(Debug)]
pub struct Outcome {
    /// The run folder.
    pub folder: PathBuf,
    /// What `summary.json` says.
    pub summary: summary::Summary,
    /// The test pictures' scores, where there are any.
    pub test: Option<Evaluation>,
}

/// A run that failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each is the error of the part that it is named after.
pub enum TrainError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Pictures(#[from] PicturesError),
    #[error(transparent)]
    Preprocessing(#[from] PreprocessingError),
    #[error(transparent)]
    Augmentation(#[from] AugmentationError),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Cpu(#[from] CpuError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Loader(#[from] LoaderError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
    #[error(transparent)]
    File(#[from] atomic_file::AtomicFileError),
    #[error(transparent)]
    Epochs(#[from] epochs::EpochsError),
    #[error(transparent)]
    Curves(#[from] curves::CurvesError),
    #[error(transparent)]
    Summary(#[from] summary::SummaryError),
    /// The loss is not finite.
    #[error(
        "the training diverged: the loss of epoch {epoch}, picture {image} ({}) is {loss}. {} Lower --lr (it is {learning_rate:?}), or \
         lengthen --warmup", path.display(), kept.as_ref().map_or_else(
            || "No epoch was finished, so nothing was saved.".to_owned(),
            |(path, epoch)| format!("{} holds epoch {epoch}.", path.display())
        )
    )]
    Diverged { epoch: u32, image: usize, path: PathBuf, loss: f32, learning_rate: f32, kept: Option<(PathBuf, u32)> },
}

impl TrainError {
    /// Whether the run failed under way, rather than being asked for something impossible.
    #[must_use]
    pub fn is_failure_under_way(&self) -> bool {
        matches!(
            self,
            Self::Diverged { .. }
                | Self::Engine(_)
                | Self::Evaluate(_)
                | Self::File(_)
                | Self::Epochs(_)
                | Self::Curves(_)
                | Self::Summary(_)
        )
    }
}

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
    let frozen = transfer::frozen_nodes(&source.graph, &config.freeze)?;
    source.graph.shapes(preprocessing.image_size as usize)?;
    let workers = cores_or(config.workers);
    let pictures = check_pictures(&config, workers, report)?;
    let mut notes = pictures.notes.clone();

    let origin = source.origin.clone();
    let (graph, state) = transfer::graft(source, pictures.classes.len(), config.seed);
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
    let test = if last_test.is_some() && best_epoch == config.epochs {
        last_test
    } else {
        trainer.engine.load_state(&model.state)?;
        trainer.score("test", &pictures.test, report)?
    };
    let (images, seconds, steps) = (trainer.images, trainer.seconds, trainer.steps_done);
    let kept_row = &rows[best_epoch as usize - 1];
    save(&mut model, &folder, kept_row, test.as_ref().map(|test| test.accuracy))?;
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
    pictures::prepare(config, workers, &|done, total| {
        report.lock().unwrap_or_else(PoisonError::into_inner)(Event::Checking { done, total });
    })
}

/// As many threads as were asked for, or one for each core.
pub(crate) fn cores_or(asked: usize) -> usize {
    if asked > 0 { asked } else { std::thread::available_parallelism().map_or(1, usize::from) }
}

/// What stays the same from epoch to epoch, and what is counted over them.
struct Trainer<'a> {
    config: &'a TrainConfig,
    engine: &'a mut dyn Engine,
    pictures: &'a Pictures,
    loading: &'a LoaderOptions,
    multipliers: Vec<f32>,
    optimizer: Optimizer,
    loss: LossSettings,
    steps_per_epoch: u64,
    steps_done: u64,
    /// Training pictures of all epochs.
    images: usize,
    /// Wall time of all epochs' training.
    seconds: f64,
}

impl<'a> Trainer<'a> {
    fn new(config: &'a TrainConfig, engine: &'a mut dyn Engine, pictures: &'a Pictures, loading: &'a LoaderOptions) -> Self {
        Self {
            multipliers: transfer::rate_multipliers(engine.graph(), config.head_lr_mult),
            optimizer: match config.optimizer {
                OptimizerName::Sgd => Optimizer::Sgd { momentum: config.momentum },
                OptimizerName::AdamW => Optimizer::AdamW(AdamSettings::default()),
            },
            loss: LossSettings {
                reduction: match config.loss {
                    LossReduction::Mean => Reduction::Mean,
                    LossReduction::Sum => Reduction::Sum,
                },
                label_smoothing: config.label_smoothing,
            },
            steps_per_epoch: pictures.train.len().div_ceil(config.batch_size) as u64,
            steps_done: 0,
            images: 0,
            seconds: 0.0,
            config,
            engine,
            pictures,
            loading,
        }
    }

    /// The trunk's learning rate at the next step.
    fn learning_rate(&self) -> f32 {
        let steps = self.steps_per_epoch * u64::from(self.config.epochs);
        let warmup = (f64::from(self.config.warmup) * self.steps_per_epoch as f64).round() as u64;
        self.config.lr * schedule::factor(self.config.schedule, self.steps_done, steps, warmup)
    }

    /// One pass over the training pictures, in an order of its own.
    fn run_epoch(&mut self, epoch: u32, report: &mut (dyn FnMut(Event<'_>) + Send)) -> Result<epochs::EpochRow, TrainError> {
        let started = Instant::now();
        let count = self.pictures.train.len();
        let mut order: Vec<u32> = (0..count as u32).collect();
        Draws::new(self.config.seed, Purpose::Shuffle, epoch, 0).shuffle(&mut order);
        let transform = Transform::Train { seed: self.config.seed, epoch };
        let options = LoaderOptions { batch_size: self.config.batch_size, transform, ..self.loading.clone() };
        let mut loader = Loader::start(Arc::clone(&self.pictures.train), order, options);
        let (mut done, mut right, mut loss_sum, mut learning_rate) = (0, 0, 0.0, 0.0);
        while let Some(batch) = loader.next() {
            let batch = batch?;
            learning_rate = self.learning_rate();
            let rates: Vec<f32> = self.multipliers.iter().map(|multiplier| learning_rate * multiplier).collect();
            let update = Update {
                optimizer: self.optimizer,
                learning_rates: &rates,
                weight_decay: self.config.weight_decay,
                step: self.steps_done + 1,
            };
            let step =
                TrainBatch { images: &batch.images, labels: &batch.labels, seed: self.config.seed, epoch, position: done as u32 };
            let output = self.engine.train_step(&step, self.loss, &update)?;
            if let Some(place) = output.losses.iter().position(|loss| !loss.is_finite()) {
                let path = self.pictures.train[batch.indices[place] as usize].path.clone();
                let (image, loss) = (done + place + 1, output.losses[place]);
                let learning_rate = self.config.lr;
                return Err(TrainError::Diverged { epoch: epoch + 1, image, path, loss, learning_rate, kept: None });
            }
            let classes = output.logits.len() / batch.labels.len();
            let rows = output.logits.chunks_exact(classes).zip(&batch.labels);
            right += rows.filter(|(row, label)| predicted_class(row) == Some(**label as usize)).count();
            loss_sum += output.losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            done += batch.labels.len();
            self.steps_done += 1;
            loader.recycle(batch);
            report(Event::Step(&StepReport {
                epoch: (epoch + 1, self.config.epochs),
                images: (done, count),
                loss: loss_sum / done as f64,
                accuracy: right as f64 / done as f64,
                images_per_second: done as f64 / started.elapsed().as_secs_f64(),
            }));
        }
        let seconds = started.elapsed().as_secs_f64();
        self.images += done;
        self.seconds += seconds;
        Ok(epochs::EpochRow {
            epoch: epoch + 1,
            train_loss: loss_sum / done as f64,
            train_accuracy: right as f64 / done as f64,
            validation_loss: None,
            validation_accuracy: None,
            test_accuracy: None,
            learning_rate: f64::from(learning_rate),
            seconds,
            images_per_second: done as f64 / seconds,
            data_wait_fraction: loader.waited().as_secs_f64() / seconds,
        })
    }

    /// Scores a part's pictures with the weights as they are; `None` where there are none.
    fn score(
        &mut self,
        part: &'static str,
        samples: &Arc<[Sample]>,
        report: &mut (dyn FnMut(Event<'_>) + Send),
    ) -> Result<Option<Evaluation>, TrainError> {
        if samples.is_empty() {
            return Ok(None);
        }
        let total = samples.len();
        let mut progress = |done| report(Event::Scoring { part, done, total });
        Ok(Some(evaluate(self.engine, samples, &self.pictures.classes, self.loading.clone(), &mut progress)?))
    }
}
