//! Weight files: read what PyTorch's world leaves on disk, match it to an architecture, write safetensors.
//!
//! [`read`] takes a safetensors file, a zip checkpoint (`torch.save` since PyTorch 1.6) or a legacy checkpoint
//! (`torch.save` before that) and judges which by content, never by extension. [`match_to`] compares what was read with what an
//! architecture expects. [`write_safetensors`] and [`convert`] write. No code in a pickle is ever run.

mod checkpoint;
mod convert;
mod elements;
mod error;
mod matching;
mod names;
mod pickle_scan;
mod safetensors_read;
mod safetensors_write;

pub use convert::{ConvertReport, convert};
pub use error::{ShapeDifference, WeightError};
pub use matching::{ExpectedTensor, HeadMatch, Matched, match_to};
pub use names::{strip_prefixes, translate_efficientnet_names};
pub use safetensors_read::read_safetensors;
pub use safetensors_write::{StorageType, is_unfinished, write_safetensors};

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// One tensor of a weight file.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Dotted name, as torchvision, timm or the file gives it (`layer1.0.conv1.weight`).
    pub name: String,
    /// Extents in PyTorch's order, outermost first (convolution weights are `[out, in / groups, height, width]`); empty for a
    /// scalar.
    pub shape: Vec<usize>,
    /// The elements in row-major order, `shape`'s product many, converted to f32.
    pub values: Vec<f32>,
}

/// How a weight file stores its tensors.
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
    /// Where the tensors came from, as error messages name it: a path, or what the caller of [`read_safetensors`] gave.
    pub origin: String,
    /// The container the file turned out to be.
    pub format: WeightFormat,
    /// All floating-point tensors, sorted by name in byte order.
    pub tensors: Vec<NamedTensor>,
    /// The safetensors header's `__metadata__`; empty for checkpoints of `torch.save`.
    pub metadata: BTreeMap<String, String>,
    /// Integer and boolean tensors that were left out, by name and element type (`mask (I64)`). Batch norm's
    /// `num_batches_tracked` counters are left out without being listed here: nothing in training or inference reads them.
    pub ignored: Vec<String>,
}

/// A tensor in which some elements are NaN or infinite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonFinite {
    /// The tensor's name.
    pub name: String,
    /// How many of its elements are.
    pub count: usize,
    /// How many it has.
    pub elements: usize,
}

impl std::fmt::Display for NonFinite {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {} of {}", self.name, self.count, self.elements)
    }
}

/// The tensors in which some elements are NaN or infinite. [`read`] takes them as they are, [`match_to`] refuses them.
#[must_use]
pub fn non_finite<'a>(tensors: impl IntoIterator<Item = &'a NamedTensor>) -> Vec<NonFinite> {
    let counted = tensors.into_iter().map(|NamedTensor { name, values, .. }| NonFinite {
        name: name.clone(),
        count: values.iter().filter(|value| !value.is_finite()).count(),
        elements: values.len(),
    });
    counted.filter(|tensor| tensor.count > 0).collect()
}

/// The name PyTorch's batch norm gives its integer step counter.
const BATCH_COUNTER: &str = "num_batches_tracked";

/// Whether `name` is a batch norm's step counter.
fn is_batch_counter(name: &str) -> bool {
    name == BATCH_COUNTER || name.strip_suffix(BATCH_COUNTER).is_some_and(|rest| rest.ends_with('.'))
}

/// How many bytes of a file decide what it is: up to the magic of a tar header at byte 257.
const PROBE_BYTES: u64 = 262;

/// Reads a weight file: safetensors, or a checkpoint of `torch.save` (zip or legacy) holding a state dict, bare or nested
/// under `state_dict`, `model` or `model_state_dict`. A whole model (`torch.save(model)`) is read as its state dict.
///
/// The format is judged by content. f16, bf16 and f64 elements are converted to f32. Names are kept as the file has them.
///
/// # Errors
///
/// [`WeightError::Read`] when the file cannot be read, [`WeightError::NotWeights`] when it is something else (a web page, a
/// git-lfs pointer, a compressed archive), [`WeightError::Damaged`] when it is cut short or contradicts itself,
/// [`WeightError::Hostile`] when its pickle asks for a call such as `os.system` (which is never made),
/// [`WeightError::Unsupported`] when it holds tensors in a form that cannot be represented.
pub fn read(path: &Path) -> Result<WeightFile, WeightError> {
    let origin = path.display().to_string();
    let failed = |source| WeightError::Read { origin: origin.clone(), source };
    let mut file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if about.is_dir() {
        return Err(WeightError::not_weights(&origin, "a folder", "name the weight file inside it"));
    }
    let length = about.len();
    let mut probe = Vec::new();
    file.by_ref().take(PROBE_BYTES).read_to_end(&mut probe).map_err(failed)?;

    if probe.starts_with(b"PK\x03\x04") {
        checkpoint::read_zip(path, &origin, length)
    } else if checkpoint::is_legacy(&probe) {
        checkpoint::read_legacy(path, &origin, length)
    } else if probe.get(8) == Some(&b'{') {
        // The header's length is judged before anything of that size is allocated.
        safetensors_read::check_header_length(&probe, length, &origin)?;
        let bytes = read_all(path, length, &origin)?;
        read_safetensors(&bytes, &origin)
    } else {
        Err(describe_stranger(&probe, &origin))
    }
}

/// Reads a whole file whose length is known, refusing (rather than aborting) when memory for it cannot be had.
fn read_all(path: &Path, length: u64, origin: &str) -> Result<Vec<u8>, WeightError> {
    let failed = |source| WeightError::Read { origin: origin.to_string(), source };
    let mut bytes = Vec::new();
    let reserved = usize::try_from(length).is_ok_and(|length| bytes.try_reserve_exact(length).is_ok());
    if !reserved {
        return Err(failed(std::io::Error::new(
            std::io::ErrorKind::OutOfMemory,
            format!("its {length} bytes do not fit into memory"),
        )));
    }
    File::open(path).and_then(|file| file.take(length).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}

/// The error for a file that is none of the formats read here, saying what it looks like.
fn describe_stranger(probe: &[u8], origin: &str) -> WeightError {
    let text = String::from_utf8_lossy(probe).trim_start().to_ascii_lowercase();
    let (found, advice) = if probe.is_empty() {
        ("an empty file", "download or copy it again")
    } else if text.starts_with("version https://git-lfs") {
        ("a git-lfs pointer, not the file it points to", "fetch the file itself with `git lfs pull`")
    } else if text.starts_with("<!doctype") || text.starts_with("<html") || text.starts_with("<?xml") {
        ("a web page", "download the file itself; a page like this often asks for a login or reports an error")
    } else if probe.starts_with(&[0x1f, 0x8b]) {
        ("a gzip archive", "unpack it and name the weight file inside")
    } else if probe.starts_with(b"\x89HDF\r\n\x1a\n") {
        ("an HDF5 file, as Keras writes", "convert it to safetensors or a PyTorch state dict")
    } else if probe.starts_with(b"GGUF") {
        ("a GGUF file", "use the model's safetensors file")
    } else if probe.get(257..262) == Some(b"ustar") {
        (
            "a tar archive",
            "unpack it and name the weight file inside; a PyTorch file older than 0.1.10 must be saved again by a newer PyTorch",
        )
    } else if probe.first() == Some(&0x80) {
        ("a Python pickle, but not a checkpoint that torch.save wrote", "save the state dict with torch.save or as safetensors")
    } else {
        ("neither safetensors nor a checkpoint that torch.save wrote", "name a .safetensors or .pth file")
    };
    WeightError::not_weights(origin, found, advice)
}
