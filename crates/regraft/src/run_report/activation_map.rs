//! Class activation maps: where in an image a class's logit comes from (B. Zhou et al., "Learning
//! Deep Features for Discriminative Localization", 2016).
//!
//! If the head is linear and reads the mean of a feature map, a class's logit is exactly the mean
//! over the map of the weighted channels, plus the bias. For other heads there is no such map.

use crate::evaluate::EVALUATION_BATCH;
use crate::model::Model;
use regraft_nn::engine::{Engine, EngineError, Input};
use regraft_nn::graph::{Graph, Source};
use regraft_nn::ops::Operation;
use regraft_nn::parameters::{Role, parameters};

/// The feature maps of images, and the head that reads their means.
pub struct ActivationMaps<'a> {
    /// `[N, side, side, channels]`.
    features: Vec<f32>,
    side: usize,
    channels: usize,
    /// `[classes, channels]`.
    weight: &'a [f32],
    /// `[classes]`.
    bias: &'a [f32],
}

/// The node whose output the head reads the mean of, if it does.
fn pooled_node(graph: &Graph) -> Option<usize> {
    let Source::Node(pool) = graph.head_input() else { return None };
    let node = &graph.nodes[pool];
    if !matches!(node.operation, Operation::GlobalAveragePool(_)) {
        return None;
    }
    match node.inputs.first()? {
        Source::Node(node) => Some(*node),
        Source::Image => None,
    }
}

impl<'a> ActivationMaps<'a> {
    /// Computes the feature maps of images, whose prepared levels are `[N, size, size, 3]`. `None`
    /// if the network's head does not read the mean of a map.
    ///
    /// # Errors
    /// If the images do not fit the network.
    pub fn new(
        engine: &mut dyn Engine,
        model: &'a Model,
        pixels: &[u8],
    ) -> Result<Option<Self>, EngineError> {
        let Some(node) = pooled_node(&model.graph) else { return Ok(None) };
        let head = model.graph.backbone();
        let tensor = |role: Role| {
            let of_head = parameters(&model.graph).into_iter();
            let found =
                of_head.filter(|tensor| tensor.node >= head).find(|tensor| tensor.role == role);
            found.and_then(|tensor| model.state.get(&tensor.name)).map(Vec::as_slice)
        };
        let (Some(weight), Some(bias)) = (tensor(Role::Weight), tensor(Role::Bias)) else {
            return Ok(None);
        };
        let channels = model.graph.features();
        let image = model.preprocessing.input_length();
        let images = pixels.len() / image;
        let mut features = Vec::new();
        for batch in pixels.chunks(image * EVALUATION_BATCH) {
            let input = Input::pixels(batch, model.preprocessing.normalisation());
            features.extend(engine.features(input, batch.len() / image, node)?);
        }
        let places = features.len() / (images * channels).max(1);
        let side = places.isqrt();
        if side * side * channels * images != features.len() || side == 0 {
            return Ok(None);
        }
        Ok(Some(Self { features, side, channels, weight, bias }))
    }

    /// The map `[side, side]` of a class in an image. Its mean plus the class's bias is the logit.
    #[must_use]
    pub fn map(&self, image: usize, class: usize) -> Vec<f32> {
        let length = self.side * self.side * self.channels;
        let weights = &self.weight[class * self.channels..(class + 1) * self.channels];
        self.features[image * length..(image + 1) * length]
            .chunks_exact(self.channels)
            .map(|values| values.iter().zip(weights).map(|(value, weight)| value * weight).sum())
            .collect()
    }

    /// Side of a map.
    #[must_use]
    pub fn side(&self) -> usize {
        self.side
    }

    /// A class's logit, from its map.
    #[must_use]
    pub fn logit(&self, image: usize, class: usize) -> f32 {
        let map = self.map(image, class);
        map.iter().sum::<f32>() / map.len() as f32 + self.bias[class]
    }
}

/// Levels `[side, side, 3]` as bright as the map is positive, as a share of its largest value: a
/// place that contributes nothing, or speaks against the class, has a fifth of its brightness. The
/// map is interpolated between the centres of its cells.
#[must_use]
pub fn shaded(pixels: &[u8], side: usize, map: &[f32], map_side: usize) -> Vec<u8> {
    let largest = map.iter().copied().fold(0.0, f32::max);
    let at = |x: usize, y: usize| map[y * map_side + x].max(0.0) / largest.max(f32::MIN_POSITIVE);
    // The neighbouring cells of a pixel, and the weight of the second.
    let cells = |pixel: usize| {
        let place = (pixel as f32 + 0.5) / side as f32 * map_side as f32 - 0.5;
        let place = place.clamp(0.0, (map_side - 1) as f32);
        let first = place as usize;
        (first, (first + 1).min(map_side - 1), place - first as f32)
    };
    let mut shaded = Vec::with_capacity(pixels.len());
    for (y, row) in pixels.chunks_exact(side * 3).enumerate() {
        let (top, bottom, down) = cells(y);
        for (x, pixel) in row.chunks_exact(3).enumerate() {
            let (left, right, across) = cells(x);
            let between = |y: usize| at(left, y) * (1.0 - across) + at(right, y) * across;
            let value = between(top) * (1.0 - down) + between(bottom) * down;
            let brightness = 0.2 + 0.8 * value;
            shaded.extend(pixel.iter().map(|&level| (f32::from(level) * brightness).round() as u8));
        }
    }
    shaded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shading_is_brightest_where_the_map_is_largest() {
        let found = shaded(&[200; 4 * 4 * 3], 4, &[1.0, 0.0, 0.5, -2.0], 2);
        let level = |x: usize, y: usize| found[(y * 4 + x) * 3];
        assert_eq!((level(0, 0), level(3, 0), level(0, 3), level(3, 3)), (200, 40, 120, 40));
        // A quarter of the way from 1 to 0.
        assert_eq!(level(1, 0), 160);
        assert!(shaded(&[200; 12], 2, &[-1.0; 4], 2).iter().all(|&level| level == 40));
    }

    #[test]
    #[cfg(feature = "embedded")]
    fn the_mean_of_a_map_and_the_bias_are_the_logit() {
        use crate::inference::{self, InferenceOptions};
        let model = Model::embedded().expect("the model");
        let options = InferenceOptions::default();
        let mut engine =
            inference::engine(&model, &options.device, 2, options.precision, &options.ranks)
                .expect("an engine");
        let pixels: Vec<u8> = (0..2 * model.preprocessing.input_length())
            .map(|place| (place * 37 % 251) as u8)
            .collect();
        let input = Input::pixels(&pixels, model.preprocessing.normalisation());
        let logits = engine.evaluate(input, 2).expect("logits");
        let maps = ActivationMaps::new(&mut *engine, &model, &pixels).expect("maps").expect("some");
        assert_eq!(maps.side(), 7);
        for class in [0, 1, 500, 999] {
            for image in 0..2 {
                let (found, expected) = (maps.logit(image, class), logits[image * 1000 + class]);
                assert!((found - expected).abs() < 1e-4, "{class}: {found} is not {expected}");
            }
        }
    }
}
