//! Whether this machine has the memory that a batch needs, asked before any of it is taken.

use regraft_data::memory;
use regraft_nn::engine::{Engine, Mode};

/// Batches of images that are in memory at a time: the one in use and those that the loader
/// prepares.
pub(crate) const LOADED_BATCHES: u64 = 3;

/// More memory than the machine has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} takes about {}, but this machine has {}; {advice}", gibibytes(*needed), gibibytes(
    *total))]
pub struct TooLittleMemory {
    /// The thing that takes it.
    pub what: String,
    /// Bytes that it takes.
    pub needed: u64,
    /// Bytes that the machine has.
    pub total: u64,
    /// Advice.
    pub advice: String,
}

/// The purpose of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Steps of the layers after the first `frozen`.
    Train {
        frozen: usize,
    },
    Evaluate,
}

/// Refuses a batch of `batch` images if the network's maps and the loader's images would not fit
/// into this machine's memory. `smaller` names the option to reduce.
///
/// # Errors
/// [`TooLittleMemory`].
pub(crate) fn check_batch(
    engine: &dyn Engine,
    image_size: u32,
    batch: usize,
    purpose: Purpose,
    smaller: &str,
) -> Result<(), TooLittleMemory> {
    let mode = match purpose {
        Purpose::Train { frozen } if frozen < engine.graph().backbone() => Mode::Train { frozen },
        Purpose::Train { .. } | Purpose::Evaluate => Mode::Evaluate,
    };
    let image_bytes = u64::from(image_size).pow(2) * 3;
    let loaded = (batch as u64).saturating_mul(image_bytes).saturating_mul(LOADED_BATCHES);
    // A GPU says itself what does not fit its memory.
    let planned = if engine.has_own_memory() { 0 } else { engine.planned_bytes(mode, batch) };
    let needed = planned.saturating_add(loaded);
    let what = format!("a batch of {batch} images of {image_size} x {image_size} pixels");
    check(what, needed, format!("choose a smaller {smaller} or image size"))
}

/// Refuses what takes more than the whole of the machine's memory. What is free at the moment does
/// not count, since the system makes room by dropping files that it keeps in memory.
///
/// # Errors
/// [`TooLittleMemory`].
pub(crate) fn check(what: String, needed: u64, advice: String) -> Result<(), TooLittleMemory> {
    match memory::total() {
        Some(total) if needed > total => Err(TooLittleMemory { what, needed, total, advice }),
        _ => Ok(()),
    }
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}
