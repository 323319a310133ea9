//! Weight files with the names of Hugging Face's transformers, and of DINOv2's own repository.

use regraft_nn::architectures;
use regraft_nn::graph::Graph;
use regraft_nn::initialize::{HeadInitialization, from_scratch};
use regraft_nn::parameters::{Role, parameters};
use regraft_nn::weights::{
    ExpectedTensor, HeadMatch, Matched, NamedTensor, WeightError, WeightFile, WeightFormat,
    match_to,
};
use std::collections::BTreeMap;

/// A network for small images, and its tensors with values that tell them apart.
fn network(architecture: &str) -> (Vec<ExpectedTensor>, Vec<NamedTensor>) {
    let image_size = if architecture.contains("patch14") { 28 } else { 32 };
    let graph = architectures::find(architecture).unwrap().graph();
    let graph = Graph { image_size, ..graph }.with_classes(3);
    let mut state = from_scratch(&graph, 1, HeadInitialization::PyTorch);
    let head = graph.backbone();
    let mut tensors = Vec::new();
    let mut expected = Vec::new();
    for (number, tensor) in parameters(&graph).into_iter().enumerate() {
        let mut values = state.remove(&tensor.name).unwrap();
        // Biases begin with zeros, which would be alike.
        values.iter_mut().enumerate().for_each(|(place, value)| {
            *value += (number * 1000 + place % 997) as f32;
        });
        expected.push(ExpectedTensor {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            head: tensor.node >= head,
            is_positions: tensor.role == Role::Positions,
        });
        tensors.push(NamedTensor { name: tensor.name, shape: tensor.shape, values });
    }
    (expected, tensors)
}

/// Gives a tensor of timm's the names of transformers, by a list of replaced parts.
fn renamed(tensor: &NamedTensor, prefix: &str, parts: &[(&str, &str)]) -> Vec<NamedTensor> {
    let mut name = tensor.name.clone();
    for (ours, theirs) in parts {
        name = name.replace(ours, theirs);
    }
    let name = if name.starts_with("classifier.") { name } else { format!("{prefix}{name}") };
    if !name.contains("attn.qkv") {
        return vec![NamedTensor { name, ..tensor.clone() }];
    }
    let third = tensor.values.len() / 3;
    let mut shape = tensor.shape.clone();
    shape[0] /= 3;
    let part = |(part, values): (&str, &[f32])| NamedTensor {
        name: name.replace("attn.qkv", &format!("attention.attention.{part}")),
        shape: shape.clone(),
        values: values.to_vec(),
    };
    ["query", "key", "value"].into_iter().zip(tensor.values.chunks(third)).map(part).collect()
}

