//! Scans a pickle before anything interprets it.
//!
//! `pytorch-reader` never executes the names in a pickle, but it keeps every value that the pickle
//! builds, and a few bytes of a pickle can make an object of a hundred. Therefore the pickle is
//! first walked opcode by opcode without building anything: the number of opcodes is limited,
//! opcodes that Python's pickle does not write for a state dict are refused, and every Python name
//! that it would import is checked. The opcodes and their arguments are those of CPython's
//! `pickletools`.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

/// The most opcodes of all pickles of one file together. A ResNet-152 state dict has about sixty
/// thousand. Each may build a value of about three hundred bytes.
pub(super) const MAX_OPCODES: usize = 500_000;

/// Longest line of a text opcode.
const MAX_LINE_BYTES: u64 = 1 << 16;

/// Longest string that is remembered as a possible module or class name.
const MAX_NAME_BYTES: usize = 128;

/// Modules with functions that reach outside of the process or execute code, by the part before the
/// first dot.
const HOSTILE_MODULES: [&str; 35] = [
    "_ctypes",
    "asyncio",
    "bdb",
    "code",
    "codeop",
    "commands",
    "cProfile",
    "ctypes",
    "doctest",
    "ftplib",
    "http",
    "importlib",
    "marshal",
    "multiprocessing",
    "nt",
    "operator",
    "os",
    "pdb",
    "pickle",
    "pip",
    "posix",
    "profile",
    "pty",
    "pydoc",
    "requests",
    "runpy",
    "shutil",
    "signal",
    "smtplib",
    "socket",
    "subprocess",
    "sys",
    "timeit",
    "urllib",
    "webbrowser",
];

/// The builtins that a pickle may name; `eval`, `exec`, `getattr` and the like are not among them.
const HARMLESS_BUILTINS: [&str; 18] = [
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "long",
    "object",
    "range",
    "set",
    "slice",
    "str",
    "tuple",
    "unicode",
    "xrange",
];

/// Why a pickle is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ScanError {
    /// It ends early or is not a pickle.
    Damaged(String),
    /// It names a callable that does not belong in a weight file.
    Hostile(String),
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        Self::Damaged(match error.kind() {
            io::ErrorKind::UnexpectedEof => "its pickle ends early".to_string(),
            _ => format!("its pickle cannot be read ({error})"),
        })
    }
}

/// Walks one pickle up to and including its `STOP`, and subtracts each opcode from `opcodes_left`.
pub(super) fn scan_pickle(
    reader: &mut impl BufRead,
    opcodes_left: &mut usize,
) -> Result<(), ScanError> {
    let mut walk = Walk::default();
    loop {
        *opcodes_left = opcodes_left.checked_sub(1).ok_or_else(|| {
            ScanError::Damaged(format!("its pickle has more than {MAX_OPCODES} operations"))
        })?;
        let opcode = read_array::<1>(reader)?[0];
        if opcode == b'.' {
            return Ok(());
        }
        walk.step(opcode, reader)?;
    }
}

/// The state of the walk, which is needed to know the two strings that `STACK_GLOBAL` takes.
#[derive(Default)]
struct Walk {
    /// The strings that the latest consecutive opcodes pushed.
    strings: Vec<String>,
    /// Every memo slot, with its string if it holds one.
    memo: HashMap<u32, Option<String>>,
}

impl Walk {
    fn step(&mut self, opcode: u8, reader: &mut impl BufRead) -> Result<(), ScanError> {
        match opcode {
            // Strings.
            0x8c => return self.string(u64::from(read_array::<1>(reader)?[0]), reader),
            b'X' => return self.string(u64::from(u32::from_le_bytes(read_array(reader)?)), reader),
            0x8d => return self.string(u64::from_le_bytes(read_array(reader)?), reader),
            b'U' => return self.string(u64::from(read_array::<1>(reader)?[0]), reader),
            b'T' => return self.string(u64::from(u32::from_le_bytes(read_array(reader)?)), reader),
            b'V' => {
                let text = read_line(reader)?;
                self.push(text);
                return Ok(());
            }
            // The memo: storing leaves the stack alone, fetching pushes.
            b'q' => return self.store(u32::from(read_array::<1>(reader)?[0])),
            b'r' => return self.store(u32::from_le_bytes(read_array(reader)?)),
            b'p' => return self.store(read_index(reader)?),
            // The pickler numbers slots from 0 upwards, so the next number is the number of slots.
            0x94 => return self.store(self.memo.len() as u32),
            b'h' => return self.fetch(u32::from(read_array::<1>(reader)?[0])),
            b'j' => return self.fetch(u32::from_le_bytes(read_array(reader)?)),
            b'g' => return self.fetch(read_index(reader)?),
            // Names of classes and functions.
            b'c' => {
                let module = read_line(reader)?;
                let name = read_line(reader)?;
                judge(&module, &name)?;
            }
            0x93 => match self.strings.as_slice() {
                [.., module, name] => judge(module, name)?,
                _ => {
                    return Err(ScanError::Damaged(
                        "its pickle imports a name that it does not spell out".to_string(),
                    ));
                }
            },
            // Opcodes without an argument: constants, containers, stack, REDUCE, NEWOBJ, NEWOBJ_EX,
            // BUILD, BINPERSID.
            b'N'
            | 0x88
            | 0x89
            | b'('
            | b')'
            | b']'
            | b'}'
            | 0x8f
            | b't'
            | b'l'
            | b'd'
            | 0x91
            | 0x85..=0x87
            | b'a'
            | b'e'
            | b's'
            | b'u'
            | 0x90
            | b'0'
            | b'1'
            | b'2'
            | b'R'
            | 0x81
            | 0x92
            | b'b'
            | b'Q' => {}
            // Opcodes with an argument of fixed length: PROTO, FRAME, integers, floats.
            0x80 | b'K' => drop(read_array::<1>(reader)?),
            b'M' => drop(read_array::<2>(reader)?),
            b'J' => drop(read_array::<4>(reader)?),
            b'G' | 0x95 => drop(read_array::<8>(reader)?),
            // Opcodes with a counted argument: LONG1, SHORT_BINBYTES, LONG4, BINBYTES, BINBYTES8,
            // BYTEARRAY8.
            0x8a | b'C' => skip(u64::from(read_array::<1>(reader)?[0]), reader)?,
            0x8b | b'B' => skip(u64::from(u32::from_le_bytes(read_array(reader)?)), reader)?,
            0x8e | 0x96 => skip(u64::from_le_bytes(read_array(reader)?), reader)?,
            // Text: INT, LONG, FLOAT, PERSID.
            b'I' | b'L' | b'F' | b'P' => drop(read_line(reader)?),
            other => {
                return Err(ScanError::Damaged(format!(
                    "its pickle has the operation 0x{other:02x}, which torch.save does not write"
                )));
            }
        }
        self.strings.clear();
        Ok(())
    }

