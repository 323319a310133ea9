//! Weight files: reads PyTorch's formats, matches them to an architecture, and writes safetensors.
//!
//! [`read`] accepts a safetensors file, a zip checkpoint (`torch.save` since PyTorch 1.6) or a
//! legacy checkpoint (`torch.save` before that), and recognises it by content, never by extension.
//! [`match_to`] compares the tensors with those that an architecture expects. [`write_safetensors`]
//! and [`convert`] write. No code in a pickle is ever executed.

mod checkpoint;
mod convert;
mod elements;
mod error;
mod matching;
mod names;
mod pickle_scan;
pub mod positions;
mod safetensors_read;
mod safetensors_write;
mod strangers;
mod torchvision_names;
mod transformer_names;

pub use convert::{ConvertReport, convert};
pub use error::{ShapeDifference, WeightError};
pub use matching::{ExpectedTensor, HeadMatch, Matched, match_to};
pub use names::{strip_prefixes, translate_efficientnet_names};
pub use safetensors_read::read_safetensors;
pub use safetensors_write::{StorageType, is_unfinished, write_safetensors};
pub use torchvision_names::translate_torchvision_names;
pub use transformer_names::translate_transformer_names;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use strangers::PROBE_BYTES;

/// One tensor of a weight file.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Dotted name, as in torchvision, timm or the file (`layer1.0.conv1.weight`).
    pub name: String,
    /// Extents in PyTorch's order, outermost first (convolution weights are `[out, in / groups,
    /// height, width]`); empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements in row-major order, converted to f32; their number is the product of `shape`.
    pub values: Vec<f32>,
}

/// The format of a weight file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// <https://github.com/huggingface/safetensors>.
    Safetensors,
    /// The zip archive that `torch.save` writes since PyTorch 1.6.
    TorchZip,
    /// The stream of pickles that `torch.save` wrote before PyTorch 1.6.
    TorchLegacy,
}

/// The tensors of a weight file, all in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightFile {
    /// The origin of the tensors for error messages: a path, or the name that the caller of
    /// [`read_safetensors`] gave.
    pub origin: String,
    /// The format of the file.
    pub format: WeightFormat,
    /// All floating-point tensors, sorted by name in byte order.
    pub tensors: Vec<NamedTensor>,
    /// The safetensors header's `__metadata__`; empty for checkpoints of `torch.save`.
    pub metadata: BTreeMap<String, String>,
    /// Integer and boolean tensors that were left out, by name and element type (`mask (I64)`).
    /// Batch norm's `num_batches_tracked` counters are left out without being listed, because
    /// neither training nor inference reads them.
    pub ignored: Vec<String>,
    /// The choices that were made if the file has more than one set of weights, one sentence each.
    pub notes: Vec<String>,
}

/// A tensor with NaN or infinite elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonFinite {
    /// The tensor's name.
    pub name: String,
    /// Number of such elements.
    pub count: usize,
    /// Number of all elements.
    pub elements: usize,
}

impl std::fmt::Display for NonFinite {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {} of {}", self.name, self.count, self.elements)
    }
}

/// The tensors with NaN or infinite elements. [`read`] accepts them unchanged, and [`match_to`]
/// refuses them.
#[must_use]
pub fn non_finite<'a>(tensors: impl IntoIterator<Item = &'a NamedTensor>) -> Vec<NonFinite> {
    let counted = tensors.into_iter().map(|NamedTensor { name, values, .. }| NonFinite {
        name: name.clone(),
        count: values.iter().filter(|value| !value.is_finite()).count(),
        elements: values.len(),
    });
    counted.filter(|tensor| tensor.count > 0).collect()
}

/// The name of batch norm's integer step counter in PyTorch.
const BATCH_COUNTER: &str = "num_batches_tracked";

/// Whether `name` is a batch norm's step counter.
fn is_batch_counter(name: &str) -> bool {
    name == BATCH_COUNTER
        || name.strip_suffix(BATCH_COUNTER).is_some_and(|rest| rest.ends_with('.'))
}

