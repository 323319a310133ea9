//! A download that resumes where it broke off.

use super::FetchError;
use super::http::{HttpError, Request, header, send};
use crate::progress::{Progress, Stage};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;
use ureq::http::Response;

/// Bytes between two reports of progress.
const REPORT_EVERY: u64 = 1 << 20;

/// A file to download.
pub(crate) struct Transfer<'a> {
    /// The address.
    pub url: &'a str,
    /// The token for the address's host.
    pub token: Option<&'a str>,
    /// As in [`FetchOptions`](super::FetchOptions).
    pub max_bytes: u64,
    /// As in [`FetchOptions`](super::FetchOptions).
    pub attempts: u32,
    /// As in [`FetchOptions`](super::FetchOptions).
    pub pause: Duration,
}

/// Appends to `file`, which lies at `path`, until the whole of it is there.
pub(crate) fn download(
    options: &Transfer<'_>,
    file: &File,
    path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), FetchError> {
    let length = || {
        file.metadata().map(|metadata| metadata.len()).map_err(|source| file_error(path, source))
    };
    let mut in_vain = 0;
    loop {
        let before = length()?;
        let message = match attempt(options, file, path, before, progress)? {
            Attempt::Whole => return Ok(()),
            Attempt::Broken(message) => message,
        };
        let bytes = length()?;
        in_vain = if bytes > before { 0 } else { in_vain + 1 };
        if in_vain == options.attempts {
            return Err(FetchError::Broken {
                url: options.url.to_owned(),
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
    options: &Transfer<'_>,
    file: &File,
    path: &Path,
    there: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Attempt, FetchError> {
    let headers = if there > 0 { vec![("Range", format!("bytes={there}-"))] } else { Vec::new() };
    let request =
        Request { url: options.url, head: false, headers: &headers, token: options.token };
    let response = match send(&request) {
        Ok(response) => response,
        Err(HttpError::Address(message)) => {
            return Err(FetchError::Address { url: options.url.to_owned(), message });
        }
        Err(HttpError::Proxy(error)) => return Err(error.into()),
        Err(HttpError::Broken(message)) => return Ok(Attempt::Broken(message)),
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
        status => return Err(FetchError::Status { url: options.url.to_owned(), status }),
    };
    let too_large =
        || FetchError::TooLarge { url: options.url.to_owned(), max_bytes: options.max_bytes };
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

/// Where a part begins, and how long the whole is: `bytes 100-199/200`.
fn content_range<T>(response: &Response<T>) -> Option<(u64, Option<u64>)> {
    let (range, total) =
        header(response, "content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

fn file_error(path: &Path, source: io::Error) -> FetchError {
    FetchError::File { path: path.to_owned(), source }
}
