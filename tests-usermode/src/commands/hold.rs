//! `hold`: the process that `teardown::kill_process` kills.

use std::io;

use crate::client::Device;
use crate::error::{Error, Exit, Result};

/// The line that it prints once all of its requests are pending.
pub const READY: &str = "ready";

/// Sends requests, prints [`READY`], and keeps them pending until standard input ends.
pub fn hold(count: u32) -> Result<Exit> {
    let device = Device::open()?;
    let _requests = device.pend_all(0..u64::from(count))?;
    anstream::println!("{READY}");
    // The parent process kills this one, or exits, which closes standard input.
    let read = io::copy(&mut io::stdin(), &mut io::sink());
    read.map_err(|error| Error::failed(format!("standard input: {error}")))?;
    Ok(Exit::Passed)
}
