//! Converts any weight file to safetensors with torchvision's or timm's names.

use super::matching::translate_names;
use super::{NonFinite, StorageType, WeightError, WeightFormat};
use super::{non_finite, read, strip_prefixes, write_safetensors};
use half::f16;
use std::collections::BTreeMap;
use std::path::Path;

/// The outcome of a conversion.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvertReport {
    /// The format of the input.
    pub format: WeightFormat,
    /// Tensors written.
    pub tensors: usize,
    /// Elements of all tensors except batch norm's running statistics, which are not trained.
    pub parameters: usize,
    /// Length of the file written, in bytes.
    pub bytes: u64,
    /// The largest |stored - original| over all elements; 0 for [`StorageType::F32`].
    pub largest_rounding_error: f32,
    /// The tensor in which it occurs; `None` if nothing was rounded.
    pub largest_rounding_error_in: Option<String>,
    /// The largest |stored - original| of a tensor over that tensor's largest |original|; 0 for
    /// [`StorageType::F32`].
    pub largest_relative_rounding_error: f32,
    /// The prefix that was removed from the names; empty if there was none.
    pub prefix_stripped: String,
    /// Whether the names were those of another library and were translated to timm's.
    pub names_translated: bool,
    /// Integer tensors and others that no classifier uses, which were left out.
    pub ignored: Vec<String>,
    /// Tensors with NaN or infinite elements, which were stored unchanged.
    pub non_finite: Vec<NonFinite>,
    /// The choices that were made if the input has more than one set of weights, one sentence each.
    pub notes: Vec<String>,
}

/// Reads `input` in any of the formats of [`read`], removes prefixes, translates old names and
/// writes safetensors to `output`.
///
/// The input's own metadata is kept; `metadata` is added and takes precedence if both have a key.
///
/// # Errors
///
/// Those of [`read`] and [`write_safetensors`].
pub fn convert(
    input: &Path,
    output: &Path,
    storage: StorageType,
    metadata: &BTreeMap<String, String>,
) -> Result<ConvertReport, WeightError> {
    let mut file = read(input)?;
    let prefix_stripped = strip_prefixes(&mut file.tensors);
    let names_translated = translate_names(&mut file.tensors, &mut file.ignored);
    file.metadata.extend(metadata.iter().map(|(key, value)| (key.clone(), value.clone())));
    let bytes = write_safetensors(output, &file.tensors, &file.metadata, storage)?;

    let mut largest_rounding_error = 0.0;
    let mut largest_rounding_error_in = None;
    let mut largest_relative_rounding_error: f32 = 0.0;
    for tensor in file.tensors.iter().filter(|tensor| storage.halves(&tensor.shape)) {
        let error = tensor
            .values
            .iter()
            .map(|value| (f16::from_f32(*value).to_f32() - value).abs())
            .fold(0.0, f32::max);
        let largest_value = tensor.values.iter().map(|value| value.abs()).fold(0.0, f32::max);
        if error > largest_rounding_error {
            largest_rounding_error = error;
            largest_rounding_error_in = Some(tensor.name.clone());
        }
        if error > 0.0 {
            largest_relative_rounding_error =
                largest_relative_rounding_error.max(error / largest_value);
        }
    }
    let is_parameter =
        |name: &str| !name.ends_with("running_mean") && !name.ends_with("running_var");
    Ok(ConvertReport {
        format: file.format,
        tensors: file.tensors.len(),
        parameters: file
            .tensors
            .iter()
            .filter(|tensor| is_parameter(&tensor.name))
            .map(|tensor| tensor.values.len())
            .sum(),
        bytes,
        largest_rounding_error,
        largest_rounding_error_in,
        largest_relative_rounding_error,
        prefix_stripped,
        names_translated,
        ignored: file.ignored,
        non_finite: non_finite(&file.tensors),
        notes: file.notes,
    })
}
