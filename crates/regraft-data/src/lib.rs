//! Image folders, decoding, transforms and batches of Regraft.
//!
//! The way of a picture: [`catalogue::scan`] lists the files of a folder with their classes,
//! [`verify::verify`] decodes each once before training starts, and a [`loader::Loader`] decodes
//! ([`decode::decode`]), transforms ([`preprocessing`], [`augmentation`]) and batches them ahead of
//! the thread that trains. What a transform does is what Pillow and torchvision do, to the level.

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
