//! Archives, well-meant and hostile.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use regraft_data::archive::{ArchiveError, UnpackLimits, unpack};
use regraft_data::catalogue::{ScanOptions, scan_labelled, scan_with};
use regraft_data::inputs::expand;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const LIMITS: UnpackLimits = UnpackLimits { bytes: 10_000, entries: 20 };

fn archive(path: &Path, entries: &[(&str, &[u8])]) {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    std::fs::write(path, writer.finish().unwrap().into_inner()).unwrap();
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/"));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn archives_unpack_to_their_content() {
    let folder = TempDir::new().unwrap();
    let (zip, out) = (folder.path().join("a.zip"), folder.path().join("out"));
    archive(&zip, &[("a/1.jpg", b"one"), ("./b/ü/2.jpg", b"two"), ("win\\dows.txt", b"three")]);
    let mut progress = Vec::new();
    unpack(&zip, &out, &LIMITS, &mut |done, all| progress.push((done, all))).unwrap();
    assert_eq!(files(&out), ["a/1.jpg", "b/ü/2.jpg", "win/dows.txt"]);
    assert_eq!(std::fs::read(out.join("b/ü/2.jpg")).unwrap(), b"two");
    assert_eq!(progress, [(1, 3), (2, 3), (3, 3)]);
}

#[test]
fn nothing_is_written_elsewhere() {
    let folder = TempDir::new().unwrap();
    let zip = folder.path().join("evil.zip");
    for name in ["../evil", "a/../../evil", "/tmp/evil", "..\\evil", "a\\..\\..\\evil"] {
        archive(&zip, &[("good", b"x"), (name, b"x")]);
        let out = folder.path().join("deep/out");
        let error = unpack(&zip, &out, &LIMITS, &mut |_, _| {}).unwrap_err();
        assert!(
            matches!(&error, ArchiveError::Entry { why, .. } if why.starts_with("leads out")),
            "{name}: {error}"
        );
        assert_eq!(files(&folder.path().join("deep")), ["out/good"], "{name}");
        std::fs::remove_dir_all(out).unwrap();
    }
    archive(&zip, &[("a.jpg", b"x"), ("./a.jpg", b"x")]);
    let error = unpack(&zip, &folder.path().join("twice"), &LIMITS, &mut |_, _| {}).unwrap_err();
    assert!(matches!(&error, ArchiveError::Entry { why: "occurs twice", .. }), "{error}");
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_symlink("link", "/etc", SimpleFileOptions::default()).unwrap();
    writer.start_file("link/passwd", SimpleFileOptions::default()).unwrap();
    std::fs::write(&zip, writer.finish().unwrap().into_inner()).unwrap();
    let error = unpack(&zip, &folder.path().join("links"), &LIMITS, &mut |_, _| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("\"link\" is a link or a device"), "{error}");
}

#[test]
fn a_colon_is_part_of_a_name_except_on_windows() {
    let folder = TempDir::new().unwrap();
    let (zip, out) = (folder.path().join("a.zip"), folder.path().join("out"));
    for (name, windows) in [
        ("hot/a:b.jpg", "has a colon in its name, which Windows does not allow"),
        ("c:evil", "leads out of the folder"),
        ("C:\\evil", "leads out of the folder"),
    ] {
        archive(&zip, &[(name, b"x")]);
        let outcome = unpack(&zip, &out, &LIMITS, &mut |_, _| {});
        if cfg!(windows) {
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains(windows), "{name}: {error}");
        } else {
            assert_eq!((outcome, files(&out)), (Ok(Vec::new()), vec![name.replace('\\', "/")]));
        }
        std::fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn bombs_are_stopped_by_their_unpacked_size() {
    let folder = TempDir::new().unwrap();
    let (zip, out) = (folder.path().join("bomb.zip"), folder.path().join("out"));
    archive(&zip, &[("zeros", &[0; 6_000]), ("more", &[0; 6_000])]);
    assert!(matches!(
        unpack(&zip, &out, &LIMITS, &mut |_, _| {}),
        Err(ArchiveError::TooLarge { .. })
    ));
    let written: u64 =
        files(&out).iter().map(|file| out.join(file).metadata().unwrap().len()).sum();
    assert!(written <= LIMITS.bytes + 1, "{written}");
    let names: Vec<String> = (0..21).map(|place| place.to_string()).collect();
    archive(&zip, &names.iter().map(|name| (name.as_str(), &b""[..])).collect::<Vec<_>>());
    assert!(matches!(
        unpack(&zip, &out, &LIMITS, &mut |_, _| {}),
        Err(ArchiveError::TooLarge { .. })
    ));
    assert_eq!(UnpackLimits::of_archive(1 << 30).bytes, 100 << 30);
}

#[test]
fn damaged_archives_are_errors_and_leave_nothing_half_unpacked() {
    let folder = TempDir::new().unwrap();
    let (zip, cache) = (folder.path().join("a.zip"), folder.path().join("cache"));
    archive(&zip, &[("a/1.jpg", &[7; 400]), ("b/1.jpg", b"two")]);
    let whole = std::fs::read(&zip).unwrap();
    let options = ScanOptions { cache: cache.clone(), ..ScanOptions::default() };
    for place in (0..whole.len()).step_by(3) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x55;
        std::fs::write(&zip, &damaged).unwrap();
        // Some bytes do not matter, such as a file's time.
        let _ = scan_with(&zip, &options, &mut |_| {});
        std::fs::write(&zip, &whole[..place]).unwrap();
        assert!(scan_with(&zip, &options, &mut |_| {}).is_err(), "cut to {place} bytes");
    }
    let half = |name: &str| name.contains(".part-");
    let left = std::fs::read_dir(cache.join("unpacked")).unwrap();
    assert!(
        !left
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .any(|name| half(&name))
    );
}

