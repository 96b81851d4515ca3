//! The command line.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{commands::sample, target::Kernel};

const EXAMPLES: &str = "\
Examples:
  harness                             run every scenario on the model kernel, which needs neither Windows nor a driver
  harness install                     install the driver from interlock.inf in the folder of this program
  harness run cancel::                run the scenarios whose name contains `cancel::`
  harness run race::cancel_against_completion --exact --iterations 1000
  harness run --format json           print one JSON object a line, for a program
  harness stress --seconds 60 --threads 4 --pending 1000
  harness run --driver target/interlock/interlock.sys
                                      load the driver's image into the model kernel, and run every scenario
  harness explore queue::             explore the tests of the cancelable queue under every order of their threads
  harness doctor                      check this machine for obstacles to an installation
  harness remove --delete-driver      remove the device and its driver package

Exit code: 0 passed, 1 failed, 2 could not run (bad usage, no device, not an administrator).";

/// Tests interlock.sys from user mode.
///
/// It installs the driver, sends it requests, completes and cancels them in every way, and checks how each one ends. Run it as an
/// administrator on a Windows test machine, or under Wine; or anywhere on the model kernel, which is part of this program.
#[derive(Debug, Parser)]
#[command(name = "harness", version, after_help = EXAMPLES)]
pub struct Cli {
    /// The command [default: run --kernel model]
    #[command(subcommand)]
    command: Option<Command>,
}

impl Cli {
    /// Returns the command. Without one, every scenario runs on the model kernel, which works on every machine.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or_else(|| {
            Self::parse_from(["harness", "run", "--kernel", "model"]).into_command()
        })
    }
}

/// The kernel of a run.
#[derive(Args, Clone, Debug)]
pub struct On {
    /// The kernel to run on
    #[arg(long, value_enum, default_value_t)]
    pub kernel: Kernel,
    /// The number of processors of the model kernel
    #[arg(long, value_name = "N", default_value_t = On::PROCESSORS, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub processors: u32,
    /// The driver's image to load into the model kernel, such as target/interlock/interlock.sys [default: the driver's logic, which is part of this program]
    #[arg(long, value_name = "FILE")]
    pub driver: Option<PathBuf>,
}

impl On {
    /// Returns the kernel: the model, if an image is given.
    pub fn kernel(&self) -> Kernel {
        match self.driver {
            Some(_) => Kernel::Model,
            None => self.kernel,
        }
    }

    const PROCESSORS: u32 = 8;

    /// The model kernel, with the default number of processors.
    pub const MODEL: Self = Self {
        kernel: Kernel::Model,
        processors: Self::PROCESSORS,
        driver: None,
    };
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create the root-enumerated device and install its driver (as `devcon install` does)
    ///
    /// If the device exists already, its driver is updated.
    Install {
        /// The INF to install from [default: interlock.inf in the folder of this program]
        #[arg(long, value_name = "PATH")]
        inf: Option<PathBuf>,
    },
    /// Remove the device (as `devcon remove` does)
    Remove {
        /// Delete the driver package from the driver store as well
        #[arg(long)]
        delete_driver: bool,
    },
    /// Show the state of the device, its driver and its counters
    Status,
    /// Check this machine for obstacles to an installation, and say how to remove them
    ///
    /// It changes nothing. A fact that cannot be determined does not count as a problem.
    Doctor {
        /// The format of the report
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// List the scenarios and what each one proves
    List {
        /// List each routine instead, with the scenarios that cover it
        #[arg(long)]
        routines: bool,
    },
    /// Run the scenarios one after another, and report as `cargo test` does
    Run(Run),
    /// Keep many requests of many threads pending, and end them in every way at random
    Stress(Stress),
    /// Run small tests on the model kernel under every order of their threads' steps, or many
    Explore(Explore),
    /// Repeat one schedule of a test, step by step
    Replay {
        /// The test and the schedule, as `explore` prints them
        #[arg(value_name = "TEST:SCHEDULE")]
        schedule: String,
    },
    /// Measure the performance of the model kernel, with many requests and with many schedules
    Bench,
    /// Execute random steps one after another, and print a transcript, which is the same on every kernel
    Sequence(Sequence),
    /// Check what the installed driver of a sample does, as its program would
    Sample {
        /// The sample
        name: sample::Name,
    },
    /// Send requests and keep them pending until standard input ends (a scenario kills this process)
    #[command(hide = true)]
    Hold {
        /// How many requests to send
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
    },
}

/// The format of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text
    #[default]
    Pretty,
    /// One JSON object a line
    Json,
}

