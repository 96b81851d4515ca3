//! What the commands do.

pub mod hold;
mod run;
mod setup;

use crate::cli::Command;
use crate::error::{Exit, Result};
use crate::{scenarios, stress};

/// Does what a command asks for.
pub fn execute(command: &Command) -> Result<Exit> {
    match command {
        Command::Install(args) => setup::install(args),
        Command::Remove(args) => setup::remove(args),
        Command::Status => setup::status(),
        Command::List => {
            list();
            Ok(Exit::Passed)
        }
        Command::Run(args) => run::run(args),
        Command::Stress(args) => stress::stress(args),
        Command::Hold(args) => hold::hold(args),
    }
}

/// Lists the scenarios.
fn list() {
    let widths = scenarios::ALL.iter().map(|scenario| scenario.name.len());
    let width = widths.max().unwrap_or_default();
    for scenario in scenarios::ALL {
        anstream::println!("{:width$}  {}", scenario.name, scenario.summary);
    }
}
