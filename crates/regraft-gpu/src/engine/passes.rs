//! How the engine prepares and runs its passes.

use super::{GpuEngine, Ready};
use crate::arguments::Arguments;
use crate::device::Fault;
use crate::kernels::decide;
use crate::kernels::loss::Kind;
use crate::memory::Reading;
use crate::pass::{self, Key};
use crate::record::{Buffer, Recorder};
use crate::run::Prepared;
use crate::shader::Storage;
use crate::step::UNIT;
use crate::upload;
use regraft_nn::engine::{
    Content, Engine, EngineError, Input, Loss, LossSettings, Reduction, StepOutput, StepPart,
    TrainBatch, Update,
};
use regraft_nn::plan;
use regraft_nn::precision::Precision;
use std::ops::Range;

/// The factor of gradients of feature maps in f16. Without it, values below 6e-8 would vanish, and
/// most of them are that small for a mean over a batch. The gradients of parameters are divided by
/// it again in f32. A power of two rounds nothing. Gradients overflow from 64 on, which the norm of
/// gradients then shows.
const LOSS_SCALE: f32 = 1024.0;

/// The output of a training pass that the device has not finished yet.
#[derive(Debug)]
pub(super) struct Queued {
    reading: Reading,
    images: usize,
}

impl GpuEngine {
    /// Makes a pass ready, and returns its place in the list.
    pub(super) fn ready(&mut self, key: Key) -> Result<usize, EngineError> {
        let known = self.passes.iter().position(|pass| pass.key == key);
        if let Some(known) = known {
            self.renew(known).map_err(|fault| self.failed(fault))?;
            return Ok(known);
        }
        let common = self.common();
        let plan = pass::plan(&self.program, &common, key.mode, key.batch);
        if pass::largest(&plan) > common.allocation {
            return Err(self.refuse(&key, pass::largest(&plan)));
        }
        let bytes = plan.memory as u64 * UNIT as u64;
        let allocations = bytes.div_ceil(common.allocation);
        for number in 0..allocations {
            let own = (bytes - number * common.allocation).min(common.allocation);
            let buffer = Buffer::Pass(usize::try_from(number).unwrap_or(usize::MAX));
            self.memory.reserve(buffer, own).map_err(|_| self.refuse(&key, bytes))?;
        }
        let unit = if key.has_levels { 1 } else { 4 };
        let images = (key.batch + 1) * self.program.image.length() * unit;
        let classes = common.classes;
        for (buffer, bytes) in [
            (Buffer::Images, images.next_multiple_of(4)),
            (Buffer::Targets, 4 * key.batch * classes),
            (Buffer::Weights, 4 * key.batch),
            (Buffer::Losses, 4 * key.batch * (1 + classes)),
            (Buffer::Keep, 4 * key.batch * self.program.streams.len()),
            (Buffer::Halves, 2 * common.products.units.map_or(0, |_| common.learned)),
        ] {
            let reserved = self.memory.reserve(buffer, bytes as u64);
            reserved.map_err(|fault| self.failed(fault))?;
        }
        let recorded = pass::record(&self.program, &common, &key, &plan);
        let prepared = Prepared::new(&self.memory, &recorded.commands);
        let prepared = prepared.map_err(|fault| self.failed(fault))?;
        self.passes.push(Ready { key, recorded, prepared });
        Ok(self.passes.len() - 1)
    }

    /// The images of a batch and the pass for them, if there are any and the batch fits the
    /// network.
    pub(super) fn prepare(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
    ) -> Result<(Range<usize>, Option<usize>), EngineError> {
        let classes = self.graph.classes();
        let count = batch.target.images(classes);
        let images = batch.input.images(self.program.image.length(), count)?;
        batch.target.check(loss.loss, count, classes)?;
        if let Some(weights) = batch.weights {
            EngineError::check_length("the list of weights", weights.len(), count)?;
        }
        let frozen = self.frozen;
        let before = self.parameters.gradients_start;
        let reserved = self.parameters.reserve_gradients(&mut self.memory, frozen);
        reserved.map_err(|fault| self.failed(fault))?;
        if self.parameters.gradients_start != before {
            // Recorded passes write to where gradients were.
            self.passes.retain(|pass| pass.key.loss.is_none());
        }
        if count == 0 {
            return Ok((images, None));
        }
        let key = Key {
            mode: plan::Mode::Train { frozen: self.program.steps_before(frozen) },
            batch: count,
            has_levels: matches!(batch.input.content, Content::Pixels(..)),
            loss: Some(Kind::new(loss.loss, &batch.target, batch.weights.is_some())),
        };
        Ok((images, Some(self.ready(key)?)))
    }

