//! `sample`: checks what the installed driver of a sample does.

#[cfg(windows)]
mod checks;

use clap::ValueEnum;

#[cfg(not(windows))]
use crate::error::Error;
use crate::error::{Exit, Result};

/// A sample driver that can be installed alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// `sample_cancel.sys`
    Cancel,
    /// `sample_control.sys`
    Control,
    /// `sample_detect.sys`
    Detect,
    /// `sample_event.sys`
    Event,
    /// `sample_pipe.sys`
    Pipe,
    /// `sample_ramdisk.sys`
    Ramdisk,
    /// `sample_recorder.sys`
    Recorder,
    /// `sample_startio.sys`
    Startio,
}

/// Checks a sample driver.
#[cfg(windows)]
pub fn sample(name: Name) -> Result<Exit> {
    match name {
        Name::Cancel => checks::cancel(),
        Name::Control => checks::control(),
        Name::Detect => checks::detect(),
        Name::Event => checks::event(),
        Name::Pipe => checks::pipe(),
        Name::Ramdisk => checks::ramdisk(),
        Name::Recorder => checks::recorder(),
        Name::Startio => checks::startio(),
    }?;
    anstream::println!("{name:?}: every request ended as it should");
    Ok(Exit::Passed)
}

/// Checks a sample driver.
#[cfg(not(windows))]
pub fn sample(name: Name) -> Result<Exit> {
    Err(Error::could_not_run(format!(
        "{name:?} needs an installed driver: `cross/make samples` installs it under Wine"
    )))
}
