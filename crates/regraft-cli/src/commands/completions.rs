//! `regraft completions`.

use crate::arguments::{CompletionsArguments, Regraft};
use crate::failure::Failure;
use clap::CommandFactory;
use std::io::Write;

pub fn run(arguments: &CompletionsArguments) -> Result<(), Failure> {
    // Into memory first: writing to a closed pipe panics inside clap_complete.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Regraft::command(), "regraft", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}
