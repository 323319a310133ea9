//! Why weights of a hub cannot be had.

use crate::error_kind::{Classified, ErrorKind};
#[cfg(feature = "fetch")]
use crate::fetch::FetchError;
use std::io;
use std::path::PathBuf;

/// Weights of a hub that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The name is not one of weights on a hub.
    #[error("{name} does not name weights on a hub, which are hub:OWNER/NAME[@REVISION]: {reason}")]
    Name {
        /// The name.
        name: String,
        /// The problem with it.
        reason: String,
    },
    /// The system has no folder for the cache.
    #[error("there is no home folder for the cache of weights")]
    NoCacheFolder,
    /// The network is not to be used, and the cache lacks the weights.
    #[error(
        "{source_name} is not in the cache {}, and HF_HUB_OFFLINE forbids a download",
        cache.display()
    )]
    Offline {
        /// The weights.
        source_name: String,
        /// The cache.
        cache: PathBuf,
    },
    /// This build does not download, and the cache lacks the weights.
    #[error(
        "{source_name} is not in the cache {}, and this build downloads nothing",
        cache.display()
    )]
    NotCached {
        /// The weights.
        source_name: String,
        /// The cache.
        cache: PathBuf,
    },
    /// The hub cannot be reached.
    #[error("{endpoint} cannot be reached: {message}")]
    Unreachable {
        /// The hub.
        endpoint: String,
        /// The problem.
        message: String,
    },
    /// The hub does not tell a stranger whether there is such a repository.
    #[error(
        "{endpoint} answers 401 for {repository}: the repository does not exist, or is private{}",
        if *with_token { ", and the token does not open it" } else { "" }
    )]
    Unauthorized {
        /// The hub.
        endpoint: String,
        /// The repository.
        repository: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The token itself is refused.
    #[error("{endpoint} refuses the token")]
    WrongToken {
        /// The hub.
        endpoint: String,
    },
    /// The repository is open only to those who have accepted its terms.
    #[error(
        "{repository} is gated: its owner lets in those who have accepted its terms{}",
        if *with_token { ", and the token's owner is not among them" } else { "" }
    )]
    Gated {
        /// The hub.
        endpoint: String,
        /// The repository.
        repository: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// There is no such repository.
    #[error("{endpoint} has no repository {repository}")]
    NoRepository {
        /// The hub.
        endpoint: String,
        /// The repository.
        repository: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{repository} has no revision {revision}")]
    NoRevision {
        /// The repository.
        repository: String,
        /// The revision.
        revision: String,
    },
    /// The repository lacks a file.
    #[error("{source_name} has none of the files {files}")]
    NoFile {
        /// The repository and revision.
        source_name: String,
        /// The names that were looked for.
        files: String,
    },
    /// Another answer than a hub gives.
    #[error("{url} does not answer as a hub does: {message}")]
    NotAHub {
        /// The address.
        url: String,
        /// The problem with the answer.
        message: String,
    },
    /// A file that came has another hash than the hub said.
    #[error(
        "{url}: has the {kind} {found}, and the hub says {wanted}: it was changed on the way; it \
         was removed"
    )]
    Mismatch {
        /// The address.
        url: String,
        /// `SHA-256`, or `git hash` for small files.
        kind: &'static str,
        /// The file's hash.
        found: String,
        /// The hash that the hub said.
        wanted: String,
    },
    /// The weights are others than those that are pinned.
    #[error("{source_name}: the weight file has the SHA-256 {found}, and not the pinned one")]
    OtherWeights {
        /// The weights, with the pinned hash.
        source_name: String,
        /// The file's hash.
        found: String,
    },
    /// A file in the cache is not the one that its name says.
    #[error("{} is damaged: it has the SHA-256 {found}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: String,
    },
    /// The disk is full.
    #[error("{}: no space is left for {name}, which has {bytes} bytes", path.display())]
    NoSpace {
        /// The file that was being written.
        path: PathBuf,
        /// The file on the hub.
        name: String,
        /// Its size.
        bytes: u64,
    },
    /// A file or folder of the cache cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The download failed.
    #[cfg(feature = "fetch")]
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

impl Classified for HubError {
    fn kind(&self) -> ErrorKind {
        #[cfg(feature = "fetch")]
        if let Self::Fetch(error) = self {
            return error.kind();
        }
        ErrorKind::failure_if(matches!(
            self,
            Self::Unreachable { .. }
                | Self::NotAHub { .. }
                | Self::Mismatch { .. }
                | Self::NoSpace { .. }
                | Self::File { .. }
        ))
    }
}

/// Makes an error of the operating system's at a path.
pub(super) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> HubError {
    let path = path.into();
    move |source| HubError::File { path, source }
}
