//! tar archives, plain and compressed, well-meant and hostile.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use regraft_data::archive::{ArchiveError, ArchiveKind, UnpackLimits, unpack};
use regraft_data::catalogue::{ScanOptions, scan_with};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

const LIMITS: UnpackLimits = UnpackLimits { bytes: 10_000, entries: 20 };

fn header(kind: EntryType, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o644);
    header
}

/// An entry with any name, even one that the builder refuses.
fn entry(kind: EntryType, name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = header(kind, content.len());
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_cksum();
    let mut bytes = [header.as_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(EntryType::Regular, name.as_bytes(), content)
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(
                    path.strip_prefix(folder).unwrap().to_path_buf(),
                    std::fs::read(&path).unwrap(),
                );
            }
        }
    }
    found
}

fn unpacked(bytes: &[u8]) -> Result<BTreeMap<PathBuf, Vec<u8>>, ArchiveError> {
    let folder = TempDir::new().unwrap();
    let (path, out) = (folder.path().join("a"), folder.path().join("deep/out"));
    std::fs::write(&path, bytes).unwrap();
    let outcome = unpack(&path, &out, &LIMITS, &mut |_, _| {});
    let written: u64 = files(&out).values().map(|content| content.len() as u64).sum();
    assert!(written <= LIMITS.bytes + 1, "{written}");
    assert_eq!(
        files(folder.path()).keys().filter(|path| !path.starts_with("deep/out")).count(),
        1,
        "written elsewhere"
    );
    outcome.map(|_| files(&out))
}

fn expected(entries: &[(&str, &[u8])]) -> BTreeMap<PathBuf, Vec<u8>> {
    entries.iter().map(|&(name, content)| (name.into(), content.to_vec())).collect()
}

fn refused(bytes: &[u8], expected: &str) {
    let error = unpacked(bytes).unwrap_err().to_string();
    assert!(error.contains(expected), "{error} (expected: {expected})");
}

#[test]
fn a_tar_archive_opens_as_a_zip_does() {
    let folder = TempDir::new().unwrap();
    let bytes = archive(&[
        entry(EntryType::Directory, b"photos/", b""),
        file("photos/train/a/1.jpg", b"1"),
        file("photos/train/b/2.jpg", b"2"),
        file("photos/test/a/3.jpg", b"3"),
    ]);
    let cache = folder.path().join("cache");
    for (name, bytes) in [
        ("p.tar", bytes.clone()),
        ("p.tar.gz", compressed(&bytes)),
        ("p.tgz", compressed(&bytes)),
        ("p", bytes),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let options = ScanOptions { cache: cache.clone(), ..ScanOptions::default() };
        let catalogue = scan_with(&path, &options, &mut |_| {}).unwrap();
        assert_eq!((catalogue.train.len(), catalogue.test.len()), (2, 1), "{name}");
        let inner = scan_with(&path.join("photos/train"), &options, &mut |_| {}).unwrap();
        assert_eq!(inner.classes, ["a", "b"], "{name}");
    }
    let names = std::fs::read_dir(cache.join("unpacked")).unwrap();
    assert!(
        names
            .map(|name| name.unwrap().file_name().into_string().unwrap())
            .all(|name| name.starts_with("p-"))
    );
    for (name, stem) in [
        ("a.tar.gz", "a"),
        ("a.b.TGZ", "a.b"),
        ("a.zip", "a"),
        ("a.tar", "a"),
        (".zip", ".zip"),
        ("a", "a"),
    ] {
        assert_eq!(ArchiveKind::stem(name), stem);
    }
}

#[test]
fn long_names_of_gnu_and_pax_and_every_header_are_read() {
    let long = format!("{}/1.jpg", "long/".repeat(60));
    let mut gnu = Builder::new(Vec::new());
    gnu.append_data(&mut header(EntryType::Regular, 2), &long, &b"xy"[..]).unwrap();
    let mut pax = Builder::new(Vec::new());
    pax.append_pax_extensions([("path", long.as_bytes()), ("mtime", b"1.5")]).unwrap();
    pax.append(
        &{
            let mut header = header(EntryType::Regular, 2);
            header.set_path("short").unwrap();
            header.set_cksum();
            header
        },
        &b"xy"[..],
    )
    .unwrap();
    for bytes in [gnu.into_inner().unwrap(), pax.into_inner().unwrap()] {
        let long: PathBuf = Path::new(&long).components().collect();
        assert_eq!(unpacked(&bytes).unwrap(), BTreeMap::from([(long, b"xy".to_vec())]));
    }
    // A header without a magic word, as before POSIX, with a folder that only its name reveals.
    let mut old = Header::new_old();
    old.set_path("a/").unwrap();
    old.set_size(0);
    old.set_cksum();
    let bytes = [old.as_bytes(), &archive(&[file("a/1.jpg", b"1")])[..]].concat();
    assert_eq!(unpacked(&bytes).unwrap(), expected(&[("a/1.jpg", b"1")]));
    // `git archive` begins with a global header; several gzip members follow each other (pigz,
    // bgzip).
    let bytes = archive(&[
        entry(EntryType::XGlobalHeader, b"pax_global_header", b"19 comment=0123456\n"),
        file("a", b"1"),
    ]);
    assert_eq!(unpacked(&bytes).unwrap(), expected(&[("a", b"1")]));
    let members = [compressed(&bytes[..700]), compressed(&bytes[700..])].concat();
    assert_eq!(unpacked(&members).unwrap(), expected(&[("a", b"1")]));
}