    fn string(&mut self, length: u64, reader: &mut impl BufRead) -> Result<(), ScanError> {
        // A longer string is not a name. Its bytes are skipped, and an empty string takes its
        // place.
        let text = if length <= MAX_NAME_BYTES as u64 {
            let mut bytes = Vec::with_capacity(MAX_NAME_BYTES);
            if reader.take(length).read_to_end(&mut bytes)? as u64 != length {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            skip(length, reader)?;
            String::new()
        };
        self.push(text);
        Ok(())
    }

    fn push(&mut self, text: String) {
        if self.strings.len() == 2 {
            self.strings.remove(0);
        }
        self.strings.push(if text.len() <= MAX_NAME_BYTES { text } else { String::new() });
    }

    fn store(&mut self, slot: u32) -> Result<(), ScanError> {
        self.memo.insert(slot, self.strings.last().cloned());
        Ok(())
    }

    fn fetch(&mut self, slot: u32) -> Result<(), ScanError> {
        match self.memo.get(&slot) {
            Some(Some(text)) => self.push(text.clone()),
            Some(None) => self.strings.clear(),
            None => {
                return Err(ScanError::Damaged(format!(
                    "its pickle fetches slot {slot}, which it never filled"
                )));
            }
        }
        Ok(())
    }
}

fn judge(module: &str, name: &str) -> Result<(), ScanError> {
    let package = module.split('.').next().unwrap_or(module);
    let hostile = match package {
        "builtins" | "__builtin__" => !HARMLESS_BUILTINS.contains(&name),
        _ => HOSTILE_MODULES.contains(&package),
    };
    if hostile { Err(ScanError::Hostile(format!("{module}.{name}"))) } else { Ok(()) }
}

fn read_array<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn skip(length: u64, reader: &mut impl BufRead) -> io::Result<()> {
    if io::copy(&mut reader.take(length), &mut io::sink())? != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn read_line(reader: &mut impl BufRead) -> Result<String, ScanError> {
    let mut line = Vec::new();
    reader.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(ScanError::Damaged(
            "its pickle has a line of text that does not end".to_string(),
        ));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn read_index(reader: &mut impl BufRead) -> Result<u32, ScanError> {
    let line = read_line(reader)?;
    line.parse().map_err(|_| ScanError::Damaged(format!("its pickle numbers a slot {line:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(mut bytes: &[u8]) -> Result<(), ScanError> {
        scan_pickle(&mut bytes, &mut MAX_OPCODES.clone())
    }

    #[test]
    fn a_call_is_found_however_it_is_spelled() {
        let hostile = ScanError::Hostile("posix.system".to_string());
        // GLOBAL whose result is discarded before the real content: a parser that builds values
        // would no longer show it.
        assert_eq!(
            scan(b"\x80\x02cposix\nsystem\nU\x02id\x85R0}."),
            Err(ScanError::Hostile("posix.system".to_string()))
        );
        // STACK_GLOBAL with strings, and with strings from the memo.
        assert_eq!(scan(b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93."), Err(hostile));
        assert_eq!(
            scan(b"\x80\x04\x8c\x05posix\x940\x8c\x06system\x940h\x00h\x01\x93."),
            Err(ScanError::Hostile("posix.system".to_string()))
        );
        assert_eq!(
            scan(b"\x80\x02c__builtin__\neval\n."),
            Err(ScanError::Hostile("__builtin__.eval".to_string()))
        );
        assert_eq!(scan(b"\x80\x02c__builtin__\nset\n]\x85R."), Ok(()));
        // A name that is not spelled out directly before its import is refused.
        assert!(matches!(
            scan(b"\x80\x04\x8c\x05posix\x8c\x06systemN0\x93."),
            Err(ScanError::Damaged(_))
        ));
    }

    #[test]
    fn foreign_endless_and_oversized_pickles_are_refused() {
        assert!(
            matches!(scan(b"\x80\x02i"), Err(ScanError::Damaged(reason)) if reason.contains("0x69"))
        );
        assert_eq!(
            scan(b"\x80\x02}"),
            Err(ScanError::Damaged("its pickle ends early".to_string()))
        );
        // A string of 2^62 bytes in a file of twenty.
        assert_eq!(
            scan(b"\x80\x04\x8d\x00\x00\x00\x00\x00\x00\x00\x40abcdef"),
            Err(ScanError::Damaged("its pickle ends early".to_string()))
        );
        let many = vec![b']'; MAX_OPCODES + 1];
        assert!(
            matches!(scan(&many), Err(ScanError::Damaged(reason)) if reason.contains("more than"))
        );
    }
}
