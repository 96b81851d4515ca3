//! `doctor`

use crate::cli::Doctor;
use crate::doctor;
use crate::error::{Error, Exit, Result};

/// Says what stands between this machine and a working install.
pub fn doctor(args: &Doctor) -> Result<Exit> {
    let findings = doctor::diagnose(&examine()?);
    doctor::print(&mut anstream::stdout(), &findings, args.format)
        .map_err(|error| Error::failed(format!("the report cannot be written: {error}")))
}

#[cfg(windows)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere there are no facts")]
fn examine() -> Result<doctor::Facts> {
    Ok(crate::win32::examine())
}

#[cfg(not(windows))]
fn examine() -> Result<doctor::Facts> {
    Err(Error::could_not_run(
        "this is not Windows, so there is nothing to diagnose: run the harness.exe that was built for \
         Windows on the machine that is to have the driver",
    ))
}
