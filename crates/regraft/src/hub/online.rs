//! Brings the files of a revision into the cache.

use super::cache::RepositoryCache;
use super::error::HubError;
use super::remote::{Answer, Remote, RemoteFile};
use super::settings::HubSettings;
use super::source::HubSource;
use super::{HubEvent, Need};
use crate::hub_config::{CONFIG_NAME, WEIGHT_NAMES, companion};

/// How often a hub is asked for a file that is not in the cache.
const ASKED: u32 = 3;

/// Brings the files that are needed into the cache unless they are there, and returns their commit.
/// If they `may_stay` as they are in the cache, a hub that does not answer is asked only once.
pub fn find(
    source: &HubSource,
    need: Need,
    place: &RepositoryCache,
    may_stay: bool,
    settings: &HubSettings,
    report: &mut dyn FnMut(HubEvent),
) -> Result<String, HubError> {
    let fetcher = Fetcher {
        remote: Remote { settings, source },
        place,
        attempts: if may_stay { 1 } else { ASKED.min(settings.attempts) },
    };
    let names = match need {
        Need::Configuration => &[CONFIG_NAME][..],
        Need::Weights => &WEIGHT_NAMES,
    };
    let mut absent_from = None;
    for name in names {
        match fetcher.ask(source.revision(), name)? {
            Ok(file) => {
                fetcher.fetch(name, &file, report)?;
                fetcher.fetch_configuration(&file.commit, report)?;
                // Not before the files are there: what is in the cache can still be used if this
                // download fails.
                place.remember_commit(source.revision(), &file.commit)?;
                return Ok(file.commit);
            }
            Err(commit) => absent_from = commit.or(absent_from),
        }
    }
    if let Some(commit) = absent_from {
        for name in names {
            place.remember_lack(&commit, name)?;
        }
    }
    let files = names.join(", ");
    Err(HubError::NoFile { source_name: source.to_string(), files })
}

/// Brings the `config.json` of a commit into the cache whose weights are there. Programs that know
/// a network leave it out. If that fails, the weights can be used without it, and a note says so.
pub fn find_configuration(
    source: &HubSource,
    place: &RepositoryCache,
    commit: &str,
    settings: &HubSettings,
    report: &mut dyn FnMut(HubEvent),
) {
    let fetcher = Fetcher { remote: Remote { settings, source }, place, attempts: 1 };
    if let Err(error) = fetcher.fetch_configuration(commit, report) {
        report(HubEvent::Note(format!("{CONFIG_NAME} is not in the cache: {error}")));
    }
}

struct Fetcher<'a> {
    remote: Remote<'a>,
    place: &'a RepositoryCache,
    attempts: u32,
}

impl Fetcher<'_> {
    /// Asks for a file: that of the revision, or the commit that has none. If the hub answers that
    /// it is the one in the cache, that is the file.
    fn ask(
        &self,
        revision: &str,
        name: &str,
    ) -> Result<Result<RemoteFile, Option<String>>, HubError> {
        let known = self
            .place
            .commit_of(revision)
            .filter(|commit| self.place.file(commit, name).is_some())
            .and_then(|commit| Some((self.place.etag(&commit, name)?, commit)));
        let etag = known.as_ref().map(|(etag, _)| &etag[..]);
        Ok(match (self.remote.ask(revision, name, etag, self.attempts)?, known) {
            (Answer::There(file), _) => Ok(file),
            (Answer::Unchanged(commit), Some((etag, known))) => {
                Ok(RemoteFile { commit: commit.unwrap_or(known), etag, bytes: None })
            }
            (Answer::Absent(commit) | Answer::Unchanged(commit), _) => Err(commit),
        })
    }

    /// Downloads a file unless it is in the cache.
    fn fetch(
        &self,
        name: &str,
        file: &RemoteFile,
        report: &mut dyn FnMut(HubEvent),
    ) -> Result<(), HubError> {
        if self.place.file(&file.commit, name).is_some() {
            return Ok(());
        }
        let settings = self.remote.settings;
        let repository = self.remote.source.repository();
        if !self.place.blob(&file.etag).is_file() {
            let size = file.bytes.map_or_else(String::new, |bytes| format!(" ({})", size(bytes)));
            let (endpoint, cache) =
                (&settings.endpoint, settings.cache.clone().unwrap_or_default());
            report(HubEvent::Note(format!(
                "downloading {name}{size} of {repository} from {endpoint} into {}",
                cache.display()
            )));
        }
        let waits =
            format!("another process is downloading {name} of {repository}; waiting for it");
        let mut is_waiting = false;
        let report = std::cell::RefCell::new(report);
        self.remote.download(
            self.place,
            name,
            file,
            &mut || {
                if !std::mem::replace(&mut is_waiting, true) {
                    report.borrow_mut()(HubEvent::Note(waits.clone()));
                }
            },
            &mut |progress| report.borrow_mut()(HubEvent::Progress(progress)),
        )?;
        Ok(())
    }

    /// Downloads a commit's `config.json`, and the file that it needs beside it, unless they are in
    /// the cache or known not to exist.
    fn fetch_configuration(
        &self,
        commit: &str,
        report: &mut dyn FnMut(HubEvent),
    ) -> Result<(), HubError> {
        self.fetch_small(commit, CONFIG_NAME, report)?;
        match self.place.file(commit, CONFIG_NAME).and_then(|config| companion(&config)) {
            Some(name) => self.fetch_small(commit, name, report),
            None => Ok(()),
        }
    }

    fn fetch_small(
        &self,
        commit: &str,
        name: &str,
        report: &mut dyn FnMut(HubEvent),
    ) -> Result<(), HubError> {
        if self.place.file(commit, name).is_some() || self.place.lacks(commit, name) {
            return Ok(());
        }
        match self.ask(commit, name)? {
            Ok(file) => self.fetch(name, &RemoteFile { commit: commit.to_owned(), ..file }, report),
            Err(_) => self.place.remember_lack(commit, name),
        }
    }
}

/// A number of bytes in words: `46.8 MB`.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
