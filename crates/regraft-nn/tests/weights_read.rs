//! Reading weight files that PyTorch and safetensors wrote. `fixtures/weights.py` makes them.

use regraft_nn::weights::{
    NamedTensor, WeightError, WeightFile, WeightFormat, read, read_safetensors,
};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name)
}

fn read_fixture(name: &str) -> WeightFile {
    read(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The script's `ramp`: the element at index `i` is `i / 8 - 1`.
fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|place| place as f32 / 8.0 - 1.0).collect()
}

fn ramp_tensor(name: &str, shape: &[usize]) -> NamedTensor {
    NamedTensor {
        name: name.to_string(),
        shape: shape.to_vec(),
        values: ramp(shape.iter().product()),
    }
}

/// The script's `tiny_state_dict`, sorted, without its integer counter.
fn tiny() -> Vec<NamedTensor> {
    [
        ("bn1.bias", &[2][..]),
        ("bn1.running_mean", &[2]),
        ("bn1.running_var", &[2]),
        ("bn1.weight", &[2]),
        ("conv1.weight", &[2, 3, 1, 2]),
        ("fc.bias", &[3]),
        ("fc.weight", &[3, 2]),
    ]
    .map(|(name, shape)| ramp_tensor(name, shape))
    .to_vec()
}

#[test]
fn a_state_dict_reads_the_same_from_every_container_and_nesting() {
    for (name, format) in [
        ("zip.pth", WeightFormat::TorchZip),
        ("legacy.pth", WeightFormat::TorchLegacy),
        ("plain.safetensors", WeightFormat::Safetensors),
        ("nested_state_dict.pth", WeightFormat::TorchZip),
        ("nested_model.pth", WeightFormat::TorchZip),
        ("nested_model_state_dict.pth", WeightFormat::TorchLegacy),
        ("whole_model.pth", WeightFormat::TorchZip),
    ] {
        let file = read_fixture(name);
        assert_eq!(file.format, format, "{name}");
        assert_eq!(file.tensors, tiny(), "{name}");
        let ignored: &[&str] = if name == "plain.safetensors" { &["mask (I32)"] } else { &[] };
        assert_eq!(file.ignored, ignored, "{name}");
    }
}

#[test]
fn a_running_average_is_preferred_to_raw_weights_and_named() {
    for (name, prefix, chosen, other) in [
        ("average_timm.pth", "", "state_dict_ema", "state_dict"),
        ("average_torchvision.pth", "module.", "model_ema", "model"),
    ] {
        let file = read_fixture(name);
        let expected = tiny()
            .into_iter()
            .map(|tensor| NamedTensor { name: format!("{prefix}{}", tensor.name), ..tensor });
        assert_eq!(file.tensors, expected.collect::<Vec<_>>(), "{name}");
        let [note] = &file.notes[..] else { panic!("{:?}", file.notes) };
        let words =
            format!("{chosen}, a running average, is used, as timm does, and {other} is not");
        assert!(note.contains(name) && note.contains(&words), "{note}");
    }
    let file = read_fixture("average_none.pth");
    assert_eq!((file.tensors, file.notes), (tiny(), Vec::<String>::new()));
}

#[test]
fn a_second_complete_set_of_weights_is_named_whatever_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other_key.pth");
    let mut bytes = std::fs::read(fixture("average_torchvision.pth")).unwrap();
    // A legacy checkpoint has no checksum, so a key of the same length can replace it.
    let place = bytes.windows(9).position(|bytes| bytes == b"model_ema").unwrap();
    bytes[place..place + 9].copy_from_slice(b"ema_state");
    std::fs::write(&path, bytes).unwrap();
    let file = read(&path).unwrap();
    assert_ne!(file.tensors, tiny(), "the raw weights");
    let [note] = &file.notes[..] else { panic!("{:?}", file.notes) };
    assert!(note.contains("model is used, as timm does, and ema_state is not"), "{note}");
    // An optimiser's tensors are not a set of weights.
    assert_eq!(read_fixture("nested_model.pth").notes, Vec::<String>::new());
}

#[test]
fn the_extension_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (source, name) in [
        ("plain.safetensors", "weights.pth"),
        ("legacy.pth", "weights.safetensors"),
        ("zip.pth", "weights"),
    ] {
        let path = folder.path().join(name);
        std::fs::copy(fixture(source), &path).unwrap();
        assert_eq!(read(&path).unwrap().tensors, tiny(), "{source}");
    }
}

