//! Converts stored elements to f32.

use half::{bf16, f16};

/// The floating-point element types that weight files use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FloatType {
    F64,
    F32,
    F16,
    Bf16,
}

impl FloatType {
    pub(super) fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// Byte order of stored elements: safetensors is little-endian, and `pytorch-reader` returns native
/// bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Native,
}

/// Converts `bytes`, which are `count` elements of type `float`, to f32.
///
/// # Errors
///
/// A sentence if the number of bytes is not that of `count` elements, or if a finite f64 overflows
/// f32.
pub(super) fn to_f32(
    bytes: &[u8],
    float: FloatType,
    order: ByteOrder,
    count: usize,
) -> Result<Vec<f32>, String> {
    if count.checked_mul(float.size()) != Some(bytes.len()) {
        return Err(format!(
            "it holds {} bytes, but its shape needs {count} elements of {} bytes",
            bytes.len(),
            float.size()
        ));
    }
    let little = order == ByteOrder::Little || cfg!(target_endian = "little");
    match float {
        FloatType::F32 => {
            Ok(elements(
                bytes,
                |b| if little { f32::from_le_bytes(b) } else { f32::from_be_bytes(b) },
            ))
        }
        FloatType::F16 => Ok(elements(bytes, |b| {
            if little { f16::from_le_bytes(b) } else { f16::from_be_bytes(b) }.to_f32()
        })),
        FloatType::Bf16 => Ok(elements(bytes, |b| {
            if little { bf16::from_le_bytes(b) } else { bf16::from_be_bytes(b) }.to_f32()
        })),
        FloatType::F64 => {
            let wide: Vec<f64> =
                elements(
                    bytes,
                    |b| if little { f64::from_le_bytes(b) } else { f64::from_be_bytes(b) },
                );
            wide.into_iter()
                .map(|value| {
                    let narrow = value as f32;
                    if narrow.is_infinite() && value.is_finite() {
                        return Err(format!("its value {value:e} is outside of f32's range"));
                    }
                    Ok(narrow)
                })
                .collect()
        }
    }
}

fn elements<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| convert(*chunk)).collect()
}
