//! The only module that knows which engines exist.
//!
//! All other code opens an engine with [`open`] and sees only the trait [`Engine`]. To add an
//! engine, write a crate that implements the trait, an arm of [`open`] and a line of [`devices`].

mod cut;
mod device;
mod gpu;
mod rank;
mod team;

pub use device::{Device, DeviceChoice, UnknownDevice};
pub use gpu::Graphics;

use crate::ranks::Ranks;
use rank::RankEngine;
use regraft_cpu::isa::{self, InstructionSet, IsaError};
use regraft_cpu::{CpuEngine, CpuError, amx};
use regraft_nn::engine::{Engine, EngineError};
use regraft_nn::graph::Graph;
use regraft_nn::precision::Precision;
use team::Team;

/// Why an engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The CPU engine cannot be created.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The processor lacks the requested instruction set.
    #[error(transparent)]
    InstructionSet(#[from] IsaError),
    /// No engine of this build runs on the device.
    #[error("--device {device} cannot be used: {why}; use --device cpu")]
    Unusable {
        /// The device.
        device: Device,
        /// The reason.
        why: String,
    },
    /// Several devices for each of several ranks.
    #[error(
        "--device {0} names several devices, but each of the {1} ranks of this job takes one; \
         start a rank for each device"
    )]
    SeveralDevices(DeviceChoice, usize),
    /// The GPU engine cannot be created.
    #[cfg(feature = "gpu")]
    #[error(transparent)]
    Gpu(#[from] regraft_gpu::GpuError),
    /// An engine refused its tensors, or to become one of several ranks.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl DeviceChoice {
    /// The devices of this machine that the choice means. A run writes them to `config.toml` and
    /// keeps them when it resumes.
    ///
    /// # Errors
    /// If a device cannot be used.
    pub fn resolve(&self) -> Result<Self, OpenError> {
        let devices = match self {
            // A GPU is not chosen before its speed for the network is measured.
            Self::Auto => return Ok(Self::Listed(vec![Device::Cpu])),
            Self::All => return Ok(Self::Listed(all_of_the_best_kind())),
            Self::Listed(devices) => devices,
        };
        for &device in devices {
            if let Device::Gpu(number) = device {
                gpu::check(number).map_err(|why| OpenError::Unusable { device, why })?;
            }
        }
        Ok(self.clone())
    }
}

/// All GPUs, or the CPU if there is none. Software that acts as a GPU, such as lavapipe, computes
/// on the CPU's cores and is used only if `--device gpu` asks for it.
fn all_of_the_best_kind() -> Vec<Device> {
    let numbered = gpu::all().into_iter().enumerate();
    let found: Vec<Device> = numbered
        .filter(|(_, graphics)| graphics.kind != "software")
        .map(|(number, _)| Device::Gpu(number))
        .collect();
    if found.is_empty() { vec![Device::Cpu] } else { found }
}

/// Opens an engine that runs `graph` on the device, for square images of `image_size` pixels. All
/// tensors are zero, and feature maps have the type `precision`. The CPU engines share `threads`
/// threads (0: one for each core).
///
/// If there are several ranks, the engine is one of as many, and `gpu:0` means the GPU of the
/// rank's number on its machine.
///
/// # Errors
/// If the device cannot be used, the images are too small for the graph, or the machine lacks the
/// memory or the instruction set.
pub fn open(
    device: &DeviceChoice,
    graph: Graph,
    image_size: usize,
    precision: Precision,
    threads: usize,
    ranks: &Ranks,
) -> Result<Box<dyn Engine>, OpenError> {
    let DeviceChoice::Listed(devices) = device.resolve()? else {
        unreachable!("a choice is resolved to a list")
    };
    let threads = if ranks.is_alone() { threads } else { ranks.threads(threads) };
    let open = |device: Device, threads: usize| -> Result<Box<dyn Engine>, OpenError> {
        let graph = graph.clone();
        match device {
            Device::Cpu => {
                let engine = CpuEngine::with_precision(graph, image_size, threads, precision)?;
                Ok(Box::new(engine))
            }
            Device::Gpu(number) => Ok(gpu::open(number, graph, image_size, precision)?),
        }
    };
    if let [device] = devices[..] {
        if ranks.is_alone() {
            return open(device, threads);
        }
        let own = open(of_rank(device, ranks), threads)?;
        return Ok(Box::new(RankEngine::new(own, ranks)?));
    }
    if !ranks.is_alone() {
        return Err(OpenError::SeveralDevices(DeviceChoice::Listed(devices), ranks.size()));
    }
    let cores = if threads > 0 {
        threads
    } else {
        std::thread::available_parallelism().map_or(1, usize::from)
    };
    let on_processor = devices.iter().filter(|device| **device == Device::Cpu).count();
    let share = (cores / on_processor.max(1)).max(1);
    let ranks =
        devices.into_iter().map(|device| open(device, share)).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(Team::new(ranks)?))
}

