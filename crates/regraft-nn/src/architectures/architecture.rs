//! An architecture and the facts about its source model.

use crate::graph::Graph;

/// The filter that resized a source model's images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceInterpolation {
    /// Pillow's `BILINEAR`.
    Bilinear,
    /// Pillow's `BICUBIC`.
    Bicubic,
}

/// An architecture and the facts about its source model.
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// The name that `--model` takes.
    pub name: &'static str,
    /// Side of the square images that the source model was trained on.
    pub image_size: u32,
    /// Short side to which an image is resized before its centre is cropped.
    pub resize_side: u32,
    /// The filter that resized the source model's images.
    pub interpolation: SourceInterpolation,
    /// Mean of each colour, in units of the full scale.
    pub mean: [f32; 3],
    /// Standard deviation of each colour, in units of the full scale.
    pub std: [f32; 3],
    /// ImageNet top-1 accuracy of the usual weights in percent, as published with them.
    pub source_accuracy: &'static str,
    /// The source of the weights.
    pub weights: &'static str,
    build: fn(&str) -> Graph,
}

const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

impl Architecture {
    /// The network with a head of 1000 classes, for images of [`Architecture::image_size`] pixels.
    #[must_use]
    pub fn graph(&self) -> Graph {
        Graph { image_size: self.image_size as usize, ..(self.build)(self.name) }
    }

    /// timm's repository on the Hugging Face Hub with the usual weights, such as
    /// `timm/resnet18.tv_in1k`; `None` if it has none.
    #[must_use]
    pub fn hub_repository(&self) -> Option<&'static str> {
        let start = self.weights.find("timm/")?;
        self.weights[start..].split_whitespace().next()
    }

    /// The licence of the usual weights by its SPDX identifier, as the `license` of timm's
    /// configurations says; torchvision's weights have torchvision's.
    #[must_use]
    pub fn licence(&self) -> &'static str {
        match self.hub_repository().and_then(|repository| repository.split_once('.')) {
            Some((_, "tv_in1k" | "tv2_in1k")) => "BSD-3-Clause",
            Some((_, "pycls_in1k")) => "MIT",
            None if self.weights.contains("(torchvision)") => "BSD-3-Clause",
            _ => "Apache-2.0",
        }
    }

    /// An architecture whose images have ImageNet's mean and standard deviation and 224 pixels,
    /// cut out of 256 after a bilinear resize.
    pub(super) const fn new(
        name: &'static str,
        source_accuracy: &'static str,
        weights: &'static str,
        build: fn(&str) -> Graph,
    ) -> Self {
        Self {
            name,
            image_size: 224,
            resize_side: 256,
            interpolation: SourceInterpolation::Bilinear,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
            source_accuracy,
            weights,
            build,
        }
    }

    /// The same with images of `image_size` pixels, cut out of `resize_side`.
    pub(super) const fn sized(self, image_size: u32, resize_side: u32) -> Self {
        Self { image_size, resize_side, ..self }
    }

    /// The same with images resized by Pillow's `BICUBIC`.
    pub(super) const fn bicubic(self) -> Self {
        Self { interpolation: SourceInterpolation::Bicubic, ..self }
    }

    /// The same with another mean and standard deviation, alike for all colours.
    pub(super) const fn normalized(self, mean: f32, std: f32) -> Self {
        Self { mean: [mean; 3], std: [std; 3], ..self }
    }
}