#[test]
fn safetensors_metadata_is_kept() {
    let file = read_fixture("plain.safetensors");
    assert_eq!(file.metadata.get("made by").map(String::as_str), Some("é\n\"torch\""));
    let bytes = std::fs::read(fixture("plain.safetensors")).unwrap();
    let from_memory = read_safetensors(&bytes, "memory").unwrap();
    assert_eq!(from_memory.origin, "memory");
    assert_eq!((from_memory.tensors, from_memory.metadata), (file.tensors, file.metadata));
}

#[test]
fn every_float_type_becomes_f32_and_integers_are_named() {
    for name in ["types.pth", "types_legacy.pth", "types.safetensors"] {
        let file = read_fixture(name);
        let expected = ["bfloat16", "float16", "float64"].map(|name| ramp_tensor(name, &[2, 3]));
        assert_eq!(file.tensors, expected, "{name}");
        let lowercase: Vec<String> =
            file.ignored.iter().map(|entry| entry.to_lowercase()).collect();
        assert_eq!(lowercase, ["bool (bool)", "int64 (i64)"], "{name}");
    }
}

#[test]
fn views_are_gathered_in_row_major_order() {
    for name in ["views.pth", "views_legacy.pth"] {
        let file = read_fixture(name);
        let tensor =
            |wanted: &str| file.tensors.iter().find(|tensor| tensor.name == wanted).unwrap();
        let at = |place: usize| place as f32 / 8.0 - 1.0;
        let expect = |wanted: &str, shape: &[usize], values: Vec<f32>| {
            assert_eq!(tensor(wanted).shape, shape, "{name}: {wanted}");
            assert_eq!(tensor(wanted).values, values, "{name}: {wanted}");
        };
        expect("whole", &[4, 6], ramp(24));
        expect(
            "transposed",
            &[6, 4],
            (0..6).flat_map(|i| (0..4).map(move |j| at(6 * j + i))).collect(),
        );
        expect("offset", &[6], (12..18).map(at).collect());
        expect("stepped", &[3, 3], (1..4).flat_map(|i| [0, 2, 4].map(|j| at(6 * i + j))).collect());
        let permuted = (0..4)
            .flat_map(|k| (0..2).flat_map(move |i| (0..3).map(move |j| at(12 * i + 4 * j + k))));
        expect("permuted", &[4, 2, 3], permuted.collect());
        expect("channels_last", &[1, 2, 2, 3], ramp(12));
        expect("scalar", &[], vec![2.5]);
        expect("empty", &[0, 3], Vec::new());
    }
}

#[test]
fn a_call_in_a_pickle_is_refused_and_not_run() {
    for name in ["calls_system.pth", "calls_system_legacy.pth"] {
        let error = read(&fixture(name)).unwrap_err();
        assert!(
            matches!(&error, WeightError::Hostile { callable, .. } if callable == "posix.system"),
            "{name}: {error}"
        );
        let message = error.to_string();
        assert!(message.contains(name) && message.contains("nothing was executed"), "{message}");
    }
    // The file that the call would have left in the tests' working folder.
    assert!(!Path::new("regraft-was-here").exists());
}

/// The error that [`refused`] expects.
enum Kind {
    Damaged,
    NotWeights,
    Unsupported,
}

fn refused(name: &str, kind: Kind, part: &str) {
    let error = read(&fixture(name)).expect_err(name);
    let fits = match kind {
        Kind::Damaged => matches!(error, WeightError::Damaged { .. }),
        Kind::NotWeights => matches!(error, WeightError::NotWeights { .. }),
        Kind::Unsupported => matches!(error, WeightError::Unsupported { .. }),
    };
    let message = error.to_string();
    assert!(
        fits && message.contains(part) && message.contains(name),
        "{name}: {error:?}\n{message}"
    );
}

#[test]
fn files_cut_short_are_refused() {
    refused("cut.pth", Kind::Damaged, "zip directory");
    refused("cut_legacy.pth", Kind::Damaged, "beyond the end of the file");
    refused("cut_legacy_pickle.pth", Kind::Damaged, "ends early");
    refused("cut.safetensors", Kind::Damaged, "784 bytes");
}

#[test]
fn every_shortened_file_is_an_error_and_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short");
    for name in ["zip.pth", "legacy.pth", "plain.safetensors"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for length in (0..whole.len()).step_by(7) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(read(&path).is_err(), "{name} cut to {length} bytes");
        }
    }
}

