//! AMX's tile instructions in software, for tests. A processor without AMX raises a signal at such
//! an instruction; a handler executes the instruction as Intel's Software Developer's Manual
//! (volume 2) describes it, and continues behind it. So tests on a processor without AMX run the
//! same machine code as a processor with AMX.
//!
//! The emulator knows only the instructions that `regraft-kernels` executes: `ldtilecfg`,
//! `tilerelease`, `tilezero`, `tileloadd`, `tileloaddt1`, `tilestored`, `tdpbf16ps`. Any other
//! unknown instruction, and any use that the manual forbids, ends the process with a message.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod decode;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod handler;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tiles;

/// Emulates tile instructions in this process from now on, if possible: on Linux, on an x86-64
/// processor with AVX-512.
///
/// It must not be called if the processor has AMX, because the emulator does not see instructions
/// that the processor executes.
#[must_use]
pub fn install() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        if is_x86_feature_detected!("avx512f") {
            handler::install();
            return true;
        }
    }
    false
}

/// The number of products of tiles that any thread has executed so far, which shows whether a test
/// ran them.
#[must_use]
pub fn products() -> u64 {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        handler::PRODUCTS.load(std::sync::atomic::Ordering::Relaxed)
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    {
        0
    }
}

/// The number of tiles that any thread has loaded so far.
#[must_use]
pub fn loads() -> u64 {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        handler::LOADS.load(std::sync::atomic::Ordering::Relaxed)
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    {
        0
    }
}
