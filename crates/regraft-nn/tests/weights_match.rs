//! Matching weight files to an architecture: prefixes, old names, heads with another class count,
//! and refusals.

use regraft_nn::weights::{
    ExpectedTensor, HeadMatch, Matched, NamedTensor, WeightError, WeightFile, WeightFormat,
    match_to, read,
};
use std::collections::BTreeMap;
use std::path::Path;

fn read_fixture(name: &str) -> WeightFile {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name)).unwrap()
}

fn expected(name: &str, shape: &[usize]) -> ExpectedTensor {
    ExpectedTensor {
        name: name.to_string(),
        shape: shape.to_vec(),
        head: name.starts_with("fc.") || name.starts_with("classifier."),
        is_positions: false,
    }
}

/// The fixtures' small model with `classes` outputs.
fn tiny_expected(classes: usize) -> Vec<ExpectedTensor> {
    vec![
        expected("conv1.weight", &[2, 3, 1, 2]),
        expected("bn1.weight", &[2]),
        expected("bn1.bias", &[2]),
        expected("bn1.running_mean", &[2]),
        expected("bn1.running_var", &[2]),
        expected("fc.weight", &[classes, 2]),
        expected("fc.bias", &[classes]),
    ]
}

/// A file of tensors of zeros.
fn file_of(tensors: &[(&str, &[usize])]) -> WeightFile {
    let tensors = tensors
        .iter()
        .map(|(name, shape)| NamedTensor {
            name: name.to_string(),
            shape: shape.to_vec(),
            values: vec![0.0; shape.iter().product()],
        })
        .collect();
    let metadata = BTreeMap::new();
    WeightFile {
        origin: "made.pth".to_string(),
        format: WeightFormat::TorchZip,
        tensors,
        metadata,
        ignored: Vec::new(),
        notes: Vec::new(),
    }
}

fn names(matched: &Matched) -> Vec<&str> {
    matched.tensors.keys().map(String::as_str).collect()
}

#[test]
fn prefixes_are_removed() {
    let plain = match_to(read_fixture("zip.pth"), &tiny_expected(3)).unwrap();
    assert_eq!(
        (plain.head, plain.prefix_stripped.as_str(), plain.names_translated),
        (HeadMatch::Same, "", false)
    );
    for (name, prefix) in [("prefixed.pth", "module."), ("prefixed_twice.pth", "module.backbone.")]
    {
        let matched = match_to(read_fixture(name), &tiny_expected(3)).unwrap();
        assert_eq!(matched.prefix_stripped, prefix);
        assert_eq!(matched.tensors, plain.tensors, "{name}");
    }
}

#[test]
fn a_prefix_that_few_names_have_stays_and_one_that_makes_names_equal_is_refused() {
    let expectation = [expected("a", &[1]), expected("b", &[1]), expected("module.c", &[1])];
    let matched =
        match_to(file_of(&[("a", &[1]), ("b", &[1]), ("module.c", &[1])]), &expectation).unwrap();
    assert_eq!(names(&matched), ["a", "b", "module.c"]);
    let error =
        match_to(file_of(&[("module.a", &[1]), ("module.b", &[1]), ("a", &[1])]), &expectation)
            .unwrap_err();
    assert!(matches!(error, WeightError::Duplicate { name, .. } if name == "a"));
}

#[test]
fn a_head_of_another_class_count_is_returned_as_found() {
    let matched = match_to(read_fixture("zip.pth"), &tiny_expected(10)).unwrap();
    assert_eq!(matched.head, HeadMatch::OtherClassCount { found: 3, expected: 10 });
    assert_eq!(matched.tensors["fc.weight"].shape, [3, 2]);
    assert_eq!(matched.tensors["fc.bias"].shape, [3]);

    let mut trunk = read_fixture("zip.pth");
    trunk.tensors.retain(|tensor| !tensor.name.starts_with("fc."));
    let matched = match_to(trunk, &tiny_expected(10)).unwrap();
    assert_eq!(matched.head, HeadMatch::Absent);
    assert_eq!(matched.tensors.len(), 5);
}

#[test]
fn a_head_that_disagrees_with_itself_or_takes_other_features_is_refused() {
    // A weight for four classes with a bias for five; a weight over three features; a weight
    // without a bias.
    for head in [
        &[("fc.weight", &[4, 2][..]), ("fc.bias", &[5])][..],
        &[("fc.weight", &[4, 3]), ("fc.bias", &[4])],
        &[("fc.weight", &[4, 2])],
        &[("fc.weight", &[0, 2]), ("fc.bias", &[0])],
    ] {
        let trunk = [("conv1.weight", &[2, 3, 1, 2][..]), ("bn1.weight", &[2]), ("bn1.bias", &[2])];
        let statistics = [("bn1.running_mean", &[2][..]), ("bn1.running_var", &[2])];
        let file = file_of(&[&trunk[..], &statistics, head].concat());
        let error = match_to(file, &tiny_expected(3)).unwrap_err();
        assert!(matches!(error, WeightError::Mismatch { .. }), "{head:?}: {error}");
    }
}

#[test]
fn all_differences_in_the_backbone_are_listed_by_name() {
    let file = file_of(&[
        ("conv1.weight", &[2, 3, 3, 3]),
        ("bn1.weight", &[2]),
        ("bn1.running_mean", &[2]),
        ("bn1.running_var", &[2]),
        ("layer9.weight", &[1]),
        ("fc.weight", &[3, 2]),
        ("fc.bias", &[3]),
    ]);
    let error = match_to(file, &tiny_expected(3)).unwrap_err();
    let message = error.to_string();
    let WeightError::Mismatch { missing, unexpected, wrong_shape, .. } = error else {
        panic!("{message}")
    };
    assert_eq!(missing, ["bn1.bias"]);
    assert_eq!(unexpected, ["layer9.weight"]);
    assert_eq!(wrong_shape.len(), 1);
    assert_eq!(
        message,
        "made.pth does not fit the model:\n\
         1 missing from the file:\n  bn1.bias\n\
         1 in the file but not in the model:\n  layer9.weight\n\
         1 of the wrong shape:\n  conv1.weight: [2, 3, 3, 3] in the file, [2, 3, 1, 2] in the \
             model\n\
         choose the architecture that the file was made for, or the file made for this architecture"
    );
}