const COMMON: [(&str, &str); 6] = [
    ("cls_token", "embeddings.cls_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
    ("blocks.", "encoder.layer."),
    ("attn.proj.", "attention.output.dense."),
    ("head.", "classifier."),
];
const OF_VIT: [(&str, &str); 4] = [
    ("norm1.", "layernorm_before."),
    ("norm2.", "layernorm_after."),
    ("mlp.fc1.", "intermediate.dense."),
    ("mlp.fc2.", "output.dense."),
];
const OF_DINOV2: [(&str, &str); 2] =
    [("ls1.gamma", "layer_scale1.lambda1"), ("ls2.gamma", "layer_scale2.lambda1")];

fn in_transformers(
    tensors: &[NamedTensor],
    prefix: &str,
    own: &[(&str, &str)],
) -> Vec<NamedTensor> {
    let parts: Vec<(&str, &str)> = COMMON.into_iter().chain(own.iter().copied()).collect();
    let mut found: Vec<NamedTensor> =
        tensors.iter().flat_map(|tensor| renamed(tensor, prefix, &parts)).collect();
    for tensor in &mut found {
        if let Some(parameter) = tensor.name.strip_prefix(&format!("{prefix}norm.")) {
            tensor.name = format!("{prefix}layernorm.{parameter}");
        }
    }
    found
}

fn matched(tensors: Vec<NamedTensor>, expected: &[ExpectedTensor]) -> Result<Matched, WeightError> {
    let file = WeightFile {
        origin: "made.safetensors".to_owned(),
        format: WeightFormat::Safetensors,
        tensors,
        metadata: BTreeMap::new(),
        ignored: Vec::new(),
        notes: Vec::new(),
    };
    match_to(file, expected)
}

#[track_caller]
fn assert_same(found: &Matched, tensors: &[NamedTensor]) {
    assert!(found.names_translated);
    assert_eq!((found.head, found.tensors.len()), (HeadMatch::Same, tensors.len()));
    for tensor in tensors {
        assert_eq!(&found.tensors[&tensor.name], tensor, "{}", tensor.name);
    }
}

fn of_ones(name: &str, shape: &[usize]) -> NamedTensor {
    let values = vec![1.0; shape.iter().product()];
    NamedTensor { name: name.to_owned(), shape: shape.to_vec(), values }
}

#[test]
fn names_of_transformers_vit_are_translated_with_and_without_its_prefix() {
    let (expected, tensors) = network("vit_tiny_patch16_224");
    let theirs = in_transformers(&tensors, "vit.", &OF_VIT);
    let has = |name: &str| theirs.iter().any(|tensor| tensor.name == name);
    for name in [
        "vit.embeddings.cls_token",
        "vit.embeddings.position_embeddings",
        "vit.embeddings.patch_embeddings.projection.bias",
        "vit.encoder.layer.11.attention.attention.query.weight",
        "vit.encoder.layer.0.attention.output.dense.bias",
        "vit.encoder.layer.3.intermediate.dense.weight",
        "vit.encoder.layer.3.output.dense.weight",
        "vit.encoder.layer.3.layernorm_before.weight",
        "vit.layernorm.bias",
        "classifier.weight",
    ] {
        assert!(has(name), "{name}");
    }
    assert_same(&matched(theirs.clone(), &expected).unwrap(), &tensors);
    let mut bare = in_transformers(&tensors, "", &OF_VIT);
    bare.push(of_ones("pooler.dense.weight", &[192, 192]));
    let found = matched(bare, &expected).unwrap();
    assert_eq!(found.left_out, ["pooler.dense.weight"]);
    assert_same(&found, &tensors);
    // A projection that lacks a part is listed under the names of the file.
    let lacking = |tensor: &NamedTensor| !tensor.name.contains("layer.2.attention.attention.key.w");
    let error = matched(theirs.into_iter().filter(lacking).collect(), &expected).unwrap_err();
    let WeightError::Mismatch { missing, unexpected, .. } = &error else { panic!("{error}") };
    assert_eq!(missing[..], ["blocks.2.attn.qkv.weight"]);
    assert_eq!(unexpected[..], ["blocks.2.attn.query.weight", "blocks.2.attn.value.weight"]);
}

#[test]
fn names_of_dinov2_are_translated_in_both_forms() {
    let (expected, tensors) = network("vit_small_patch14_dinov2");
    let mask = of_ones("mask_token", &[1, 384]);
    let mut theirs = in_transformers(&tensors, "dinov2.", &OF_DINOV2);
    theirs.push(NamedTensor { name: "dinov2.embeddings.mask_token".to_owned(), ..mask.clone() });
    let found = matched(theirs, &expected).unwrap();
    assert_eq!(found.left_out, ["mask_token"]);
    assert_same(&found, &tensors);
    let mut own = tensors.clone();
    own.push(mask);
    let found = matched(own, &expected).unwrap();
    assert_eq!(found.left_out, ["mask_token"]);
    assert_same(&found, &tensors);
}

/// timm's networks with registers have no position for the class token; it is added to the token.
#[test]
fn registers_take_the_position_of_the_class_token_with_them() {
    let (expected, tensors) = network("vit_small_patch14_reg4_dinov2");
    let channels = 384;
    let first: Vec<f32> = (0..channels).map(|place| place as f32 / 8.0).collect();
    let in_file = |tensor: &NamedTensor| {
        let mut tensor = tensor.clone();
        match &tensor.name[..] {
            "reg_token" => tensor.name = "register_tokens".to_owned(),
            "pos_embed" => {
                tensor.shape[1] += 1;
                tensor.values = [&first[..], &tensor.values].concat();
            }
            "cls_token" => {
                tensor.values.iter_mut().zip(&first).for_each(|(value, first)| *value -= first);
            }
            _ => {}
        }
        tensor
    };
    let own: Vec<NamedTensor> = tensors.iter().map(in_file).collect();
    assert_same(&matched(own.clone(), &expected).unwrap(), &tensors);
    let mut theirs = in_transformers(&own, "dinov2_with_registers.", &OF_DINOV2);
    for tensor in &mut theirs {
        tensor.name = tensor.name.replace("register_tokens", "embeddings.register_tokens");
    }
    assert_same(&matched(theirs, &expected).unwrap(), &tensors);
    // timm's own file is taken unchanged.
    let plain = matched(tensors.clone(), &expected).unwrap();
    let token = tensors.iter().find(|tensor| tensor.name == "cls_token").unwrap();
    assert!(!plain.names_translated && plain.tensors["cls_token"] == *token);
}