/// The device that a rank takes. If a machine has more ranks than GPUs, they share them. A
/// scheduler may also show each rank only its own, which then is its first.
fn of_rank(device: Device, ranks: &Ranks) -> Device {
    match device {
        Device::Gpu(0) => Device::Gpu(ranks.place().local_rank % gpu::all().len().max(1)),
        other => other,
    }
}

/// The precision that `auto` means on a device: bf16 if the CPU computes and has instructions for
/// it. A GPU computes in f32 unless f16 is asked for, whose smaller range can overflow.
#[must_use]
pub fn fastest_precision(device: &DeviceChoice) -> Precision {
    let is_cpu = match device.resolve() {
        Ok(DeviceChoice::Listed(devices)) => devices.iter().all(|device| *device == Device::Cpu),
        _ => false,
    };
    let multiplies_bf16 = isa::in_use().is_ok_and(InstructionSet::multiplies_bf16);
    if is_cpu && multiplies_bf16 { Precision::Bf16 } else { Precision::F32 }
}

/// Refuses an instruction set that the environment requests and this machine lacks. A program calls
/// this before it computes anything.
///
/// # Errors
/// [`OpenError::InstructionSet`].
pub fn check_machine() -> Result<(), OpenError> {
    isa::in_use()?;
    Ok(())
}

/// The name of the instruction set that this process uses, or `unknown` if it cannot be used.
#[must_use]
pub fn instruction_set() -> &'static str {
    isa::in_use().map_or("unknown", InstructionSet::name)
}

/// The abilities of the processor that matter to the CPU engine.
#[derive(Clone, Debug)]
pub struct Processor {
    /// The names of the usable instruction sets, the least capable first.
    pub instruction_sets: Vec<&'static str>,
    /// The instruction set in use.
    pub in_use: &'static str,
    /// The environment variable that requested it, if one did.
    pub forced_by: Option<&'static str>,
    /// `usable`, or the reason why AMX cannot be used.
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

/// A device that [`devices`] looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The value of `--device` that selects it.
    pub device: String,
    /// The driver's description of a GPU.
    pub graphics: Option<Graphics>,
    /// The reason why it cannot be used, if it cannot.
    pub unusable: Option<String>,
}

/// Every device of this machine, and every kind of device that it lacks. Loads the GPU drivers.
#[must_use]
pub fn devices() -> Vec<Listed> {
    let mut devices = vec![Listed { device: "cpu".to_owned(), graphics: None, unusable: None }];
    let numbered = gpu::all().into_iter().enumerate();
    devices.extend(numbered.map(|(number, graphics)| Listed {
        device: Device::Gpu(number).to_string(),
        graphics: Some(graphics),
        unusable: None,
    }));
    if let Err(why) = gpu::check(0) {
        let device = "gpu".to_owned();
        devices.push(Listed { device, graphics: None, unusable: Some(why) });
    }
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(text: &str) -> DeviceChoice {
        DeviceChoice::try_from(text.to_owned()).expect(text)
    }

    #[test]
    fn a_choice_is_resolved_to_devices_that_can_be_used() {
        for text in ["auto", "cpu"] {
            assert_eq!(choice(text).resolve().expect(text), choice("cpu"));
        }
        choice("all").resolve().expect("there is always a CPU");
        assert_eq!(choice("cpu,cpu").resolve().expect("two engines"), choice("cpu*2"));
        let error = choice("gpu:99").resolve().expect_err("no machine has a hundred").to_string();
        assert!(error.starts_with("--device gpu:99 cannot be used: "), "{error}");
    }
}
