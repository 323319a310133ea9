//! Downloads from a server of the test's own, which breaks off, lies and refuses as servers do.
#![allow(missing_docs)]

use regraft::fetch::{Checksum, FetchError, FetchOptions, Fetched, fetch};
use regraft::progress::{Progress, Stage};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// The answer to one request: it is given the byte from which the client wants the
/// file, and writes its answer.
type Answer = Box<dyn Fn(&mut TcpStream, Option<usize>) + Send>;

/// Answers the requests one after another, and keeps their ranges.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Option<usize>>>>,
}

impl Server {
    fn new(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut start = None;
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let line = line.unwrap().to_lowercase();
                    if line.is_empty() {
                        break;
                    }
                    if let Some(range) = line.strip_prefix("range: bytes=") {
                        start = range.trim_end_matches('-').parse().ok();
                    }
                }
                kept.lock().unwrap().push(start);
                answer(&mut stream, start);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<Option<usize>> {
        self.asked.lock().unwrap().clone()
    }
}

/// The file from where the client wants it, broken off after `sent` bytes of the body.
fn part(content: &[u8], sent: usize) -> Answer {
    let content = content.to_vec();
    Box::new(move |stream, start| {
        let begin = start.unwrap_or(0);
        let (status, range) = match start {
            Some(_) => (
                "206 Partial Content",
                format!("Content-Range: bytes {begin}-{}/{}\r\n", content.len() - 1, content.len()),
            ),
            None => ("200 OK", String::new()),
        };
        let rest = &content[begin..];
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\n{range}Content-Length: {}\r\nConnection: close\r\n\r\n",
            rest.len()
        );
        let _ = stream.write_all(&rest[..sent.min(rest.len())]);
    })
}

/// The whole file, whatever part is asked for.
fn whole(content: &[u8]) -> Answer {
    let content = content.to_vec();
    Box::new(move |stream, _| {
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            content.len()
        );
        let _ = stream.write_all(&content);
    })
}

