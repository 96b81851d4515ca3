//! `doctor`

use crate::cli::Format;
use crate::doctor;
use crate::error::{Error, Exit, Result};

/// Checks this machine for obstacles to an installation.
pub fn doctor(format: Format) -> Result<Exit> {
    let findings = doctor::diagnose(&examine()?);
    doctor::print(&mut anstream::stdout(), &findings, format)
        .map_err(|error| Error::failed(format!("the report cannot be written: {error}")))
}

#[cfg(windows)]
#[expect(clippy::unnecessary_wraps, reason = "it fails on other systems")]
fn examine() -> Result<doctor::Facts> {
    Ok(crate::win32::examine())
}

#[cfg(not(windows))]
fn examine() -> Result<doctor::Facts> {
    Err(Error::could_not_run(
        "this is not Windows, so there is nothing to diagnose: run harness.exe on the Windows machine where the \
         driver is to be installed",
    ))
}
