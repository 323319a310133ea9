//! Checkpoints of `torch.save`, read by `pytorch-reader`, which interprets a pickle's data and
//! never calls the names in it.
//!
//! This module adds the scan of the pickle in `pickle_scan`, a limit on the size that tensors may
//! claim (a view of stride 0 turns four bytes into gigabytes), the refusal of compressed archives
//! (`torch.save` never compresses, and a compressed entry can claim any size), and errors instead
//! of the parsers' panics.

use super::elements::{ByteOrder, FloatType, to_f32};
use super::pickle_scan::{MAX_OPCODES, ScanError, scan_pickle};
use super::{NamedTensor, WeightError, WeightFile, WeightFormat, is_batch_counter, strangers};
use pytorch_reader::{DType, PickleError, PickleValue, PytorchError, PytorchReader, Tensor};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use zip::{CompressionMethod, ZipArchive};

/// Keys under which training scripts nest the state dict, in the order of the search.
const NESTING_KEYS: [&str; 5] =
    ["state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict"];

/// The number of these keys, from the start, that mean a running average of the weights. timm
/// prefers it, because it is what scored best in training.
const AVERAGES: usize = 2;

/// Largest accepted `data.pkl`, in bytes. That of a ResNet-152 state dict has 130 kB.
const MAX_PICKLE_BYTES: u64 = 16 << 20;

/// The limit on the size of all tensors together, as a multiple of the file's length. Only tied
/// weights repeat a storage.
const MAX_EXPANSION: u64 = 8;

/// The magic number 0x1950a86a20f9469cfc6c at the start of a legacy checkpoint, in little-endian
/// order as in a pickle of protocol 2.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Number of bytes in which the magic number is searched. Protocols differ in the number of bytes
/// before it, but none has more than this.
const LEGACY_MAGIC_WITHIN: usize = 64;

/// The number of pickles in a legacy checkpoint: magic number, protocol, system information, the
/// object, the keys of the storages.
const LEGACY_PICKLES: usize = 5;

/// Whether a file begins like a legacy checkpoint.
pub(super) fn is_legacy(start: &[u8]) -> bool {
    let window = &start[..start.len().min(LEGACY_MAGIC_WITHIN)];
    window.windows(LEGACY_MAGIC.len()).any(|bytes| bytes == LEGACY_MAGIC)
        && start.get(257..262) != Some(b"ustar")
}

/// Reads a zip checkpoint of `length` bytes.
pub(super) fn read_zip(path: &Path, origin: &str, length: u64) -> Result<WeightFile, WeightError> {
    guarded(origin, || {
        look_over_zip(path, origin, length)?;
        load(path, origin, length, WeightFormat::TorchZip)
    })
}

/// Reads a legacy checkpoint of `length` bytes.
pub(super) fn read_legacy(
    path: &Path,
    origin: &str,
    length: u64,
) -> Result<WeightFile, WeightError> {
    guarded(origin, || {
        let mut reader = BufReader::new(open(path, origin)?);
        let mut opcodes_left = MAX_OPCODES;
        for _ in 0..LEGACY_PICKLES {
            scan_pickle(&mut reader, &mut opcodes_left)
                .map_err(|error| scan_refusal(origin, error))?;
        }
        load(path, origin, length, WeightFormat::TorchLegacy)
    })
}

/// Runs a parser and turns a panic into an error of the file.
fn guarded(
    origin: &str,
    parse: impl FnOnce() -> Result<WeightFile, WeightError>,
) -> Result<WeightFile, WeightError> {
    catch_unwind(AssertUnwindSafe(parse))
        .unwrap_or_else(|_| Err(WeightError::damaged(origin, "its parser failed on it")))
}

fn open(path: &Path, origin: &str) -> Result<File, WeightError> {
    File::open(path).map_err(|source| WeightError::Read { origin: origin.to_string(), source })
}

