//! Fine-tunes pretrained image classifiers: transfer methods, training loop, evaluation, reports

#![forbid(unsafe_code)]

pub mod atomic_file;
pub mod metrics;
pub mod report;
pub mod run_folder;
