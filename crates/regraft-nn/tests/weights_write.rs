//! Writing safetensors, and converting to it.

use half::f16;
use regraft_nn::weights::{
    NamedTensor, StorageType, WeightError, WeightFormat, convert, read, write_safetensors,
};
use std::collections::BTreeMap;
use std::path::Path;

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name)
}

fn tensor(name: &str, shape: &[usize], values: &[f32]) -> NamedTensor {
    NamedTensor { name: name.to_string(), shape: shape.to_vec(), values: values.to_vec() }
}

fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

#[test]
fn written_files_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let tensors = [
        tensor("odd \"name\"\n", &[2, 2], &[0.1, -0.2, f32::MAX, f32::MIN_POSITIVE]),
        tensor("bias", &[3], &[0.1, 1e-30, f32::NAN]),
        tensor("scalar", &[], &[0.3]),
        tensor("empty", &[0, 4], &[]),
    ];
    let about = metadata(&[("classes", "[\"a\", \"b\"]"), ("version", "0.1"), ("é", "\u{1}")]);
    let length = write_safetensors(&path, &tensors, &about, StorageType::F32).unwrap();
    assert_eq!(length, std::fs::metadata(&path).unwrap().len());
    let file = read(&path).unwrap();
    assert_eq!(file.metadata, about);
    let mut sorted = tensors.to_vec();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let bits = |tensors: &[NamedTensor]| -> Vec<(String, Vec<usize>, Vec<u32>)> {
        let entry = |t: &NamedTensor| {
            (t.name.clone(), t.shape.clone(), t.values.iter().map(|v| v.to_bits()).collect())
        };
        tensors.iter().map(entry).collect()
    };
    assert_eq!(bits(&file.tensors), bits(&sorted));
}

#[test]
fn half_storage_rounds_matrices_and_keeps_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.safetensors");
    let values = [0.1, -3.7, 65504.0, 1e-8];
    let tensors = [tensor("weight", &[2, 2], &values), tensor("bias", &[4], &values)];
    write_safetensors(&path, &tensors, &BTreeMap::new(), StorageType::F16).unwrap();
    let file = read(&path).unwrap();
    assert_eq!(file.tensors[0].values, values);
    assert_eq!(file.tensors[1].values, values.map(|value| f16::from_f32(value).to_f32()));
    // 8 for the header's length, the padded header, 4 × 4 bytes of bias, 4 × 2 of weight.
    let header_bytes = u64::from_le_bytes(*std::fs::read(&path).unwrap().first_chunk().unwrap());
    assert_eq!(
        (header_bytes % 8, std::fs::metadata(&path).unwrap().len()),
        (0, 8 + header_bytes + 24)
    );
}

#[test]
fn the_bytes_depend_only_on_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let keys: Vec<(String, String)> =
        (0..20).map(|number| (format!("key {number}"), format!("{number}"))).collect();
    let about: BTreeMap<String, String> = keys.into_iter().collect();
    let mut tensors = vec![
        tensor("b", &[1, 2], &[1.0, 2.0]),
        tensor("a", &[2], &[3.0, 4.0]),
        tensor("c", &[1], &[5.0]),
    ];
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    write_safetensors(&first, &tensors, &about, StorageType::F16).unwrap();
    tensors.reverse();
    write_safetensors(&second, &tensors, &about, StorageType::F16).unwrap();
    let bytes = std::fs::read(&first).unwrap();
    assert_eq!(bytes, std::fs::read(&second).unwrap());
    let expected_start = r#"{"__metadata__":{"key 0":"0","key 1":"1","key 10":"10""#;
    assert!(bytes[8..].starts_with(expected_start.as_bytes()));
}

