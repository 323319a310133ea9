//! torchvision's names of EfficientNet, MobileNet, ConvNeXt and RegNet, which number modules by
//! their positions.

use super::NamedTensor;
use std::collections::BTreeMap;

/// Translates torchvision's names (`features.2.0.block.1.0.weight`) to timm's
/// (`blocks.1.0.conv_dw.weight`), and the shapes that differ with them. Returns whether the tensors
/// had such names; others are left unchanged.
///
/// torchvision numbers MobileNet's blocks from first to last, and timm by stage. A stage begins
/// where the output width of the blocks changes, which holds for EfficientNet too.
pub fn translate_torchvision_names(tensors: &mut [NamedTensor]) -> bool {
    if tensors.iter().any(|tensor| tensor.name.starts_with("trunk_output.block1.")) {
        rename(tensors, regnet);
        return true;
    }
    if tensors.iter().any(|tensor| tensor.name == "features.1.conv.0.0.weight") {
        tensors.iter_mut().for_each(name_mobilenet_v2_blocks);
    }
    let has = |name: &str| tensors.iter().any(|tensor| tensor.name == name);
    if !has("features.0.0.weight") || !tensors.iter().any(|tensor| tensor.name.contains(".block."))
    {
        return false;
    }
    if tensors.iter().any(|tensor| tensor.name.ends_with(".layer_scale")) {
        for tensor in tensors.iter_mut() {
            if let Some(name) = convnext(&tensor.name) {
                if name.ends_with(".gamma") {
                    tensor.shape.truncate(1);
                }
                tensor.name = name;
            }
        }
        return true;
    }
    // MobileNetV3 has a linear layer before its last one; in timm it is a convolution.
    let is_mobilenet = has("classifier.0.weight");
    let layout = Layout::of(tensors, is_mobilenet);
    for tensor in tensors.iter_mut() {
        if let Some(name) = layout.translate(&tensor.name) {
            if name == "conv_head.weight" && is_mobilenet && tensor.shape.len() == 2 {
                tensor.shape.extend([1, 1]);
            }
            tensor.name = name;
        }
    }
    true
}

/// Renames the tensors for which there is a name.
fn rename(tensors: &mut [NamedTensor], name: fn(&str) -> Option<String>) {
    for tensor in tensors {
        if let Some(name) = name(&tensor.name) {
            tensor.name = name;
        }
    }
}

/// timm's name for a RegNet's tensor.
fn regnet(name: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix("stem.") {
        return layer("stem", rest);
    }
    if let Some(parameter) = name.strip_prefix("fc.") {
        return Some(format!("head.fc.{parameter}"));
    }
    // block2.block2-0.f.a.0.weight
    let (stage, rest) = name.strip_prefix("trunk_output.block")?.split_once('.')?;
    let (block, rest) = rest.split_once('.')?;
    let block: usize = block.strip_prefix(&format!("block{stage}-"))?.parse().ok()?;
    let block = format!("s{stage}.b{}", block + 1);
    if let Some(rest) = rest.strip_prefix("proj.") {
        return layer(&format!("{block}.downsample"), rest);
    }
    let (part, rest) = rest.strip_prefix("f.")?.split_once('.')?;
    match part {
        "a" => layer(&format!("{block}.conv1"), rest),
        "b" => layer(&format!("{block}.conv2"), rest),
        "c" => layer(&format!("{block}.conv3"), rest),
        "se" => Some(format!("{block}.se.{rest}")),
        _ => None,
    }
}

/// timm's name for a tensor of a convolution with batch norm, which torchvision numbers 0 and 1.
fn layer(name: &str, rest: &str) -> Option<String> {
    match rest.split_once('.')? {
        ("0", parameter) => Some(format!("{name}.conv.{parameter}")),
        ("1", parameter) => Some(format!("{name}.bn.{parameter}")),
        _ => None,
    }
}

/// Gives a tensor of MobileNetV2's blocks the name that it would have in MobileNetV3, where the
/// last convolution and its batch norm are also two parts of one module.
fn name_mobilenet_v2_blocks(tensor: &mut NamedTensor) {
    let Some((block, rest)) = tensor.name.split_once(".conv.") else { return };
    let Some((place, rest)) = rest.split_once('.') else { return };
    let Ok(place) = place.parse::<usize>() else { return };
    tensor.name = if rest.contains('.') {
        format!("{block}.block.{place}.{rest}")
    } else if tensor.shape.len() == 4 {
        format!("{block}.block.{place}.0.{rest}")
    } else {
        format!("{block}.block.{}.1.{rest}", place.saturating_sub(1))
    };
}

/// timm's name for a ConvNeXt's tensor.
fn convnext(name: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix("classifier.") {
        let (place, parameter) = rest.split_once('.')?;
        return match place {
            "0" => Some(format!("head.norm.{parameter}")),
            "2" => Some(format!("head.fc.{parameter}")),
            _ => None,
        };
    }
    let (place, rest) = name.strip_prefix("features.")?.split_once('.')?;
    let place: usize = place.parse().ok()?;
    if place == 0 {
        return Some(format!("stem.{rest}"));
    }
    let stage = place / 2;
    if place.is_multiple_of(2) {
        return Some(format!("stages.{stage}.downsample.{rest}"));
    }
    let (block, rest) = rest.split_once('.')?;
    let name = match rest {
        "layer_scale" => "gamma".to_owned(),
        rest => {
            let (layer, parameter) = rest.strip_prefix("block.")?.split_once('.')?;
            let layer = match layer {
                "0" => "conv_dw",
                "2" => "norm",
                "3" => "mlp.fc1",
                "5" => "mlp.fc2",
                _ => return None,
            };
            format!("{layer}.{parameter}")
        }
    };
    Some(format!("stages.{stage}.blocks.{block}.{name}"))
}

