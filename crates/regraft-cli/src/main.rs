//! The `regraft` command.

#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod failure;
mod output;
mod progress;

use arguments::{Command, Regraft};
use clap::Parser;
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.exit_code()
        }
    }
}

fn run() -> Result<(), Failure> {
    match Regraft::parse().command {
        Command::Train(arguments) => commands::train::run(&arguments),
    }
}