    /// Binds a pass's buffers again if an allocation has changed.
    fn renew(&mut self, pass: usize) -> Result<(), Fault> {
        let Ready { prepared, recorded, .. } = &mut self.passes[pass];
        if !prepared.is_current(&self.memory) {
            *prepared = Prepared::new(&self.memory, &recorded.commands)?;
        }
        Ok(())
    }

    /// Uploads the images and arguments of a run.
    pub(super) fn upload(
        &mut self,
        input: &Input<'_>,
        images: &Range<usize>,
        arguments: &Arguments,
    ) -> Result<(), Fault> {
        let length = self.program.image.length();
        upload::arguments(&mut self.memory, arguments)?;
        upload::images(&mut self.memory, input, images, length, &mut self.normalisation)
    }

    /// Has the device compute gradients, and update the network if they and the losses are finite.
    pub(super) fn queue(
        &mut self,
        pass: usize,
        batch: &TrainBatch<'_>,
        images: &Range<usize>,
        loss: LossSettings,
        part: StepPart,
        update: Option<&Update<'_>>,
    ) -> Result<Queued, Fault> {
        let smoothing = match loss.loss {
            Loss::SoftmaxCrossEntropy { label_smoothing } => label_smoothing,
            Loss::SigmoidCrossEntropy | Loss::SquaredError => 0.0,
        };
        let arguments = Arguments {
            accumulate: part.accumulate,
            loss_weight: match loss.reduction {
                Reduction::Mean => 1.0 / part.step_images as f32,
                Reduction::Sum => 1.0,
            },
            smoothing,
            scale: match self.options.precision {
                Precision::F16 => LOSS_SCALE,
                Precision::F32 | Precision::Bf16 => 1.0,
            },
            ..Arguments::of_batch(batch)
        };
        self.upload(&batch.input, images, &arguments)?;
        upload::targets(&mut self.memory, &batch.target, batch.weights)?;
        let count = images.len();
        let losses = pass::losses(count, self.graph.classes());
        let mut slices = vec![losses];
        let moves = match update {
            Some(update) => {
                let mut recorder = Recorder::default();
                let (memory, own) = (&mut self.memory, Some((losses, count)));
                let norm =
                    self.parameters.update(memory, &mut recorder, update, own, self.frozen)?;
                slices.extend([decide::control(), norm]);
                Some(recorder.commands)
            }
            None => None,
        };
        self.renew(pass)?;
        let moves = moves.map(|moves| Prepared::new(&self.memory, &moves)).transpose()?;
        let prepared = &self.passes[pass].prepared;
        let mut reading = Reading::new(&self.memory, &slices)?;
        let device = &self.memory.device;
        let mut encoder = device.device.create_command_encoder(&Default::default());
        prepared.encode(&mut encoder);
        if let Some(moves) = &moves {
            moves.encode(&mut encoder);
        }
        reading.copy(&self.memory, &mut encoder);
        reading.submission = Some(device.queue.submit([encoder.finish()]));
        device.check()?;
        Ok(Queued { reading, images: count })
    }

    /// Waits for a queued pass.
    pub(super) fn finish(&self, queued: Queued) -> Result<StepOutput, Fault> {
        let Queued { reading, images } = queued;
        let mut found = reading.finish(&self.memory.device)?.into_iter();
        let mut losses: Vec<f32> = bytemuck::cast_vec(found.next().unwrap_or_default());
        let logits = losses.split_off(images.min(losses.len()));
        let output = StepOutput { losses, logits, ..StepOutput::default() };
        // Without an update there is nothing to decide.
        let (Some(control), Some(norm)) = (found.next(), found.next()) else { return Ok(output) };
        let is_refused = control.get(decide::SKIPS).is_none_or(|&skips| skips != 0);
        if is_refused {
            let place = 4 * decide::REFUSED as u64;
            let control = self.memory.of(Buffer::Control);
            self.memory.device.queue.write_buffer(control, place, &[0; 4]);
        }
        Ok(StepOutput { gradient_norm: Some(norm_of(norm)), is_refused, ..output })
    }

