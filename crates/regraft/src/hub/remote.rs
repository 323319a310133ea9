//! Asks the hub for a file's commit and hash, and downloads the file.

use super::cache::{RepositoryCache, make_folder_of, tag};
use super::error::{HubError, at};
use super::settings::{HubSettings, Token};
use super::source::{HubSource, is_commit, is_hexadecimal, is_plain};
use crate::fetch::FetchError;
use crate::fetch::http::{HttpError, Request, header, send};
use crate::fetch::transfer::{Transfer, download};
use crate::hashing::{hash_file, hexadecimal};
use crate::progress::Progress;
use regraft_nn::weights::MAX_FILE_BYTES;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::Body;
use ureq::http::Response;

/// How often a process that waits for another one looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A file on the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    pub commit: String,
    pub etag: String,
    pub bytes: Option<u64>,
}

/// The hub's answer to the question for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is there.
    There(RemoteFile),
    /// It is the one that is in the cache; the commit, if the hub says it.
    Unchanged(Option<String>),
    /// The revision does not have it; its commit, if the hub says it.
    Absent(Option<String>),
}

/// A repository on the hub.
pub(super) struct Remote<'a> {
    pub settings: &'a HubSettings,
    pub source: &'a HubSource,
}

impl Remote<'_> {
    fn url(&self, revision: &str, name: &str) -> String {
        let (endpoint, repository) = (&self.settings.endpoint, self.source.repository());
        format!("{endpoint}/{repository}/resolve/{}/{name}", revision.replace('/', "%2F"))
    }

    fn token(&self) -> Option<&str> {
        self.settings.token.as_ref().map(Token::reveal)
    }

    /// Asks for a file at a revision. `known` is the ETag of the one in the cache. If the hub is
    /// busy or cannot be reached, it is asked `attempts` times.
    pub fn ask(
        &self,
        revision: &str,
        name: &str,
        known: Option<&str>,
        attempts: u32,
    ) -> Result<Answer, HubError> {
        let url = self.url(revision, name);
        let mut headers = vec![("Accept-Encoding", "identity".to_owned())];
        headers.extend(known.map(|etag| ("If-None-Match", format!("\"{etag}\""))));
        let request = Request { url: &url, head: true, headers: &headers, token: self.token() };
        let mut attempt = 0;
        loop {
            attempt += 1;
            let message = match send(&request) {
                Ok(response) => match response.status().as_u16() {
                    status @ (408 | 425 | 429 | 500..=599) => format!("it answers {status}"),
                    _ => return self.answer(&url, name, &response),
                },
                Err(HttpError::Broken(message)) => message,
                Err(HttpError::Address(message)) => {
                    return Err(FetchError::Address { url, message }.into());
                }
                Err(HttpError::Proxy(error)) => return Err(FetchError::from(error).into()),
            };
            if attempt >= attempts {
                let endpoint = self.settings.endpoint.clone();
                return Err(HubError::Unreachable { endpoint, message });
            }
            std::thread::sleep(self.settings.pause * 2u32.saturating_pow(attempt - 1));
        }
    }

    fn answer(&self, url: &str, name: &str, response: &Response<Body>) -> Result<Answer, HubError> {
        let odd = |message: String| HubError::NotAHub { url: url.to_owned(), message };
        let commit = match header(response, "x-repo-commit") {
            Some(commit) if is_commit(commit) => Some(commit.to_owned()),
            Some(other) => return Err(odd(format!("its commit is {other:?}"))),
            None => None,
        };
        let status = response.status().as_u16();
        match status {
            200 | 301 | 302 | 303 | 307 | 308 => {}
            304 => return Ok(Answer::Unchanged(commit)),
            404 if header(response, "x-error-code") == Some("EntryNotFound") => {
                return Ok(Answer::Absent(commit));
            }
            _ => return Err(self.refusal(url, status, response)),
        }
        let etag = header(response, "x-linked-etag").or_else(|| header(response, "etag"));
        let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
        let bytes = match (status, header(response, "x-linked-size")) {
            (_, Some(bytes)) => bytes.parse().ok(),
            (200, None) => {
                header(response, "content-length").and_then(|length| length.parse().ok())
            }
            _ => None,
        };
        match (commit, etag.filter(|etag| is_plain(etag))) {
            (Some(commit), Some(etag)) => Ok(Answer::There(RemoteFile { commit, etag, bytes })),
            (None, _) => Err(odd(format!("it does not say the commit of {name}"))),
            (_, None) => Err(odd(format!("it does not say the hash of {name}"))),
        }
    }

    /// The error for an answer other than the file.
    fn refusal(&self, url: &str, status: u16, response: &Response<Body>) -> HubError {
        let endpoint = self.settings.endpoint.clone();
        let repository = self.source.repository().to_owned();
        let with_token = self.token().is_some();
        let message = header(response, "x-error-message").unwrap_or_default();
        match (status, header(response, "x-error-code").unwrap_or_default()) {
            (_, "GatedRepo") => HubError::Gated { endpoint, repository, with_token },
            (_, "RevisionNotFound") => {
                HubError::NoRevision { repository, revision: self.source.revision().to_owned() }
            }
            (401, _) if with_token && message.contains("Invalid credentials") => {
                HubError::WrongToken { endpoint }
            }
            (401, _) => HubError::Unauthorized { endpoint, repository, with_token },
            (403, _) => HubError::Gated { endpoint, repository, with_token },
            (404, _) => HubError::NoRepository { endpoint, repository },
            _ => HubError::NotAHub {
                url: url.to_owned(),
                message: format!("it answers {status} {message}").trim_end().to_owned(),
            },
        }
    }

    /// Downloads a file into the cache unless it is there. Another process that downloads the same
    /// is waited for; `waiting` is called once if so.
    pub fn download(
        &self,
        cache: &RepositoryCache,
        name: &str,
        file: &RemoteFile,
        waiting: &mut dyn FnMut(),
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, HubError> {
        let blob = cache.blob(&file.etag);
        make_folder_of(&blob)?;
        if let Some(root) = &self.settings.cache {
            tag(root)?;
        }
        let _lock = cache.lock_file(&file.etag).map(|path| lock(&path, waiting)).transpose()?;
        let is_new = !blob.is_file();
        if let Some(path) = cache.file(&file.commit, name) {
            return Ok(path);
        }
        if is_new {
            self.transfer(&blob, name, file, progress)?;
        }
        cache.link(&file.etag, &file.commit, name, is_new, self.settings.symlinks)
    }

    /// Downloads beside the blob, checks the hash, and renames, so that a blob is whole or not
    /// there. A download that broke off is resumed.
    fn transfer(
        &self,
        blob: &Path,
        name: &str,
        remote: &RemoteFile,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), HubError> {
        let mut part = blob.as_os_str().to_owned();
        part.push(".incomplete");
        let part = PathBuf::from(part);
        let file =
            File::options().create(true).append(true).read(true).open(&part).map_err(at(&part))?;
        let url = self.url(&remote.commit, name);
        let HubSettings { attempts, pause, .. } = *self.settings;
        let transfer =
            Transfer { url: &url, token: self.token(), max_bytes: MAX_FILE_BYTES, attempts, pause };
        let bytes = remote.bytes.unwrap_or(0);
        let mut fetch = |file: &File| {
            download(&transfer, file, &part, progress).map_err(|error| match error {
                FetchError::File { path, source } if is_full(&source) => {
                    HubError::NoSpace { path, name: name.to_owned(), bytes }
                }
                error => error.into(),
            })
        };
        let resumed = file.metadata().map_err(at(&part))?.len() > 0;
        fetch(&file)?;
        let mut found = hash(&part, &remote.etag).map_err(at(&part))?;
        if resumed && found.as_ref().is_some_and(|(_, digits)| *digits != remote.etag) {
            // The earlier part may have been of another file, so the download starts again.
            file.set_len(0).map_err(at(&part))?;
            fetch(&file)?;
            found = hash(&part, &remote.etag).map_err(at(&part))?;
        }
        if let Some((kind, found)) = found.filter(|(_, digits)| *digits != remote.etag) {
            fs::remove_file(&part).map_err(at(&part))?;
            return Err(HubError::Mismatch { url, kind, found, wanted: remote.etag.clone() });
        }
        file.sync_all().map_err(at(&part))?;
        drop(file);
        fs::rename(&part, blob).map_err(at(blob))
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// The hash of a file of the kind that an ETag is: SHA-256 for large files, git's for small ones;
/// `None` if it is another kind, which a mirror may have.
fn hash(path: &Path, etag: &str) -> io::Result<Option<(&'static str, String)>> {
    if is_hexadecimal(etag, 64) {
        return Ok(Some(("SHA-256", hexadecimal(&hash_file(Sha256::new(), path)?))));
    }
    if !is_hexadecimal(etag, 40) {
        return Ok(None);
    }
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", fs::metadata(path)?.len()));
    Ok(Some(("git hash", hexadecimal(&hash_file(hash, path)?))))
}

/// Locks a file, which is made. Without locks on its file system nothing is guarded.
fn lock(path: &Path, waiting: &mut dyn FnMut()) -> Result<File, HubError> {
    make_folder_of(path)?;
    let file = File::options().create(true).append(true).open(path).map_err(at(path))?;
    let mut is_told = false;
    loop {
        match file.try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
        }
        if !std::mem::replace(&mut is_told, true) {
            waiting();
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
