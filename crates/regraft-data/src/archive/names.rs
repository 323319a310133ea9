//! Turns the names of entries, which are bytes of an unknown encoding, into paths inside a folder.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

/// The upper half of code page 437, the encoding of names in ZIP archives unless they are marked as
/// UTF-8 (APPNOTE.TXT, appendix D).
const CP437: &str = "\
    ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»\
    ░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// A name as text, and whether its encoding is a guess. If a name is valid UTF-8, it is read as
/// UTF-8 even if the archive is not marked so, because macOS does not mark it. Other names are read
/// as code page 437, in which different bytes stay different names. They may be Shift JIS, GBK or
/// Latin-1, but the bytes alone do not tell.
pub fn decode(name: &[u8]) -> (Cow<'_, str>, bool) {
    match std::str::from_utf8(name) {
        Ok(name) => (Cow::Borrowed(name), false),
        Err(_) => {
            let upper: Vec<char> = CP437.chars().collect();
            let decoded = |&byte: &u8| {
                if byte < 0x80 { char::from(byte) } else { upper[usize::from(byte - 0x80)] }
            };
            (Cow::Owned(name.iter().map(decoded).collect()), true)
        }
    }
}

/// An entry's name as a path inside a folder, or the reason why it is not one. A backslash
/// separates folders on every system, because archives are also written on Windows. A colon is part
/// of a name, except on Windows, where it ends a drive or begins an alternate stream.
pub fn inside(name: &str) -> Result<PathBuf, &'static str> {
    const COLON: &str = "has a colon in its name, which Windows does not allow";
    let name = name.replace('\\', "/");
    let mut path = PathBuf::new();
    for component in Path::new(&name).components() {
        match component {
            Component::Normal(part) if part.as_encoded_bytes().contains(&0) => {
                return Err("has a zero byte in its name");
            }
            Component::Normal(part) if cfg!(windows) && part.as_encoded_bytes().contains(&b':') => {
                return Err(COLON);
            }
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => return Err("leads out of the folder it is unpacked into"),
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_utf_8_are_read_as_code_page_437() {
        assert_eq!(CP437.chars().count(), 128);
        assert_eq!(decode("gr\u{fc}n.jpg".as_bytes()), ("grün.jpg".into(), false));
        assert_eq!(decode(b"gr\x81n\xE1\xFF.jpg"), ("grünß\u{a0}.jpg".into(), true));
    }
}
