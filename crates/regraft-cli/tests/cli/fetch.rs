//! `regraft fetch` from a server of the test's own.

use crate::outcome::assert_says;
use crate::pictures::{Look, write_pictures};
use crate::workspace::{QUICK, Workspace};
use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::TcpListener;

/// Serves the same bytes to each of `requests` requests, and returns its address.
fn serve(content: Vec<u8>, requests: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for _ in 0..requests {
            let (mut stream, _) = listener.accept().expect("a request");
            let lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
            lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                content.len()
            );
            // The program may have seen enough.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&content));
        }
    });
    address
}

#[test]
fn a_fetched_archive_can_be_trained_on() {
    let workspace = Workspace::new();
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (class, look) in [("blue", Look::Blue), ("striped", Look::Striped)] {
        write_pictures(&workspace.path("made"), look, 5);
        for name in workspace.names("made") {
            writer.start_file(format!("set/train/{class}/{name}"), stored).expect("an entry");
            writer.write_all(&workspace.read(&format!("made/{name}"))).expect("content");
        }
    }
    let archive = writer.finish().expect("an archive").into_inner();
    workspace.write("set.zip", &archive);
    let address = serve(archive, 3);
    // An unknown name is refused with the right one.
    let wrong = "0".repeat(64);
    let error = workspace.regraft(&format!("fetch {address}/set.zip --sha256 {wrong}")).failed(1);
    let digits = error
        .split("has the SHA-256 ")
        .nth(1)
        .and_then(|rest| rest.get(..64))
        .expect("the file's hash")
        .to_owned();
    assert!(!workspace.path("set").exists() && !workspace.path("set.part").exists());
    let run = workspace.regraft(&format!("fetch {address}/set.zip --sha256 {digits}")).succeeded();
    assert_says(
        &run.stdout,
        &["set: 10 files", "SHA-256 as it should be", "ready: regraft train set"],
    );
    workspace.regraft(&format!("train set {QUICK}")).succeeded();
    let error = workspace.regraft(&format!("fetch {address}/set.zip --sha256 {digits}")).failed(2);
    assert_says(&error, &["set already exists", "--output"]);
    let run = workspace
        .regraft(&format!("fetch {address}/set.zip --sha256 {digits} --output other --json"))
        .succeeded();
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(
        (&report["path"], &report["files"]),
        (&serde_json::json!("other"), &serde_json::json!(10))
    );
}

#[test]
fn a_known_data_set_keeps_its_hash_wherever_it_comes_from() {
    let workspace = Workspace::new();
    let address = serve(b"another file".to_vec(), 1);
    let error = workspace.regraft(&format!("fetch hotdog --mirror {address}/hotdog.zip")).failed(1);
    assert_says(&error, &["has the SHA-1", "not fba480ffa8aa7e0febbb511d181409f899b9baa5"]);
    assert!(!workspace.path("hotdog").exists());
}

#[test]
fn what_is_asked_for_must_be_clear() {
    let workspace = Workspace::new();
    for (words, expected) in [
        ("fetch http://127.0.0.1:1/a.zip", "--sha256 is needed with an address"),
        ("fetch http://127.0.0.1:1/a.zip --sha256 abc", "64 hexadecimal digits are needed"),
        (
            "fetch hamburger",
            "hamburger: no known data set has this name, and it is no address; known are hotdog",
        ),
        ("fetch hotdog --sha256 abc", "leave --sha256 out"),
    ] {
        assert_says(&workspace.regraft(words).failed(2), &[expected]);
    }
}
