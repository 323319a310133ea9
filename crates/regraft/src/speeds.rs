//! How fast architectures are on this machine: measured by `regraft bench zoo`, and remembered.

use crate::atomic_file::{self, AtomicFileError};
use crate::bench::{BenchError, StepMode, StepOptions, step};
use crate::config::{Freeze, PrecisionChoice, cores_or};
use crate::engines::{self, DeviceChoice};
use crate::features::cache_folder;
use crate::file_error::FileError;
use regraft_nn::architectures::Architecture;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "speeds.json";

/// The settings of a measurement, which tell one machine's setting from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeedSettings {
    /// The device, as `--device` takes it.
    pub device: String,
    /// Number format of feature maps.
    pub precision: String,
    /// The processor's instruction set.
    pub isa: String,
    /// Threads that computed.
    pub threads: usize,
}

/// How fast an architecture is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// The architecture.
    pub model: String,
    /// How it was measured.
    #[serde(flatten)]
    pub settings: SpeedSettings,
    /// Images in a batch.
    pub batch: usize,
    /// Images a second in evaluation, at the architecture's image size.
    pub images_per_second: f64,
}

/// Speeds that cannot be remembered.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each is the error of the part that it is named after.
pub enum SpeedsError {
    /// The system has no folder for them.
    #[error(
        "speeds cannot be remembered without a folder; name one with the variable REGRAFT_CACHE"
    )]
    NoFolder,
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Write(#[from] AtomicFileError),
    /// The file is not one of ours.
    #[error("{} is damaged: {reason}; remove it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: String,
    },
}

impl SpeedSettings {
    /// Those of this machine.
    #[must_use]
    pub fn of(device: &DeviceChoice, precision: PrecisionChoice, threads: usize) -> Self {
        Self {
            device: device.to_string(),
            precision: precision.resolve(device).name().to_owned(),
            isa: engines::instruction_set().to_owned(),
            threads: cores_or(threads),
        }
    }
}

/// Times evaluation of an architecture on batches of random images.
///
/// # Errors
/// If the batch does not fit into memory, or the device cannot compute it.
pub fn measure(
    architecture: &Architecture,
    device: &DeviceChoice,
    precision: PrecisionChoice,
    threads: usize,
    batch: usize,
    steps: usize,
) -> Result<Speed, BenchError> {
    let report = step(&StepOptions {
        model: architecture.name.to_owned(),
        mode: StepMode::Eval,
        batch,
        classes: 1000,
        device: device.clone(),
        threads,
        precision,
        freeze: Freeze::None,
        steps,
    })?;
    Ok(Speed {
        model: architecture.name.to_owned(),
        settings: SpeedSettings::of(device, precision, threads),
        batch,
        images_per_second: report.images_per_second,
    })
}

/// The speeds that are remembered; none if nothing was measured.
///
/// # Errors
/// If their file cannot be read.
pub fn remembered() -> Result<Vec<Speed>, SpeedsError> {
    cache_folder().map_or(Ok(Vec::new()), |folder| read(&folder.join(FILE)))
}

/// Remembers a speed in place of an earlier one of the same model and settings.
///
/// # Errors
/// If their file cannot be read or written.
pub fn remember(speed: &Speed) -> Result<(), SpeedsError> {
    let folder = cache_folder().ok_or(SpeedsError::NoFolder)?;
    fs::create_dir_all(&folder).map_err(FileError::when("create", &folder))?;
    add(&folder.join(FILE), speed)
}

fn add(path: &Path, speed: &Speed) -> Result<(), SpeedsError> {
    let mut speeds = read(path)?;
    speeds.retain(|known| known.model != speed.model || known.settings != speed.settings);
    speeds.push(speed.clone());
    let text = serde_json::to_string_pretty(&speeds).map_err(|error| SpeedsError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(atomic_file::write(path, text.as_bytes())?)
}

fn read(path: &Path) -> Result<Vec<Speed>, SpeedsError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::when("read", path)(error).into()),
    };
    serde_json::from_str(&text)
        .map_err(|error| SpeedsError::Damaged { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_speed_replaces_one_of_the_same_settings() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        assert_eq!(read(&path).expect("nothing"), []);
        let settings = SpeedSettings {
            device: "cpu".into(),
            precision: "f32".into(),
            isa: "avx2".into(),
            threads: 2,
        };
        let speed = |model: &str, threads, images_per_second| Speed {
            model: model.into(),
            settings: SpeedSettings { threads, ..settings.clone() },
            batch: 16,
            images_per_second,
        };
        for found in
            [speed("a", 2, 1.0), speed("b", 2, 2.0), speed("a", 4, 3.0), speed("a", 2, 4.0)]
        {
            add(&path, &found).expect("written");
        }
        let expected = [speed("b", 2, 2.0), speed("a", 4, 3.0), speed("a", 2, 4.0)];
        assert_eq!(read(&path).expect("read"), expected);
        fs::write(&path, "[").expect("written");
        assert!(read(&path).expect_err("damaged").to_string().contains("speeds.json is damaged"));
    }
}
