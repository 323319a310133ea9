//! Finds out whether AMX's tiles can be used: asks the processor and the operating system, and runs
//! a test.
//!
//! The tiles of a processor hold 8 KiB that the system saves for each thread that uses them, so on
//! Linux a process must ask for permission once.

#[cfg(target_arch = "x86_64")]
pub(crate) mod patch;
#[cfg(target_arch = "x86_64")]
pub(crate) mod tiles;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Proof that tile instructions work in this process. Only [`usable`] creates it, so a function
/// that takes it can be safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amx(());

/// Why AMX is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The processor has no tiles, or not their products of bf16.
    #[error("this processor has no AMX")]
    Processor,
    /// The processor lacks AVX-512 with BF16, which everything except the products uses.
    #[error("AMX is used together with avx512bf16, which this processor lacks")]
    Companion,
    /// The system does not support AMX's state, or we do not know how to ask it.
    #[error("the operating system does not enable AMX")]
    System,
    /// The system refused.
    #[error("Linux refused the permission for AMX (error {code}{})", permission_hint(*.code))]
    Permission {
        /// The system's error number.
        code: i32,
    },
    /// A product was wrong.
    #[error("AMX's products failed their test: {wrong} of {count} sums were wrong")]
    Test {
        /// Number of wrong sums.
        wrong: usize,
        /// Number of compared sums.
        count: usize,
    },
}

fn permission_hint(code: i32) -> &'static str {
    const ENOSPC: i32 = 28;
    if code == ENOSPC { ": a thread's stack for signals is too small for it" } else { "" }
}

/// Whether an emulator executes tile instructions.
static EMULATED: AtomicBool = AtomicBool::new(false);

/// For tests: from now on, an emulator executes tile instructions in this process, so the processor
/// and the system are not asked.
///
/// # Safety
/// An emulator of tile instructions must be installed and must stay installed as long as the
/// process runs. The call must precede any use of the instruction set.
#[doc(hidden)]
pub unsafe fn trust_emulator() {
    EMULATED.store(true, Ordering::SeqCst);
}

/// The proof that products of bf16 by AMX work in this process. The first call asks for the
/// system's permission and multiplies two small matrices.
///
/// # Errors
/// The reason why AMX cannot be used.
pub fn usable() -> Result<Amx, Unusable> {
    static USABLE: OnceLock<Result<Amx, Unusable>> = OnceLock::new();
    USABLE.get_or_init(ask).clone()
}

#[cfg(not(target_arch = "x86_64"))]
fn ask() -> Result<Amx, Unusable> {
    Err(Unusable::Processor)
}

#[cfg(target_arch = "x86_64")]
fn ask() -> Result<Amx, Unusable> {
    let emulated = EMULATED.load(Ordering::SeqCst);
    if !emulated {
        if !processor_has() {
            return Err(Unusable::Processor);
        }
        if !system_saves() {
            return Err(Unusable::System);
        }
    }
    if !crate::processor::has_avx512_bf16() {
        return Err(Unusable::Companion);
    }
    if !emulated {
        permit()?;
    }
    // The instructions exist, and are permitted or emulated. The test shows whether they compute
    // correctly.
    let amx = Amx(());
    let (wrong, count) = tiles::test(amx);
    if wrong == 0 { Ok(amx) } else { Err(Unusable::Test { wrong, count }) }
}

/// Whether the processor reports tiles and their products of bf16.
#[cfg(target_arch = "x86_64")]
fn processor_has() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    // SAFETY: every x86-64 processor has the instruction. Newer compilers know that.
    #[allow(unused_unsafe)]
    let found = unsafe { if __cpuid(0).eax < 7 { 0 } else { __cpuid_count(7, 0).edx } };
    found & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE
}

/// Whether the system saves the tiles' configuration and contents when it switches threads.
#[cfg(target_arch = "x86_64")]
fn system_saves() -> bool {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid;

    const OSXSAVE: u32 = 1 << 27;
    const TILES: u32 = 1 << 17 | 1 << 18;
    // SAFETY: as in `processor_has`.
    #[allow(unused_unsafe)]
    let found = unsafe { __cpuid(1) }.ecx;
    if found & OSXSAVE == 0 {
        return false;
    }
    let low: u32;
    // SAFETY: the system enabled the instruction, as OSXSAVE says.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _,
            options(nomem, nostack, preserves_flags))
    };
    low & TILES == TILES
}

/// Asks for permission to use tiles, which threads inherit.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn permit() -> Result<(), Unusable> {
    use std::arch::asm;

    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let result: i64;
    // SAFETY: the call neither reads nor writes this process's memory; a system call changes only
    // `rcx` and `r11`.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    if result == 0 {
        Ok(())
    } else {
        Err(Unusable::Permission { code: i32::try_from(-result).unwrap_or(i32::MAX) })
    }
}

/// Other systems have calls of their own, which are untested here.
#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn permit() -> Result<(), Unusable> {
    Err(Unusable::System)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_repeats_the_systems_message() {
        let refused = |code| Unusable::Permission { code }.to_string();
        assert_eq!(refused(95), "Linux refused the permission for AMX (error 95)");
        assert!(
            refused(28).contains("(error 28: a thread's stack for signals is too small"),
            "{}",
            refused(28)
        );
    }

    /// The system refuses a request for tiles that its processor does not have.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[test]
    fn the_system_reports_memory() {
        if processor_has() && system_saves() {
            assert_eq!(permit(), Ok(()), "and again is no mistake");
            assert_eq!(permit(), Ok(()));
        } else {
            assert!(matches!(permit(), Err(Unusable::Permission { code: 1.. })), "{:?}", permit());
        }
    }
}
