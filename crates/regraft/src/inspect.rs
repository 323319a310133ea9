//! A network described layer by layer, for `regraft inspect` and `--freeze`. All of it
//! follows from the graph.

use regraft_nn::graph::{self, Graph, GraphError, Source};
use regraft_nn::parameters::parameters;
use serde::Serialize;

/// A network. The JSON names are the field names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// Name of the architecture.
    pub architecture: String,
    /// Side of the square images that the shapes are for, in pixels.
    pub image_size: usize,
    /// Learned parameters.
    pub parameters: usize,
    /// Multiply-adds for one image.
    pub multiply_adds: u64,
    /// Groups of layers that `--freeze through=` takes, in order; the last one is the head.
    pub stages: Vec<Stage>,
    /// Every layer in the order of computation; `--freeze through=` takes their names too.
    pub layers: Vec<Layer>,
}

/// A group of layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// How many layers it has.
    pub layers: usize,
    /// Its output: height, width, channels.
    pub output: [usize; 3],
    /// Learned parameters.
    pub parameters: usize,
    /// Multiply-adds for one image.
    pub multiply_adds: u64,
    /// Parameters that still learn when everything up to and with this stage is frozen. The head
    /// always learns.
    pub parameters_after: usize,
}

/// A layer with its batch norm, addition and activation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// The stage it belongs to.
    pub stage: String,
    /// Its kind: `convolution`, `depthwise convolution`, `max pool`, `average pool`,
    /// `global average pool`, `layer norm` or `linear`.
    pub operation: &'static str,
    /// The layer that it reads; null for the image.
    pub input: Option<String>,
    /// The layer whose output is added, if any.
    pub residual: Option<String>,
    /// Its output for one image: height, width, channels.
    pub output: [usize; 3],
    /// Side of the square kernel or window, if it has one.
    pub kernel: Option<usize>,
    /// Its stride, if it has one.
    pub stride: Option<usize>,
    /// Groups of channels that do not mix, in a convolution.
    pub groups: Option<usize>,
    /// Learned parameters.
    pub parameters: usize,
    /// Multiply-adds for one image.
    pub multiply_adds: u64,
}

/// Describes a network for square images of `image_size` pixels.
///
/// # Errors
/// If the images are too small for it.
pub fn describe(graph: &Graph, image_size: usize) -> Result<Description, GraphError> {
    let graph = &Graph { image_size, ..graph.clone() };
    let shapes = graph.shapes(image_size)?;
    let multiply_adds = graph.multiply_adds_by_node(image_size)?;
    let mut counts = vec![0; graph.nodes.len()];
    for parameter in parameters(graph).iter().filter(|parameter| parameter.role.is_learned()) {
        counts[parameter.node] += parameter.length();
    }
    let parts = graph.layers();
    let name_of = |source: Source| match source {
        Source::Image => None,
        Source::Node(node) => {
            let layer = parts.iter().find(|layer| layer.nodes.contains(&node));
            layer.map(|layer| graph.nodes[layer.main].name.clone())
        }
    };
    let describe = |part: &graph::Layer| {
        let nodes = &graph.nodes[part.nodes.clone()];
        let main = &graph.nodes[part.main];
        let window = main.operation.rules().window();
        let residual =
            nodes.iter().find_map(|node| Some(node.inputs[node.operation.rules().residual()?]));
        let output = shapes[part.nodes.end - 1];
        Layer {
            name: main.name.clone(),
            stage: graph.stage(part).to_owned(),
            operation: main.operation.rules().kind(),
            input: nodes[0].inputs.first().copied().and_then(name_of),
            residual: residual.and_then(name_of),
            output: [output.height, output.width, output.channels],
            kernel: window.map(|window| window.kernel),
            stride: window.map(|window| window.stride),
            groups: window.and_then(|window| window.groups),
            parameters: counts[part.nodes.clone()].iter().sum(),
            multiply_adds: multiply_adds[part.nodes.clone()].iter().sum(),
        }
    };
    let layers: Vec<Layer> = parts.iter().map(describe).collect();
    let total: usize = counts.iter().sum();
    Ok(Description {
        architecture: graph.architecture.clone(),
        image_size,
        parameters: total,
        multiply_adds: multiply_adds.iter().sum(),
        stages: stages(&layers, total, layers.last().map_or(0, |layer| layer.parameters)),
        layers,
    })
}

fn stages(layers: &[Layer], total: usize, head: usize) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut frozen = 0;
    for part in layers.chunk_by(|left, right| left.stage == right.stage) {
        let parameters = part.iter().map(|layer| layer.parameters).sum();
        frozen += parameters;
        stages.push(Stage {
            name: part[0].stage.clone(),
            layers: part.len(),
            output: part[part.len() - 1].output,
            parameters,
            multiply_adds: part.iter().map(|layer| layer.multiply_adds).sum(),
            parameters_after: (total - frozen).max(head),
        });
    }
    stages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Freeze;
    use crate::model::architecture;
    use crate::transfer::{frozen_nodes, parameter_counts};

    #[test]
    fn a_description_agrees_with_the_graph_and_with_freezing() {
        for name in ["efficientnet_lite0", "resnet18", "resnet50"] {
            let graph = architecture(name).expect("a known name").graph().with_classes(7);
            let description = describe(&graph, 96).expect("large enough");
            assert_eq!(description.parameters, parameter_counts(&graph, 0).1);
            assert_eq!(description.multiply_adds, graph.multiply_adds(96).expect("large enough"));
            let sum: usize = description.stages.iter().map(|stage| stage.parameters).sum();
            assert_eq!(sum, description.parameters);
            let names: Vec<&str> =
                description.stages.iter().map(|stage| stage.name.as_str()).collect();
            assert_eq!(names, graph.outermost_layers());
            for stage in &description.stages {
                let frozen = frozen_nodes(&graph, &Freeze::Through(stage.name.clone()), 0)
                    .expect("a stage's name is taken");
                assert_eq!(
                    parameter_counts(&graph, frozen).0,
                    stage.parameters_after,
                    "{name} through {}",
                    stage.name
                );
            }
            for layer in &description.layers {
                frozen_nodes(&graph, &Freeze::Through(layer.name.clone()), 0)
                    .expect("a layer's name is taken");
            }
        }
    }

    #[test]
    fn a_block_of_resnet18() {
        let graph = architecture("resnet18").expect("a known name").graph();
        let description = describe(&graph, 224).expect("large enough");
        let layer = description
            .layers
            .iter()
            .find(|layer| layer.name == "layer2.0.conv1")
            .expect("it is there");
        assert_eq!(
            (layer.output, layer.kernel, layer.stride, layer.groups),
            ([28, 28, 128], Some(3), Some(2), Some(1))
        );
        // 64 * 128 * 9 weights and a scale and a shift for each of 128 channels.
        assert_eq!((layer.parameters, layer.multiply_adds), (73_984, 28 * 28 * 64 * 128 * 9));
        assert_eq!(description.layers[0].input, None);
    }
}
