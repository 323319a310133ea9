//! Recognises files that are not supported weight files, so that an intact file is never called
//! damaged.
//!
//! `regraft-data` recognises some of these files too, in `file_kind`. Neither crate depends on the
//! other, and the advice to the user differs, so each has its own list.

use super::WeightError;

/// Bytes of a file that are enough to recognise it: up to the magic of a tar header at byte 257.
pub(super) const PROBE_BYTES: u64 = 262;

const SAVE_STATE_DICT: &str = "save the model's state_dict() with torch.save or as safetensors";
const TO_PYTORCH: &str = "convert it to a PyTorch state dict or safetensors";
const UNPACK: &str = "unpack it and name the weight file inside";

/// The error for a file in none of the supported formats, by its first [`PROBE_BYTES`].
pub(super) fn describe(probe: &[u8], origin: &str) -> WeightError {
    if let Some((found, advice)) = foreign_model(probe) {
        return WeightError::unsupported(origin, format!("it is {found}"), advice);
    }
    let text = String::from_utf8_lossy(probe).trim_start().to_ascii_lowercase();
    let (found, advice) = if probe.is_empty() {
        ("an empty file", "download or copy it again")
    } else if text.starts_with("version https://git-lfs") {
        (
            "a git-lfs pointer, not the file it points to",
            "fetch the file itself with `git lfs pull`",
        )
    } else if text.starts_with("<!doctype")
        || text.starts_with("<html")
        || text.starts_with("<?xml")
    {
        (
            "a web page",
            "download the file itself; a page like this often asks for a login or reports an error",
        )
    } else if let Some(found) = packed(probe) {
        (found, UNPACK)
    } else if probe.get(257..262) == Some(b"ustar") {
        (
            "a tar archive",
            "unpack it and name the weight file inside; a PyTorch file older than 0.1.10 must be \
                saved again with a newer PyTorch",
        )
    } else if probe.first() == Some(&0x80) {
        ("a Python pickle, but not a checkpoint that torch.save wrote", SAVE_STATE_DICT)
    } else if text.starts_with('{') {
        (
            "JSON text, such as a configuration or the index of a model in several files",
            "name the .safetensors or .pth file itself (of a model in several files, one file \
             that holds all tensors)",
        )
    } else if probe.iter().all(|&byte| byte == 0) {
        ("a file that begins with zeros", "download or copy it again")
    } else {
        (
            "neither safetensors nor a checkpoint that torch.save wrote",
            "name a .safetensors or .pth file",
        )
    };
    WeightError::not_weights(origin, found, advice)
}

/// A model in the format of another framework.
fn foreign_model(probe: &[u8]) -> Option<(&'static str, &'static str)> {
    match probe {
        [0x89, b'H', b'D', b'F', b'\r', b'\n', 0x1a, b'\n', ..] => {
            Some(("an HDF5 file, as Keras writes", TO_PYTORCH))
        }
        [b'G', b'G', b'U', b'F', ..] => Some(("a GGUF file", "use the model's safetensors file")),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Some(("a NumPy array", TO_PYTORCH)),
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => Some(("a TensorFlow Lite model", TO_PYTORCH)),
        // Flax's msgpack: a map whose first key is "params".
        [0x81..=0x8f, 0xa6, b'p', b'a', b'r', b'a', b'm', b's', ..] => {
            Some(("a Flax checkpoint", TO_PYTORCH))
        }
        // An ONNX model is a protocol buffer: field 1 is a small version number; then comes the
        // producer's name (2), the graph (7) or the operator sets (8).
        [0x08, 1..=31, 0x12 | 0x3a | 0x42, ..] => Some((
            "an ONNX model",
            "take the weights that it was exported from: the model's state_dict()",
        )),
        _ => None,
    }
}

/// An archive or compressed file other than ZIP and tar.
fn packed(probe: &[u8]) -> Option<&'static str> {
    match probe {
        [0x1f, 0x8b, ..] => Some("a gzip archive"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("an xz archive"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("a zstd archive"),
        [b'B', b'Z', b'h', ..] => Some("a bzip2 archive"),
        [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => Some("a 7z archive"),
        [b'R', b'a', b'r', b'!', ..] => Some("a RAR archive"),
        _ => None,
    }
}

/// The error for a ZIP archive that is not a checkpoint of `torch.save`, by the names of its
/// entries; `None` if it could be one.
///
/// Sources: `torch.export.save` of PyTorch 2.1 to 2.7 writes `serialized_exported_program.json`,
/// since 2.8 an `archive_format` beside `models/`; `torch.jit.save` writes `constants.pkl` and
/// `code/`.
pub(super) fn describe_zip<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    origin: &str,
) -> Option<WeightError> {
    let below_root = |name: &'a str| name.split_once('/').map_or("", |(_, rest)| rest);
    let has = |wanted: &dyn Fn(&str) -> bool| {
        names.clone().any(|name| wanted(name) || wanted(below_root(name)))
    };
    let unsupported = |found: &str, advice| {
        Some(WeightError::unsupported(origin, format!("it is {found}"), advice))
    };
    if has(&|name| {
        name == "archive_format"
            || name.starts_with("serialized_exported_program")
            || name == "models/model.json"
    }) {
        return unsupported("a torch.export program", SAVE_STATE_DICT);
    }
    if has(&|name| name == "constants.pkl" || name.starts_with("code/")) {
        return unsupported("a TorchScript program", SAVE_STATE_DICT);
    }
    if has(&|name| name == "model.weights.h5") {
        return unsupported("a Keras model", TO_PYTORCH);
    }
    if has(&|name| name == "MAR-INF/MANIFEST.json") {
        return unsupported("an archive of TorchServe", UNPACK);
    }
    if names.clone().next().is_some() && names.clone().all(|name| name.ends_with(".npy")) {
        return unsupported("an archive of NumPy arrays", TO_PYTORCH);
    }
    if !has(&|name| name == "data.pkl" || name.ends_with("/data.pkl")) {
        return Some(WeightError::not_weights(
            origin,
            "a zip archive that torch.save did not write",
            UNPACK,
        ));
    }
    None
}
