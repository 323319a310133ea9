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

/// The architectures whose names are most like a name that is none of theirs, the most similar
/// first; at most three, and none if nothing is similar.
#[must_use]
pub fn similar(name: &str) -> Vec<&'static str> {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let distance = |known: &str| {
        // A part of a name, such as `vit_small`, is nearer than any misspelling.
        let part = known.starts_with(&name) || name.starts_with(known);
        if part { known.len().abs_diff(name.len()).min(1) } else { edits(&name, known) }
    };
    let mut found: Vec<(usize, &str)> =
        all().map(|known| (distance(known.name), known.name)).collect();
    found.retain(|(distance, known)| 3 * distance <= known.len());
    found.sort_by_key(|(distance, known)| (*distance, known.len()));
    found.into_iter().map(|(_, known)| known).take(3).collect()
}

/// How many characters must be inserted, removed or replaced to make one text the other
/// (Levenshtein's distance).
fn edits(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (number, left) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], number + 1);
        for (place, right) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests;