fn look_over_zip(path: &Path, origin: &str, length: u64) -> Result<(), WeightError> {
    let damaged = |error: zip::result::ZipError| {
        WeightError::damaged(origin, format!("its zip directory cannot be read ({error})"))
    };
    let mut archive = ZipArchive::new(BufReader::new(open(path, origin)?)).map_err(damaged)?;
    // Of entries with the same name the crate keeps the last, another reader perhaps the first.
    let listed = listed_entries(open(path, origin)?, length);
    let listed =
        listed.map_err(|source| WeightError::Read { origin: origin.to_string(), source })?;
    if listed.is_some_and(|listed| listed != archive.len()) {
        return Err(WeightError::damaged(
            origin,
            format!(
                "its zip directory does not list {} entries of different names, as it says",
                listed.unwrap_or(0)
            ),
        ));
    }
    let names = (0..archive.len())
        .map(|index| archive.by_index_raw(index)?.name().map(|name| name.to_string()));
    let names: Vec<String> = names.collect::<Result<_, _>>().map_err(damaged)?;
    if let Some(stranger) = strangers::describe_zip(names.iter().map(String::as_str), origin) {
        return Err(stranger);
    }
    let mut pickle: Option<(String, usize)> = None;
    let mut compressed: Option<String> = None;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?.to_string();
        if entry.compression() != CompressionMethod::Stored {
            compressed.get_or_insert_with(|| name.clone());
        }
        if entry.size() > length {
            return Err(WeightError::damaged(
                origin,
                format!("its entry {name} claims {} bytes of a file of {length}", entry.size()),
            ));
        }
        // The same choice as in `pytorch-reader`: the outermost `data.pkl`.
        let is_pickle = name
            .strip_suffix("data.pkl")
            .is_some_and(|root| root.is_empty() || root.ends_with('/'));
        if is_pickle && pickle.as_ref().is_none_or(|(chosen, _)| name.len() < chosen.len()) {
            pickle = Some((name, index));
        }
    }
    let Some((_, index)) = pickle else {
        return Err(WeightError::damaged(origin, "its data.pkl cannot be found"));
    };
    if let Some(name) = compressed {
        return Err(WeightError::unsupported(
            origin,
            format!("its entry {name} is compressed, which torch.save never does"),
            "save the state dict again with torch.save",
        ));
    }
    let entry = archive.by_index(index).map_err(damaged)?;
    if entry.size() > MAX_PICKLE_BYTES {
        return Err(WeightError::unsupported(
            origin,
            format!(
                "its pickle is {} bytes long, and {MAX_PICKLE_BYTES} are allowed",
                entry.size()
            ),
            "save the state dict alone",
        ));
    }
    let mut bytes = Vec::new();
    entry.take(MAX_PICKLE_BYTES).read_to_end(&mut bytes).map_err(|error| {
        WeightError::damaged(origin, format!("its pickle cannot be read ({error})"))
    })?;
    scan_pickle(&mut bytes.as_slice(), &mut MAX_OPCODES.clone())
        .map_err(|error| scan_refusal(origin, error))
}

/// The number of entries according to the end of a zip archive; `None` if it is in the extension
/// for large archives.
fn listed_entries(mut file: File, length: u64) -> io::Result<Option<usize>> {
    /// The record at the end, without its comment.
    const RECORD: usize = 22;
    let tail = length.min(RECORD as u64 + u64::from(u16::MAX));
    file.seek(SeekFrom::Start(length - tail))?;
    let mut bytes = Vec::new();
    file.take(tail).read_to_end(&mut bytes)?;
    let record = bytes.windows(RECORD).rev().find(|bytes| bytes.starts_with(b"PK\x05\x06"));
    let count = record.map(|record| u16::from_le_bytes([record[10], record[11]]));
    Ok(count.filter(|&count| count != u16::MAX).map(usize::from))
}

fn scan_refusal(origin: &str, error: ScanError) -> WeightError {
    match error {
        ScanError::Damaged(reason) => WeightError::damaged(origin, reason),
        ScanError::Hostile(callable) => {
            WeightError::Hostile { origin: origin.to_string(), callable }
        }
    }
}

fn load(
    path: &Path,
    origin: &str,
    length: u64,
    format: WeightFormat,
) -> Result<WeightFile, WeightError> {
    let refused = |error| refusal(origin, error);
    let root = PytorchReader::read_pickle_data(path, None).map_err(refused)?;
    let PickleValue::Dict(root) = root else {
        return Err(WeightError::not_weights(origin, "a checkpoint without a state dict", ADVICE));
    };
    let has_tensors = |key: &&str| {
        matches!(root.get(*key),
        Some(PickleValue::Dict(inner)) if holds_tensors(inner))
    };
    let nested: Vec<&str> = NESTING_KEYS.into_iter().filter(has_tensors).collect();
    let reader = match nested.first() {
        Some(key) => PytorchReader::with_top_level_key(path, key).map_err(refused)?,
        None => PytorchReader::new(path).map_err(refused)?,
    };
    if reader.is_empty() {
        let mut keys: Vec<&str> = root.keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys.truncate(10);
        return Err(WeightError::not_weights(
            origin,
            &format!("a checkpoint without tensors (its keys: {})", keys.join(", ")),
            ADVICE,
        ));
    }
    let mut found: Vec<Tensor> = reader.into_tensors().into_values().collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    check_claims(&found, origin, length)?;

    let mut tensors = Vec::with_capacity(found.len());
    let mut ignored = Vec::new();
    for tensor in found {
        let float = match tensor.dtype() {
            DType::F64 => FloatType::F64,
            DType::F32 => FloatType::F32,
            DType::F16 => FloatType::F16,
            DType::BF16 => FloatType::Bf16,
            integer => {
                if !is_batch_counter(&tensor.name) {
                    ignored.push(format!("{} ({integer:?})", tensor.name));
                }
                continue;
            }
        };
        let bytes = tensor.read().map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                WeightError::damaged(origin, error)
            }
            _ => WeightError::Read { origin: origin.to_string(), source: error },
        })?;
        let values =
            to_f32(&bytes, float, ByteOrder::Native, tensor.num_elements()).map_err(|reason| {
                WeightError::damaged(origin, format!("tensor {}: {reason}", tensor.name))
            })?;
        tensors.push(NamedTensor { shape: tensor.shape().to_vec(), name: tensor.name, values });
    }
    let mut sets = nested;
    if let Some(PickleValue::Dict(chosen)) = sets.first().and_then(|key| root.get(*key)) {
        let chosen = tensor_names(chosen);
        let is_other = |(key, value): &(&String, &PickleValue)| {
            !sets.contains(&key.as_str())
                && matches!(value,
                    PickleValue::Dict(inner) if covers(&tensor_names(inner), &chosen))
        };
        let mut others: Vec<&str> =
            root.iter().filter(is_other).map(|(key, _)| key.as_str()).collect();
        others.sort_unstable();
        sets.extend(others);
    }
    let notes = choice_note(&sets, origin).into_iter().collect();
    Ok(WeightFile {
        origin: origin.to_string(),
        format,
        tensors,
        metadata: BTreeMap::new(),
        ignored,
        notes,
    })
}

