//! Fine-tunes pretrained image classifiers: puts a new head on the backbone of a source model, and
//! trains both on your images.
//!
//! - [`train()`] is a whole run, with the options of a [`TrainConfig`].
//! - [`Classifier`] loads the result and classifies images.
//! - [`compare`], [`audit`], [`show`], [`runs`] and [`run_report`] do the work of the commands.
//!
//! # Features
//!
//! On by default:
//!
//! - `embedded`: EfficientNet-Lite0 with its ImageNet weights (9.5 MB), the default source model.
//! - `report`: plots of runs, pages about them, and comparisons.
//! - `show`: drawings of images as the network sees them.
//! - `audit`: finding problems in a data set.
//! - `fetch`: downloading data sets, and weights from a hub.
//!
//! Off by default:
//!
//! - `mpi`: several processes that train together over MPI; see [`ranks`].

#![forbid(unsafe_code)]

mod algebra;
pub mod atomic_file;
#[cfg(feature = "audit")]
pub mod audit;
pub mod bench;
mod calibrated;
pub mod class_names;
pub mod classifier;
#[cfg(feature = "report")]
pub mod compare;
pub mod config;
mod data_checks;
pub mod engines;
pub mod error_kind;
pub mod evaluate;
pub mod evaluate_folder;
pub mod features;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod file_error;
mod hashing;
pub mod hub;
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
#[doc(hidden)]
pub mod protobuf;
pub mod ranks;
pub mod report;
pub mod run_folder;
#[cfg(feature = "report")]
pub mod run_report;
#[cfg(feature = "report")]
pub mod runs;
pub mod schedule;
#[cfg(feature = "show")]
pub mod show;
pub mod sort_into;
pub mod source_model;
pub mod speeds;
pub mod suggest;
mod suspect_labels;
pub mod tensorboard;
pub mod train;
pub mod transfer;
pub mod zoo;

pub use classifier::{Classifier, Image};
pub use config::TrainConfig;
pub use train::train;

pub use regraft_data as data;
pub use regraft_nn as nn;
