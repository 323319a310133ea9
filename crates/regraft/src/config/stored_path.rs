//! Paths as text in `config.toml`, in checkpoints and in a file of arms.
//!
//! TOML and JSON hold nothing but Unicode, while a path on Unix is any sequence of bytes. A path
//! that is Unicode is stored as it is. Any other is stored as `{ escaped = "photos%FF" }`, in which
//! `%` and the bytes that are not UTF-8 are percent-encoded, so that a run on such a path can be
//! resumed.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::path::{Path, PathBuf};

/// A path in its stored form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a path must be text")]
pub(crate) enum StoredPath {
    Text(String),
    Escaped { escaped: String },
}

impl From<&Path> for StoredPath {
    fn from(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Escaped { escaped: escaped(path) },
        }
    }
}

impl From<StoredPath> for PathBuf {
    fn from(stored: StoredPath) -> Self {
        match stored {
            StoredPath::Text(text) => text.into(),
            StoredPath::Escaped { escaped } => unescaped(&escaped),
        }
    }
}

/// A path as text: UTF-8 as it is; otherwise bytes that are not UTF-8 become `%FF`, and `%` becomes
/// `%25`. Two paths have the same text only if one of them is UTF-8 and holds the other's escapes.
/// (Windows keeps such names in another form; there they are replaced.)
pub(crate) fn escaped(path: &Path) -> String {
    if let Some(text) = path.to_str() {
        return text.to_owned();
    }
    if !cfg!(unix) {
        return path.to_string_lossy().into_owned();
    }
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    text
}

/// The path that [`escaped`] wrote.
#[cfg(unix)]
fn unescaped(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(not(unix))]
fn unescaped(text: &str) -> PathBuf {
    text.into()
}

/// For `#[serde(serialize_with)]`.
pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    StoredPath::from(path).serialize(serializer)
}

/// For `#[serde(deserialize_with)]`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    StoredPath::deserialize(deserializer).map(PathBuf::from)
}

/// The same for a path that may be absent.
pub(super) mod optional {
    use super::{Deserialize, Deserializer, PathBuf, Serialize, Serializer, StoredPath};

    pub fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        path.as_deref().map(StoredPath::from).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<StoredPath>::deserialize(deserializer)?.map(PathBuf::from))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn any_path_comes_back_from_its_stored_form() {
        for bytes in [
            &b"photos"[..],
            b"100%/a",
            b"p%FF",
            b"p\xFF",
            b"%25\xFF%2",
            b"\xC3\xA9\xC3",
            b"\xED\xA0\x80",
            b"",
            b"%\xFF%",
        ] {
            let path = Path::new(OsStr::from_bytes(bytes));
            let json = serde_json::to_string(&StoredPath::from(path)).expect("text");
            let stored: StoredPath = serde_json::from_str(&json).expect("a stored path");
            assert_eq!(PathBuf::from(stored), path, "{json}");
        }
        assert_eq!(escaped(Path::new(OsStr::from_bytes(b"1%/\xFF"))), "1%25/%FF");
        assert_eq!(escaped(Path::new("1%/é")), "1%/é");
    }
}