    /// The gradients of a step or a part of one.
    pub(super) fn compute(
        &mut self,
        batch: &TrainBatch<'_>,
        loss: LossSettings,
        part: StepPart,
    ) -> Result<StepOutput, EngineError> {
        if self.collective.size() > 1 && self.shares_statistics() {
            let what = "cannot share a batch norm's statistics with other devices; use one device";
            let device = self.memory.device.gpu.name.clone();
            return Err(EngineError::Unsupported { device, what });
        }
        // Bad requests are refused before ranks wait for each other.
        let prepared = self.prepare(batch, loss);
        let has_failed = self.collective.any(prepared.is_err());
        let (images, pass) = prepared?;
        if has_failed {
            return Err(EngineError::Peer);
        }
        self.parameters.gradients_from = Some(self.frozen);
        let Some(pass) = pass else {
            if !part.accumulate {
                let slice = self.parameters.gradients(self.frozen);
                let device = &self.memory.device;
                let mut encoder = device.device.create_command_encoder(&Default::default());
                let gradients = self.memory.of(Buffer::Gradients);
                encoder.clear_buffer(gradients, slice.start, Some(slice.bytes));
                device.queue.submit([encoder.finish()]);
            }
            self.share(0, part.is_last).map_err(|fault| self.failed(fault))?;
            return Ok(StepOutput::default());
        };
        let queued = self.queue(pass, batch, &images, loss, part, None);
        let queued = queued.map_err(|fault| self.failed(fault))?;
        self.share(images.len(), part.is_last).map_err(|fault| self.failed(fault))?;
        self.finish(queued).map_err(|fault| self.failed(fault))
    }

    /// The error of a batch without memory, with one that has it: half of it, a quarter, ...
    pub(super) fn refuse(&self, key: &Key, bytes: u64) -> EngineError {
        let (image_size, batch) = (self.program.image.height, key.batch);
        let common = self.common();
        let fits = |batch: &usize| {
            let plan = pass::plan(&self.program, &common, key.mode, *batch);
            let bytes = plan.memory as u64 * UNIT as u64;
            pass::largest(&plan) <= common.allocation
                && self.memory.device.has_room(bytes, common.allocation)
        };
        let halves = std::iter::successors(Some(batch / 2), |batch| Some(batch / 2));
        let fits = halves.take_while(|&batch| batch > 0).find(fits);
        EngineError::Memory { batch, image_size, bytes, fits }
    }

    /// The output of a node that the program never has in memory: computed by an engine for the
    /// network up to there.
    pub(super) fn inner_features(
        &self,
        input: Input<'_>,
        batch: usize,
        node: usize,
    ) -> Result<Vec<f32>, EngineError> {
        let size = self.program.image.height;
        let engine = Self::new(self.graph.through(node), size, self.options);
        let mut engine = engine.map_err(|error| EngineError::Inner(error.to_string()))?;
        engine.load_state(&self.state())?;
        engine.features(input, batch, node)
    }

    pub(super) fn evaluate_to(
        &mut self,
        input: &Input<'_>,
        images: &Range<usize>,
        pass: usize,
    ) -> Result<Vec<f32>, Fault> {
        let arguments = Arguments { mix: input.mix, ..Arguments::default() };
        self.upload(input, images, &arguments)?;
        let Ready { recorded, prepared, .. } = &self.passes[pass];
        let output = recorded.output;
        let mut reading = Reading::new(&self.memory, &[output.slice])?;
        let device = &self.memory.device;
        let mut encoder = device.device.create_command_encoder(&Default::default());
        prepared.encode(&mut encoder);
        reading.copy(&self.memory, &mut encoder);
        device.queue.submit([encoder.finish()]);
        let words = reading.finish(device)?.pop().unwrap_or_default();
        let mut values = match output.storage {
            Storage::F16 => halves(&words),
            Storage::F32 | Storage::U32 => bytemuck::cast_vec(words),
        };
        values.truncate(recorded.elements);
        Ok(values)
    }
}

/// The norm of a gradient, from the words of its blocks.
pub(super) fn norm_of(blocks: Vec<u32>) -> f64 {
    let blocks: Vec<f32> = bytemuck::cast_vec(blocks);
    let squares = |block: &[f32]| f64::from(block[0]).powi(2) * f64::from(block[1]);
    blocks.chunks_exact(2).map(squares).sum::<f64>().sqrt()
}

/// The numbers of 16 bits in words.
fn halves(words: &[u32]) -> Vec<f32> {
    words.iter().flat_map(|word| [half(*word as u16), half((word >> 16) as u16)]).collect()
}

/// The value of a number of 16 bits: 1 of sign, 5 of exponent, 10 of fraction.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2.0_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2.0_f32.powi(exponent - 25),
    }
}