#[test]
fn a_flipped_byte_never_crashes_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flipped");
    let mut refusals = 0;
    for name in ["zip.pth", "legacy.pth", "plain.safetensors"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for place in (0..whole.len()).step_by(11) {
            let mut bytes = whole.clone();
            bytes[place] ^= 0xff;
            std::fs::write(&path, &bytes).unwrap();
            refusals += usize::from(read(&path).is_err());
        }
    }
    // A flipped weight in a format without checksums goes unnoticed; most of these small files is
    // structure.
    assert!(refusals > 150, "{refusals}");
}

#[test]
fn false_sizes_are_refused_before_memory_is_allocated() {
    refused("huge_header.safetensors", Kind::Damaged, "claims 4611686018427387904 bytes");
    refused("long_header.safetensors", Kind::Damaged, "holds only 2 after it");
    refused("overlap.safetensors", Kind::Damaged, "does not make sense");
    refused("overflow.safetensors", Kind::Damaged, "overflow");
    refused("expanded.pth", Kind::Damaged, "[268435456] claims more");
    refused("compressed.pth", Kind::Unsupported, "compressed");
}

#[test]
fn unrepresentable_content_is_refused() {
    refused("foreign_opcode.pth", Kind::Damaged, "0x69");
    refused("sparse.pth", Kind::Unsupported, "sparse");
    refused("float8.safetensors", Kind::Unsupported, "F8_E4M3");
    refused("beyond_f32.pth", Kind::Damaged, "outside of f32's range");
    refused("no_tensors.pth", Kind::NotWeights, "best, epoch");
}

#[test]
fn models_of_other_frameworks_are_not_supported_rather_than_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let starts: [(&[u8], &str); 9] = [
        (b"\x08\x07\x12\x07pytorch\x1a\x051.13.", "ONNX"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"\x93NUMPY\x01\0", "NumPy"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"\x82\xa6params\x81", "Flax"),
        (b"\xfd7zXZ\0", "xz archive"),
        (b"{\"architecture\": \"resnet18\"}", "JSON text"),
        (&[0; 300], "begins with zeros"),
    ];
    for (start, name) in starts {
        std::fs::write(&path, [start, &[0; 300]].concat()).unwrap();
        let error = read(&path).unwrap_err();
        assert!(
            matches!(error, WeightError::Unsupported { .. } | WeightError::NotWeights { .. }),
            "{error:?}"
        );
        let message = error.to_string();
        assert!(message.contains(name) && !message.contains("damaged"), "{message}");
    }
}

#[test]
fn foreign_files_are_recognised() {
    refused("page.pth", Kind::NotWeights, "web page");
    refused("pointer.safetensors", Kind::NotWeights, "git lfs pull");
    refused("empty.pth", Kind::NotWeights, "empty file");
    refused("script.pt", Kind::Unsupported, "TorchScript");
    refused(
        "exported_2_5.pt2",
        Kind::Unsupported,
        "a torch.export program; save the model's state_dict()",
    );
    refused(
        "exported_2_8.pt2",
        Kind::Unsupported,
        "a torch.export program; save the model's state_dict()",
    );
    refused("archive.zip", Kind::NotWeights, "torch.save did not write");
    let folder = tempfile::tempdir().unwrap();
    assert!(
        matches!(read(folder.path()), Err(WeightError::NotWeights { found, .. }) if found == "a \
            folder")
    );
    let absent = read(&folder.path().join("absent.pth")).unwrap_err();
    assert!(
        matches!(absent, WeightError::Read { .. }) && absent.to_string().contains("absent.pth")
    );
}

/// Reads a file that must not block, in a thread that is abandoned if it does.
#[cfg(unix)]
#[test]
fn pipes_and_devices_are_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.pth");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe, PathBuf::from("/dev/zero")] {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(Box::new(read(&path))).is_ok());
        let outcome =
            receiver.recv_timeout(std::time::Duration::from_secs(60)).expect("it does not block");
        assert!(
            matches!(*outcome, Err(WeightError::NotWeights { found, .. }) if found == "a pipe, a \
                socket or a device")
        );
    }
}

#[test]
fn a_file_of_gigabytes_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    for (name, part) in [
        ("plain.safetensors", "4294967296"),
        ("zip.pth", "4294967296"),
        ("empty.pth", "begins with zeros"),
    ] {
        let path = folder.path().join(name);
        std::fs::copy(fixture(name), &path).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(8 << 30).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains(part) && message.contains(name), "{message}");
    }
}
