//! The values of `--device`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The most devices of one run.
const MOST_DEVICES: usize = 64;

/// A device that an engine can run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The processor's cores.
    Cpu,
    /// A graphics processor, by its number from 0.
    Gpu(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Gpu(number) => write!(formatter, "gpu:{number}"),
        }
    }
}

/// The requested devices. The word `gpu` means the first graphics processor, and `cpu*2` means
/// `cpu,cpu`: two engines share the cores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The processor, until a measured second chooses.
    #[default]
    Auto,
    /// All devices of the best kind.
    All,
    /// These devices, at least one.
    Listed(Vec<Device>),
}

/// An invalid value of `--device`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "device {0} is not known; use auto, cpu, gpu, gpu:N, all, or a list such as gpu:0,gpu:1 or \
     cpu*2"
)]
pub struct UnknownDevice(String);

impl TryFrom<String> for DeviceChoice {
    type Error = UnknownDevice;

    fn try_from(text: String) -> Result<Self, UnknownDevice> {
        let devices = match text.as_str() {
            "auto" => return Ok(Self::Auto),
            "all" => return Ok(Self::All),
            list => list.split(',').map(|item| repeated(item.trim())).collect::<Option<Vec<_>>>(),
        };
        let devices: Option<Vec<Device>> =
            devices.map(|devices| devices.into_iter().flatten().collect());
        match devices {
            Some(devices) if (1..=MOST_DEVICES).contains(&devices.len()) => {
                Ok(Self::Listed(devices))
            }
            _ => Err(UnknownDevice(text)),
        }
    }
}

/// A device, or several such as `cpu*2`.
fn repeated(text: &str) -> Option<Vec<Device>> {
    let (name, times) = match text.split_once('*') {
        Some((name, times)) => (name, times.parse().ok()?),
        None => (text, 1),
    };
    let device = match name.split_once(':') {
        None if name == "cpu" => Device::Cpu,
        None if name == "gpu" => Device::Gpu(0),
        Some(("gpu", number)) => Device::Gpu(number.parse().ok()?),
        _ => return None,
    };
    (1..=MOST_DEVICES).contains(&times).then(|| vec![device; times])
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let devices = match self {
            Self::Auto => return formatter.write_str("auto"),
            Self::All => return formatter.write_str("all"),
            Self::Listed(devices) => devices,
        };
        for (place, run) in devices.chunk_by(|one, other| one == other).enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(formatter, "{comma}{}", run[0])?;
            if run.len() > 1 {
                write!(formatter, "*{}", run.len())?;
            }
        }
        Ok(())
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_comes_back_as_it_is_written() {
        for (text, written) in [
            ("auto", "auto"),
            ("all", "all"),
            ("cpu", "cpu"),
            ("gpu", "gpu:0"),
            ("gpu:1", "gpu:1"),
            ("gpu:0,gpu:1", "gpu:0,gpu:1"),
            ("cpu*2", "cpu*2"),
            ("cpu,cpu", "cpu*2"),
            ("gpu:1*2, cpu", "gpu:1*2,cpu"),
        ] {
            let choice = DeviceChoice::try_from(text.to_owned()).expect(text);
            assert_eq!(choice.to_string(), written);
            assert_eq!(DeviceChoice::try_from(written.to_owned()), Ok(choice));
        }
    }

    #[test]
    fn what_names_no_device_is_refused() {
        for text in [
            "",
            "cuda",
            "gpu:",
            "gpu:x",
            "cpu:0",
            "cpu*0",
            "cpu*65",
            "cpu*33,cpu*33",
            "cpu,,cpu",
            "auto,cpu",
        ] {
            let error = DeviceChoice::try_from(text.to_owned()).expect_err(text);
            assert!(
                error.to_string().starts_with(&format!("device {text} is not known")),
                "{error}"
            );
        }
    }
}
