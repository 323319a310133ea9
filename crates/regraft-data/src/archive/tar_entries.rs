//! The entries of a tar archive, plain or compressed with gzip.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use super::error::{ArchiveError, file_error};
use super::target::Target;
use crate::named_file;

/// Limit on the bytes of headers before one entry: long names and PAX records are read into memory.
/// Paths on Linux have at most 4,096 bytes.
const HEADERS: u64 = 1 << 20;
/// Tar archives consist of blocks of 512 bytes and end with two blocks of zeros.
const BLOCK: usize = 512;

pub fn unpack(
    archive: &Path,
    compressed: bool,
    target: &mut Target<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), ArchiveError> {
    let file =
        BufReader::new(named_file::open(archive).map_err(|error| file_error(archive, &error))?);
    let content: Box<dyn Read> =
        if compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let allowed = Rc::new(Cell::new(HEADERS));
    let ended = Rc::new(Cell::new(false));
    let content = Bounded { content, allowed: Rc::clone(&allowed), ended: Rc::clone(&ended) };
    let mut tar = tar::Archive::new(content);
    let damaged = |target: &Target<'_>, error: io::Error| target.damaged(error.to_string());
    let mut entries = tar.entries().map_err(|error| damaged(target, error))?;
    let mut done = 0;
    loop {
        allowed.set(HEADERS);
        let Some(content) = entries.next() else { break };
        let mut content = content.map_err(|error| damaged(target, error))?;
        let kind = content.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            // `git archive` writes the commit there. Its bytes are skipped, within the limit on
            // headers.
            continue;
        }
        let entry = target.entry(&content.path_bytes())?;
        if has_pax_sparse(&mut content).map_err(|error| damaged(target, error))? {
            return Err(target.unsupported(&entry.name, "a sparse file in PAX format".to_owned()));
        }
        allowed.set(u64::MAX);
        match kind {
            // Archives from before POSIX mark a folder only by its name.
            EntryType::Regular if entry.name.ends_with('/') && content.size() == 0 => {
                target.folder(&entry)?
            }
            EntryType::Directory => target.folder(&entry)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let size = content.size();
                let mut counted = Counted { content: &mut content, bytes: 0 };
                target.file(&entry, &mut counted)?;
                if counted.bytes < size {
                    return Err(
                        target.damaged(format!("{}: the archive ends inside it", entry.name))
                    );
                }
            }
            EntryType::Link
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Fifo => {
                return Err(target.refused(&entry.name, "is a link or a device"));
            }
            _ => return Err(target.refused(&entry.name, "is neither a file nor a folder")),
        }
        done += 1;
        progress(done, done);
    }
    if ended.get() {
        return Err(target.damaged("it is cut off: its end mark is missing".to_owned()));
    }
    // Checks the checksum at the end of a gzip file. Only the zeros that fill the last block may
    // follow.
    let mut rest = tar.into_inner();
    rest.allowed.set(u64::MAX);
    let mut buffer = [0; 16 * BLOCK];
    loop {
        match rest.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) if buffer[..length].iter().all(|&byte| byte == 0) => {}
            Ok(_) => {
                return Err(target.damaged(
                    "there is more after its end mark (several archives in one?)".to_owned(),
                ));
            }
            Err(error) => return Err(target.damaged(error.to_string())),
        }
    }
}

/// Whether the entry's content is a map of its holes followed by its data, as GNU tar writes it
/// with `--sparse --format=pax`. The `tar` crate would return both as the content.
fn has_pax_sparse<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<bool> {
    let Some(records) = entry.pax_extensions()? else { return Ok(false) };
    for record in records {
        if record?.key_bytes().starts_with(b"GNU.sparse.") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Fails after `allowed` bytes, and records whether the end was reached.
struct Bounded {
    content: Box<dyn Read>,
    allowed: Rc<Cell<u64>>,
    ended: Rc<Cell<bool>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.allowed.get() == 0 {
            return Err(io::Error::other("a header is longer than a MiB"));
        }
        let length = buffer.len().min(usize::try_from(self.allowed.get()).unwrap_or(usize::MAX));
        let read = self.content.read(&mut buffer[..length])?;
        self.allowed.set(self.allowed.get() - read as u64);
        if read == 0 && length > 0 {
            self.ended.set(true);
        }
        Ok(read)
    }
}

struct Counted<'a, R: Read> {
    content: &'a mut R,
    bytes: u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}
