//! Reads bytes as a weight file, as `regraft train --weights` does.

use regraft_nn::weights::read;
use std::path::PathBuf;
use std::sync::LazyLock;

/// A file in memory, if the system has a place for one.
static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    folder.join(format!("regraft-fuzz-{}", std::process::id()))
});

/// The file is read or refused with a message, and its tensors have the lengths of their shapes.
pub fn read_bytes(bytes: &[u8]) {
    std::fs::write(&*PATH, bytes).expect("a file in memory");
    match read(&PATH) {
        Ok(file) => {
            for tensor in &file.tensors {
                assert_eq!(
                    tensor.shape.iter().product::<usize>(),
                    tensor.values.len(),
                    "{}",
                    tensor.name
                );
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
