//! Fine-tunes pretrained image classifiers: a source model's head is replaced, and trunk and head
//! learn from a folder of pictures.
//!
//! [`train::train`] is the whole run; [`model::Model`] loads and saves classifiers;
//! [`evaluate_folder`] and [`predict`] use them.

#![forbid(unsafe_code)]

mod algebra;
pub mod atomic_file;
pub mod audit;
pub mod bench;
pub mod class_names;
pub mod compare;
pub mod config;
pub mod engines;
pub mod error_kind;
pub mod evaluate;
pub mod evaluate_folder;
pub mod features;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod file_error;
mod hashing;
pub mod hub_config;
pub mod hub_metadata;
pub mod inference;
pub mod inspect;
pub mod logistic_regression;
pub mod memory_check;
pub mod metrics;
pub mod model;
pub mod note;
pub mod pictures;
pub mod predict;
pub mod predictions;
pub mod progress;
pub mod report;
pub mod run_folder;
pub mod schedule;
pub mod show;
pub mod train;
pub mod transfer;

pub use regraft_data as data;
pub use regraft_nn as nn;
