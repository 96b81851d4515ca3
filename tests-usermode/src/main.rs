//! Drives interlock.sys from user mode and says whether it keeps its word.

#![deny(unsafe_code)]

mod cli;
mod client;
mod commands;
#[cfg_attr(
    not(any(windows, test)),
    expect(dead_code, reason = "without Windows there are no facts")
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
    expect(dead_code, reason = "some of it takes Plug and Play to be used")
)]
mod target;
#[cfg(windows)]
#[expect(unsafe_code, reason = "calling Win32 is unsafe")]
mod win32;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let exit = commands::execute(cli.command).unwrap_or_else(|error| {
        anstream::eprintln!("harness: {error}");
        error.exit()
    });
    exit.into()
}
