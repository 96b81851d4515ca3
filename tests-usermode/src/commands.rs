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
        Command::Install(args) => setup::install(args),
        Command::Remove(args) => setup::remove(args),
        Command::Status => setup::status(),
        Command::Doctor(args) => doctor::doctor(args),
        Command::List(args) => {
            if args.routines {
                list_routines();
            } else {
                list_scenarios();
            }
            Ok(Exit::Passed)
        }
        Command::Run(args) => run::run(args),
        Command::Stress(args) => stress::stress(args),
        Command::Explore(args) => explore::explore_tests(args),
        Command::Bench => bench::bench(),
        Command::Replay(args) => explore::replay_schedule(args),
        Command::Sequence(args) => sequence::sequence(args),
        Command::Sample(args) => sample::sample(args),
        Command::Hold(args) => hold::hold(args),
    }
}

/// Lists the scenarios.
fn list_scenarios() {
    let widths = scenarios::all().map(|scenario| scenario.name.len());
    let width = widths.max().unwrap_or_default();
    for scenario in scenarios::all() {
        anstream::println!("{:width$}  {}", scenario.name, scenario.summary);
    }
}

/// Lists the routines, and under each the scenarios that cover it.
fn list_routines() {
    for routine in Routine::ALL {
        anstream::println!("{}", routine.name());
        for scenario in scenarios::covering(*routine) {
            anstream::println!("    {}", scenario.name);
        }
    }
}
