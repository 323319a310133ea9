//! Hashes of files.

use crate::hashing::{hash_file, hexadecimal};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fmt;
use std::io;
use std::path::Path;

/// The hash that a file must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-1: good against accidents, not against a forger.
    Sha1([u8; 20]),
    /// SHA-256.
    Sha256([u8; 32]),
}

/// Digits that are no hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no SHA-256: 64 hexadecimal digits are needed, as `sha256sum FILE` prints them")]
pub struct ChecksumError(pub String);

impl Checksum {
    /// A SHA-256 of 64 hexadecimal digits.
    ///
    /// # Errors
    /// If it is none.
    pub fn sha256(digits: &str) -> Result<Self, ChecksumError> {
        let wrong = || ChecksumError(digits.to_owned());
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().as_chunks::<2>().0) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self::Sha256(hash))
    }

    /// The hash's name.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sha1(_) => "SHA-1",
            Self::Sha256(_) => "SHA-256",
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = match self {
            Self::Sha1(hash) => hash,
            Self::Sha256(hash) => hash,
        };
        formatter.write_str(&hexadecimal(bytes))
    }
}

/// A file's hash of the same kind as `like`.
pub fn of_file(path: &Path, like: &Checksum) -> io::Result<Checksum> {
    Ok(match like {
        Checksum::Sha1(_) => Checksum::Sha1(hash_file(Sha1::new(), path)?.into()),
        Checksum::Sha256(_) => Checksum::Sha256(hash_file(Sha256::new(), path)?.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_become_a_hash_and_back() {
        let digits = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let checksum = Checksum::sha256(digits).expect("64 digits");
        assert_eq!(checksum.to_string(), digits);
        let empty = tempfile::NamedTempFile::new().expect("a file");
        assert_eq!(of_file(empty.path(), &checksum).expect("read"), checksum);
        for wrong in ["", "e3b0", &digits[1..], &digits.replace('e', "g"), &"é".repeat(32)] {
            assert!(Checksum::sha256(wrong).is_err(), "{wrong}");
        }
    }
}
