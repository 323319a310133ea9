//! The real program, run as a user runs it, on pictures made here.

#![forbid(unsafe_code)]

mod classifiers;
mod data;
mod help;
mod outcome;
mod pictures;
mod reproducible;
mod run_folder;
mod tools;
mod transfer;
mod workspace;