#[test]
fn an_archive_is_read_as_its_content() {
    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("cache");
    let options = ScanOptions { cache: cache.clone(), ..ScanOptions::default() };
    let zip = folder.path().join("photos.zip");
    archive(
        &zip,
        &[
            ("photos/train/a/1.jpg", b"1"),
            ("photos/train/b/2.jpg", b"2"),
            ("photos/test/a/3.jpg", b"3"),
            ("__MACOSX/photos/._x", b"x"),
        ],
    );
    let catalogue = scan_with(&zip, &options, &mut |_| {}).unwrap();
    assert_eq!((catalogue.train.len(), catalogue.test.len()), (2, 1));
    assert!(catalogue.train[0].path.starts_with(&cache));
    assert!(catalogue.notes[0].contains("photos.zip is unpacked in"), "{:?}", catalogue.notes);
    // Once for each version of the archive.
    let unpacked = || std::fs::read_dir(cache.join("unpacked")).unwrap().count();
    scan_with(&zip, &options, &mut |_| {}).unwrap();
    assert_eq!(unpacked(), 1);
    assert_eq!(scan_labelled(&zip.join("photos/test"), &cache).unwrap().names, ["a"]);
    let words = [
        zip.join("photos/train/a/1.jpg").to_str().unwrap().to_owned(),
        zip.to_str().unwrap().to_owned(),
    ];
    let inputs = expand(&words, &cache).unwrap();
    let names: Vec<PathBuf> =
        inputs.paths.iter().map(|path| path.file_name().unwrap().into()).collect();
    assert_eq!(names, ["1.jpg", "3.jpg", "1.jpg", "2.jpg"].map(PathBuf::from));
    let error = scan_labelled(&zip.join("photos/nothing"), &cache).unwrap_err().to_string();
    assert!(error.contains("no such file or folder"), "{error}");

    let table = b"path,label\nimages/1.jpg,x\nimages/2.jpg,y\n";
    archive(
        &zip,
        &[("set/images/1.jpg", b"1"), ("set/images/2.jpg", b"2"), ("set/all.csv", table)],
    );
    let catalogue = scan_with(&zip, &options, &mut |_| {}).unwrap();
    assert_eq!(catalogue.classes, ["x", "y"]);
    assert!(catalogue.train.iter().all(|sample| sample.path.is_file()), "{:?}", catalogue.train);
    assert_eq!(unpacked(), 2);
    // A table of something else beside class folders.
    archive(&zip, &[("a/1.jpg", b"1"), ("b/1.jpg", b"1"), ("sizes.csv", b"width,height\n1,2\n")]);
    assert_eq!(scan_with(&zip, &options, &mut |_| {}).unwrap().classes, ["a", "b"]);
}

#[test]
fn an_archive_of_one_class_folder_is_scored_as_that_class() {
    let folder = TempDir::new().unwrap();
    let zip = folder.path().join("cats.zip");
    archive(&zip, &[("cat/1.jpg", b"1"), ("cat/2.jpg", b"2")]);
    let found = scan_labelled(&zip, &folder.path().join("cache")).unwrap();
    assert_eq!((found.names, found.samples.len()), (vec!["cat".to_owned()], 2));
}

#[test]
fn leftovers_of_a_killed_process_with_the_same_number_do_not_count() {
    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("cache");
    let options = ScanOptions { cache: cache.clone(), ..ScanOptions::default() };
    let zip = folder.path().join("photos.zip");
    archive(&zip, &[("a/1.jpg", b"1"), ("b/2.jpg", b"2")]);
    let whole = scan_with(&zip, &options, &mut |_| {}).unwrap();
    let unpacked =
        std::fs::read_dir(cache.join("unpacked")).unwrap().next().unwrap().unwrap().path();
    let mut aside = unpacked.clone().into_os_string();
    aside.push(format!(".part-{}", std::process::id()));
    std::fs::rename(&unpacked, &aside).unwrap();
    assert_eq!(scan_with(&zip, &options, &mut |_| {}), Ok(whole));
}
