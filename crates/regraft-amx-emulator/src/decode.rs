//! Decodes tile instructions: a VEX prefix of three bytes, map 0F38, vectors of 128 bits, W = 0.

/// Bytes of the longest instruction here.
pub const LONGEST: usize = 10;

/// A tile instruction. Memory operands are `base + index * scale + displacement`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Loads the configuration of all tiles.
    Configure(Memory),
    /// Releases all tiles.
    Release,
    /// Sets a tile to zero.
    Zero(usize),
    /// Loads a tile; the index register holds the distance between its rows in bytes. The hint of
    /// `tileloaddt1` to the caches has no effect here.
    Load(usize, Memory),
    /// Stores a tile in the same way.
    Store(usize, Memory),
    /// `sums += left * right`, with pairs of bf16.
    MultiplyBf16 {
        /// The tile of f32.
        sums: usize,
        /// The tile whose rows hold pairs of the depth.
        left: usize,
        /// The tile with a row for each pair of the depth.
        right: usize,
    },
}

/// A memory operand; registers by their number in the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Register of the address.
    pub base: Option<usize>,
    /// Register of the index, and its factor.
    pub index: Option<(usize, usize)>,
    /// Constant part of the address.
    pub displacement: i64,
}

/// The instruction at the start of `code`, and its length; `None` if it is not an emulated
/// instruction.
pub fn decode(code: &[u8; LONGEST]) -> Option<(Instruction, usize)> {
    let [0xc4, first, second, opcode, modrm, ..] = *code else { return None };
    // The first byte holds R, X and B, inverted, and the map; the second holds W, vvvv inverted, L
    // and the prefix.
    let extended = |bit: u8| usize::from(first >> bit & 1 ^ 1) * 8;
    let (map, wide, long, prefix) = (first & 0x1f, second >> 7, second >> 2 & 1, second & 3);
    if (map, wide, long) != (2, 0, 0) {
        return None;
    }
    let third = usize::from(second >> 3 & 15 ^ 15);
    let (mode, register, low) = (modrm >> 6, usize::from(modrm >> 3 & 7), usize::from(modrm & 7));
    const NONE: u8 = 0;
    const P66: u8 = 1;
    const F3: u8 = 2;
    const F2: u8 = 3;
    // Tiles are numbered with three bits; the other bits must not name a further register.
    let plain = extended(7) == 0;
    let no_third = third == 0;
    let memory = || memory(code, extended(5), extended(6));
    let (instruction, length) = match (opcode, prefix, mode) {
        (0x49, NONE, 3) if modrm == 0xc0 && plain && no_third => (Instruction::Release, 5),
        (0x49, NONE, 0..=2) if register == 0 && plain && no_third => {
            let (memory, length) = memory()?;
            (Instruction::Configure(memory), length)
        }
        (0x49, F2, 3) if low == 0 && plain && no_third => (Instruction::Zero(register), 5),
        (0x4b, P66 | F2 | F3, 0..=2) if low == 4 && plain && no_third => {
            let (memory, length) = memory()?;
            (
                if prefix == F3 {
                    Instruction::Store(register, memory)
                } else {
                    Instruction::Load(register, memory)
                },
                length,
            )
        }
        (0x5c, F3, 3) if plain && extended(5) == 0 && third < 8 => {
            (Instruction::MultiplyBf16 { sums: register, left: low, right: third }, 5)
        }
        _ => return None,
    };
    Some((instruction, length))
}

/// The memory operand behind the opcode, and the instruction's length.
fn memory(
    code: &[u8; LONGEST],
    base_extension: usize,
    index_extension: usize,
) -> Option<(Memory, usize)> {
    let modrm = code[4];
    let (mode, low) = (modrm >> 6, usize::from(modrm & 7));
    let mut length = 5;
    let (mut base, mut index) = (Some(low + base_extension), None);
    if low == 4 {
        let sib = code[5];
        length += 1;
        base = Some(usize::from(sib & 7) + base_extension);
        let register = usize::from(sib >> 3 & 7) + index_extension;
        // Number 4 would be the stack pointer, and means no index.
        index = (register != 4).then_some((register, 1 << (sib >> 6)));
        if sib & 7 == 5 && mode == 0 {
            base = None;
        }
    } else if low == 5 && mode == 0 {
        // Relative to the instruction pointer: no kernel has operands there.
        return None;
    }
    let displacement = match (mode, base) {
        (1, _) => {
            length += 1;
            i64::from(code[length - 1] as i8)
        }
        (2, _) | (0, None) => {
            length += 4;
            i64::from(i32::from_le_bytes([
                code[length - 4],
                code[length - 3],
                code[length - 2],
                code[length - 1],
            ]))
        }
        _ => 0,
    };
    Some((Memory { base, index, displacement }, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Option<(Instruction, usize)> {
        let mut code = [0x90; LONGEST];
        code[..bytes.len()].copy_from_slice(bytes);
        decode(&code)
    }

    /// Encodings as LLVM's assembler writes them.
    #[test]
    fn encodings_are_told_apart() {
        let at = |base, index, displacement| Memory { base: Some(base), index, displacement };
        for (bytes, instruction) in [
            (&[0xc4, 0xe2, 0x78, 0x49, 0xc0][..], Instruction::Release),
            // ldtilecfg [rax]; ldtilecfg [r13 + 8]
            (&[0xc4, 0xe2, 0x78, 0x49, 0x00], Instruction::Configure(at(0, None, 0))),
            (&[0xc4, 0xc2, 0x78, 0x49, 0x45, 0x08], Instruction::Configure(at(13, None, 8))),
            (&[0xc4, 0xe2, 0x7b, 0x49, 0xd8], Instruction::Zero(3)),
            // tileloadd tmm7, [rsi + rdx + 64]; tileloadd tmm1, [r8 + 2 * r9]
            (
                &[0xc4, 0xe2, 0x7b, 0x4b, 0x7c, 0x16, 0x40],
                Instruction::Load(7, at(6, Some((2, 1)), 64)),
            ),
            (&[0xc4, 0x82, 0x7b, 0x4b, 0x0c, 0x48], Instruction::Load(1, at(8, Some((9, 2)), 0))),
            // tileloaddt1 tmm6, [rax + rcx]
            (&[0xc4, 0xe2, 0x79, 0x4b, 0x34, 0x08], Instruction::Load(6, at(0, Some((1, 1)), 0))),
            // tilestored [r13 + r12 - 256], tmm2
            (
                &[0xc4, 0x82, 0x7a, 0x4b, 0x94, 0x25, 0x00, 0xff, 0xff, 0xff],
                Instruction::Store(2, at(13, Some((12, 1)), -256)),
            ),
            // tdpbf16ps tmm1, tmm4, tmm7
            (
                &[0xc4, 0xe2, 0x42, 0x5c, 0xcc],
                Instruction::MultiplyBf16 { sums: 1, left: 4, right: 7 },
            ),
        ] {
            assert_eq!(decoded(bytes), Some((instruction, bytes.len())), "{bytes:x?}");
        }
        // tdpbssd, an instruction that no processor has, another map, a wide one.
        for bytes in [
            [0xc4, 0xe2, 0x43, 0x5e, 0xcc],
            [0x0f, 0x0b, 0, 0, 0],
            [0xc4, 0xe1, 0x78, 0x49, 0xc0],
            [0xc4, 0xe2, 0xf8, 0x49, 0xc0],
        ] {
            assert_eq!(decoded(&bytes), None, "{bytes:x?}");
        }
    }
}
