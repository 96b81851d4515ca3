//! Compares `interlock.sys` with a driver in C: the instructions of each wrapper, the sizes of the images, and the time that
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

use clap::{Args, Parser, Subcommand};

/// Compares interlock.sys with a driver in C.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare the instructions of each wrapper; exit with 1 if there are more than the limits allow
    Code(Files),
    /// Compare the sizes of two drivers, and the time of their requests; exit with 1 if they exceed the limits
    Driver(Files),
}

#[derive(Args)]
struct Files {
    /// The image with the wrappers of wdm, or the driver in Rust
    rust: PathBuf,
    /// The image with the functions in C, or the driver in C
    c: PathBuf,
    /// The page to write
    #[arg(long)]
    page: PathBuf,
}

/// A page with tables in Markdown, and the numbers that exceed their limits.
struct Report {
    text: String,
    exceeded: Vec<String>,
}

impl Report {
    fn new(preamble: &str) -> Self {
        Self {
            text: preamble.into(),
            exceeded: Vec::new(),
        }
    }

    /// Records a ratio if it exceeds its limit.
    fn limit(&mut self, what: &str, ratio: f64, most: f64) {
        if ratio > most {
            self.exceeded
                .push(format!("{what}: {ratio:.2}, not {most:.2}"));
        }
    }

    /// Records a number of bytes if it exceeds its limit.
    fn limit_bytes(&mut self, what: &str, bytes: u32, most: u32) {
        if bytes > most {
            self.exceeded
                .push(format!("{what}: {bytes} bytes, not {most}"));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
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
        Command::Code(Files { rust, c, page }) => (code::compare(&read(rust)?, &read(c)?)?, page),
        Command::Driver(Files { rust, c, page }) => (driver::compare(rust, c)?, page),
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
