//! Hashes of everything that features depend on: a change of any bit changes the name under
//! which they are kept.

use super::trunk_output;
use crate::hashing::{hash_tensors, hash_values, hexadecimal};
use crate::model::json;
use regraft_base::random::{Draws, Purpose};
use regraft_data::loader::{LoaderOptions, Transform};
use regraft_data::preprocessing::Preprocessing;
use regraft_nn::engine::{Engine, Input};
use sha2::{Digest, Sha256};
use std::fmt;

/// SHA-256 of everything but the image: the backbone, and how it is computed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hexadecimal(&self.0))
    }
}

/// The fingerprint of the backbone that an engine holds, as it computes features of images prepared
/// by `preprocessing`.
///
/// In addition to the tensors and the precision, it covers the backbone's output for one image of
/// noise, so that another instruction set or another version of a kernel, which round differently,
/// is another backbone.
///
/// # Errors
/// If the graph has no backbone or the engine does not fit `preprocessing`.
pub fn trunk_fingerprint(
    engine: &mut dyn Engine,
    preprocessing: &Preprocessing,
) -> Result<Fingerprint, super::FeaturesError> {
    let (node, _) = trunk_output(engine.graph())?;
    let mut draws = Draws::new(0, Purpose::Fixture, 0, 0);
    let noise: Vec<f32> =
        (0..preprocessing.input_length()).map(|_| draws.range(-2.0, 2.0)).collect();
    let output = engine
        .features(Input::values(&noise), 1, node)
        .map_err(crate::evaluate::EvaluateError::from)?;
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(engine.graph().architecture.as_bytes());
    hash.update(engine.precision().name());
    hash.update(json(preprocessing));
    let trunk: std::collections::HashSet<String> = engine
        .parameters()
        .iter()
        .filter(|parameter| parameter.node <= node)
        .map(|parameter| parameter.name.clone())
        .collect();
    hash_tensors(&mut hash, engine.state().iter().filter(|(name, _)| trunk.contains(*name)));
    hash_values(&mut hash, &output);
    Ok(Fingerprint(hash.finalize().into()))
}

/// SHA-256 of a file's content and the view of it: in training, also what names the view's random
/// draws.
pub(super) fn view_key(content: &[u8], place: u32, loading: &LoaderOptions) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(content);
    hash.update((content.len() as u64).to_le_bytes());
    let decode = loading.decode_options();
    hash.update(decode.least_side.unwrap_or(0).to_le_bytes());
    hash.update([u8::from(decode.allow_truncated)]);
    // A view that draws nothing is the same for every seed.
    let draws = loading.augmentation.kind != regraft_data::augmentation::AugmentationKind::None;
    match loading.transform {
        Transform::Train { seed, epoch } if draws => {
            hash.update("training");
            hash.update(json(&loading.augmentation));
            hash.update(seed.to_le_bytes());
            hash.update(epoch.to_le_bytes());
            hash.update(place.to_le_bytes());
        }
        Transform::Train { .. } | Transform::Evaluate => hash.update("evaluation"),
    }
    hash.finalize().into()
}
