//! AMX's tile instructions in software, for tests: a handler of the signal that a processor without
//! AMX raises at one of them carries the instruction out, as Intel's Software Developer's Manual
//! (volume 2) describes it, and goes on behind it. So the machine code that runs on a processor
//! with AMX is what is tested on one without.
//!
//! Only what `regraft-kernels` executes is known: `ldtilecfg`, `tilerelease`, `tilezero`,
//! `tileloadd`, `tilestored`, `tdpbf16ps`. Anything else that the processor does not know, and a
//! use that the manual forbids, ends the process with a message.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod decode;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod handler;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tiles;

/// Emulates tile instructions in this process from now on, where that is possible: on Linux, on an
/// x86-64 processor with AVX-512.
///
/// It must not be called where the processor has AMX: what that carries out itself, the emulator
/// does not see.
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

/// How many products of tiles were carried out so far, by any thread: whether a test ran what it
/// means to run.
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
