//! Compares `interlock.sys` with its twin in C: the instructions of each wrapper, the sizes of the images, and the time that
//! their requests take on the model kernel.

mod code;
mod driver;
mod image;
mod parts;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

/// Compares interlock.sys with its twin in C.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare the instructions of each wrapper; exit with 1 if there are more than the limits allow
    Code {
        /// The image with the wrappers of wdm
        rust: PathBuf,
        /// The image with the functions in C
        c: PathBuf,
        /// The page to write
        #[arg(long)]
        page: PathBuf,
    },
    /// Compare the sizes of two drivers, and the time of their requests; exit with 1 if they exceed the limits
    Driver {
        /// The driver in Rust
        rust: PathBuf,
        /// The driver in C
        c: PathBuf,
        /// The page to write
        #[arg(long)]
        page: PathBuf,
    },
}

/// A table as Markdown, and what exceeds its limit.
struct Report {
    text: String,
    exceeded: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(exceeded) if exceeded.is_empty() => ExitCode::SUCCESS,
        Ok(exceeded) => {
            eprintln!("more than the limit: {}", exceeded.join(", "));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("interlock-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<Vec<String>, String> {
    let (report, page) = match command {
        Command::Code { rust, c, page } => (code::compare(&read(rust)?, &read(c)?)?, page),
        Command::Driver { rust, c, page } => (driver::compare(rust, c)?, page),
    };
    print!("{}", report.text);
    fs::write(page, report.text).map_err(|error| about(page, &error))?;
    Ok(report.exceeded)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| about(path, &error))
}

fn about(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}
