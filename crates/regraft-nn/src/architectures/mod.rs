//! The architectures that Regraft supports, one file for each family.

mod architecture;
mod builder;
mod convnext;
mod efficientnet;
mod inverted_residual;
mod mobilenet_v2;
mod mobilenet_v3;
mod mobilenet_v4;
mod regnet;
mod resnet;
mod squeeze_excite;
mod vision_transformer;

pub use architecture::{Architecture, SourceInterpolation};

/// The members of each family. The accuracies are those published with torchvision's
/// `IMAGENET1K_V1` weights or, if torchvision lacks the network, timm's.
const FAMILIES: [&[Architecture]; 8] = [
    efficientnet::MEMBERS,
    resnet::MEMBERS,
    mobilenet_v2::MEMBERS,
    mobilenet_v3::MEMBERS,
    mobilenet_v4::MEMBERS,
    regnet::MEMBERS,
    convnext::MEMBERS,
    vision_transformer::MEMBERS,
];

/// All architectures, family by family.
pub fn all() -> impl Iterator<Item = &'static Architecture> {
    FAMILIES.into_iter().flatten()
}

/// The architecture of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Architecture> {
    all().find(|architecture| architecture.name == name)
}

#[cfg(test)]
mod tests;