#[test]
fn a_value_beyond_f16_is_refused_by_name_and_the_old_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, "the old file").unwrap();
    for value in [65520.0, -1e9, f32::INFINITY, f32::NAN] {
        let tensors = [tensor("layer.weight", &[1, 2], &[0.0, value])];
        let error =
            write_safetensors(&path, &tensors, &BTreeMap::new(), StorageType::F16).unwrap_err();
        assert!(
            matches!(&error, WeightError::HalfRange { name, .. } if name == "layer.weight"),
            "{error}"
        );
        assert!(error.to_string().contains("store it as f32"), "{error}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"the old file");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing half-written is left behind"
    );
    write_safetensors(&path, &[tensor("a", &[1], &[1.0])], &BTreeMap::new(), StorageType::F32)
        .unwrap();
    assert_eq!(read(&path).unwrap().tensors.len(), 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn a_new_file_has_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (path, ordinary) = (folder.path().join("model"), folder.path().join("ordinary"));
    write_safetensors(&path, &[], &BTreeMap::new(), StorageType::F32).unwrap();
    std::fs::write(&ordinary, "").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&ordinary));
}

#[test]
fn tensors_that_cannot_make_a_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let write = |tensors: &[NamedTensor]| {
        write_safetensors(&path, tensors, &BTreeMap::new(), StorageType::F32)
    };
    let twice = [tensor("a", &[1], &[0.0]), tensor("a", &[1], &[0.0])];
    assert!(matches!(write(&twice), Err(WeightError::Duplicate { .. })));
    assert!(matches!(write(&[tensor("a", &[2], &[0.0])]), Err(WeightError::ValueCount { .. })));
    let nowhere = write_safetensors(
        &folder.path().join("absent/model"),
        &[],
        &BTreeMap::new(),
        StorageType::F32,
    );
    assert!(matches!(nowhere, Err(WeightError::Write { path, .. }) if path.contains("absent")));
    assert!(!path.exists());
}

#[test]
fn converting_translates_rounds_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("converted.safetensors");
    let report = convert(
        &fixture("old_efficientnet.pth"),
        &path,
        StorageType::F16,
        &metadata(&[("made", "here")]),
    )
    .unwrap();
    assert_eq!((report.format, report.names_translated), (WeightFormat::TorchZip, true));
    assert_eq!(report.bytes, std::fs::metadata(&path).unwrap().len());
    // The fixture's values are exact in f16.
    assert_eq!((report.largest_rounding_error, report.largest_rounding_error_in), (0.0, None));
    let converted = read(&path).unwrap();
    assert_eq!(converted.metadata, metadata(&[("made", "here")]));
    assert_eq!(converted.tensors.len(), report.tensors);
    assert!(converted.tensors.iter().any(|tensor| tensor.name == "blocks.2.1.conv_pwl.weight"));
    let parameters: usize = converted
        .tensors
        .iter()
        .filter(|tensor| !tensor.name.contains("running_"))
        .map(|tensor| tensor.values.len())
        .sum();
    assert_eq!(report.parameters, parameters);

    // A second conversion keeps the first one's metadata and has nothing left to translate.
    let again = folder.path().join("again.safetensors");
    let report = convert(&path, &again, StorageType::F16, &BTreeMap::new()).unwrap();
    assert_eq!((report.format, report.names_translated), (WeightFormat::Safetensors, false));
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&again).unwrap());

    // 0.1 lies between two f16 values 2^-14 apart.
    let source = folder.path().join("source.safetensors");
    let tensors =
        [tensor("module.weight", &[1, 2], &[0.1, 0.5]), tensor("module.bias", &[1], &[0.1])];
    write_safetensors(&source, &tensors, &BTreeMap::new(), StorageType::F32).unwrap();
    let report = convert(&source, &path, StorageType::F16, &BTreeMap::new()).unwrap();
    let error = (f16::from_f32(0.1).to_f32() - 0.1f32).abs();
    assert!(error > 0.0);
    assert_eq!(report.largest_rounding_error, error);
    assert_eq!(report.largest_relative_rounding_error, error / 0.5);
    assert_eq!(report.largest_rounding_error_in.as_deref(), Some("weight"));
    assert_eq!((report.parameters, report.prefix_stripped.as_str()), (3, "module."));
}