/// A block of an EfficientNet or a MobileNetV3.
#[derive(Default)]
struct Block {
    /// timm's name, such as `blocks.2.0`.
    name: String,
    /// The positions of the convolutions in it, with their output channels.
    convolutions: BTreeMap<usize, usize>,
}

/// The positions of the blocks of an EfficientNet or a MobileNetV3.
struct Layout {
    is_mobilenet: bool,
    /// The blocks by their numbers in torchvision: `[2, 0]` or `[2]`.
    blocks: BTreeMap<Vec<usize>, Block>,
    /// The last position of `features`, which is a single convolution.
    last: usize,
    /// timm's number of the stage after that of the last block.
    stages: usize,
}

impl Layout {
    fn of(tensors: &[NamedTensor], is_mobilenet: bool) -> Self {
        let mut blocks: BTreeMap<Vec<usize>, Block> = BTreeMap::new();
        for tensor in tensors {
            if let Some((numbers, place, "0.weight")) = in_block(&tensor.name) {
                let width = tensor.shape.first().copied().unwrap_or(0);
                blocks.entry(numbers).or_default().convolutions.insert(place, width);
            }
        }
        let (mut stage, mut number, mut width) = (0, 0, None);
        for block in blocks.values_mut() {
            let output = block.convolutions.values().next_back().copied();
            if width.is_some() {
                (stage, number) =
                    if width == Some(output) { (stage, number + 1) } else { (stage + 1, 0) };
            }
            width = Some(output);
            block.name = format!("blocks.{stage}.{number}");
        }
        let last = tensors
            .iter()
            .filter_map(|tensor| outside_blocks(&tensor.name))
            .map(|(place, _)| place)
            .max();
        Self { is_mobilenet, blocks, last: last.unwrap_or(0), stages: stage + 1 }
    }

    /// timm's name for a tensor.
    fn translate(&self, name: &str) -> Option<String> {
        if let Some((place, parameter)) =
            name.strip_prefix("classifier.").and_then(|rest| rest.split_once('.'))
        {
            return match (place, self.is_mobilenet) {
                ("0", true) => Some(format!("conv_head.{parameter}")),
                ("3", true) | ("1", false) => Some(format!("classifier.{parameter}")),
                _ => None,
            };
        }
        if let Some((numbers, place, rest)) = in_block(name) {
            let block = self.blocks.get(&numbers)?;
            return Some(format!("{}.{}", block.name, block.inner_name(place, rest)?));
        }
        let (place, rest) = outside_blocks(name)?;
        let (layer, parameter) = rest.split_once('.')?;
        let layer = match (place, layer) {
            (0, "0") => "conv_stem".to_owned(),
            (0, "1") => "bn1".to_owned(),
            (place, "0") if place == self.last && self.is_mobilenet => {
                format!("blocks.{}.0.conv", self.stages)
            }
            (place, "1") if place == self.last && self.is_mobilenet => {
                format!("blocks.{}.0.bn1", self.stages)
            }
            (place, "0") if place == self.last => "conv_head".to_owned(),
            (place, "1") if place == self.last => "bn2".to_owned(),
            _ => return None,
        };
        Some(format!("{layer}.{parameter}"))
    }
}

impl Block {
    /// timm's name, within the block, of torchvision's module at this position.
    fn inner_name(&self, place: usize, rest: &str) -> Option<String> {
        let (layer, parameter) = rest.split_once('.')?;
        let Some(index) = self.convolutions.keys().position(|&known| known == place) else {
            return match layer {
                "fc1" => Some(format!("se.conv_reduce.{parameter}")),
                "fc2" => Some(format!("se.conv_expand.{parameter}")),
                _ => None,
            };
        };
        let expands = self.convolutions.len() > 2;
        match (layer, index, expands) {
            ("0", 0, true) => Some(format!("conv_pw.{parameter}")),
            ("0", 1, true) | ("0", 0, false) => Some(format!("conv_dw.{parameter}")),
            ("0", 2, true) => Some(format!("conv_pwl.{parameter}")),
            ("0", 1, false) => Some(format!("conv_pw.{parameter}")),
            ("1", index, _) => Some(format!("bn{}.{parameter}", index + 1)),
            _ => None,
        }
    }
}

/// Splits `features.2.0.block.1.0.weight` into `[2, 0]`, 1 and `0.weight`.
fn in_block(name: &str) -> Option<(Vec<usize>, usize, &str)> {
    let (numbers, rest) = name.strip_prefix("features.")?.split_once(".block.")?;
    let (place, rest) = rest.split_once('.')?;
    let numbers = numbers.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    Some((numbers, place.parse().ok()?, rest))
}

/// Splits `features.8.1.bias` into 8 and `1.bias`; `None` for a tensor of a block.
fn outside_blocks(name: &str) -> Option<(usize, &str)> {
    let (place, rest) = name.strip_prefix("features.")?.split_once('.')?;
    let place = place.parse().ok()?;
    (!rest.contains("block.")).then_some((place, rest))
}