fn status(line: &'static str) -> Answer {
    Box::new(move |stream, _| {
        let _ = write!(stream, "HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    })
}

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in entries {
        writer.start_file(*name, stored).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn photos() -> Vec<u8> {
    let large = vec![7; 300_000];
    archive(&[
        ("photos/train/a/1.jpg", &large),
        ("photos/train/b/2.jpg", b"two"),
        ("photos/test/a/3.jpg", b"three"),
    ])
}

fn options(server: &Server, content: &[u8], output: &Path) -> FetchOptions {
    let checksum = Checksum::Sha256(Sha256::digest(content).into());
    FetchOptions {
        output: Some(output.to_owned()),
        attempts: 3,
        pause: Duration::from_millis(1),
        ..FetchOptions::new(&format!("{}/photos.zip", server.address), checksum)
    }
}

fn run(options: &FetchOptions) -> Result<Fetched, FetchError> {
    fetch(options, &mut |_| {})
}

/// What lies in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("photos");
    (folder, output)
}

#[test]
fn an_archive_becomes_its_folder() {
    let (folder, output) = place();
    let content = photos();
    let server = Server::new(vec![part(&content, usize::MAX)]);
    let mut reports = Vec::new();
    let fetched =
        fetch(&options(&server, &content, &output), &mut |progress| reports.push(progress))
            .unwrap();
    assert_eq!((fetched.files, fetched.bytes, fetched.resumed_bytes), (3, content.len() as u64, 0));
    assert_eq!(names(&output), ["test", "train"]);
    assert_eq!(names(folder.path()), ["photos"], "nothing is left beside it");
    assert_eq!(std::fs::read(output.join("train/b/2.jpg")).unwrap(), b"two");
    let (bytes, total) = (content.len() as u64, Some(content.len() as u64));
    let whole = Progress { stage: Stage::Downloading, done: bytes, total };
    assert!(reports.contains(&whole), "{reports:?}");
    assert_eq!(reports.last(), Some(&Progress::of(Stage::Unpacking, 3, 3)));
    // Nothing that is there is written over.
    assert!(matches!(run(&options(&server, &content, &output)), Err(FetchError::Exists { .. })));
}

#[test]
fn a_tar_archive_becomes_its_folder_too() {
    let mut tar =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, content) in [("photos/train/a/1.jpg", b"one"), ("photos/train/b/2.jpg", b"two")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        tar.append_data(&mut header, name, &content[..]).unwrap();
    }
    let content = tar.into_inner().unwrap().finish().unwrap();
    let (_folder, output) = place();
    let server = Server::new(vec![whole(&content)]);
    let fetched = run(&options(&server, &content, &output)).unwrap();
    assert_eq!((fetched.files, fetched.notes), (2, Vec::new()));
    assert_eq!(std::fs::read(output.join("train/b/2.jpg")).unwrap(), b"two");
}

#[test]
fn a_weight_file_stays_whole_though_it_is_a_zip_archive() {
    let content = archive(&[("archive/data.pkl", b"x"), ("archive/data/0", b"y")]);
    let (_folder, output) = place();
    let server = Server::new(vec![whole(&content)]);
    assert_eq!(run(&options(&server, &content, &output)).unwrap().files, 1);
    assert_eq!(std::fs::read(&output).unwrap(), content);
}

#[test]
fn another_file_stays_as_it_is() {
    let (_folder, output) = place();
    let server = Server::new(vec![whole(b"path,label\n")]);
    assert_eq!(run(&options(&server, b"path,label\n", &output)).unwrap().files, 1);
    assert_eq!(std::fs::read(&output).unwrap(), b"path,label\n");
}

#[test]
fn a_download_goes_on_where_it_broke_off() {
    let (_folder, output) = place();
    let content = photos();
    // Two breaks within one call; a server that is busy in between.
    let server = Server::new(vec![
        part(&content, 100_000),
        status("503 Service Unavailable"),
        part(&content, 50_000),
        part(&content, usize::MAX),
    ]);
    run(&options(&server, &content, &output)).unwrap();
    assert_eq!(server.asked(), [None, Some(100_000), Some(100_000), Some(150_000)]);
    assert_eq!(names(&output), ["test", "train"]);
}

#[test]
fn a_later_call_goes_on_where_an_earlier_one_gave_up() {
    let (folder, output) = place();
    let content = photos();
    let server = Server::new(vec![
        part(&content, 120_000),
        part(&content, 0),
        status("500 Internal Server Error"),
        part(&content, 0),
        part(&content, usize::MAX),
    ]);
    let error = run(&options(&server, &content, &output)).unwrap_err();
    assert!(matches!(&error, FetchError::Broken { attempts: 3, bytes: 120_000, .. }), "{error}");
    assert!(error.to_string().contains("bytes that have arrived are kept"), "{error}");
    assert_eq!(names(folder.path()), ["photos.part"]);
    let fetched = run(&options(&server, &content, &output)).unwrap();
    assert_eq!((fetched.resumed_bytes, server.asked().last()), (120_000, Some(&Some(120_000))));
    assert_eq!(names(folder.path()), ["photos"]);
}

#[test]
fn a_server_without_parts_sends_the_whole_again() {
    let (_folder, output) = place();
    let content = photos();
    let server = Server::new(vec![part(&content, 1000), whole(&content)]);
    run(&options(&server, &content, &output)).unwrap();
    assert_eq!(names(&output), ["test", "train"]);
}

#[test]
fn what_is_left_of_another_file_does_no_harm() {
    let (folder, output) = place();
    let content = photos();
    std::fs::write(folder.path().join("photos.part"), vec![1; 5000]).unwrap();
    let server = Server::new(vec![part(&content, usize::MAX), part(&content, usize::MAX)]);
    run(&options(&server, &content, &output)).unwrap();
    assert_eq!(
        server.asked(),
        [Some(5000), None],
        "the hash is wrong, so the download starts again"
    );

    // A whole file is left, of which the server has nothing more to send.
    let (folder, output) = place();
    std::fs::write(folder.path().join("photos.part"), &content).unwrap();
    let server = Server::new(vec![status("416 Range Not Satisfiable")]);
    run(&options(&server, &content, &output)).unwrap();
    assert_eq!(names(&output), ["test", "train"]);
}

#[test]
fn another_file_than_was_meant_is_refused_and_removed() {
    let (folder, output) = place();
    let server = Server::new(vec![whole(b"something else")]);
    let error = run(&options(&server, b"what was meant", &output)).unwrap_err();
    assert!(error.to_string().contains("has the SHA-256"), "{error}");
    assert!(matches!(error, FetchError::Mismatch { .. }));
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn refusals_and_wrong_addresses_are_told_at_once() {
    let (_folder, output) = place();
    let server = Server::new(vec![status("404 Not Found")]);
    assert!(matches!(
        run(&options(&server, b"", &output)),
        Err(FetchError::Status { status: 404, .. })
    ));
    for url in ["ftp:/x", "http://", "http:// /x", "no address"] {
        let options = FetchOptions { url: url.to_owned(), ..options(&server, b"", &output) };
        let error = run(&options).unwrap_err();
        assert!(
            matches!(error, FetchError::Address { .. } | FetchError::Broken { .. }),
            "{url}: {error}"
        );
    }
    let nameless = FetchOptions { output: None, ..options(&server, b"", &output) };
    let nameless = FetchOptions { url: format!("{}/", server.address), ..nameless };
    assert!(matches!(run(&nameless), Err(FetchError::NoName { .. })));
}

#[test]
fn no_more_comes_than_is_allowed() {
    let content = photos();
    let announced = |stream: &mut TcpStream, _: Option<usize>| {
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\nConnection: close\r\n\r\n"
        );
    };
    let endless = |stream: &mut TcpStream, _: Option<usize>| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while stream.write_all(&[0; 10_000]).is_ok() {}
    };
    for answer in [Box::new(announced) as Answer, Box::new(endless) as Answer] {
        let (folder, output) = place();
        let server = Server::new(vec![answer]);
        let options = FetchOptions { max_bytes: 400_000, ..options(&server, &content, &output) };
        assert!(matches!(run(&options), Err(FetchError::TooLarge { max_bytes: 400_000, .. })));
        let there = std::fs::metadata(folder.path().join("photos.part")).unwrap().len();
        assert!(there <= 400_000, "{there}");
    }
}

#[test]
fn a_hostile_archive_leaves_nothing() {
    let (folder, output) = place();
    let content = archive(&[("a.jpg", b"x"), ("../../evil.jpg", b"x")]);
    let server = Server::new(vec![whole(&content)]);
    let error = run(&options(&server, &content, &output)).unwrap_err();
    assert!(error.to_string().contains("leads out of the folder"), "{error}");
    assert_eq!(names(folder.path()), ["photos.part"]);
    assert!(!folder.path().parent().unwrap().join("evil.jpg").exists());
}

#[test]
fn two_at_once_do_not_mix() {
    let (folder, output) = place();
    let content = photos();
    let held = std::fs::File::create(folder.path().join("photos.part")).unwrap();
    held.try_lock().unwrap();
    let server = Server::new(vec![whole(&content)]);
    assert!(matches!(run(&options(&server, &content, &output)), Err(FetchError::Locked { .. })));
    drop(held);
    run(&options(&server, &content, &output)).unwrap();
}
