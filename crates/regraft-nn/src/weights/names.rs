//! Names of tensors: prefixes that wrappers add, and the old EfficientNet names.

use super::NamedTensor;
use std::collections::BTreeMap;

/// Prefixes that wrappers add to every name: `DataParallel`, detection and segmentation code,
/// Lightning modules, `torch.compile`.
const PREFIXES: [&str; 4] = ["module.", "backbone.", "model.", "_orig_mod."];

/// Removes the prefixes `module.`, `backbone.`, `model.` and `_orig_mod.`, one after another, as
/// long as more than half of the names begin with one. Names without the prefix (a head beside the
/// backbone) stay unchanged. Returns the removed prefix (`module.backbone.`); empty if there was
/// none.
pub fn strip_prefixes(tensors: &mut [NamedTensor]) -> String {
    let mut stripped = String::new();
    let carried_by_most = |tensors: &[NamedTensor]| {
        PREFIXES.into_iter().find(|prefix| {
            let carriers = tensors.iter().filter(|tensor| tensor.name.starts_with(prefix)).count();
            2 * carriers > tensors.len()
        })
    };
    while let Some(prefix) = carried_by_most(tensors) {
        for tensor in tensors.iter_mut() {
            if let Some(rest) = tensor.name.strip_prefix(prefix) {
                tensor.name = rest.to_string();
            }
        }
        stripped.push_str(prefix);
    }
    stripped
}

/// Translates the names of the `efficientnet_pytorch` code (`_blocks.1._expand_conv.weight`) to
/// timm's (`blocks.1.0.conv_pw.weight`). Returns whether the tensors had such names; others are
/// left unchanged.
///
/// The old code numbers blocks from first to last, timm by stage and position in the stage. A stage
/// begins where the output width of the blocks changes. This holds for every EfficientNet: the
/// width is constant within a stage, and neighbouring stages never share it.
pub fn translate_efficientnet_names(tensors: &mut [NamedTensor]) -> bool {
    if !tensors.iter().any(|tensor| tensor.name == "_conv_stem.weight") {
        return false;
    }
    let blocks = blocks(tensors);
    for tensor in tensors.iter_mut() {
        if let Some(name) = translate(&tensor.name, &blocks) {
            tensor.name = name;
        }
    }
    true
}

/// A block's position in timm's numbering, and its kind.
struct Block {
    stage: usize,
    place: usize,
    /// Whether it expands its input first (an inverted residual) or not (a depthwise-separable
    /// block).
    expands: bool,
}

/// The blocks by their old number.
fn blocks(tensors: &[NamedTensor]) -> BTreeMap<usize, Block> {
    let mut widths = BTreeMap::new();
    let mut expands = BTreeMap::new();
    for tensor in tensors {
        let Some((number, rest)) = block_and_rest(&tensor.name) else { continue };
        match rest {
            "_project_conv.weight" => drop(widths.insert(number, tensor.shape.first().copied())),
            "_expand_conv.weight" => drop(expands.insert(number, true)),
            _ => {}
        }
    }
    let mut blocks = BTreeMap::new();
    let mut stage = 0;
    let mut place = 0;
    let mut previous = None;
    for (number, width) in widths {
        if let Some(previous) = previous {
            (stage, place) = if previous == width { (stage, place + 1) } else { (stage + 1, 0) };
        }
        previous = Some(width);
        blocks.insert(number, Block { stage, place, expands: expands.contains_key(&number) });
    }
    blocks
}

/// Splits `_blocks.3._bn1.weight` into 3 and `_bn1.weight`.
fn block_and_rest(name: &str) -> Option<(usize, &str)> {
    let (number, rest) = name.strip_prefix("_blocks.")?.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// timm's name for an old name, or `None` if the old code does not use the name.
fn translate(name: &str, blocks: &BTreeMap<usize, Block>) -> Option<String> {
    if let Some((number, rest)) = block_and_rest(name) {
        let block = blocks.get(&number)?;
        let (layer, parameter) = rest.split_once('.')?;
        let layer = match (layer, block.expands) {
            ("_depthwise_conv", _) => "conv_dw",
            ("_expand_conv", true) => "conv_pw",
            ("_bn0", true) => "bn1",
            ("_bn1", true) => "bn2",
            ("_project_conv", true) => "conv_pwl",
            ("_bn2", true) => "bn3",
            ("_bn1", false) => "bn1",
            ("_project_conv", false) => "conv_pw",
            ("_bn2", false) => "bn2",
            _ => return None,
        };
        return Some(format!("blocks.{}.{}.{layer}.{parameter}", block.stage, block.place));
    }
    let (layer, parameter) = name.split_once('.')?;
    let layer = match layer {
        "_conv_stem" => "conv_stem",
        "_bn0" => "bn1",
        "_conv_head" => "conv_head",
        "_bn1" => "bn2",
        "_fc" => "classifier",
        _ => return None,
    };
    Some(format!("{layer}.{parameter}"))
}
