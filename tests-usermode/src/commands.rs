//! The commands.

mod bench;
mod doctor;
mod explore;
pub mod hold;
mod run;
pub mod sample;
mod sequence;
mod setup;

use interlock_abi::Routine;

use crate::cli::Command;
use crate::error::{Exit, Result};
use crate::{scenarios, stress};

/// Executes a command.
pub fn execute(command: &Command) -> Result<Exit> {
    match command {
        Command::Install { inf } => setup::install(inf.as_deref()),
        Command::Remove { delete_driver } => setup::remove(*delete_driver),
        Command::Status => setup::status(),
        Command::Doctor { format } => doctor::doctor(*format),
        Command::List { routines } => Ok(list(*routines)),
        Command::Run(args) => run::run(args),
        Command::Stress(args) => stress::stress(args),
        Command::Explore(args) => explore::explore_tests(args),
        Command::Bench => bench::bench(),
        Command::Replay { schedule } => explore::replay_schedule(schedule),
        Command::Sequence(args) => sequence::sequence(args),
        Command::Sample { name } => sample::sample(*name),
        Command::Hold { count } => hold::hold(*count),
    }
}

/// Lists the scenarios, or each routine and under it the scenarios that cover it.
fn list(routines: bool) -> Exit {
    if routines {
        for routine in Routine::ALL {
            anstream::println!("{}", routine.name());
            for scenario in scenarios::covering(*routine) {
                anstream::println!("    {}", scenario.name);
            }
        }
        return Exit::Passed;
    }
    let widths = scenarios::all().map(|scenario| scenario.name.len());
    let width = widths.max().unwrap_or_default();
    for scenario in scenarios::all() {
        anstream::println!("{:width$}  {}", scenario.name, scenario.summary);
    }
    Exit::Passed
}
