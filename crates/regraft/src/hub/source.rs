//! The name of weights on a hub: `hub:OWNER/NAME[@REVISION][#sha256=DIGITS]`.

use super::error::HubError;
use std::fmt;
use std::str::FromStr;

/// The prefix of such names.
pub const PREFIX: &str = "hub:";
/// The revision that is meant unless one is named.
pub const MAIN: &str = "main";

const HASH: &str = "#sha256=";

/// Weights on a hub.
///
/// A run writes them to `config.toml` with the commit and the hash of the weight file, so that it
/// can be repeated whatever happens to the repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HubSource {
    repository: String,
    revision: Option<String>,
    sha256: Option<String>,
}

impl HubSource {
    /// The newest weights of a repository `OWNER/NAME`.
    ///
    /// # Errors
    /// [`HubError::Name`] if it is not the name of one.
    pub fn newest(repository: &str) -> Result<Self, HubError> {
        format!("{PREFIX}{repository}").parse()
    }

    /// The repository, as `OWNER/NAME`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The branch, tag or commit.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// The revision, if it is a commit, which never changes.
    #[must_use]
    pub fn commit(&self) -> Option<&str> {
        self.revision.as_deref().filter(|revision| is_commit(revision))
    }

    /// The SHA-256 that the weight file must have, as 64 digits, if it is pinned.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// The same weights at a commit, with the hash of their file.
    #[must_use]
    pub(super) fn pinned(&self, commit: &str, sha256: Option<String>) -> Self {
        Self {
            revision: Some(commit.to_owned()),
            sha256: sha256.or_else(|| self.sha256.clone()),
            ..self.clone()
        }
    }

    /// The repository and the first digits of the commit, for people.
    #[must_use]
    pub fn short(&self) -> String {
        match (&self.revision, self.commit()) {
            (_, Some(commit)) => format!("{}@{}", self.repository, &commit[..12]),
            (Some(revision), None) => format!("{}@{revision}", self.repository),
            (None, None) => self.repository.clone(),
        }
    }
}

/// Whether text names a commit: 40 hexadecimal digits.
pub(super) fn is_commit(text: &str) -> bool {
    is_hexadecimal(text, 40)
}

/// Whether text is that many small hexadecimal digits.
pub(super) fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether text may be a part of a path in the cache: plain letters, and no step upwards.
pub(super) fn is_plain(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.bytes().all(is_allowed) && !text.starts_with('.') && text.len() <= 128
}

impl FromStr for HubSource {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let wrong =
            |reason: &str| HubError::Name { name: text.to_owned(), reason: reason.to_owned() };
        let rest = text.strip_prefix(PREFIX).ok_or_else(|| wrong("it does not begin with hub:"))?;
        let (rest, sha256) = match rest.split_once(HASH) {
            Some((rest, digits)) if is_hexadecimal(digits, 64) => (rest, Some(digits.to_owned())),
            Some(_) => return Err(wrong("a SHA-256 has 64 small hexadecimal digits")),
            None => (rest, None),
        };
        let (repository, revision) = match rest.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (rest, None),
        };
        if !repository
            .split_once('/')
            .is_some_and(|(owner, name)| is_plain(owner) && is_plain(name))
        {
            return Err(wrong("the repository must be OWNER/NAME, such as timm/resnet18.tv_in1k"));
        }
        if revision.is_some_and(|revision| !revision.split('/').all(is_plain)) {
            return Err(wrong("the revision must be a branch, a tag or a commit"));
        }
        let revision = revision.map(str::to_owned);
        Ok(Self { repository: repository.to_owned(), revision, sha256 })
    }
}

impl fmt::Display for HubSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}", self.repository)?;
        self.revision.iter().try_for_each(|revision| write!(formatter, "@{revision}"))?;
        self.sha256.iter().try_for_each(|digits| write!(formatter, "{HASH}{digits}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        let (commit, hash) = ("0123456789".repeat(4), "ab".repeat(32));
        for name in [
            "hub:timm/resnet18.tv_in1k".to_owned(),
            "hub:timm/resnet18.tv_in1k@main".to_owned(),
            "hub:a/b@refs/pr/1".to_owned(),
            format!("hub:a/b@{commit}"),
            format!("hub:a/b@{commit}#sha256={hash}"),
        ] {
            let source: HubSource = name.parse().expect("a name");
            assert_eq!(source.to_string(), name);
        }
        let source: HubSource = "hub:a/b@v1".parse().expect("a name");
        assert_eq!((source.repository(), source.revision(), source.commit()), ("a/b", "v1", None));
        let pinned = source.pinned(&commit, Some(hash.clone()));
        assert_eq!((pinned.commit(), pinned.sha256()), (Some(&commit[..]), Some(&hash[..])));
        assert_eq!(pinned.short(), "a/b@012345678901");
        for wrong in [
            "hub:",
            "hub:resnet18",
            "hub:a/b/c",
            "hub:../b",
            "hub:a/..",
            "hub:a/b@",
            "hub:a/b@../x",
            "hub:a/b@x//y",
            "hub:a/b#sha256=12",
            "hub:a /b",
            "hub:a/b?x",
            "timm/resnet18",
        ] {
            assert!(wrong.parse::<HubSource>().is_err(), "{wrong}");
        }
    }
}
