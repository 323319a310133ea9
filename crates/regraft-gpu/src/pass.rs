//! A pass over a batch: its plan, and its list of dispatches.

use crate::arguments;
use crate::kernels::loss::{self, Kind};
use crate::kernels::matrix::Products;
use crate::kernels::{halves, images, random};
use crate::program::Program;
use crate::record::{Buffer, Command, Recorder, Slice, Values};
use crate::step::{Context, UNIT};
use regraft_nn::plan::{self, Memory, Mode, Plan};
use regraft_nn::precision::Precision;

/// The properties that tell passes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub mode: Mode,
    pub batch: usize,
    /// Whether images are levels rather than numbers.
    pub has_levels: bool,
    /// The loss of a training pass.
    pub loss: Option<Kind>,
}

/// Properties that all passes of an engine share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Common {
    pub precision: Precision,
    /// Bytes of an allocation at most.
    pub allocation: u64,
    /// First element of the gradients in the arena of learned tensors.
    pub gradients_start: usize,
    pub classes: usize,
    pub products: Products,
    /// Elements of the arena of learned tensors.
    pub learned: usize,
}

impl Common {
    fn units(&self) -> usize {
        usize::try_from(self.allocation).unwrap_or(usize::MAX) / UNIT
    }
}

/// Plans a pass.
pub(crate) fn plan(program: &Program, common: &Common, mode: Mode, batch: usize) -> Plan {
    let extras: Vec<plan::Extra> = (0..program.steps.len())
        .map(|step| program.compute[step].extra(&program.sizes(step, batch)))
        .collect();
    let pass = plan::Pass { mode, batch, precision: common.precision };
    let memory = Memory { unit_bytes: UNIT, allocation: Some(common.units()) };
    Plan::new(&program.steps, &program.shapes, program.image, pass, memory, &extras)
}

/// The bytes of the largest buffer of a plan.
pub(crate) fn largest(plan: &Plan) -> u64 {
    let units = plan.buffers.iter().map(|buffer| buffer.place.units.len()).max().unwrap_or(0);
    units as u64 * UNIT as u64
}

/// The arguments of a run.
pub(crate) fn arguments() -> Slice {
    Slice::words(Buffer::Arguments, 0, arguments::COUNT)
}

/// Each image's loss, and after them the logits.
pub(crate) fn losses(batch: usize, classes: usize) -> Slice {
    Slice::words(Buffer::Losses, 0, batch * (1 + classes))
}

/// A pass as the device runs it.
pub(crate) struct Recorded {
    pub commands: Vec<Command>,
    /// The output of the last step.
    pub output: Values,
    /// Elements of it.
    pub elements: usize,
}

/// Records a pass.
pub(crate) fn record(program: &Program, common: &Common, key: &Key, plan: &Plan) -> Recorded {
    let mut recorder = Recorder::default();
    let count = program.steps.len();
    let (frozen, computed) = match key.mode {
        Mode::Train { frozen } => (frozen, count),
        Mode::Evaluate { last } => (count, last + 1),
    };
    let batch = key.batch;
    load(&mut recorder, program, common, key, plan);
    if common.products.units.is_some() {
        halves::copy(&mut recorder, common.learned);
    }
    if frozen < count && !program.streams.is_empty() {
        let streams = Slice::words(Buffer::Streams, 0, 3 * program.streams.len());
        let keep = Slice::words(Buffer::Keep, 0, batch * program.streams.len());
        let branches = program.streams.len();
        random::branches(&mut recorder, streams, branches, batch, arguments(), keep);
    }
    for step in 0..computed {
        let mut context = context(program, common, plan, &mut recorder, step, step >= frozen);
        program.compute[step].forward(&mut context);
    }
    let last = computed - 1;
    let output = {
        let context = context(program, common, plan, &mut recorder, last, false);
        context.output().expect("the last step of a pass has an output")
    };
    if let Some(kind) = key.loss {
        let gradient = context(program, common, plan, &mut recorder, last, true).gradient().slice;
        let classes = common.classes;
        let work = loss::Work {
            images: batch,
            classes,
            logits: output.slice,
            targets: Slice::words(Buffer::Targets, 0, batch * classes),
            weights: Slice::words(Buffer::Weights, 0, batch),
            arguments: arguments(),
            losses: losses(batch, classes),
            gradient,
        };
        loss::record(&mut recorder, kind, &work);
        for step in (frozen..count).rev() {
            let mut context = context(program, common, plan, &mut recorder, step, true);
            program.compute[step].backward(&mut context);
        }
    }
    let elements = batch * program.shapes[last].length();
    Recorded { commands: recorder.commands, output, elements }
}

fn load(recorder: &mut Recorder, program: &Program, common: &Common, key: &Key, plan: &Plan) {
    let output = context(program, common, plan, recorder, 0, false).images();
    let elements = (key.batch + 1) * program.image.length();
    let words = if key.has_levels { elements.div_ceil(4) } else { elements };
    let slices = [
        Slice::words(Buffer::Images, 0, words),
        Slice::words(Buffer::Levels, 0, 3 * 256),
        arguments(),
    ];
    images::load(recorder, key.has_levels, key.batch, program.image, slices, output);
}

fn context<'a>(
    program: &'a Program,
    common: &Common,
    plan: &'a Plan,
    recorder: &'a mut Recorder,
    step: usize,
    is_training: bool,
) -> Context<'a> {
    let keep = program.branches[step]
        .filter(|_| is_training)
        .map(|branch| Slice::words(Buffer::Keep, branch * plan.batch, plan.batch));
    Context {
        recorder,
        plan,
        steps: &program.steps,
        clamps: &program.clamps,
        index: step,
        sizes: program.sizes(step, plan.batch),
        allocation: common.units(),
        gradients_start: common.gradients_start,
        keep,
        arguments: arguments(),
        products: common.products,
        is_training,
    }
}