#[test]
fn nothing_is_written_elsewhere_and_links_and_devices_are_refused() {
    for name in ["../evil", "a/../../evil", "/tmp/evil", "..\\evil"] {
        refused(&archive(&[file("good", b"x"), file(name, b"x")]), "leads out of the folder");
    }
    let mut pax = Builder::new(Vec::new());
    pax.append_pax_extensions([("path", &b"../evil"[..])]).unwrap();
    let bytes =
        [pax.into_inner().unwrap()[..1024].to_vec(), archive(&[file("good", b"x")])].concat();
    refused(&bytes, "leads out of the folder");
    for kind in
        [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Block, EntryType::Fifo]
    {
        let mut header = header(kind, 0);
        header.set_path("link").unwrap();
        header.set_link_name("/etc").unwrap();
        header.set_cksum();
        let bytes = archive(&[header.as_bytes().to_vec(), file("link/passwd", b"x")]);
        refused(&bytes, "\"link\" is a link or a device");
    }
    refused(
        &archive(&[file("a", b"x"), entry(EntryType::new(b'V'), b"label", b"")]),
        "is neither a file nor a folder",
    );
    refused(&archive(&[file("a", b"x"), file("a", b"y")]), "occurs twice");
    refused(&archive(&[file("a", b"x"), file("a/b", b"y")]), "is both a file and a folder");
}

#[test]
fn names_that_are_not_utf_8_are_noted() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.tar");
    std::fs::write(&path, archive(&[entry(EntryType::Regular, b"gr\xFCn.jpg", b"x")])).unwrap();
    let notes = unpack(&path, &folder.path().join("out"), &LIMITS, &mut |_, _| {}).unwrap();
    assert!(notes[0].contains("that are not UTF-8 were read as code page 437 (1, "), "{notes:?}");
    assert!(
        notes[0].contains("unpack it yourself with tar, convert the names")
            && !notes[0].contains("unzip"),
        "{notes:?}"
    );
    assert!(folder.path().join("out/gr\u{207f}n.jpg").is_file());
}

#[test]
fn bombs_are_stopped_by_their_unpacked_size() {
    let bytes = archive(&[file("zeros", &[0; 6_000]), file("more", &[0; 6_000])]);
    for bytes in [bytes.clone(), compressed(&bytes)] {
        assert!(matches!(unpacked(&bytes), Err(ArchiveError::TooLarge { .. })));
    }
    let many: Vec<Vec<u8>> = (0..21).map(|place| file(&place.to_string(), b"")).collect();
    assert!(matches!(unpacked(&archive(&many)), Err(ArchiveError::TooLarge { .. })));
    // A long name is read into memory.
    let long = entry(EntryType::GNULongName, b"././@LongLink", &vec![b'x'; 3 << 20]);
    refused(&compressed(&archive(&[long, file("a", b"x")])), "a header is longer than a MiB");
    let long = entry(EntryType::GNULongName, b"././@LongLink", &vec![b'x'; 5_000]);
    refused(&archive(&[long, file("a", b"x")]), "has a name longer than 4,096 bytes");
}

#[test]
fn sparse_files_have_their_holes_and_count_whole() {
    let sparse = |size: u64| {
        let mut header = header(EntryType::GNUSparse, 3);
        header.set_path("sparse").unwrap();
        let gnu = header.as_gnu_mut().unwrap();
        let octal = |field: &mut [u8; 12], value: u64| {
            field[..11].copy_from_slice(format!("{value:011o}").as_bytes())
        };
        octal(&mut gnu.sparse[0].offset, size - 3);
        octal(&mut gnu.sparse[0].numbytes, 3);
        octal(&mut gnu.realsize, size);
        header.set_cksum();
        let mut data = b"end".to_vec();
        data.resize(512, 0);
        archive(&[[header.as_bytes(), &data[..]].concat(), file("after", b"x")])
    };
    let whole = [vec![0; 97], b"end".to_vec()].concat();
    assert_eq!(unpacked(&sparse(100)).unwrap(), expected(&[("sparse", &whole), ("after", b"x")]));
    assert!(matches!(unpacked(&sparse(1 << 30)), Err(ArchiveError::TooLarge { .. })));
    // Another format for sparse files, whose map would be read as content.
    let mut pax = Builder::new(Vec::new());
    pax.append_pax_extensions([("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.name", b"a")])
        .unwrap();
    let bytes = [
        pax.into_inner().unwrap()[..1024].to_vec(),
        archive(&[file("GNUSparseFile.0/a", b"1\n0\n3\n")]),
    ]
    .concat();
    refused(&bytes, "is a sparse file in PAX format, which is not supported");
}

#[test]
fn damaged_archives_are_errors() {
    let whole = archive(&[file("a/1.jpg", &[7; 700]), file("b/1.jpg", b"two")]);
    for place in (512..whole.len() - 1024).step_by(64) {
        let error = unpacked(&whole[..place]).unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged { .. }), "cut to {place} bytes: {error}");
    }
    refused(&whole[..whole.len() - 1024], "it is cut off: its end mark is missing");
    refused(&[whole.clone(), whole.clone()].concat(), "there is more after its end mark");
    // Programs pad the last blocks with zeros.
    assert!(unpacked(&[&whole[..], &[0; 8192]].concat()).is_ok());
    let packed = compressed(&whole);
    for place in 100..packed.len() {
        assert!(unpacked(&packed[..place]).is_err(), "cut to {place} bytes");
    }
    for place in 10..packed.len() {
        let mut damaged = packed.clone();
        damaged[place] ^= 0x10;
        // The bits that pad the last byte of the compressed data mean nothing.
        let mut content = Vec::new();
        let read = GzDecoder::new(&damaged[..]).read_to_end(&mut content);
        let is_padding = read.is_ok() && content == whole;
        assert!(unpacked(&damaged).is_err() || is_padding, "byte {place} changed");
    }
    let mut wrong = whole;
    wrong[2000] ^= 1;
    refused(&wrong, "checksum");
}