#[test]
fn a_long_list_is_cut_in_print_and_whole_in_the_error() {
    let expectation: Vec<ExpectedTensor> =
        (0..50).map(|number| expected(&format!("layer{number:02}"), &[1])).collect();
    let error = match_to(file_of(&[]), &expectation).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("50 missing") && message.contains("layer19\n  and 30 more"),
        "{message}"
    );
    assert!(matches!(error, WeightError::Mismatch { missing, .. } if missing.len() == 50));
}

#[test]
fn old_efficientnet_names_become_timms() {
    let mut layers: Vec<(String, Vec<usize>)> = Vec::new();
    let mut convolution =
        |name: &str, shape: &[usize]| layers.push((format!("{name}.weight"), shape.to_vec()));
    // Stage 0: one depthwise-separable block. Stage 1: one inverted residual. Stage 2: two of the
    // same width.
    convolution("conv_stem", &[2, 3, 1, 1]);
    convolution("blocks.0.0.conv_dw", &[2, 1, 1, 1]);
    convolution("blocks.0.0.conv_pw", &[1, 2, 1, 1]);
    for (block, given, wide, out) in
        [("blocks.1.0", 1, 2, 3), ("blocks.2.0", 3, 6, 4), ("blocks.2.1", 4, 8, 4)]
    {
        convolution(&format!("{block}.conv_pw"), &[wide, given, 1, 1]);
        convolution(&format!("{block}.conv_dw"), &[wide, 1, 1, 1]);
        convolution(&format!("{block}.conv_pwl"), &[out, wide, 1, 1]);
    }
    convolution("conv_head", &[5, 4, 1, 1]);
    let norms = [
        ("bn1", 2),
        ("blocks.0.0.bn1", 2),
        ("blocks.0.0.bn2", 1),
        ("blocks.1.0.bn1", 2),
        ("blocks.1.0.bn2", 2),
        ("blocks.1.0.bn3", 3),
        ("blocks.2.0.bn1", 6),
        ("blocks.2.0.bn2", 6),
        ("blocks.2.0.bn3", 4),
        ("blocks.2.1.bn1", 8),
        ("blocks.2.1.bn2", 8),
        ("blocks.2.1.bn3", 4),
        ("bn2", 5),
    ];
    for (name, channels) in norms {
        for parameter in ["weight", "bias", "running_mean", "running_var"] {
            layers.push((format!("{name}.{parameter}"), vec![channels]));
        }
    }
    layers.push(("classifier.weight".to_string(), vec![3, 5]));
    layers.push(("classifier.bias".to_string(), vec![3]));
    let expectation: Vec<ExpectedTensor> =
        layers.iter().map(|(name, shape)| expected(name, shape)).collect();

    let matched = match_to(read_fixture("old_efficientnet.pth"), &expectation).unwrap();
    assert!(matched.names_translated);
    assert_eq!((matched.head, matched.tensors.len()), (HeadMatch::Same, expectation.len()));
    assert_eq!(matched.tensors["blocks.1.0.bn3.weight"].values, [-1.0, -0.875, -0.75]);
}

/// `fixtures/torchvision_names.py` in the repository proves the pairs of names by computing with
/// both.
#[test]
fn torchvisions_names_are_translated_to_timms() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/torchvision_names.json");
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let networks = record.as_object().unwrap();
    assert_eq!(networks.len(), 7);
    for (architecture, pairs) in networks {
        let pairs: Vec<(String, Vec<usize>, String)> =
            serde_json::from_value(pairs.clone()).unwrap();
        // Each tensor is filled with its own number, which identifies it after the translation.
        let tensors = pairs.iter().zip(0u16..).map(|((name, shape, _), number)| NamedTensor {
            name: name.clone(),
            shape: shape.clone(),
            values: vec![f32::from(number); shape.iter().product()],
        });
        let file = WeightFile { tensors: tensors.collect(), ..file_of(&[]) };
        let graph = regraft_nn::architectures::find(architecture).unwrap().graph();
        let expected = regraft_nn::parameters::parameters(&graph).into_iter().map(|parameter| {
            ExpectedTensor {
                head: parameter.node >= graph.backbone(),
                is_positions: false,
                name: parameter.name,
                shape: parameter.shape,
            }
        });
        let matched = match_to(file, &expected.collect::<Vec<_>>()).unwrap();
        assert!(matched.names_translated && matched.head == HeadMatch::Same, "{architecture}");
        assert_eq!(matched.tensors.len(), pairs.len());
        for ((name, _, timm), number) in pairs.iter().zip(0u16..) {
            assert_eq!(
                matched.tensors[timm].values[0],
                f32::from(number),
                "{architecture}: {name}"
            );
        }
    }
}

/// VGG and DenseNet have names that begin like these.
#[test]
fn other_networks_names_are_left_alone() {
    let names = ["features.0.0.weight", "features.1.conv.0.weight", "classifier.1.weight"];
    let expectation = names.map(|name| expected(name, &[1]));
    let matched =
        match_to(file_of(&names.map(|name| (name, &[1usize][..]))), &expectation).unwrap();
    assert!(!matched.names_translated);
}
