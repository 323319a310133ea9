//! How fast this machine is: steps on random images that are already in memory.

pub mod load;

use crate::config::{Freeze, MOST_BATCH, PrecisionChoice, cores_or};
use crate::engines::{self, DeviceChoice, OpenError};
use crate::memory_check::{Purpose, TooLittleMemory, check_batch};
use crate::model::{ModelError, architecture, source_preprocessing};
use crate::ranks::Ranks;
use crate::transfer;
use regraft_base::random::{Draws, Purpose as DrawPurpose};
use regraft_nn::engine::{
    EngineError, Input, Loss, LossSettings, Optimizer, Pending, Reduction, StepPart, Target,
    TrainBatch, Update,
};
use regraft_nn::graph::GraphError;
use regraft_nn::initialize::{HeadInitialization, from_scratch};
use serde::Serialize;
use std::time::Instant;

/// The most steps that are timed.
const MOST_STEPS: usize = 1_000_000;

/// The most classes of the head.
const MOST_CLASSES: usize = 100_000;

/// The work of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepMode {
    /// Forward, loss, backward and update (SGD with momentum).
    Train,
    /// Forward, as in evaluation.
    Eval,
}

/// The measurement.
#[derive(Clone, Debug)]
pub struct StepOptions {
    /// The architecture.
    pub model: String,
    /// The work of a step.
    pub mode: StepMode,
    /// Images in a step.
    pub batch: usize,
    /// Classes of the head.
    pub classes: usize,
    /// The device.
    pub device: DeviceChoice,
    /// Threads that compute on the processor; 0 is one for each core.
    pub threads: usize,
    /// Number format of feature maps.
    pub precision: PrecisionChoice,
    /// Which layers stay as they are.
    pub freeze: Freeze,
    /// Steps that are timed, after two that are not.
    pub steps: usize,
}

/// The figures. The JSON names are the field names.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// The architecture.
    pub model: String,
    /// The work of a step.
    pub mode: StepMode,
    /// Images in a step.
    pub batch: usize,
    /// Threads that computed.
    pub threads: usize,
    /// Which layers stay as they are.
    pub freeze: Freeze,
    /// The instruction set in use.
    pub isa: &'static str,
    /// Number format of feature maps.
    pub precision: &'static str,
    /// Images a second at the median of the steps' times.
    pub images_per_second: f64,
    /// Images a second of the fastest step.
    pub best: f64,
    /// The most memory that the process ever held, in MiB; null where the system does not say.
    pub peak_mib: Option<u64>,
}

/// A measurement that cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each is the error of the part that it is named after.
pub enum BenchError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Memory(#[from] TooLittleMemory),
    /// A count is out of range.
    #[error("{option} is {value}; it has to be from 1 to {most}")]
    Count {
        /// The option.
        option: &'static str,
        /// Its value.
        value: usize,
        /// The largest that is possible.
        most: usize,
    },
}

/// Times steps on random images of the architecture's own size.
///
/// # Errors
/// If the architecture or a layer is unknown, a count is out of range, or the batch does not fit
/// into memory.
pub fn step(options: &StepOptions) -> Result<StepReport, BenchError> {
    let counts = [
        ("batch", options.batch, MOST_BATCH),
        ("steps", options.steps, MOST_STEPS),
        ("classes", options.classes, MOST_CLASSES),
    ];
    for (option, value, most) in counts {
        if !(1..=most).contains(&value) {
            return Err(BenchError::Count { option, value, most });
        }
    }
    let named = architecture(&options.model)?;
    let graph = named.graph().with_classes(options.classes);
    let frozen = transfer::frozen_nodes(&graph, &options.freeze, 0)?;
    let state = from_scratch(&graph, 0, HeadInitialization::Xavier);
    let rates = vec![1e-3; graph.nodes.len()];
    let size = source_preprocessing(named).image_size as usize;
    let precision = options.precision.resolve(&options.device);
    let mut engine =
        engines::open(&options.device, graph, size, precision, options.threads, &Ranks::default())?;
    let purpose = match options.mode {
        StepMode::Train => Purpose::Train { frozen },
        StepMode::Eval => Purpose::Evaluate,
    };
    check_batch(&*engine, source_preprocessing(named).image_size, options.batch, purpose, "batch")?;
    engine.load_state(&state)?;
    drop(state);
    engine.freeze(frozen);
    let mut draws = Draws::new(0, DrawPurpose::Fixture, 0, 0);
    let pixels: Vec<u8> =
        (0..options.batch * size * size * 3).map(|_| (draws.next_u32() >> 24) as u8).collect();
    let input = Input::pixels(&pixels, source_preprocessing(named).normalisation());
    let labels: Vec<u32> =
        (0..options.batch).map(|place| (place % options.classes) as u32).collect();
    let loss = LossSettings {
        loss: Loss::SoftmaxCrossEntropy { label_smoothing: 0.0 },
        reduction: Reduction::Mean,
    };
    let mut seconds = Vec::with_capacity(options.steps);
    let mut queued: Option<Pending> = None;
    for step in 0..options.steps + 2 {
        let start = Instant::now();
        match options.mode {
            StepMode::Train => {
                let optimizer = Optimizer::Sgd { momentum: 0.9 };
                let update = Update {
                    optimizer,
                    learning_rates: &rates,
                    weight_decay: 1e-3,
                    step: step as u64 + 1,
                    clip: None,
                    decay_bias_norm: true,
                };
                let batch = TrainBatch {
                    input,
                    target: Target::Labels(&labels),
                    weights: None,
                    seed: 0,
                    epoch: step as u32,
                    position: 0,
                };
                // A device with a queue runs a step while the next one is prepared.
                let whole = StepPart::whole(options.batch);
                let pending = engine.step(&batch, loss, whole, Some(&update))?;
                if let Some(earlier) = queued.replace(pending) {
                    engine.outcome(earlier)?;
                }
            }
            StepMode::Eval => drop(engine.evaluate(input, options.batch)?),
        }
        if step >= 2 {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    if let Some(last) = queued {
        engine.outcome(last)?;
    }
    seconds.sort_by(f64::total_cmp);
    let rate = |seconds: f64| options.batch as f64 / seconds;
    Ok(StepReport {
        model: options.model.clone(),
        mode: options.mode,
        batch: options.batch,
        threads: cores_or(options.threads),
        freeze: options.freeze.clone(),
        isa: engines::instruction_set(),
        precision: precision.name(),
        images_per_second: rate(seconds[seconds.len() / 2]),
        best: rate(seconds[0]),
        peak_mib: peak_mib(),
    })
}

/// The most memory that this process ever held, as Linux counts it.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1024)
}
