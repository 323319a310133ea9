//! The only place that knows which engines there are.
//!
//! Everything else opens one with [`open`] and sees the trait [`Engine`]. Another engine is a crate
//! that implements the trait, an arm of [`open`], and lines in [`devices`].

mod device;
mod team;

pub use device::{Device, DeviceChoice, UnknownDevice};

use regraft_cpu::isa::{self, InstructionSet, IsaError};
use regraft_cpu::{CpuEngine, CpuError, amx};
use regraft_nn::engine::{Engine, EngineError};
use regraft_nn::graph::Graph;
use regraft_nn::precision::Precision;
use team::Team;

/// An engine that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The CPU engine cannot be made.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The instruction set that was asked for is not there.
    #[error(transparent)]
    InstructionSet(#[from] IsaError),
    /// No engine of this build runs on the device.
    #[error("--device {device} cannot be used: {why}; use --device cpu")]
    Unusable {
        /// The device.
        device: Device,
        /// What stands against it.
        why: &'static str,
    },
    /// An engine refused its tensors, or to be one of several.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Why no graphics processor is used.
const NO_GPU: &str = "this build has no engine for graphics processors";

impl DeviceChoice {
    /// The devices of this machine that are meant. A run writes them to `config.toml`, so that it
    /// goes on with the same.
    ///
    /// # Errors
    /// If a device cannot be used.
    pub fn resolve(&self) -> Result<Self, OpenError> {
        let devices = match self {
            Self::Auto | Self::All => return Ok(Self::Listed(vec![Device::Cpu])),
            Self::Listed(devices) => devices,
        };
        if let Some(&device) = devices.iter().find(|device| matches!(device, Device::Gpu(_))) {
            return Err(OpenError::Unusable { device, why: NO_GPU });
        }
        Ok(self.clone())
    }
}

/// Opens an engine that runs `graph` on the device, for square images of `image_size` pixels, all
/// tensors zero. Maps are stored as `precision` says. On the processor, `threads` threads compute
/// (0: one for each core), which several engines share.
///
/// # Errors
/// If the device cannot be used, the images are too small for the graph, or the machine lacks what
/// was asked for.
pub fn open(
    device: &DeviceChoice,
    graph: Graph,
    image_size: usize,
    precision: Precision,
    threads: usize,
) -> Result<Box<dyn Engine>, OpenError> {
    let DeviceChoice::Listed(devices) = device.resolve()? else {
        unreachable!("a choice is resolved to a list")
    };
    let open = |threads: usize| -> Result<Box<dyn Engine>, OpenError> {
        Ok(Box::new(CpuEngine::with_precision(graph.clone(), image_size, threads, precision)?))
    };
    if devices.len() == 1 {
        return open(threads);
    }
    let cores = if threads > 0 {
        threads
    } else {
        std::thread::available_parallelism().map_or(1, usize::from)
    };
    let share = (cores / devices.len()).max(1);
    let ranks = devices.iter().map(|_| open(share)).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(Team::new(ranks)?))
}

/// The precision that is fastest on this machine: bf16 if its instruction set multiplies it.
#[must_use]
pub fn fastest_precision() -> Precision {
    let multiplies_bf16 = isa::in_use().is_ok_and(InstructionSet::multiplies_bf16);
    if multiplies_bf16 { Precision::Bf16 } else { Precision::F32 }
}

/// Refuses an instruction set that the environment asks for and this machine lacks. A program calls
/// this before anything computes.
///
/// # Errors
/// [`OpenError::InstructionSet`].
pub fn check_machine() -> Result<(), OpenError> {
    isa::in_use()?;
    Ok(())
}

/// The name of the instruction set that the processor computes with in this process, or `unknown`
/// if it cannot be used.
#[must_use]
pub fn instruction_set() -> &'static str {
    isa::in_use().map_or("unknown", InstructionSet::name)
}

/// What the processor can do for the CPU engine.
#[derive(Clone, Debug)]
pub struct Processor {
    /// The names of the instruction sets that can be used, least capable first.
    pub instruction_sets: Vec<&'static str>,
    /// The one in use.
    pub in_use: &'static str,
    /// The environment variable that asked for it, if one did.
    pub forced_by: Option<&'static str>,
    /// `usable`, or what stands against AMX.
    pub amx: String,
}

/// Asks the processor.
#[must_use]
pub fn processor() -> Processor {
    let available = InstructionSet::ALL.into_iter().filter(|set| set.is_available());
    Processor {
        instruction_sets: available.map(InstructionSet::name).collect(),
        in_use: instruction_set(),
        forced_by: std::env::var_os(isa::VARIABLE)
            .filter(|value| !value.is_empty())
            .map(|_| isa::VARIABLE),
        amx: amx::usable().map_or_else(|unusable| unusable.to_string(), |_| "usable".to_owned()),
    }
}

/// A device that was looked for, by the word that `--device` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The word.
    pub device: &'static str,
    /// What stands against its use, if anything does.
    pub unusable: Option<&'static str>,
}

/// Every kind of device that Regraft knows.
#[must_use]
pub fn devices() -> Vec<Listed> {
    vec![Listed { device: "cpu", unusable: None }, Listed { device: "gpu", unusable: Some(NO_GPU) }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(text: &str) -> DeviceChoice {
        DeviceChoice::try_from(text.to_owned()).expect(text)
    }

    #[test]
    fn a_choice_is_resolved_to_devices_that_can_be_used() {
        for text in ["auto", "all", "cpu"] {
            assert_eq!(choice(text).resolve().expect(text), choice("cpu"));
        }
        assert_eq!(choice("cpu,cpu").resolve().expect("two engines"), choice("cpu*2"));
        let error = |text: &str| choice(text).resolve().expect_err(text).to_string();
        assert_eq!(
            error("gpu"),
            "--device gpu:0 cannot be used: this build has no engine for graphics processors; use \
             --device cpu"
        );
    }
}
