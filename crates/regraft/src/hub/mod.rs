//! Weights from a hub (<https://huggingface.co>, or a mirror of it): looked up in the cache that
//! Python's `huggingface_hub` uses too, and downloaded if they are not there.

mod cache;
mod error;
#[cfg(feature = "fetch")]
mod online;
#[cfg(feature = "fetch")]
mod remote;
mod settings;
mod source;

pub use error::HubError;
pub use settings::{HubSettings, Token};
pub use source::{HubSource, MAIN, PREFIX};

use crate::hashing::{hash_file, hexadecimal};
use crate::hub_config::{CONFIG_NAME, WEIGHT_NAMES};
use crate::progress::Progress;
use cache::RepositoryCache;
use error::at;
use sha2::Sha256;
use source::is_hexadecimal;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Something happens while weights are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubEvent {
    /// The user should know something, such as that a download begins; one sentence.
    Note(String),
    /// A download has advanced.
    Progress(Progress),
}

/// The files that are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The `config.json` alone.
    Configuration,
    /// The weight file, and the `config.json` if there is one.
    Weights,
}

/// Whether a branch is looked up again that is in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The commit in the cache will do.
    Cached,
    /// The hub is asked for the branch's commit.
    Newest,
}

/// Files in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The source at a commit. If the weights are needed, it has the hash of their file.
    pub source: HubSource,
    /// The folder of the commit's files.
    pub folder: PathBuf,
    /// The file that is needed.
    pub file: PathBuf,
}

/// Looks files up in the cache, and downloads those that are not there. `report` hears of every
/// download before it begins.
///
/// A commit in the cache is never asked for. If the hub cannot be asked for a branch or tag whose
/// commit is in the cache, that commit is used, and a note says so.
///
/// # Errors
/// [`HubError`] if the files are neither in the cache nor to be downloaded, or have another hash
/// than they must have.
pub fn find(
    source: &HubSource,
    need: Need,
    freshness: Freshness,
    settings: &HubSettings,
    report: &mut dyn FnMut(HubEvent),
) -> Result<Found, HubError> {
    let place = place(source, settings)?;
    let cached = place.commit_of(source.revision()).filter(|commit| has(&place, commit, need));
    let stays = source.commit().is_some() || freshness == Freshness::Cached;
    let commit = match cached {
        Some(commit) if settings.offline => commit,
        Some(commit) if stays => {
            if need == Need::Weights {
                online::find_configuration(source, &place, &commit, settings, report);
            }
            commit
        }
        None if settings.offline => {
            let cache = settings.cache.clone().unwrap_or_default();
            return Err(HubError::Offline { source_name: source.to_string(), cache });
        }
        cached => {
            match (online::find(source, need, &place, cached.is_some(), settings, report), cached) {
                (Ok(commit), _) => commit,
                (Err(error), Some(commit)) => {
                    report(HubEvent::Note(format!(
                        "{error}; the commit {} of {} is used, which is in the cache",
                        &commit[..12],
                        source.repository()
                    )));
                    commit
                }
                (Err(error), None) => return Err(error),
            }
        }
    };
    found(source, need, &place, &commit)
}

/// Looks files up in the cache alone.
///
/// # Errors
/// [`HubError::NotCached`] if they are not there, and as [`find`] for another hash.
pub fn find_cached(
    source: &HubSource,
    need: Need,
    settings: &HubSettings,
) -> Result<Found, HubError> {
    let place = place(source, settings)?;
    match place.commit_of(source.revision()).filter(|commit| has(&place, commit, need)) {
        Some(commit) => found(source, need, &place, &commit),
        None => {
            let cache = settings.cache.clone().unwrap_or_default();
            Err(HubError::NotCached { source_name: source.to_string(), cache })
        }
    }
}

/// The size in bytes of the weight file in the cache, if it is there.
#[must_use]
pub fn cached_bytes(source: &HubSource, settings: &HubSettings) -> Option<u64> {
    let place = place(source, settings).ok()?;
    let file = place.weights(&place.commit_of(source.revision())?)?;
    Some(file.metadata().ok()?.len())
}

fn place(source: &HubSource, settings: &HubSettings) -> Result<RepositoryCache, HubError> {
    let cache = settings.cache.as_deref().ok_or(HubError::NoCacheFolder)?;
    Ok(RepositoryCache::of(cache, source))
}

fn file(place: &RepositoryCache, commit: &str, need: Need) -> Option<PathBuf> {
    match need {
        Need::Configuration => place.file(commit, CONFIG_NAME),
        Need::Weights => place.weights(commit),
    }
}

fn has(place: &RepositoryCache, commit: &str, need: Need) -> bool {
    file(place, commit, need).is_some()
}

/// The files of a commit that has them, checked.
fn found(
    source: &HubSource,
    need: Need,
    place: &RepositoryCache,
    commit: &str,
) -> Result<Found, HubError> {
    let Some(file) = file(place, commit, need) else {
        let files = match need {
            Need::Configuration => CONFIG_NAME.to_owned(),
            Need::Weights => WEIGHT_NAMES.join(", "),
        };
        return Err(HubError::NoFile { source_name: source.to_string(), files });
    };
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    let sha256 = match need {
        Need::Configuration => None,
        Need::Weights => Some(checked(&file, source)?),
    };
    Ok(Found { source: source.pinned(commit, sha256), folder, file })
}

/// The SHA-256 of a weight file, which must be that of its blob's name and the pinned one.
fn checked(file: &Path, source: &HubSource) -> Result<String, HubError> {
    let found = sha256(file)?;
    if source.sha256().is_some_and(|wanted| wanted != found) {
        return Err(HubError::OtherWeights { source_name: source.to_string(), found });
    }
    let real = file.canonicalize().map_err(at(file))?;
    let name = real.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if is_hexadecimal(name, 64) && name != found {
        return Err(HubError::Damaged { path: real, found });
    }
    Ok(found)
}

/// The SHA-256 of a file. A run reads its source several times; while the file's size and time stay
/// the same, it is hashed once.
fn sha256(path: &Path) -> Result<String, HubError> {
    type Hashes = HashMap<(PathBuf, u64, Option<SystemTime>), String>;
    static KNOWN: Mutex<Option<Hashes>> = Mutex::new(None);
    let about = path.metadata().map_err(at(path))?;
    let key = (path.to_owned(), about.len(), about.modified().ok());
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(hash) = known().as_ref().and_then(|hashes| hashes.get(&key)) {
        return Ok(hash.clone());
    }
    let hash = hexadecimal(&hash_file(Sha256::default(), path).map_err(at(path))?);
    known().get_or_insert_default().insert(key, hash.clone());
    Ok(hash)
}

/// A build that downloads nothing.
#[cfg(not(feature = "fetch"))]
mod online {
    use super::{HubError, HubEvent, HubSettings, HubSource, Need, RepositoryCache};

    pub fn find(
        source: &HubSource,
        _: Need,
        _: &RepositoryCache,
        _: bool,
        settings: &HubSettings,
        _: &mut dyn FnMut(HubEvent),
    ) -> Result<String, HubError> {
        let cache = settings.cache.clone().unwrap_or_default();
        Err(HubError::NotCached { source_name: source.to_string(), cache })
    }

    pub fn find_configuration(
        _: &HubSource,
        _: &RepositoryCache,
        _: &str,
        _: &HubSettings,
        _: &mut dyn FnMut(HubEvent),
    ) {
    }
}
