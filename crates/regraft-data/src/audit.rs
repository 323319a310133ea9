//! Checks of image files that need no network: unreadable files, copies and oddities.
//!
//! `inspect` reads every file once and keeps a small grey copy of its image. `copies` finds images
//! that occur more than once: equal files by their hash, and similar images by a perceptual hash of
//! the grey copy under every slight crop (`fingerprint`), looked up in tables (`candidates`) and
//! verified on the pixels (`alignment`).

mod alignment;
mod candidates;
pub mod copies;
mod fingerprint;
pub mod inspect;
mod plane;

pub use copies::{CopyGroup, CopyKind, copies};
pub use inspect::{Facts, Oddity, inspect};
