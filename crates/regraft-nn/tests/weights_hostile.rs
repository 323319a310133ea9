//! Weight files that are hostile or randomly changed: each is read or refused, in bounded memory
//! and time, and never ends the program.
//!
//! Everything runs in a process of its own with limited memory, because otherwise a file that makes
//! a reader allocate too much would go unnoticed. `REGRAFT_MUTATIONS=100000 cargo test -p
//! regraft-nn --test weights_hostile -- --nocapture` changes each file as many times.

use regraft_nn::weights::{ExpectedTensor, WeightError, WeightFile, match_to, non_finite, read};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Memory limit of a process that reads a small file, in KiB: the program itself, its threads'
/// stacks, and the largest accepted pickle.
const MEMORY_KIB: u32 = 600_000;
/// Time limit for reading a small file.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs one of the ignored tests in a process of its own with limited memory.
fn in_bounded_memory(test: &str) {
    if !cfg!(unix) {
        eprintln!("SKIPPED: {test}: memory is limited by a Unix shell's ulimit");
        return;
    }
    let program = std::env::current_exe().expect("this program");
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            &format!(
                "ulimit -v {MEMORY_KIB}; exec \"$0\" --exact {test} --ignored \
            --nocapture --test-threads 1"
            ),
        ])
        .arg(program)
        .output()
        .expect("a shell");
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    println!(
        "{}",
        stdout.lines().filter(|line| line.contains(": ")).collect::<Vec<_>>().join("\n")
    );
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{test}: {}\n{stdout}\n{stderr}",
        output.status
    );
}

#[test]
fn files_with_false_claims_are_refused_in_bounded_memory() {
    in_bounded_memory("lies");
}

#[test]
fn randomly_changed_files_are_read_or_refused_in_bounded_memory() {
    in_bounded_memory("mutations");
}

/// A folder with a file that is rewritten for each case.
struct Scratch {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Scratch {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { path: folder.path().join("weights"), _folder: folder }
    }

    fn read(&self, bytes: &[u8]) -> Result<WeightFile, WeightError> {
        std::fs::write(&self.path, bytes).expect("written");
        let started = Instant::now();
        let outcome = read(&self.path);
        assert!(started.elapsed() < PATIENCE, "{} bytes took {:?}", bytes.len(), started.elapsed());
        outcome
    }
}

/// A safetensors file from a header and data.
fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// ZIP's CRC-32.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    })
}