/// `run`
#[derive(Args, Debug)]
pub struct Run {
    /// Run only the scenarios whose name contains this
    pub filter: Option<String>,
    /// Run only the scenario with exactly this name
    #[arg(long, requires = "filter")]
    pub exact: bool,
    /// The format of the report
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The number of repetitions in scenarios that repeat their work [default: each scenario's own number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub iterations: Option<u64>,
    /// The seed of random choices; a report names the seed that it used
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// After how many seconds a scenario is considered hung
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
    /// The kernel.
    #[command(flatten)]
    pub on: On,
}

/// `stress`
#[derive(Args, Debug)]
pub struct Stress {
    /// How long to run
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Run until this many requests have ended, however long it takes
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// How many threads, each with a handle of its own
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// How many requests to keep pending, in all threads together
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub pending: u32,
    /// The seed of random choices; the report names the seed that it used
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// The kernel.
    #[command(flatten)]
    pub on: On,
}

/// `explore`
#[derive(Args, Debug)]
pub struct Explore {
    /// Explore only the tests whose name contains this, or the mistake with exactly this name
    pub filter: Option<String>,
    /// The maximum number of orders of each test [default: each test's own number]
    #[arg(long, value_name = "N")]
    pub schedules: Option<NonZeroUsize>,
    /// List the tests and what each one shows, including the mistakes, which are explored by their full name
    #[arg(long)]
    pub list: bool,
}

/// `sequence`
#[derive(Args, Debug)]
pub struct Sequence {
    /// The seed of the first sequence; each sequence after it has the next number
    #[arg(long, value_name = "SEED", value_parser = clap::value_parser!(u64).range(..1 << 63))]
    pub seed: Option<u64>,
    /// How many sequences
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::MIN)]
    pub count: NonZeroUsize,
    /// Execute the steps in this file instead, one a line, as a failure prints them
    #[arg(long, value_name = "PATH", conflicts_with_all = ["seed", "count"])]
    pub steps: Option<PathBuf>,
    /// Where to write the transcript [default: standard output]
    #[arg(long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// The kernel.
    #[command(flatten)]
    pub on: On,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Command, Format, Kernel};

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Ok(Cli::try_parse_from(line.split_whitespace())?.into_command())
    }

    /// The arguments of a line, which must be this command.
    macro_rules! parsed {
        ($command:ident, $line:expr) => {
            match parse($line) {
                Ok(Command::$command(arguments)) => arguments,
                other => panic!("{}: {other:?}", $line),
            }
        };
    }

    #[test]
    fn the_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_takes_a_filter_and_its_options() {
        let run = parsed!(Run, "harness run cancel:: --format json --iterations 5");
        assert_eq!(run.filter.as_deref(), Some("cancel::"));
        assert_eq!(run.format, Format::Json);
        assert_eq!(run.iterations, Some(5));
        assert_eq!(run.seed, None);
        assert!(!run.exact);
    }

    #[test]
    fn without_a_command_every_scenario_runs_on_the_model() {
        let run = parsed!(Run, "harness");
        assert_eq!((run.filter, run.on.kernel), (None, Kernel::Model));
    }

    #[test]
    fn run_takes_a_kernel_and_its_processors() {
        let run = parsed!(Run, "harness run --kernel model --processors 2");
        assert_eq!((run.on.kernel, run.on.processors), (Kernel::Model, 2));
    }

    #[test]
    fn an_image_needs_the_model() {
        let line = "harness stress --kernel device --driver interlock.sys --requests 5";
        let stress = parsed!(Stress, line);
        assert_eq!(stress.on.kernel(), Kernel::Model);
        assert_eq!(stress.requests, Some(5));
    }

    #[test]
    fn list_lists_scenarios_or_routines() {
        for (line, expected) in [("harness list", false), ("harness list --routines", true)] {
            let list = parse(line).expect(line);
            assert!(matches!(list, Command::List { routines } if routines == expected));
        }
    }

    #[test]
    fn stress_has_defaults() {
        let stress = parsed!(Stress, "harness stress");
        assert_eq!(
            (stress.seconds, stress.threads, stress.pending),
            (10, 4, 1000)
        );
    }

    #[test]
    fn invalid_options_are_bad_usage() {
        for line in [
            "harness fly",
            "harness run --exact",
            "harness run --iterations 0",
            "harness run --format xml",
            "harness run --kernel linux",
            "harness run --processors 0",
            "harness run --processors 65",
            "harness doctor --fix",
            "harness run --timeout 0",
            "harness stress --seconds 0",
            "harness stress --seconds 1 --requests 1",
            "harness stress --threads 0",
            "harness stress --pending 0",
            "harness explore --schedules 0",
            "harness sequence --count 0",
            "harness hold --count 0",
            "harness install interlock.inf",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn help_names_every_command_except_the_hidden_one() {
        let help = Cli::command().render_help().to_string();
        for command in [
            "install", "remove", "status", "doctor", "list", "run", "stress", "explore", "replay",
            "sequence",
        ] {
            assert!(
                help.contains(&format!("\n  {command} ")),
                "{command}: {help}"
            );
        }
        assert!(!help.contains("hold"), "{help}");
        assert!(help.contains("Exit code: 0 passed"), "{help}");
    }
}
