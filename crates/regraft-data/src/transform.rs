//! The two transforms of an image, for training and for evaluation.

/// The transform that images go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// The augmented transform, drawn for this seed and epoch.
    Train {
        /// Seed of the run.
        seed: u64,
        /// The epoch, counted from 0.
        epoch: u32,
    },
    /// The fixed transform.
    Evaluate,
}
