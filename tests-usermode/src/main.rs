//! Tests interlock.sys from user mode, or its logic on the model kernel.

#![deny(unsafe_code)]

mod cli;
mod client;
mod commands;
#[cfg_attr(
    not(any(windows, test)),
    expect(dead_code, reason = "only Windows has the facts")
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
    expect(dead_code, reason = "only Windows uses some of it")
)]
mod target;
#[cfg(windows)]
#[expect(unsafe_code, reason = "calling Win32 is unsafe")]
mod win32;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let command = cli::Cli::parse().into_command();
    let exit = commands::execute(&command).unwrap_or_else(|error| {
        anstream::eprintln!("harness: {error}");
        error.exit()
    });
    exit.into()
}
