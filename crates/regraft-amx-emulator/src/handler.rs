//! The handler of the signal that an unknown instruction raises.

use crate::decode::{Instruction, LONGEST, Memory, decode};
use crate::tiles::{Configuration, Forbidden, Tiles};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of executed products.
pub static PRODUCTS: AtomicU64 = AtomicU64::new(0);
/// Number of executed loads of tiles.
pub static LOADS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    // Without a destructor and with a constant initial value, so that the handler neither allocates
    // nor registers anything.
    static TILES: UnsafeCell<Tiles> = const { UnsafeCell::new(Tiles::INITIAL) };
}

/// Handles illegal instructions from now on.
pub fn install() {
    // SAFETY: `sigaction` is plain data, filled in before it is used; the handler has the signature
    // that `SA_SIGINFO` promises.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction =
            handle as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut())
    };
    assert_eq!(result, 0, "the handler of illegal instructions is installed");
}

extern "C" fn handle(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with `SA_SIGINFO` the kernel hands over the interrupted thread's context, which
    // nothing else uses meanwhile.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let mut place = registers[libc::REG_RIP as usize];
    // Signals are slow, so consecutive tile instructions are executed together.
    for count in 0.. {
        // SAFETY: the processor has just read an instruction there; every function that executes
        // tile instructions continues for some bytes behind its last one.
        let code = unsafe { (place as *const [u8; LONGEST]).read_unaligned() };
        let Some((instruction, length)) = decode(&code) else {
            if count == 0 {
                stop("an instruction that is not emulated");
            }
            break;
        };
        // SAFETY: the tiles belong to this thread, and only this handler uses them; no instruction
        // in it raises the signal again.
        let result =
            TILES.with(|tiles| unsafe { execute(&mut *tiles.get(), instruction, registers) });
        if let Err(Forbidden(why)) = result {
            stop(why);
        }
        place += length as i64;
    }
    registers[libc::REG_RIP as usize] = place;
}

/// # Safety
/// The instruction must be allowed to read or write its memory operands.
unsafe fn execute(
    tiles: &mut Tiles,
    instruction: Instruction,
    registers: &[i64; 23],
) -> Result<(), Forbidden> {
    let address = |memory: Memory, with_index: bool| {
        let index = memory
            .index
            .filter(|_| with_index)
            .map_or(0, |(register, scale)| general(registers, register) * scale as i64);
        memory.base.map_or(0, |register| general(registers, register)) + index + memory.displacement
    };
    // The index is not part of a tile's address: it is the distance from row to row.
    let stride = |memory: Memory| {
        memory.index.map_or(0, |(register, scale)| general(registers, register) * scale as i64)
            as isize
    };
    // SAFETY: the caller's promise.
    unsafe {
        match instruction {
            Instruction::Configure(memory) => {
                tiles.configure(&*(address(memory, true) as *const Configuration))
            }
            Instruction::Release => {
                tiles.release();
                Ok(())
            }
            Instruction::Zero(tile) => tiles.zero(tile),
            Instruction::Load(tile, memory) => {
                LOADS.fetch_add(1, Ordering::Relaxed);
                tiles.load(tile, address(memory, false) as *const u8, stride(memory))
            }
            Instruction::Store(tile, memory) => {
                tiles.store(tile, address(memory, false) as *mut u8, stride(memory))
            }
            Instruction::MultiplyBf16 { sums, left, right } => {
                PRODUCTS.fetch_add(1, Ordering::Relaxed);
                tiles.multiply_bf16(sums, left, right)
            }
        }
    }
}

/// The general register of this number in the encoding.
fn general(registers: &[i64; 23], number: usize) -> i64 {
    const PLACES: [libc::c_int; 16] = [
        libc::REG_RAX,
        libc::REG_RCX,
        libc::REG_RDX,
        libc::REG_RBX,
        libc::REG_RSP,
        libc::REG_RBP,
        libc::REG_RSI,
        libc::REG_RDI,
        libc::REG_R8,
        libc::REG_R9,
        libc::REG_R10,
        libc::REG_R11,
        libc::REG_R12,
        libc::REG_R13,
        libc::REG_R14,
        libc::REG_R15,
    ];
    registers[PLACES[number] as usize]
}

/// Ends the process with calls that a signal handler may use.
fn stop(why: &str) -> ! {
    for part in ["emulated AMX: ", why, "\n"] {
        // SAFETY: the bytes are those of `part`.
        unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: this ends the process immediately.
    unsafe { libc::abort() }
}
