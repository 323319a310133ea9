//! Image folders, decoding, transforms and batches of Regraft.
//!
//! An image passes through these modules: [`catalogue::scan`] lists the files of a folder with
//! their classes, [`verify::verify`] decodes each file once before training starts, and a
//! [`loader::Loader`] decodes ([`decode::decode`]), transforms ([`preprocessing`],
//! [`augmentation`]) and batches images ahead of the training thread. Transforms give exactly the
//! levels that Pillow and torchvision give.

#![forbid(unsafe_code)]

pub mod archive;
pub mod audit;
pub mod augmentation;
pub mod cache;
pub mod catalogue;
pub mod decode;
pub mod detail;
mod error;
pub mod file_kind;
mod folder;
pub mod inputs;
pub mod loader;
pub mod memory;
pub mod named_file;
pub mod parallel;
pub mod preprocessing;
pub mod rgb_image;
pub mod shown;
pub mod source;
pub mod split_name;
mod table;
pub mod transform;
pub mod verify;

pub use rgb_image::RgbImage;
