//! Transfer: a source model becomes the start of a target model, and each layer gets its learning
//! rate.

pub mod fit;
pub mod frozen;
pub mod head;
pub mod labels;
pub mod out_of_fold;

use crate::config::{Freeze, Resize};
use regraft_data::preprocessing::{Preprocessing, ResizeMode};
use regraft_nn::graph::{Graph, GraphError, Layer};
use regraft_nn::parameters::parameters;

/// The source model's preprocessing with another size of the network's input in pixels and another
/// way of resizing, if they are given.
///
/// The short side of [`Resize::Crop`] keeps its ratio to the part that is cut out; where the source
/// model crops nothing, it is 256 to 224.
#[must_use]
pub fn target_preprocessing(
    source: &Preprocessing,
    image_size: Option<u32>,
    resize: Option<Resize>,
) -> Preprocessing {
    let image_size = image_size.unwrap_or(source.image_size);
    let ratio = match source.resize {
        ResizeMode::Crop { short_side } => f64::from(short_side) / f64::from(source.image_size),
        ResizeMode::Squash | ResizeMode::Letterbox => 256.0 / 224.0,
    };
    let resize = match resize.unwrap_or(Resize::of(source.resize)) {
        Resize::Crop => {
            ResizeMode::Crop { short_side: (ratio * f64::from(image_size)).round() as u32 }
        }
        Resize::Squash => ResizeMode::Squash,
        Resize::Letterbox => ResizeMode::Letterbox,
    };
    Preprocessing { image_size, resize, ..source.clone() }
}

/// How many nodes of the graph, from the start, are frozen in an epoch, counted from 0.
///
/// # Errors
/// If the graph has no such layer.
pub fn frozen_nodes(graph: &Graph, freeze: &Freeze, epoch: u32) -> Result<usize, GraphError> {
    match freeze {
        Freeze::None => Ok(0),
        // Undecided, it is the head that is fitted.
        Freeze::Auto | Freeze::Backbone => Ok(graph.backbone()),
        // The head always learns: without it there is nothing to train.
        Freeze::Through(layer) => Ok(graph.nodes_through(layer)?.min(graph.backbone())),
        Freeze::Gradual(epochs) => {
            let stages = trunk_stages(graph);
            let learning = (epoch / epochs.get()) as usize;
            match stages.len().checked_sub(learning) {
                None | Some(0) => Ok(0),
                // Layers without parameters between the stage and the head is frozen with the
                // backbone.
                Some(all) if all == stages.len() => Ok(graph.backbone()),
                Some(frozen) => graph.nodes_through(&stages[frozen - 1]),
            }
        }
    }
}

/// The stages of the backbone that have parameters, from the image to the head.
#[must_use]
pub fn trunk_stages(graph: &Graph) -> Vec<String> {
    let mut stages: Vec<String> = Vec::new();
    let learns = |layer: &Layer| {
        let nodes = &graph.nodes[layer.nodes.clone()];
        nodes
            .iter()
            .any(|node| !node.operation.rules().tensors(&node.name, graph.image_size).is_empty())
    };
    for layer in
        graph.layers().iter().filter(|layer| layer.nodes.start < graph.backbone() && learns(layer))
    {
        let stage = graph.stage(layer);
        if stages.last().is_none_or(|last| last != stage) {
            stages.push(stage.to_owned());
        }
    }
    stages
}

/// The lower half of the backbone's stages, the one in the middle with them.
#[must_use]
pub fn lower_half(graph: &Graph) -> Freeze {
    let stages = trunk_stages(graph);
    match stages.len().div_ceil(2).checked_sub(1).and_then(|last| stages.get(last)) {
        Some(last) => Freeze::Through(last.clone()),
        None => Freeze::Backbone,
    }
}

