//! Names of vision transformers: those of Hugging Face's transformers, and DINOv2's own.

use super::NamedTensor;
use std::collections::BTreeMap;

/// The name by which a file of transformers is recognised, after its prefix.
const PATCHES: &str = "embeddings.patch_embeddings.projection.weight";
/// The places of the joined projection, in order.
const JOINED: [&str; 3] = ["query", "key", "value"];

/// Translates the names of transformers' ViT, DeiT and DINOv2 (`vit.encoder.layer.0.…`) and of
/// DINOv2's own files to timm's, and the tensors that differ with them: query, key and value become
/// one projection, and a file with registers adds the position of the class token to it. Returns
/// whether the tensors had such names; others are left unchanged. Names of tensors that no
/// classifier uses are moved to `left_out`.
pub fn translate_transformer_names(
    tensors: &mut Vec<NamedTensor>,
    left_out: &mut Vec<String>,
) -> bool {
    let prefix = tensors.iter().find_map(|tensor| tensor.name.strip_suffix(PATCHES));
    let is_of_transformers = prefix.map(str::to_owned).map(|prefix| {
        for tensor in tensors.iter_mut() {
            let name = tensor.name.strip_prefix(&prefix).unwrap_or(&tensor.name);
            if let Some(name) = translated(name) {
                tensor.name = name;
            }
        }
        join_projections(tensors);
    });
    let has =
        |name: &str, tensors: &[NamedTensor]| tensors.iter().any(|tensor| tensor.name == name);
    let is_dinov2 = has("cls_token", tensors)
        && (has("mask_token", tensors) || has("register_tokens", tensors));
    if is_of_transformers.is_none() && !is_dinov2 {
        return false;
    }
    tensors.retain(|tensor| {
        // Pre-training masks patches, and the pooler is a layer behind the class token.
        let is_of_use = tensor.name != "mask_token" && !tensor.name.contains("pooler.dense.");
        if !is_of_use {
            left_out.push(tensor.name.clone());
        }
        is_of_use
    });
    if has("register_tokens", tensors) {
        free_tokens_of_positions(tensors);
    }
    true
}

/// timm's name for a tensor of transformers, without its prefix. The parts of a joined projection
/// keep their own.
fn translated(name: &str) -> Option<String> {
    let fixed = match name {
        "embeddings.cls_token" => Some("cls_token"),
        "embeddings.mask_token" => Some("mask_token"),
        "embeddings.register_tokens" => Some("register_tokens"),
        "embeddings.position_embeddings" => Some("pos_embed"),
        _ => None,
    };
    if let Some(name) = fixed {
        return Some(name.to_owned());
    }
    for (theirs, ours) in [
        ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
        ("layernorm.", "norm."),
        ("classifier.", "head."),
    ] {
        if let Some(parameter) = name.strip_prefix(theirs) {
            return Some(format!("{ours}{parameter}"));
        }
    }
    let (number, rest) = name.strip_prefix("encoder.layer.")?.split_once('.')?;
    let number: usize = number.parse().ok()?;
    let (layer, parameter) = rest.rsplit_once('.')?;
    let layer = match (layer, parameter) {
        ("layer_scale1", "lambda1") => return Some(format!("blocks.{number}.ls1.gamma")),
        ("layer_scale2", "lambda1") => return Some(format!("blocks.{number}.ls2.gamma")),
        ("attention.output.dense", _) => "attn.proj",
        ("intermediate.dense" | "mlp.fc1", _) => "mlp.fc1",
        ("output.dense" | "mlp.fc2", _) => "mlp.fc2",
        ("layernorm_before" | "norm1", _) => "norm1",
        ("layernorm_after" | "norm2", _) => "norm2",
        (layer, _) => {
            let part = layer.strip_prefix("attention.attention.")?;
            JOINED.contains(&part).then_some(())?;
            return Some(format!("blocks.{number}.attn.{part}.{parameter}"));
        }
    };
    Some(format!("blocks.{number}.{layer}.{parameter}"))
}

/// Joins query, key and value, one below the other, where all three are there and of one shape.
fn join_projections(tensors: &mut Vec<NamedTensor>) {
    let mut parts: BTreeMap<String, [Option<NamedTensor>; 3]> = BTreeMap::new();
    let mut others = Vec::with_capacity(tensors.len());
    for tensor in tensors.drain(..) {
        match joined_name(&tensor.name) {
            Some((name, place)) => parts.entry(name).or_default()[place] = Some(tensor),
            None => others.push(tensor),
        }
    }
    for (name, parts) in parts {
        match parts {
            [Some(query), Some(key), Some(value)]
                if query.shape == key.shape
                    && key.shape == value.shape
                    && !query.shape.is_empty() =>
            {
                let mut shape = query.shape;
                shape[0] *= 3;
                let values = [query.values, key.values, value.values].concat();
                others.push(NamedTensor { name, shape, values });
            }
            parts => others.extend(parts.into_iter().flatten()),
        }
    }
    others.sort_by(|one, other| one.name.cmp(&other.name));
    *tensors = others;
}

/// The joined name of a part of a projection, and its place there.
fn joined_name(name: &str) -> Option<(String, usize)> {
    let (block, rest) = name.split_once(".attn.")?;
    let (part, parameter) = rest.split_once('.')?;
    let place = JOINED.iter().position(|&known| known == part)?;
    block.starts_with("blocks.").then(|| (format!("{block}.attn.qkv.{parameter}"), place))
}

/// Adds the first position to the class token and removes it, as timm does for networks with
/// registers, whose tokens have no positions.
fn free_tokens_of_positions(tensors: &mut [NamedTensor]) {
    let mut first = Vec::new();
    for tensor in tensors.iter_mut() {
        match (&tensor.name[..], &mut tensor.shape[..]) {
            ("register_tokens", _) => tensor.name = "reg_token".to_owned(),
            ("pos_embed", [1, positions, channels])
                if *positions > 1 && tensor.values.len() == *positions * *channels =>
            {
                *positions -= 1;
                first = tensor.values.drain(..*channels).collect();
            }
            _ => {}
        }
    }
    for tensor in tensors.iter_mut().filter(|tensor| tensor.name == "cls_token") {
        tensor.values.iter_mut().zip(&first).for_each(|(value, position)| *value += position);
    }
}
