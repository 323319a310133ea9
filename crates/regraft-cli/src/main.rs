//! The `regraft` command.

#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod failure;
mod hint;
mod output;
mod progress;
mod signals;

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
            output::aside(&failure);
            failure.exit_code()
        }
    }
}

fn run() -> Result<(), Failure> {
    signals::survive_file_size_limit();
    // A wrong REGRAFT_ISA is reported before any kernel meets it.
    regraft::engines::check_machine().map_err(Failure::input)?;
    match Regraft::parse().command {
        Command::Train(arguments) => commands::train::run(&arguments),
        Command::Compare(arguments) => commands::compare::run(&arguments),
        Command::Evaluate(arguments) => commands::evaluate::run(&arguments),
        Command::Predict(arguments) => commands::predict::run(&arguments),
        Command::Report(arguments) => commands::report::run(&arguments),
        Command::Runs(arguments) => commands::runs::run(&arguments),
        Command::Diff(arguments) => commands::runs::compare(&arguments),
        #[cfg(feature = "export")]
        Command::Export(arguments) => commands::export::run(&arguments),
        Command::LrFind(arguments) => commands::lr_find::run(&arguments),
        Command::Audit(arguments) => commands::audit::run(&arguments),
        Command::Show(arguments) => commands::show::run(&arguments),
        #[cfg(feature = "fetch")]
        Command::Fetch(arguments) => commands::fetch::run(&arguments),
        Command::Models(arguments) => commands::models::run(&arguments),
        Command::Inspect(arguments) => commands::inspect::run(&arguments),
        Command::Weights(arguments) => commands::weights::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::Completions(arguments) => commands::completions::run(&arguments),
        Command::Doctor(arguments) => commands::doctor::run(&arguments),
    }
}
