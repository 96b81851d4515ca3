//! Tests interlock.sys from user mode, or its logic on the model kernel.

#![deny(unsafe_code)]

mod cli;
mod client;
mod commands;
#[cfg_attr(
    not(any(windows, test)),
    expect(dead_code, reason = "only Windows has the data to check")
)]
mod doctor;
mod error;
mod fuzz;
mod report;
mod scenarios;
mod sequence;
mod status;
mod stress;
#[cfg_attr(
    not(windows),
    expect(dead_code, reason = "only Windows uses all of it")
)]
mod target;
#[cfg(windows)]
#[expect(unsafe_code, reason = "calling Win32 is unsafe")]
mod win32;

use std::cell::OnceCell;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use cli::Command;
use error::{Exit, Result};

fn main() -> ExitCode {
    let command = cli::Cli::parse().into_command();
    let exit = execute(command).unwrap_or_else(|error| {
        anstream::eprintln!("harness: {error}");
        error.exit()
    });
    exit.into()
}

/// Executes a command, and ends it if the model kernel has stopped: a thread that calls the kernel then never returns.
fn execute(command: Command) -> Result<Exit> {
    /// The time in which a command reports by itself that the kernel has stopped.
    const GRACE: Duration = Duration::from_secs(5);
    let since = OnceCell::new();
    let stopped = || {
        let violation = target::stopped()?;
        (since.get_or_init(Instant::now).elapsed() > GRACE).then_some(violation)
    };
    let execute = move || commands::execute(&command);
    target::run_watched(Duration::MAX, stopped, execute).unwrap_or(Ok(Exit::Failed))
}
