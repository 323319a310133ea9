//! The embedded data is the data that NOTICE describes.

use regraft_lite0::{WEIGHTS, WORDNET, class_names, synsets};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

#[test]
fn the_weights_are_the_file_that_the_notice_describes() {
    let digest: String = Sha256::digest(WEIGHTS).iter().map(|byte| format!("{byte:02x}")).collect();
    let notice = include_str!("../NOTICE");
    assert!(notice.contains(&format!("sha256 {digest}")), "sha256 of the weights: {digest}");
    assert!(
        notice.contains(&format!("{} bytes", WEIGHTS.len())),
        "length of the weights: {}",
        WEIGHTS.len()
    );
}

#[test]
fn the_weights_are_a_whole_efficientnet_lite0() {
    let file = SafeTensors::deserialize(WEIGHTS).unwrap();
    let mut parameters = 0;
    let mut names = BTreeSet::new();
    for (name, tensor) in file.tensors() {
        let expected = if tensor.shape().len() > 1 { Dtype::F16 } else { Dtype::F32 };
        assert_eq!(tensor.dtype(), expected, "{name}");
        if !name.contains("running_") {
            parameters += tensor.shape().iter().product::<usize>();
        }
        names.insert(name);
    }
    assert_eq!(parameters, 4_652_008);

    // Blocks of each stage; the first stage has depthwise-separable blocks, the others inverted
    // residuals.
    let mut layers = vec![
        "conv_stem".to_string(),
        "bn1".to_string(),
        "conv_head".to_string(),
        "bn2".to_string(),
    ];
    for (stage, blocks) in [1, 2, 2, 3, 3, 4, 1].into_iter().enumerate() {
        let inside: &[&str] = match stage {
            0 => &["conv_dw", "bn1", "conv_pw", "bn2"],
            _ => &["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"],
        };
        for block in 0..blocks {
            layers.extend(inside.iter().map(|layer| format!("blocks.{stage}.{block}.{layer}")));
        }
    }
    let is_norm = |layer: &str| layer.rsplit('.').next().unwrap_or(layer).starts_with("bn");
    let mut expected: BTreeSet<String> =
        ["classifier.weight", "classifier.bias"].map(String::from).into();
    for layer in layers {
        let parameters: &[&str] = if is_norm(&layer) {
            &["weight", "bias", "running_mean", "running_var"]
        } else {
            &["weight"]
        };
        expected.extend(parameters.iter().map(|parameter| format!("{layer}.{parameter}")));
    }
    assert_eq!(names, expected);
    assert_eq!(file.tensor("classifier.weight").unwrap().shape(), [class_names().len(), 1280]);
}

#[test]
fn class_names_and_synsets_go_together() {
    let (names, synsets) = (class_names(), synsets());
    assert_eq!((names.len(), synsets.len()), (1000, 1000));
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 1000, "class names are unique");
    // ImageNet orders its classes by identifier.
    assert!(synsets.is_sorted());
    assert!(names.iter().all(|name| !name.is_empty() && name.trim() == *name));
    for (index, synset, name) in [
        (0, "n01440764", "tench, Tinca tinca"),
        (134, "n02012849", "crane (bird)"),
        (517, "n03126707", "crane (machine)"),
        (934, "n07697537", "hotdog, hot dog, red hot"),
        (999, "n15075141", "toilet tissue, toilet paper, bathroom tissue"),
    ] {
        assert_eq!((synsets[index], names[index]), (synset, name));
    }
}

#[test]
fn the_words_belong_to_the_classes_and_the_kinds_above_them() {
    let lines: Vec<Vec<&str>> = WORDNET.lines().map(|line| line.split('\t').collect()).collect();
    let identifiers: Vec<&str> = lines.iter().map(|fields| fields[0]).collect();
    assert_eq!(identifiers[..1000], synsets());
    assert_eq!(identifiers.iter().collect::<BTreeSet<_>>().len(), lines.len(), "each synset once");
    for (line, name) in
        lines.iter().zip(class_names().into_iter().map(Some).chain(std::iter::repeat(None)))
    {
        let [_, words, parents] = line[..] else { panic!("{line:?}") };
        assert!(parents.split_whitespace().all(|parent| identifiers.contains(&parent)), "{line:?}");
        let words: Vec<&str> =
            words.split(';').map(|word| word.split('#').next().unwrap_or(word)).collect();
        if let Some(name) = name {
            let first = name.split(", ").next().and_then(|first| first.split(" (").next()).unwrap();
            assert!(words.contains(&first), "{name}: {words:?}");
        }
    }
}