/// A note on the choice of weights, if there are several sets.
fn choice_note(sets: &[&str], origin: &str) -> Option<String> {
    let (chosen, others) = sets.split_first().filter(|(_, others)| !others.is_empty())?;
    let kind = if NESTING_KEYS[..AVERAGES].contains(chosen) { ", a running average," } else { "" };
    Some(format!(
        "{origin} holds several sets of weights: {chosen}{kind} is used, as timm does, and {} {} \
         not",
        others.join(", "),
        if others.len() == 1 { "is" } else { "are" }
    ))
}

const ADVICE: &str =
    "save the model's state_dict() with torch.save, bare or under the key state_dict";

fn holds_tensors(values: &HashMap<String, PickleValue>) -> bool {
    values.values().any(|value| match value {
        // `pytorch-reader` represents a tensor in a pickle's values like this.
        PickleValue::Unsupported(name) => name == "torch.Tensor",
        PickleValue::Dict(inner) => holds_tensors(inner),
        _ => false,
    })
}

/// The names of the tensors in a dict and the dicts inside it, joined with dots.
fn tensor_names(values: &HashMap<String, PickleValue>) -> HashSet<String> {
    let mut names = HashSet::new();
    for (name, value) in values {
        match value {
            PickleValue::Unsupported(kind) if kind == "torch.Tensor" => {
                names.insert(name.clone());
            }
            PickleValue::Dict(inner) => {
                names.extend(tensor_names(inner).into_iter().map(|inner| format!("{name}.{inner}")))
            }
            _ => {}
        }
    }
    names
}

/// Whether a set of tensor names contains all names of another one, up to prefixes such as
/// `module.`. An optimiser's state, whose tensors are numbered, does not.
fn covers(names: &HashSet<String>, others: &HashSet<String>) -> bool {
    let bare = |name: &str| name.rsplit("module.").next().unwrap_or(name).to_owned();
    let bare_names: HashSet<String> = names.iter().map(|name| bare(name)).collect();
    let mut learned = others.iter().filter(|other| !is_batch_counter(other)).peekable();
    learned.peek().is_some() && learned.all(|other| bare_names.contains(&bare(other)))
}

/// Checks the sizes that the tensors claim before reading any of their bytes.
fn check_claims(tensors: &[Tensor], origin: &str, length: u64) -> Result<(), WeightError> {
    let mut total = 0u64;
    for tensor in tensors {
        let bytes = tensor.byte_len() as u64;
        total = total.saturating_add(bytes);
        if bytes > length || total > length.saturating_mul(MAX_EXPANSION) {
            return Err(WeightError::damaged(
                origin,
                format!(
                    "tensor {} of shape {:?} claims more than the file's {length} bytes can fill",
                    tensor.name,
                    tensor.shape()
                ),
            ));
        }
    }
    Ok(())
}

fn refusal(origin: &str, error: PytorchError) -> WeightError {
    match error {
        PytorchError::Io(source) if source.raw_os_error().is_some() => {
            WeightError::Read { origin: origin.to_string(), source }
        }
        PytorchError::Pickle(PickleError::UnsupportedType(name)) => WeightError::unsupported(
            origin,
            format!("it holds {name}, which is not a plain tensor"),
            ADVICE,
        ),
        other => WeightError::damaged(origin, other),
    }
}