/// The most bytes of a weight file. The largest architecture here has 60 million parameters; a
/// checkpoint of it with a running average and the optimiser's state has 1.2 GB.
pub const MAX_FILE_BYTES: u64 = 4 << 30;

/// Reads a weight file: safetensors, or a checkpoint of `torch.save` (zip or legacy) that holds a
/// state dict, bare or nested under `state_dict_ema`, `model_ema`, `state_dict`, `model` or
/// `model_state_dict`, in this order, which is that of timm's `load_checkpoint`. A whole model
/// (`torch.save(model)`) is read as its state dict.
///
/// The format is recognised by content. f16, bf16 and f64 elements are converted to f32. Names are
/// kept as in the file.
///
/// # Errors
///
/// [`WeightError::Read`] if the file cannot be read; [`WeightError::NotWeights`] if it is something
/// else (a web page, a git-lfs pointer, a compressed archive, a pipe); [`WeightError::Damaged`] if
/// it is truncated or contradicts itself; [`WeightError::Hostile`] if its pickle asks for a call
/// such as `os.system` (which is never made); [`WeightError::Unsupported`] if it is another
/// framework's file or a program, holds tensors in a form that cannot be represented, or has more
/// than [`MAX_FILE_BYTES`].
pub fn read(path: &Path) -> Result<WeightFile, WeightError> {
    let origin = path.display().to_string();
    let failed = |source| WeightError::Read { origin: origin.clone(), source };
    // Opening a pipe would wait for its writer, and a device may never end.
    let about = std::fs::metadata(path).map_err(failed)?;
    if about.is_dir() {
        return Err(WeightError::not_weights(
            &origin,
            "a folder",
            "name the weight file inside it",
        ));
    }
    if !about.is_file() {
        let advice = "a weight file is read from several places, so name a file on a disk";
        return Err(WeightError::not_weights(&origin, "a pipe, a socket or a device", advice));
    }
    let mut file = File::open(path).map_err(failed)?;
    let length = about.len();
    let mut probe = Vec::new();
    file.by_ref().take(PROBE_BYTES).read_to_end(&mut probe).map_err(failed)?;

    let is_zip = probe.starts_with(b"PK\x03\x04");
    let is_legacy = checkpoint::is_legacy(&probe);
    let is_safetensors = probe.get(8) == Some(&b'{');
    if length > MAX_FILE_BYTES && (is_zip || is_legacy || is_safetensors) {
        let reason = format!("it has {length} bytes, and a weight file may have {MAX_FILE_BYTES}");
        return Err(WeightError::unsupported(&origin, reason, "save the weights alone"));
    }
    if is_zip {
        checkpoint::read_zip(path, &origin, length)
    } else if is_legacy {
        checkpoint::read_legacy(path, &origin, length)
    } else if is_safetensors {
        // The header's length is checked before anything of that size is allocated.
        safetensors_read::check_header_length(&probe, length, &origin)?;
        let bytes = read_all(path, length, &origin)?;
        read_safetensors(&bytes, &origin)
    } else {
        Err(strangers::describe(&probe, &origin))
    }
}

/// Reads a whole file of known length. If there is not enough memory, it returns an error instead
/// of aborting.
fn read_all(path: &Path, length: u64, origin: &str) -> Result<Vec<u8>, WeightError> {
    let failed = |source| WeightError::Read { origin: origin.to_string(), source };
    let mut bytes = Vec::new();
    let reserved =
        usize::try_from(length).is_ok_and(|length| bytes.try_reserve_exact(length).is_ok());
    if !reserved {
        return Err(failed(std::io::Error::new(
            std::io::ErrorKind::OutOfMemory,
            format!("its {length} bytes do not fit into memory"),
        )));
    }
    File::open(path).and_then(|file| file.take(length).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}