/// A ZIP archive of stored entries. Its directory lists the last entry `repeats` more times, under
/// other names.
fn zip(entries: &[(&str, &[u8])], repeats: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    let mut listed = 0_u16;
    let mut list = |name: &str, sizes: [u32; 3], offset: usize| {
        directory.extend(b"PK\x01\x02\x14\x00\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00");
        sizes.iter().for_each(|word| directory.extend(word.to_le_bytes()));
        directory.extend((name.len() as u16).to_le_bytes());
        directory.extend([0; 12]);
        directory.extend((offset as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        listed += 1;
    };
    for (place, (name, content)) in entries.iter().enumerate() {
        let offset = bytes.len();
        let sizes = [crc(content), content.len() as u32, content.len() as u32];
        bytes.extend(b"PK\x03\x04\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00");
        sizes.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(name.as_bytes());
        bytes.extend(*content);
        list(name, sizes, offset);
        if place + 1 == entries.len() {
            (1..=repeats).for_each(|number| list(&format!("archive/data/{number}"), sizes, offset));
        }
    }
    let start = bytes.len() as u32;
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\x00\x00\x00\x00");
    bytes.extend([listed.to_le_bytes(), listed.to_le_bytes()].concat());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}

/// A checkpoint with this pickle.
fn checkpoint(pickle: &[u8]) -> Vec<u8> {
    zip(
        &[("archive/data.pkl", pickle), ("archive/version", b"3\n"), ("archive/data/0", &[0; 64])],
        0,
    )
}

/// A pickle of a dict of 1000 tensors, each with its own storage of `elements` floats.
fn many_tensors(elements: u32) -> Vec<u8> {
    let text =
        |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let number = |number: u32| [b"J", &number.to_le_bytes()[..]].concat();
    let mut pickle = b"\x80\x02}(".to_vec();
    for place in 0..1000 {
        pickle.extend(text(&format!("tensor{place}")));
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        pickle.extend(
            [
                text("storage"),
                b"ctorch\nFloatStorage\n".to_vec(),
                text(&place.to_string()),
                text("cpu"),
                number(elements),
            ]
            .concat(),
        );
        pickle.extend(b"tQ");
        pickle.extend(
            [
                number(0),
                number(elements),
                b"\x85".to_vec(),
                number(1),
                b"\x85\x89ccollections\nOrderedDict\n)RtR".to_vec(),
            ]
            .concat(),
        );
    }
    [pickle, b"u.".to_vec()].concat()
}

#[test]
#[ignore = "run with limited memory by files_with_false_claims_are_refused_in_bounded_memory"]
fn lies() {
    let scratch = Scratch::new();
    let tensor = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let refused = |what: &str, bytes: &[u8], part: &str| {
        let error = scratch.read(bytes).map(|file| file.tensors.len()).expect_err(what).to_string();
        assert!(error.contains(part), "{what}: {error}");
        println!("{what}: {} bytes, refused", bytes.len());
    };
    refused(
        "a name twice",
        &safetensors(&format!(r#"{{"a":{tensor},"a":{tensor}}}"#), &[0; 4]),
        "more than one tensor is named a",
    );
    let nested = format!(r#"{{"a":{}"#, "[".repeat(1 << 20));
    refused("a header of nested lists", &safetensors(&nested, &[]), "damaged");
    let flat = format!(
        r#"{{"a":{{"dtype":"F32","shape":[{}1],"data_offsets":[0,4]}}}}"#,
        "1,".repeat(1 << 20)
    );
    assert_eq!(
        scratch.read(&safetensors(&flat, &[0; 4])).expect("a million dimensions of 1").tensors[0]
            .values,
        [0.0]
    );
    let wide = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#;
    refused("a shape whose product overflows", &safetensors(wide, &[0; 4]), "damaged");
    let wide = r#"{"a":{"dtype":"F32","shape":[18446744073709551615,2,0],"data_offsets":[0,0]}}"#;
    refused("an empty shape whose product overflows", &safetensors(wide, &[]), "damaged");
    let past = r#"{"a":{"dtype":"F32","shape":[1],
        "data_offsets":[18446744073709551612,18446744073709551615]}}"#;
    refused("offsets past the end", &safetensors(past, &[0; 4]), "damaged");

    refused(
        "an entry twice",
        &zip(&[("archive/data.pkl", b"\x80\x02}."), ("archive/data.pkl", b"\x80\x02}.")], 0),
        "does not list 2 entries of different names",
    );
    // Many names for one storage, all of which are requested.
    let overlapping = zip(
        &[("archive/data.pkl", &many_tensors(1 << 18)), ("archive/data/0", &vec![0; 1 << 20])],
        999,
    );
    refused("a storage under a thousand names", &overlapping, "claims more than");
    let mut endless = checkpoint(b"\x80\x02}.");
    let end = endless.len() - 22;
    endless[end + 8..end + 12].copy_from_slice(&[0xff; 4]);
    assert!(scratch.read(&endless).is_err(), "65535 entries that are not there");
    // The extension for large archives, which lists 2^60 entries of 2^62 bytes.
    let mut large = endless[..end].to_vec();
    let place = large.len() as u64;
    large.extend(b"PK\x06\x06\x2c\x00\x00\x00\x00\x00\x00\x00");
    large.extend(b"\x2d\x00\x2d\x00\x00\x00\x00\x00\x00\x00\x00\x00");
    [1_u64 << 60, 1 << 60, 1 << 62, 0].iter().for_each(|word| large.extend(word.to_le_bytes()));
    large.extend(b"PK\x06\x07\x00\x00\x00\x00");
    large.extend(place.to_le_bytes());
    large.extend(b"\x01\x00\x00\x00");
    large.extend([b"PK\x05\x06\x00\x00\x00\x00", &[0xff; 12][..], &[0, 0]].concat());
    refused("a directory of 2^60 entries", &large, "zip directory");

    // Nested lists: each level holds the previous one twice.
    let mut laughs = b"\x80\x02]q\x00".to_vec();
    (0..200_u8).for_each(|level| {
        laughs.extend([
            b'0',
            b']',
            b'q',
            level + 1,
            b'h',
            level,
            b'a',
            b'h',
            level,
            b'a',
            b'q',
            level + 1,
        ])
    });
    refused("lists that double", &checkpoint(&[&laughs[..], b"."].concat()), "damaged");
    let deep = [b"\x80\x02N".to_vec(), vec![0x85; 400_000], b".".to_vec()].concat();
    refused("tuples in tuples", &checkpoint(&deep), "damaged");
    let flat = [b"\x80\x02".to_vec(), vec![b']'; 499_000], b".".to_vec()].concat();
    assert!(scratch.read(&checkpoint(&flat)).is_err(), "half a million lists");
    let copies = [
        b"\x80\x02X\x00\x00\x10\x00".to_vec(),
        vec![b'a'; 1 << 20],
        vec![b'2'; 400_000],
        b".".to_vec(),
    ]
    .concat();
    refused("a long text, copied over and over", &checkpoint(&copies), "damaged");
    refused(
        "too many operations",
        &checkpoint(&[b"\x80\x02".to_vec(), vec![b'N'; 600_000], b".".to_vec()].concat()),
        "operations",
    );
    refused(
        "a call",
        &checkpoint(b"\x80\x02}(U\x01acposix\nsystem\nU\x02id\x85Ru."),
        "posix.system",
    );
    refused("a number of 2^31 digits", &checkpoint(b"\x80\x02\x8b\xff\xff\xff\x7f."), "ends early");

    // NaN: it is read unchanged, and no network accepts it.
    let values = [0.5, f32::NAN, f32::INFINITY, -1.0].map(f32::to_le_bytes).concat();
    let header = r#"{"fc.bias":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    let file = scratch.read(&safetensors(header, &values)).expect("a file");
    assert_eq!(non_finite(&file.tensors)[0].to_string(), "fc.bias: 2 of 4");
    let expected =
        ExpectedTensor { name: "fc.bias".into(), shape: vec![4], head: true, is_positions: false };
    let error = match_to(file, &[expected]).expect_err("NaN");
    assert!(matches!(&error, WeightError::NotFinite { tensors, .. } if tensors.len() == 1));
    assert!(error.to_string().contains("fc.bias: 2 of 4"), "{error}");
}

/// Random numbers: SplitMix64 (Steele, Lea and Flood 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Numbers that readers tend to mishandle.
const WORDS: [u64; 8] =
    [0, 1, 0x7f, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX];

/// Changes a file in one of the ways in which files get damaged or attacked.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    let place = chance.below(bytes.len());
    match chance.below(9) {
        0 => bytes[place] ^= 1 << chance.below(8),
        1 => bytes[place] = chance.next() as u8,
        2 => {
            let (word, length) =
                (WORDS[chance.below(WORDS.len())].to_le_bytes(), 1 << chance.below(4));
            bytes.iter_mut().skip(place).zip(word).take(length).for_each(|(byte, new)| *byte = new);
        }
        3 => bytes.truncate(place),
        4 => drop(bytes.drain(place..(place + 1 + chance.below(16)).min(bytes.len()))),
        5 => {
            let from = chance.below(bytes.len());
            let part = bytes[from..(from + 1 + chance.below(64)).min(bytes.len())].to_vec();
            drop(bytes.splice(place..place, part));
        }
        6 => {
            let from = chance.below(other.len());
            let part = other[from..(from + 1 + chance.below(64)).min(other.len())].to_vec();
            drop(bytes.splice(place..(place + part.len()).min(bytes.len()), part));
        }
        // In text, a number with many digits; in a pickle, one more operation.
        7 => match bytes[place..].iter().position(u8::is_ascii_digit) {
            Some(digit) => drop(
                bytes
                    .splice(place + digit..=place + digit, b"99999999999999999999".iter().copied()),
            ),
            None => bytes.insert(place, b'9'),
        },
        _ => bytes.insert(place, b"(]}2R\x81\x85\x86\x87hqjrNtlde0b\x93\x94Q"[chance.below(23)]),
    }
    if bytes.is_empty() {
        bytes.push(0);
    }
}

#[test]
#[ignore = "run with limited memory by \
    randomly_changed_files_are_read_or_refused_in_bounded_memory"]
fn mutations() {
    let rounds: usize = std::env::var("REGRAFT_MUTATIONS")
        .map_or(250, |text| text.parse().expect("REGRAFT_MUTATIONS is a number"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights");
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("fixtures")
        .map(|entry| entry.expect("a fixture").path())
        .collect();
    names.sort();
    let files: Vec<Vec<u8>> = names
        .iter()
        .map(|path| std::fs::read(path).expect("a fixture"))
        .filter(|bytes| !bytes.is_empty())
        .collect();
    let scratch = Scratch::new();
    let mut chance = Chance(1);
    // A parser's panic is caught and becomes an error of the file; its authors should still hear of
    // it.
    static CAUGHT: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
    std::panic::set_hook(Box::new(|panic| {
        *CAUGHT
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(panic.to_string())
            .or_default() += 1;
        eprintln!("{panic}");
    }));
    let (mut taken, mut refused, mut slowest) = (0, 0, Duration::ZERO);
    for file in &files {
        for _ in 0..rounds.div_ceil(if file.len() > 100_000 { 10 } else { 1 }) {
            let mut bytes = file.clone();
            for _ in 0..=chance.below(3) {
                let other = &files[chance.below(files.len())];
                mutate(&mut bytes, other, &mut chance);
            }
            let started = Instant::now();
            match scratch.read(&bytes) {
                Ok(file) => {
                    taken += 1;
                    assert!(file.tensors.iter().all(
                        |tensor| tensor.shape.iter().product::<usize>() == tensor.values.len()
                    ));
                }
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().is_empty());
                }
            }
            slowest = slowest.max(started.elapsed());
        }
    }
    println!(
        "{} files changed {rounds} times: {taken} read, {refused} refused, the slowest in \
         {slowest:?}",
        files.len()
    );
    let caught = CAUGHT.lock().unwrap_or_else(PoisonError::into_inner);
    println!(
        "panics caught: {} in all, {} different",
        caught.values().sum::<usize>(),
        caught.len()
    );
    caught
        .iter()
        .for_each(|(panic, count)| println!("{count} times: {}", panic.replace('\n', " ")));
    assert!(taken > 0 && refused > taken);
}
