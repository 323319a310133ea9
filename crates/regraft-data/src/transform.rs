//! Which of the two ways an image goes from its file to the network.

/// The transform that images go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// The augmented one, drawn for this seed and epoch.
    Train {
        /// Seed of the run.
        seed: u64,
        /// The epoch, counted from 0.
        epoch: u32,
    },
    /// The fixed one.
    Evaluate,
}
