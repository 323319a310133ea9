//! A download that resumes where it broke off.

use super::{FetchError, FetchOptions};
use crate::progress::{Progress, Stage};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;
use ureq::Agent;
use ureq::http::Response;

/// After this time an attempt is broken off, so that a connection on which nothing comes does not
/// hold up the download for ever: the next attempt resumes there.
const ATTEMPT: Duration = Duration::from_secs(300);
const CONNECT: Duration = Duration::from_secs(30);
/// Bytes between two reports of progress.
const REPORT_EVERY: u64 = 1 << 20;

/// Appends to `file`, which lies at `path`, until the whole of it is there.
pub fn download(
    options: &FetchOptions,
    file: &File,
    path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), FetchError> {
    let agent: Agent = Agent::config_builder()
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(CONNECT))
        .timeout_recv_body(Some(ATTEMPT))
        .http_status_as_error(false)
        .max_redirects(5)
        .user_agent(concat!("regraft/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let length = || {
        file.metadata().map(|metadata| metadata.len()).map_err(|source| file_error(path, source))
    };
    let mut in_vain = 0;
    loop {
        let before = length()?;
        let message = match attempt(&agent, options, file, path, before, progress)? {
            Attempt::Whole => return Ok(()),
            Attempt::Broken(message) => message,
        };
        let bytes = length()?;
        in_vain = if bytes > before { 0 } else { in_vain + 1 };
        if in_vain == options.attempts {
            return Err(FetchError::Broken {
                url: options.url.clone(),
                message,
                attempts: in_vain,
                bytes,
            });
        }
        std::thread::sleep(options.pause * 2u32.saturating_pow(in_vain.saturating_sub(1)));
    }
}

enum Attempt {
    Whole,
    /// It may go better next time.
    Broken(String),
}

/// One request for the bytes that are missing after `there`.
fn attempt(
    agent: &Agent,
    options: &FetchOptions,
    file: &File,
    path: &Path,
    there: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Attempt, FetchError> {
    let mut request = agent.get(&options.url);
    if there > 0 {
        request = request.header("Range", format!("bytes={there}-"));
    }
    let response = match request.call() {
        Ok(response) => response,
        // Trying again does not mend an address.
        Err(
            error @ (ureq::Error::BadUri(_)
            | ureq::Error::Http(_)
            | ureq::Error::TooManyRedirects
            | ureq::Error::RedirectFailed
            | ureq::Error::InvalidProxyUrl),
        ) => {
            return Err(FetchError::Address {
                url: options.url.clone(),
                message: error.to_string(),
            });
        }
        Err(error) => return Ok(Attempt::Broken(error.to_string())),
    };
    let (start, total) = match response.status().as_u16() {
        200 => (0, header(&response, "content-length").and_then(|length| length.parse().ok())),
        206 => match content_range(&response) {
            Some((start, total)) if start == there => (start, total),
            _ => {
                return Ok(Attempt::Broken(
                    "the server sends another part than was asked for".to_owned(),
                ));
            }
        },
        // Nothing comes after what is there: it is whole, or of another file, as its hash will
        // tell.
        416 if there > 0 => return Ok(Attempt::Whole),
        status @ (408 | 425 | 429 | 500..=599) => {
            return Ok(Attempt::Broken(format!("the server answers {status}")));
        }
        status => return Err(FetchError::Status { url: options.url.clone(), status }),
    };
    let too_large =
        || FetchError::TooLarge { url: options.url.clone(), max_bytes: options.max_bytes };
    if total.is_some_and(|total: u64| total > options.max_bytes) {
        return Err(too_large());
    }
    if start < there {
        // The server does not send parts.
        file.set_len(start).map_err(|source| file_error(path, source))?;
    }
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    let (mut bytes, mut reported) = (start, start);
    progress(Progress { stage: Stage::Downloading, done: bytes, total });
    loop {
        let read = match body.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Ok(Attempt::Broken(format!("the connection broke off ({error})")));
            }
        };
        if read == 0 {
            break;
        }
        bytes += read as u64;
        if bytes > options.max_bytes {
            return Err(too_large());
        }
        let mut writer = file;
        writer.write_all(&buffer[..read]).map_err(|source| file_error(path, source))?;
        if bytes - reported >= REPORT_EVERY {
            reported = bytes;
            progress(Progress { stage: Stage::Downloading, done: bytes, total });
        }
    }
    progress(Progress { stage: Stage::Downloading, done: bytes, total });
    Ok(match total {
        Some(total) if bytes < total => {
            Attempt::Broken(format!("the connection broke off after {bytes} of {total} bytes"))
        }
        _ => Attempt::Whole,
    })
}

fn header<'a, T>(response: &'a Response<T>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Where a part begins, and how long the whole is: `bytes 100-199/200`.
fn content_range<T>(response: &Response<T>) -> Option<(u64, Option<u64>)> {
    let (range, total) =
        header(response, "content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

fn file_error(path: &Path, source: io::Error) -> FetchError {
    FetchError::File { path: path.to_owned(), source }
}
