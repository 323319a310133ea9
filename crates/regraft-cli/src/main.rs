//! The `regraft` command.

#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod failure;
mod hint;
mod job;
mod locating;
mod output;
mod progress;
mod signals;

use arguments::{Command, Regraft};
use clap::Parser;
use failure::Failure;
use regraft::engines::check_machine;
use regraft::ranks::{Launched, announced_rank, launched};
use std::process::ExitCode;

fn main() -> ExitCode {
    // A wrong REGRAFT_ISA is reported before a wrong flag. Ranks report it in `run`, with their
    // number.
    if launched() == Launched::Alone
        && let Err(error) = check_machine()
    {
        return job::run(|| Err(Failure::input(error)));
    }
    let command = match Regraft::try_parse() {
        Ok(parsed) => parsed.command,
        // Of several processes, the first one prints.
        Err(error) if announced_rank().is_some_and(|rank| rank > 0) => {
            return ExitCode::from(error.exit_code() as u8);
        }
        Err(error) => error.exit(),
    };
    signals::survive_file_size_limit();
    job::run(|| run(command))
}

fn run(command: Command) -> Result<(), Failure> {
    // A wrong REGRAFT_ISA is reported before any kernel meets it.
    check_machine().map_err(Failure::input)?;
    if !job::ranks().is_alone() && !command.is_shared_out() {
        return Err(Failure::input(anyhow::anyhow!(
            "this command does its work in one process, but {} were started; only train, \
             evaluate, predict and audit share theirs",
            job::ranks().size()
        )));
    }
    match command {
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
