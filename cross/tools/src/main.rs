//! What a WDK's tools do to a driver after it is linked, for build hosts that have none.

#![forbid(unsafe_code)]

mod check;
mod finish;
mod image;
mod inf;
#[cfg(test)]
mod sample;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Finishes and checks a driver's image, and stamps its INF.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put right what lld-link leaves wrong in a driver's sections, and set the checksum
    FinishImage {
        /// The image as it was linked
        input: PathBuf,
        /// The image to write
        output: PathBuf,
    },
    /// Check a finished driver image, one line for each property; exit with 1 if any is wrong
    CheckImage {
        /// The image
        file: PathBuf,
    },
    /// Fill in an INF's architecture, version and date, which is `SOURCE_DATE_EPOCH` or today
    StampInf {
        /// The template
        input: PathBuf,
        /// The INF to write
        output: PathBuf,
        /// The architecture, in the words of INF files
        #[arg(long, default_value = "amd64")]
        arch: String,
        /// The driver's version, of four numbers
        #[arg(long, value_name = "VERSION", default_value = concat!(env!("CARGO_PKG_VERSION"), ".0"))]
        version: String,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("interlock-cross: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does what is asked; `false` is a check that failed.
fn run(command: Command) -> Result<bool, String> {
    match command {
        Command::FinishImage { input, output } => {
            let image = finish::finish(&read(&input)?).map_err(|error| about(&input, &error))?;
            write(&output, &image)?;
            Ok(true)
        }
        Command::CheckImage { file } => {
            let data = read(&file)?;
            let image = image::Image::parse(&data).map_err(|error| about(&file, &error))?;
            let checks = check::all(&image, &check::private_paths());
            for check in &checks {
                println!("{check}");
            }
            Ok(checks.iter().all(|check| check.outcome.is_ok()))
        }
        Command::StampInf {
            input,
            output,
            arch,
            version,
        } => {
            let text = String::from_utf8(read(&input)?)
                .map_err(|_| about(&input, "is not UTF-8; save it as plain text"))?;
            let stamp = inf::Stamp {
                arch: &arch,
                version: &version,
                date: inf::date()?,
            };
            let stamped = stamp.apply(&text).map_err(|error| about(&input, &error))?;
            write(&output, stamped.as_bytes())?;
            Ok(true)
        }
    }
}

fn about(path: &std::path::Path, error: &str) -> String {
    format!("{}: {error}", path.display())
}

fn read(path: &PathBuf) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| about(path, &error.to_string()))
}

fn write(path: &PathBuf, data: &[u8]) -> Result<(), String> {
    fs::write(path, data).map_err(|error| about(path, &error.to_string()))
}
