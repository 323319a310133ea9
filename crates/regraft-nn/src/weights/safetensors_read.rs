//! Reads safetensors.

use super::elements::{ByteOrder, FloatType, to_f32};
use super::{NamedTensor, WeightError, WeightFile, WeightFormat, is_batch_counter};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use std::collections::{BTreeMap, HashSet};

/// The largest header the format allows, in bytes.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Checks the header length in the first eight bytes before anything is allocated for it.
///
/// `start` is the beginning of the file, and `length` is the file's length in bytes.
pub(super) fn check_header_length(
    start: &[u8],
    length: u64,
    origin: &str,
) -> Result<(), WeightError> {
    let Some(claimed) = start.first_chunk::<8>() else {
        return Err(WeightError::damaged(origin, "it is too short to be a safetensors file"));
    };
    let claimed = u64::from_le_bytes(*claimed);
    let room = length.saturating_sub(8);
    if claimed > MAX_HEADER_BYTES {
        return Err(WeightError::damaged(
            origin,
            format!(
                "its safetensors header claims {claimed} bytes, and the format allows \
                 {MAX_HEADER_BYTES}"
            ),
        ));
    }
    if claimed > room {
        return Err(WeightError::damaged(
            origin,
            format!(
                "its safetensors header claims {claimed} bytes, but the file holds only {room} \
                 after it"
            ),
        ));
    }
    Ok(())
}

/// Reads a safetensors file from memory. `origin` names it in error messages.
///
/// # Errors
///
/// Like [`read`](super::read).
pub fn read_safetensors(bytes: &[u8], origin: &str) -> Result<WeightFile, WeightError> {
    check_header_length(bytes, bytes.len() as u64, origin)?;
    // This also checks that the tensors' ranges are consecutive and fill the rest of the file
    // exactly.
    let (header_bytes, header) =
        SafeTensors::read_metadata(bytes).map_err(|error| refusal(origin, bytes.len(), &error))?;
    check_names(&bytes[8..8 + header_bytes], origin)?;
    let data = &bytes[8 + header_bytes..];
    let metadata: BTreeMap<String, String> =
        header.metadata().clone().unwrap_or_default().into_iter().collect();

    let mut tensors = Vec::new();
    let mut ignored = Vec::new();
    for (name, info) in header.tensors() {
        let float = match info.dtype {
            Dtype::F64 => FloatType::F64,
            Dtype::F32 => FloatType::F32,
            Dtype::F16 => FloatType::F16,
            Dtype::BF16 => FloatType::Bf16,
            integer @ (Dtype::BOOL
            | Dtype::U8
            | Dtype::I8
            | Dtype::I16
            | Dtype::U16
            | Dtype::I32
            | Dtype::U32
            | Dtype::I64
            | Dtype::U64) => {
                if !is_batch_counter(&name) {
                    ignored.push(format!("{name} ({integer:?})"));
                }
                continue;
            }
            other => {
                return Err(WeightError::unsupported(
                    origin,
                    format!("tensor {name} is stored as {other:?}"),
                    "save the weights as f32, f16 or bf16",
                ));
            }
        };
        let shape = info.shape.clone();
        let count = shape.iter().product();
        let (start, end) = info.data_offsets;
        let values = to_f32(&data[start..end], float, ByteOrder::Little, count)
            .map_err(|reason| WeightError::damaged(origin, format!("tensor {name}: {reason}")))?;
        tensors.push(NamedTensor { name, shape, values });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    ignored.sort();
    Ok(WeightFile {
        origin: origin.to_string(),
        format: WeightFormat::Safetensors,
        tensors,
        metadata,
        ignored,
        notes: Vec::new(),
    })
}

/// Refuses a header with a repeated name: the crate would take the last one, another reader perhaps
/// the first.
fn check_names(header: &[u8], origin: &str) -> Result<(), WeightError> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Option<String>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut names = HashSet::new();
            let mut twice = None;
            while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                if names.contains(&name) {
                    twice = Some(name);
                } else {
                    names.insert(name);
                }
            }
            Ok(twice)
        }
    }
    let twice = serde_json::Deserializer::from_slice(header).deserialize_map(Names);
    match twice.map_err(|error| WeightError::damaged(origin, error))? {
        Some(name) => Err(WeightError::Duplicate { origin: origin.to_string(), name }),
        None => Ok(()),
    }
}

fn refusal(origin: &str, length: usize, error: &SafeTensorError) -> WeightError {
    let reason = match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            format!("its {length} bytes are not the number that its safetensors header describes")
        }
        other => format!("its safetensors header does not make sense ({other})"),
    };
    WeightError::damaged(origin, reason)
}
