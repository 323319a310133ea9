//! What can be said of picture files without a network: which cannot be read, which show the same
//! picture, which are odd.
//!
//! `inspect` reads every file once and keeps a small grey copy of its picture. `copies` finds the
//! pictures that stand more than once: by the hash of the file, and otherwise by a perceptual hash
//! of the grey copy under every slight crop (`fingerprint`), looked up in tables (`candidates`) and
//! then verified on the pixels (`alignment`).

mod alignment;
mod candidates;
pub mod copies;
mod fingerprint;
pub mod inspect;
mod plane;

pub use copies::{CopyGroup, CopyKind, copies};
pub use inspect::{Facts, Oddity, inspect};