/// Each node's learning rate as a multiple of the backbone's: the head's by its own, and with
/// `layer_decay` each stage's that many times that of the stage above it (layer-wise decay by
/// stages; Howard and Ruder 2018). The uppermost stage of the backbone has 1.
#[must_use]
pub fn rate_multipliers(graph: &Graph, head_multiplier: f32, layer_decay: f32) -> Vec<f32> {
    let stages = trunk_stages(graph);
    let of_layer = |layer: &Layer| {
        let below = stages
            .iter()
            .rposition(|stage| stage == graph.stage(layer))
            .map_or(0, |stage| stages.len() - 1 - stage);
        f64::from(layer_decay).powi(below as i32) as f32
    };
    let mut multipliers: Vec<f32> = graph
        .layers()
        .iter()
        .flat_map(|layer| std::iter::repeat_n(of_layer(layer), layer.nodes.len()))
        .collect();
    multipliers[graph.backbone()..].fill(head_multiplier);
    multipliers
}

/// The number of parameters that learn, and of all.
#[must_use]
pub fn parameter_counts(graph: &Graph, frozen_nodes: usize) -> (usize, usize) {
    let learned: Vec<_> =
        parameters(graph).into_iter().filter(|parameter| parameter.role.is_learned()).collect();
    let trained = learned
        .iter()
        .filter(|parameter| parameter.node >= frozen_nodes)
        .map(|parameter| parameter.length())
        .sum();
    (trained, learned.iter().map(|parameter| parameter.length()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{architecture, source_preprocessing};

    #[test]
    fn rates_fall_by_stages() {
        let graph = architecture("resnet18").expect("a known name").graph();
        assert_eq!(trunk_stages(&graph), ["conv1", "layer1", "layer2", "layer3", "layer4"]);
        let multipliers = rate_multipliers(&graph, 10.0, 0.5);
        let of = |name: &str| {
            multipliers[graph.nodes.iter().position(|node| node.name == name).expect("a node")]
        };
        assert_eq!(
            ["conv1", "layer1.0.conv1", "layer3.1.conv2", "layer4.0.conv1", "fc"].map(of),
            [0.0625, 0.125, 0.5, 1.0, 10.0]
        );
        assert!(rate_multipliers(&graph, 1.0, 1.0).iter().all(|&multiplier| multiplier == 1.0));
    }

    #[test]
    fn the_lower_half_ends_between_stages() {
        for (name, last) in
            [("efficientnet_lite0", "blocks.3"), ("resnet18", "layer2"), ("resnet50", "layer2")]
        {
            let graph = architecture(name).expect("a known name").graph();
            assert_eq!(lower_half(&graph), Freeze::Through(last.into()), "{name}");
        }
    }

    #[test]
    fn gradual_unfreezing_goes_down_a_stage_at_a_time() {
        let graph = architecture("efficientnet_lite0").expect("a known name").graph();
        let freeze = Freeze::try_from("gradual=2".to_owned()).expect("possible");
        let frozen = |epoch| frozen_nodes(&graph, &freeze, epoch).expect("no layer is named");
        assert_eq!((frozen(0), frozen(1)), (graph.backbone(), graph.backbone()));
        assert_eq!(Ok(frozen(2)), graph.nodes_through("blocks.6"));
        assert_eq!(Ok(frozen(5)), graph.nodes_through("blocks.5"));
        // conv_stem, seven stages of blocks, conv_head.
        assert_eq!(Ok(frozen(17)), graph.nodes_through("conv_stem"));
        assert_eq!((frozen(18), frozen(1000)), (0, 0));
    }

    #[test]
    fn the_short_side_keeps_its_ratio_to_the_crop() {
        let source = source_preprocessing(architecture("resnet18").expect("a known name"));
        assert_eq!(target_preprocessing(&source, None, None), source);
        let smaller = target_preprocessing(&source, Some(160), None);
        assert_eq!(
            (smaller.image_size, smaller.resize),
            (160, ResizeMode::Crop { short_side: 183 })
        );
        let squashed = target_preprocessing(&source, Some(64), Some(Resize::Squash));
        assert_eq!((squashed.image_size, squashed.resize), (64, ResizeMode::Squash));
        let back = target_preprocessing(&squashed, None, Some(Resize::Crop));
        assert_eq!(back.resize, ResizeMode::Crop { short_side: 73 });
    }
}
