//! Tensors and files into hashes, and hashes into digits.

use sha2::digest::Output;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Adds tensors' names and elements to a hash.
pub(crate) fn hash_tensors<'a>(
    hash: &mut Sha256,
    tensors: impl IntoIterator<Item = (&'a String, &'a Vec<f32>)>,
) {
    for (name, values) in tensors {
        hash.update(name);
        hash_values(hash, values);
    }
}

/// Adds how many values there are, and the values.
pub(crate) fn hash_values(hash: &mut Sha256, values: &[f32]) {
    hash.update((values.len() as u64).to_le_bytes());
    let mut bytes = [0; 4096];
    for values in values.chunks(bytes.len() / 4) {
        for (bytes, value) in bytes.chunks_exact_mut(4).zip(values) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        hash.update(&bytes[..4 * values.len()]);
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash of a file.
pub(crate) fn hash_file<D: Digest>(mut hash: D, path: &Path) -> io::Result<Output<D>> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize()),
            read => hash.update(&buffer[..read]),
        }
    }
}
