//! The real program, run as a user runs it, on images made here.

#![forbid(unsafe_code)]

mod architectures;
mod audit;
mod automatic;
#[cfg(target_os = "linux")]
mod bounds;
mod budget;
mod classifiers;
mod compare;
mod data;
mod devices;
mod divergence;
#[cfg(feature = "embedded")]
mod earlier_version;
#[cfg(feature = "export")]
mod export;
#[cfg(feature = "fetch")]
mod fetch;
mod fine_tuning;
mod hashes;
mod help;
#[cfg(feature = "fetch")]
mod hub;
mod hub_folders;
#[cfg(feature = "fetch")]
mod hub_runs;
#[cfg(feature = "fetch")]
mod hub_server;
mod interruptions;
mod long_runs;
mod lr_find;
mod methods;
#[cfg(unix)]
mod named_files;
mod out_of_fold;
mod outcome;
mod pictures;
mod precision;
mod regularization;
mod report;
mod reproducible;
mod resume;
mod run_folder;
mod runs;
#[cfg(all(feature = "embedded", feature = "export", feature = "fetch"))]
mod snapshots;
mod sorting;
mod splits;
mod storage;
#[cfg(all(feature = "embedded", feature = "export"))]
mod temperature;
mod tensorboard;
mod tools;
mod transfer;
mod workspace;
#[cfg(feature = "fetch")]
mod zoo;
