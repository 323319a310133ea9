//! Writes safetensors beside the target, syncs them and renames them; the same input gives the same
//! bytes.
//!
//! The header is written here and not by the `safetensors` crate, which keeps metadata in a hash
//! map and therefore orders it differently in every process.

use super::{NamedTensor, WeightError};
use half::f16;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// How elements are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageType {
    /// Every tensor as f32.
    F32,
    /// Tensors of two or more dimensions as f16, rounded to nearest even. Scalars and
    /// one-dimensional tensors (biases, batch norm) as f32, because they are small and their
    /// rounding would shift whole channels.
    F16,
}

impl StorageType {
    /// Whether a tensor of this shape is stored as f16.
    pub(super) fn halves(self, shape: &[usize]) -> bool {
        self == Self::F16 && shape.len() > 1
    }
}

/// Start and end of the names of unfinished files.
const UNFINISHED: (&str, &str) = (".regraft-", ".partial");

/// Whether a file with this name was left by an interrupted [`write_safetensors`] (after a crash,
/// for example). It may be removed if no write is in progress.
#[must_use]
pub fn is_unfinished(name: &str) -> bool {
    name.starts_with(UNFINISHED.0) && name.ends_with(UNFINISHED.1)
}

/// Writes a safetensors file and returns its length in bytes.
///
/// An existing file is replaced only once the new one is complete and synced. Tensors are stored by
/// element type (f32 before f16, so that every tensor is aligned) and then by name; the bytes
/// depend only on the arguments.
///
/// # Errors
///
/// [`WeightError::HalfRange`] if f16 cannot hold a value; [`WeightError::Duplicate`] and
/// [`WeightError::ValueCount`] if the tensors do not make a valid file; [`WeightError::Write`] if
/// the operating system returns an error.
pub fn write_safetensors(
    path: &Path,
    tensors: &[NamedTensor],
    metadata: &BTreeMap<String, String>,
    storage: StorageType,
) -> Result<u64, WeightError> {
    let target = path.display().to_string();
    let mut ordered: Vec<&NamedTensor> = tensors.iter().collect();
    ordered.sort_by_key(|tensor| (storage.halves(&tensor.shape), &tensor.name));
    check(&ordered, storage, &target)?;

    let header = header(&ordered, metadata, storage);
    let failed = |source| WeightError::Write { path: target.clone(), source };
    write_beside(path, |writer| {
        writer.write_all(&(header.len() as u64).to_le_bytes())?;
        writer.write_all(header.as_bytes())?;
        for tensor in &ordered {
            if storage.halves(&tensor.shape) {
                tensor
                    .values
                    .iter()
                    .try_for_each(|value| writer.write_all(&f16::from_f32(*value).to_le_bytes()))?;
            } else {
                tensor
                    .values
                    .iter()
                    .try_for_each(|value| writer.write_all(&value.to_le_bytes()))?;
            }
        }
        Ok(())
    })
    .map_err(failed)
}

fn check(tensors: &[&NamedTensor], storage: StorageType, target: &str) -> Result<(), WeightError> {
    let mut names = std::collections::BTreeSet::new();
    for tensor in tensors {
        // `__metadata__` is the header's own key.
        if tensor.name == "__metadata__" || !names.insert(&tensor.name) {
            return Err(WeightError::Duplicate {
                origin: target.to_string(),
                name: tensor.name.clone(),
            });
        }
        let count =
            tensor.shape.iter().try_fold(1usize, |count, extent| count.checked_mul(*extent));
        if count != Some(tensor.values.len()) {
            return Err(WeightError::ValueCount {
                path: target.to_string(),
                name: tensor.name.clone(),
                shape: tensor.shape.clone(),
                values: tensor.values.len(),
            });
        }
        if storage.halves(&tensor.shape)
            && let Some(value) =
                tensor.values.iter().find(|value| !f16::from_f32(**value).is_finite())
        {
            return Err(WeightError::HalfRange {
                path: target.to_string(),
                name: tensor.name.clone(),
                value: *value,
            });
        }
    }
    Ok(())
}

/// The JSON header, padded with spaces to a multiple of eight bytes as the format requires.
fn header(
    tensors: &[&NamedTensor],
    metadata: &BTreeMap<String, String>,
    storage: StorageType,
) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut entries = Vec::with_capacity(tensors.len() + 1);
    if !metadata.is_empty() {
        let pairs: Vec<String> = metadata
            .iter()
            .map(|(key, value)| format!("{}:{}", quoted(key), quoted(value)))
            .collect();
        entries.push(format!("\"__metadata__\":{{{}}}", pairs.join(",")));
    }
    let mut offset = 0;
    for tensor in tensors {
        let (dtype, size) = if storage.halves(&tensor.shape) { ("F16", 2) } else { ("F32", 4) };
        let end = offset + tensor.values.len() * size;
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        entries.push(format!(
            "{}:{{\"dtype\":\"{dtype}\",\"shape\":[{}],\"data_offsets\":[{offset},{end}]}}",
            quoted(&tensor.name),
            shape.join(",")
        ));
        offset = end;
    }
    let mut text = format!("{{{}}}", entries.join(","));
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    text
}

/// Writes a file beside `path`, syncs it and renames it to `path`; returns its length in bytes.
///
/// A reader sees the old file or the complete new one, even after a power cut.
fn write_beside(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<u64> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED.0).suffix(UNFINISHED.1);
    // Temporary files are private by default. A model file gets the permissions of any new file
    // (the umask applies).
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let beside = builder.tempfile_in(folder)?;

    let mut writer = BufWriter::with_capacity(1 << 20, beside.as_file());
    content(&mut writer)?;
    writer.flush()?;
    drop(writer);
    beside.as_file().sync_all()?;
    let length = beside.as_file().metadata()?.len();
    beside.persist(path).map_err(|error| error.error)?;
    // The rename is durable only once the folder is synced. Windows has no such call, nor do some
    // network file systems.
    #[cfg(unix)]
    match std::fs::File::open(folder)?.sync_all() {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
        }
        outcome => outcome?,
    }
    Ok(length)
}
